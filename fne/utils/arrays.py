"""Reading ``.npz`` files: their bounds are checked before anything is unpacked, their arrays' kinds after."""

from __future__ import annotations

import math
import re
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
_HEADER = re.compile(
    rb"\{'descr': '([<>|=][biufSU])(\d{1,6})', 'fortran_order': (?:True|False), 'shape': \(([\d, ]{0,200})\), \} *\n"
)
_LONGEST = 4096
"""Bytes of a header, far more than that of any array here."""
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
    if missing is not None and not Path(file).exists():
        raise bad_input("no such file", file=file, hint=missing)
    names = check_npz(file, hint)
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
    """Names of the arrays of an ``.npz`` file, of which only the headers are unpacked.

    Raises:
        UserError: It is missing or damaged, encrypted or packed in another way, has two arrays of one name, would
            unpack to more than :data:`MOST` and :data:`FOLD` allow, or an array has another size than its header says.
    """
    names: list[str] = []
    with reading(file, hint), open_file(file) as handle, zipfile.ZipFile(handle) as archive:
        limit = max(MOST, FOLD * Path(file).stat().st_size)
        for info in archive.infolist():
            name, dot, _ = info.filename.rpartition(".npy")
            limit -= info.file_size
            if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise zipfile.BadZipFile(f"{info.filename} is encrypted, or packed in a way that no such file is")
            if not dot or name in names or limit < 0 or _size(archive, info) != info.file_size:
                raise ValueError(f"{info.filename} is no array, a second one, or larger than any")
            names.append(name)
    return names


def _size(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> int:
    """Bytes of an array's file by its header; -1 where that is none that numpy writes for numbers or text."""
    with archive.open(info) as handle:
        start = handle.read(_LONGEST)
    width = {1: 2, 2: 4, 3: 4}.get(start[6] if len(start) > 12 and start.startswith(b"\x93NUMPY") else 0)
    if width is None:
        return -1
    begin = 8 + width
    length = int.from_bytes(start[8:begin], "little")
    header = _HEADER.fullmatch(start[begin : begin + length])
    if header is None or len(start) < min(begin + length, info.file_size):
        return -1
    kind, size, shape = header.groups()
    counts = [int(part) for part in shape.split(b",") if part.strip()]
    if max(counts, default=0) >= 1 << 40:
        return -1
    return begin + length + math.prod(counts) * int(size) * (4 if kind.endswith(b"U") else 1)
