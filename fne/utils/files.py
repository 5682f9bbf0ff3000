"""Files: everything is written under a temporary name and renamed, so that nothing is ever half-written."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
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

from fne.utils import leftovers
from fne.utils.errors import UserError, bad_input

DAMAGED = (ValueError, OSError, EOFError, KeyError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What reading a damaged ``.npz`` raises, by where the damage is."""
SCHEMAS = {"bundle": 1, "calibration": 1, "digests": 1, "features": 1, "manifest": 1, "metrics": 1, "rankings": 2,
           "reference": 2, "remembered": 1, "run": 1, "study": 1, "variance": 1, "verify": 1}  # fmt: skip
"""Versions of the files that this package writes, by what they hold."""
DIGESTS = "digests.json"
"""Of a folder's CSV files, by name: lines after the header (``rows``) and ``sha256``."""


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
    leftovers.remove(path.parent)
    handle, name = tempfile.mkstemp(prefix=leftovers.prefix(path), suffix=f".tmp{path.suffix}", dir=path.parent)
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
    leftovers.remove(path.parent)
    temporary = Path(tempfile.mkdtemp(prefix=leftovers.prefix(path), suffix=".tmp", dir=path.parent))
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


def as_csv(rows: Iterable[Mapping[str, Any]], columns: list[str]) -> str:
    """CSV with exactly ``columns``; ``None``, NaN become empty; floats keep all digits."""

    def cell(value: Any) -> Any:
        return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value

    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: cell(value) for key, value in row.items()})
    return text.getvalue()


def write_csv(path: str | Path, rows: Iterable[Mapping[str, Any]], columns: list[str]) -> None:
    """Write a CSV atomically, as :func:`as_csv` says, and note in its folder's ``digests.json`` what it is."""
    path, content = Path(path), as_csv(rows, columns).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.parent):
        with atomic_path(path) as temporary:
            temporary.write_bytes(content)
        try:
            known = _digests(path.parent, "")
        except UserError:  # damaged: files that it named are refused until they, too, are written again
            known = {}
        known = {name: entry for name, entry in known.items() if (path.parent / name).is_file()}
        entries = known | {path.name: _digest(content)}
        write_json(path.parent / DIGESTS, {"schema": SCHEMAS["digests"], "files": dict(sorted(entries.items()))})


def read_csv(path: str | Path, hint: str) -> bytes:
    """Content of a CSV file that :func:`write_csv` wrote.

    Args:
        path: The file.
        hint: How to make it again.

    Raises:
        UserError: It is missing, cut, edited or without an entry in ``digests.json``; or that is damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise bad_input("no such file", file=path, hint=hint)
    content, entry = path.read_bytes(), _digests(path.parent, hint).get(path.name)
    if entry is None:
        raise bad_input(f"has no entry in {DIGESTS}, so that nothing says whether it is whole", file=path, hint=hint)
    if (found := _digest(content)) != entry:
        shown, allowed = (f"{one['rows']} rows, SHA-256 {one['sha256'][:12]}" for one in (found, entry))
        problem = f"cut short or edited: it is not what {DIGESTS} says"
        raise bad_input(problem, file=path, value=shown, allowed=allowed, hint=hint)
    return content


def _digest(content: bytes) -> dict[str, Any]:
    """An entry of ``digests.json``."""
    return {"rows": max(0, content.count(b"\n") - 1), "sha256": sha256_bytes(content)}


def _digests(folder: Path, hint: str) -> dict[str, dict[str, Any]]:
    """The entries of a folder's ``digests.json``; none where there is no such file."""
    file = folder / DIGESTS
    if not file.is_file():
        return {}
    try:
        content = read_json(file)
    except UserError as error:
        raise UserError(f"{error}; {hint}") from None
    require_schema(content, "digests", file, hint)
    entries = content.get("files")
    if not isinstance(entries, dict) or not all(
        isinstance(entry, dict) and type(entry.get("rows")) is int and isinstance(entry.get("sha256"), str)
        for entry in entries.values()
    ):
        raise bad_input("entry is missing or of another kind", file=file, key="files", hint=hint)
    return entries


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Wait until no other process writes tables into a folder; that of a killed one is free again."""
    import fcntl  # not on every system

    file = folder / f".{DIGESTS}.lock"
    while True:
        handle = os.open(file, os.O_RDWR | os.O_CREAT, 0o666)
        fcntl.flock(handle, fcntl.LOCK_EX)
        try:
            if os.path.samestat(os.fstat(handle), os.stat(file)):
                break
        except FileNotFoundError:  # whoever held it before removed it: the file of that name is another one now
            pass
        os.close(handle)
    try:
        yield
    finally:
        file.unlink()
        os.close(handle)


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
