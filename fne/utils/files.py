"""Files: everything is written under a temporary name and renamed, so that nothing is ever half-written."""

from __future__ import annotations

import csv
import errno
import hashlib
import json
import math
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fne.utils.errors import bad_input

DAMAGED = (ValueError, OSError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged ``.npz`` raises, by where the damage is."""
SCHEMAS = {"bundle": 1, "calibration": 1, "features": 1, "manifest": 1, "metrics": 1, "rankings": 2, "reference": 2,
           "remembered": 1, "run": 1, "study": 1, "variance": 1, "verify": 1}  # fmt: skip
"""Versions of the files that this package writes, by what they hold."""


def require_schema(content: Any, kind: str, file: Path, hint: str) -> None:
    """Refuse a file that another version wrote, or that is of another kind.

    Args:
        content: What was read.
        kind: A key of :data:`SCHEMAS`.
        file: It was read from here.
        hint: What to do about it.

    Raises:
        UserError: Its ``schema`` is another one, or it has none.
    """
    found = content.get("schema") if isinstance(content, dict) else None
    if type(found) is not int or found != SCHEMAS[kind]:
        raise bad_input("another schema", file=file, key="schema", value=found, allowed=[SCHEMAS[kind]], hint=hint)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` on success, remove it on any failure."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=f".tmp{path.suffix}", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with _naming(path):
            yield temporary
        temporary.chmod(0o666 & ~_umask())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary folder beside ``path``; it takes the place of ``path`` on success."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    try:
        with _naming(path):
            yield temporary
        temporary.chmod(0o777 & ~_umask())
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """A write that fails on a full disk does not say where: add the file's name to the error."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO):
            error.filename = str(path)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any, *, indent: int | None = 1) -> None:
    """Write JSON atomically. NaN is not JSON: missing numbers must be ``None``."""
    write_text(path, json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: The file is missing, not UTF-8, or not JSON; the message names the line.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise bad_input("no such file", file=path) from None
    except UnicodeDecodeError as error:
        raise bad_input(f"not UTF-8 text (byte {error.start})", file=path) from None
    except json.JSONDecodeError as error:
        raise bad_input(f"not valid JSON: {error.msg}", file=path, key=f"line {error.lineno}") from None


def write_csv(path: str | Path, rows: Iterable[Mapping[str, Any]], columns: list[str]) -> None:
    """Write a CSV atomically with exactly ``columns``; ``None``, NaN become empty; floats keep all digits."""

    def cell(value: Any) -> Any:
        return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value

    with atomic_path(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, fieldnames=columns, lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: cell(value) for key, value in row.items()})


def sha256_file(path: str | Path) -> str:
    """Hex SHA-256 of a file, read in pieces."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    """Hex SHA-256 of UTF-8 text."""
    return sha256_bytes(text.encode("utf-8"))


def sha256_bytes(content: bytes) -> str:
    """Hex SHA-256 of bytes."""
    return hashlib.sha256(content).hexdigest()
