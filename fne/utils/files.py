"""Files: everything is written under a temporary name and renamed, so that nothing is ever half-written."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import math
import os
import re
import shutil
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TextIO

from fne.utils import leftovers
from fne.utils.errors import UserError, bad_input
from fne.utils.os_errors import in_words
from fne.utils.shape import check
from fne.utils.text import guarded

DAMAGED = (ValueError, OSError, EOFError, NotImplementedError, MemoryError, csv.Error, zipfile.BadZipFile, zlib.error)
"""What decoders raise at content that they cannot read; no error of a program that is wrong itself is among them."""
MOST, MOST_RECORD, PIECE = 1 << 30, 1 << 24, 1 << 20
"""Bytes of a file that is read whole, of a JSON file that this package wrote, and of what is read at once."""
HALF_A_LETTER = re.compile(r"\\u[dD][89a-fA-F]")
"""An escape of JSON that stands for a letter only beside another one."""
SCHEMAS = {"bundle": 1, "calibration": 1, "digests": 1, "features": 1, "manifest": 2, "metrics": 1, "rankings": 2,
           "reference": 2, "run": 1, "study": 1, "variance": 1, "verify": 1}  # fmt: skip
"""Versions of the files that this package writes, by what they hold."""
DIGESTS = "digests.json"
"""Of a folder's CSV files, by name: lines after the header (``rows``) and ``sha256``. Where several steps write
tables into a folder, each has such a file of its own."""


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
    result = content.get("schema") if isinstance(content, dict) else None
    if type(result) is not int or result != SCHEMAS[kind]:
        raise bad_input("another schema", file=file, key="schema", value=result, allowed=[SCHEMAS[kind]], hint=hint)


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` on success, remove it on any failure."""
    path = Path(path)
    temporary = leftovers.temporary(path, path.suffix)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary folder; it takes the place of ``path``, or of what that leads to, on success."""
    if Path(path).is_symlink() and not Path(path).exists():
        raise bad_input("is a link to nothing", file=path, hint="name another place, or remove the link")
    path = Path(path).resolve()
    temporary = leftovers.temporary(path)
    temporary.mkdir()
    try:
        yield temporary
        if path.exists():
            shutil.rmtree(path)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def atomic_files(path: str | Path, last: str) -> Iterator[Path]:
    """Yield an empty temporary folder, whose files go into ``path`` on success; other files there stay.

    Args:
        path: A folder; it is made where there is none.
        last: The file that says that all are there: it goes first, and comes last.
    """
    path = Path(path)
    temporary = leftovers.temporary(path)
    temporary.mkdir()
    try:
        yield temporary
        path.mkdir(parents=True, exist_ok=True)
        (path / last).unlink(missing_ok=True)
        for file in sorted(temporary.iterdir(), key=lambda file: file.name == last):
            os.replace(file, path / file.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any, *, indent: int | None = 1) -> None:
    """Write JSON atomically. NaN is not JSON: missing numbers must be ``None``."""
    write_text(path, json.dumps(value, indent=indent, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def reading(file: str | Path, hint: str | None = None, key: str | None = None) -> Iterator[None]:
    """Turn what decoders raise into one clear error; within it stands the decoding alone.

    Args:
        file: What is read.
        hint: How to make it again.
        key: The place within it.

    Raises:
        UserError: It is missing, may not be read, is a folder, damaged or cut short.
    """
    try:
        yield
    except UnicodeDecodeError as error:
        raise bad_input(f"not UTF-8 text (byte {error.start})", file=file, key=key, hint=hint) from None
    except FileNotFoundError:
        raise bad_input("no such file", file=file, key=key, hint=hint) from None
    except OSError as error:
        problem = in_words(error) if error.errno is not None else f"damaged or cut short ({_briefly(error)})"
        raise bad_input(problem, file=file, key=key, hint=hint) from None
    except DAMAGED as error:
        raise bad_input(f"damaged or cut short ({_briefly(error)})", file=file, key=key, hint=hint) from None


def _briefly(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def read_bytes(path: str | Path, hint: str | None = None, most: int = MOST, key: str | None = None) -> bytes:
    """The content of a file.

    Raises:
        UserError: As :func:`reading`; or it is larger than ``most`` bytes, and was not read.
    """
    with reading(path, hint, key), open_file(path) as handle:
        if os.fstat(handle.fileno()).st_size <= most:
            return handle.read()
    allowed = f"at most {most:,} bytes"
    raise bad_input("larger than any such file", file=path, key=key, allowed=allowed, hint=hint)


def open_file(path: str | Path) -> io.BufferedReader:
    """Open a file for reading; no pipe or device, which may have no end.

    Raises:
        OSError: It cannot be opened, or is something else than a file.
    """
    if not stat.S_ISREG(mode := os.stat(path).st_mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "is a pipe or a device, not a file", str(path))
    return open(path, "rb")


def expanded(path: str | Path, **where: Any) -> Path:
    """A path with ``~`` as the home that it means.

    Raises:
        UserError: There is no such user; ``where`` is of :func:`~fne.utils.errors.bad_input`.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise bad_input("begins with the name of a user that is not there", value=str(path), **where) from None


def read_json(path: str | Path, hint: str | None = None, most: int = MOST) -> Any:
    """Read a JSON file.

    Raises:
        UserError: As :func:`read_bytes` and :func:`parse_json`.
    """
    return parse_json(read_bytes(path, hint, most), path, hint=hint)


def parse_json(
    content: bytes | str, file: str | Path, key: str | None = None, hint: str | None = None, without: str | None = None
) -> Any:
    """Read JSON as its standard has it, in which no object has a key twice; a byte order mark is passed over.

    Args:
        content: All of a file, one of its lines, or what a place within it holds.
        file: It was read from here.
        key: The place within it.
        hint: How to make it again.
        without: A key that is dropped from every object while it is read, so that it takes no memory.

    Raises:
        UserError: It is not UTF-8 or not JSON, or holds what no other file could: NaN, infinity, half a letter.
    """
    with reading(file, hint, key):
        text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
    try:
        value = json.loads(text, object_pairs_hook=partial(_once, without), parse_float=_finite, parse_constant=_finite)
        if HALF_A_LETTER.search(text):
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except (ValueError, RecursionError) as error:
        problem = "nested too deeply" if isinstance(error, RecursionError) else _briefly(error)
    raise bad_input(f"not valid JSON: {problem}", file=file, key=key, hint=hint)


def _once(without: str | None, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A mapping of JSON."""
    result = dict(pairs)
    if len(result) < len(pairs):
        [(name, _)] = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"the key {name!r} occurs twice in one object")
    result.pop(without, None)  # type: ignore[arg-type]  # None is no key
    return result


def _finite(text: str) -> float:
    """A number of JSON."""
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text[:80]} is no finite number")
    return value


def read_record(path: str | Path, kind: str | None, shape: Any, hint: str) -> Any:
    """Read a JSON file that this package wrote, and check all of it that is used.

    Args:
        path: The file.
        kind: A key of :data:`SCHEMAS`; None where it has no version.
        shape: As of :func:`fne.utils.shape.check`; the file may hold more.
        hint: How to make it again.

    Raises:
        UserError: As :func:`read_json` and :func:`check_record`.
    """
    return check_record(read_json(path, hint, MOST_RECORD), kind, shape, path, hint)


def check_record(content: Any, kind: str | None, shape: Any, file: str | Path, hint: str) -> Any:
    """Check the content of a JSON file as :func:`read_record` does.

    Raises:
        UserError: It is of another schema, or a value is of another kind.
    """
    if kind is not None:
        require_schema(content, kind, Path(file), hint)
    check(content, shape, file, more=True, hint=hint)
    return content


def as_csv(rows: Iterable[Mapping[str, Any]], columns: list[str]) -> str:
    """CSV with exactly ``columns``; ``None``, NaN become empty; floats keep all digits; no text is a formula."""
    text = io.StringIO(newline="")
    _write_rows(text, rows, columns)
    return text.getvalue()


def _write_rows(handle: TextIO, rows: Iterable[Mapping[str, Any]], columns: list[str], *, raw: bool = False) -> None:
    def cell(value: Any) -> Any:
        if isinstance(value, str) and not raw:
            return guarded(value)
        return "" if value is None or (isinstance(value, float) and math.isnan(value)) else value

    writer = csv.DictWriter(handle, fieldnames=columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({key: cell(value) for key, value in row.items()})


def write_csv(
    path: str | Path,
    rows: Iterable[Mapping[str, Any]],
    columns: list[str],
    *,
    raw: bool = False,
    digests: str = DIGESTS,
) -> None:
    """Write a CSV atomically, row by row, and note in a file ``digests`` of its folder what it is.

    Args:
        path: The file.
        rows, columns: As of :func:`as_csv`.
        raw: The cells come from a CSV file and stay as they stand there.
        digests: The file in its folder.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.parent / digests):
        with atomic_path(path) as temporary:
            with open(temporary, "w", encoding="utf-8", newline="") as handle:
                _write_rows(handle, rows, columns, raw=raw)
            with open(temporary, "rb") as written:
                entry = _digest(iter(lambda: written.read(PIECE), b""))
        try:
            known = _digests(path.parent / digests, "")
        except UserError:  # damaged: files that it named are refused until they, too, are written again
            known = {}
        known = {name: entry for name, entry in known.items() if (path.parent / name).is_file()}
        entries = known | {path.name: entry}
        write_json(path.parent / digests, {"schema": SCHEMAS["digests"], "files": dict(sorted(entries.items()))})


def read_csv(path: str | Path, hint: str, digests: str = DIGESTS) -> bytes:
    """Content of a CSV file that :func:`write_csv` wrote.

    Args:
        path: The file.
        hint: How to make it again.
        digests: The file of its folder that :func:`write_csv` noted it in.

    Raises:
        UserError: It is missing, cut, edited or without an entry in ``digests``; or that is damaged.
    """
    path = Path(path)
    content, entry = read_bytes(path, hint), _digests(path.parent / digests, hint).get(path.name)
    if entry is None:
        raise bad_input(f"has no entry in {digests}, so that nothing says whether it is whole", file=path, hint=hint)
    if (result := _digest([content])) != entry:
        shown, allowed = (f"{item['rows']} rows, SHA-256 {item['sha256'][:12]}" for item in (result, entry))
        problem = f"cut short or edited: it is not what {digests} says"
        raise bad_input(problem, file=path, value=shown, allowed=allowed, hint=hint)
    return content


def _digest(pieces: Iterable[bytes]) -> dict[str, Any]:
    """An entry of ``digests.json``, from the pieces of a file."""
    lines, sha256 = 0, hashlib.sha256()
    for piece in pieces:
        lines += piece.count(b"\n")
        sha256.update(piece)
    return {"rows": max(0, lines - 1), "sha256": sha256.hexdigest()}


def _digests(file: Path, hint: str) -> dict[str, dict[str, Any]]:
    """The entries of a ``digests.json``; none where there is no such file."""
    if not file.exists():
        return {}
    shape = {"files": {"*": {"rows": int, "sha256": str}}}
    return read_record(file, "digests", shape, hint)["files"]


@contextmanager
def locked(file: Path, taken: str | None = None) -> Iterator[None]:
    """Wait until no other process changes a file under its lock; that of a killed one is free again.

    Args:
        file: The file, or a folder.
        taken: Instead of waiting, say so of a lock that another process holds, here or on another machine of a shared
            file system.

    Raises:
        UserError: Another process holds it, where ``taken`` is said.
    """
    from filelock import FileLock, Timeout  # only who changes what others do as well

    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file.with_name(f".{file.name}.lock"), timeout=-1 if taken is None else 0)
    try:
        lock.acquire()
    except Timeout:
        hint = "wait until it has ended, or run the other study in a folder of its own"
        raise bad_input(taken or "", file=file, hint=hint) from None
    try:
        yield
    finally:
        Path(lock.lock_file).unlink()  # whoever waits for it sees that the file of that name is another one
        lock.release()


def sha256_file(path: str | Path) -> str:
    """Hex SHA-256 of a file, read in pieces."""
    with open_file(path) as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    """Hex SHA-256 of UTF-8 text."""
    return sha256_bytes(text.encode("utf-8"))


def sha256_bytes(content: bytes) -> str:
    """Hex SHA-256 of bytes."""
    return hashlib.sha256(content).hexdigest()
