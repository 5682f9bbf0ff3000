"""Reading ``.npz`` files: the size that they unpack to is bounded, and the kinds of their arrays are checked."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from fne.utils.errors import bad_input
from fne.utils.files import check_record, open_file, parse_json, reading

MOST, FOLD = 1 << 28, 64
"""A file may unpack to so many bytes, or to so many times its own size where that is more."""
WORDS = {
    "b": "truth values",
    "i": "integers",
    "iu": "integers",
    "f": "floats",
    "iuf": "numbers",
    "u": "bytes",
    "U": "text",
}


def read_npz(
    file: str | Path, kinds: Mapping[str, tuple[str, int] | None], hint: str, missing: str | None = None
) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz`` file that are named, and no others.

    Args:
        file: The file.
        kinds: Name of an array, which must be there, or pattern with ``*``: kinds of its dtype, and its dimensions; or
            None: it is passed over. The first that fits holds.
        hint: How to make it again.
        missing: What to do where there is no such file, unless that is ``hint``.

    Raises:
        UserError: As :func:`check_npz`; or an array is missing, or of another kind.
    """
    names = check_npz(file, hint if missing is None or Path(file).exists() else missing)
    requested = {
        name: next((kind for pattern, kind in kinds.items() if fnmatchcase(name, pattern)), None) for name in names
    }
    for name in kinds:
        if "*" not in name and name not in requested:
            raise bad_input("array is missing", file=file, key=name, hint=hint)
    with reading(file, hint), np.load(file, allow_pickle=False) as stored:
        result = {name: stored[name] for name, kind in requested.items() if kind is not None}
    for name, array in result.items():
        letters, dimensions = requested[name] or ("", 0)
        if array.dtype.kind not in letters or array.ndim != dimensions:
            value, allowed = f"{array.dtype}, {array.ndim} dimensions", f"{WORDS[letters]}, {dimensions} dimensions"
            raise bad_input("array of another kind", file=file, key=name, value=value, allowed=allowed, hint=hint)
    return result


def read_meta(file: str | Path, kind: str, shape: Mapping[str, Any], hint: str, missing: str | None = None) -> Any:
    """What an ``.npz`` file says about itself in its array ``meta``, as JSON.

    Args:
        file: The file.
        kind, shape: As of :func:`fne.utils.files.read_record`.
        hint, missing: As of :func:`read_npz`.

    Raises:
        UserError: As :func:`read_npz` and :func:`fne.utils.files.read_record`.
    """
    text = str(read_npz(file, {"meta": ("U", 0)}, hint, missing)["meta"])
    return check_record(parse_json(text.encode("utf-8", "replace"), file, "meta", hint), kind, shape, file, hint)


def check_npz(file: str | Path, hint: str) -> list[str]:
    """Names of the arrays of an ``.npz`` file, of which nothing is unpacked.

    Raises:
        UserError: It is missing or damaged, or would unpack to more than :data:`MOST` and :data:`FOLD` allow.
    """
    with reading(file, hint), open_file(file) as handle, zipfile.ZipFile(handle) as archive:
        if sum(info.file_size for info in archive.infolist()) > max(MOST, FOLD * Path(file).stat().st_size):
            raise ValueError("it would unpack to far more than its size")
        return [name.removesuffix(".npy") for name in archive.namelist()]
