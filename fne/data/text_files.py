"""Reading the text of files that other people wrote: UTF-8, rows of tables, and what a missing one was meant to be.

A byte order mark is accepted everywhere. What a file cannot be read as is said with file and line.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import heapq
import io
import itertools
import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fne.utils.errors import bad_input
from fne.utils.files import open_file, parse_json

SEPARATORS = (",", "\t", "|")
MOST_BESIDE, LISTED = 10_000, 200_000
"""Names of a folder that are looked through for one much alike, and for one of another case or Unicode form."""
COMPARED = 1000
"""Names that are compared letter by letter: those that begin and end most like the one that is wanted."""
ID_DIGITS = 18
"""Digits of the longest number that is an id."""
_QUOTED = re.compile(r'"(?:[^"]|"")*+"')
"""A cell of a quoted table."""


def read_text(path: Path, key: str | None = None, hint: str | None = None) -> str:
    """The text of a file, without a byte order mark.

    Raises:
        UserError: It is missing, may not be read, or is not UTF-8.
    """
    try:
        with open_file(path) as handle:
            content = handle.read()
    except PermissionError:
        raise bad_input("no permission to read it", file=path, key=key) from None
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise bad_input("no such file", file=path, key=key, hint=say_nearest(path, hint)) from None
    except OSError as error:  # a disk that fails, a name beyond what it takes
        raise bad_input(f"cannot be read: {error.strerror}", file=path, key=key) from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        hint = "it is UTF-16: save it as UTF-8" if wide else hint
        raise bad_input(f"not UTF-8 text (byte {error.start})", file=path, key=key, hint=hint) from None


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name that is the same in another case or Unicode form, else one that is much alike."""

    names, requested = list(names), _plain(name)
    same = next((item for item in names if _plain(item) == requested), None)
    if same is not None:
        return same
    back = name[::-1]
    likely = heapq.nlargest(COMPARED, names, key=lambda item: _shared(item, name) + _shared(item[::-1], back))
    return next(iter(difflib.get_close_matches(name, likely, n=1, cutoff=0.8)), None)


def _shared(item: str, other: str) -> int:
    """How many letters two texts begin with alike."""
    return len(os.path.commonprefix([item, other]))


def say_nearest(path: Path, hint: str | None = None) -> str | None:
    """A hint about a file that is not there: what lies beside it under a name much alike, before ``hint``."""
    try:
        beside = [entry.name for entry in itertools.islice(os.scandir(path.parent), MOST_BESIDE)]
    except OSError:
        return hint
    near = nearest(path.name, set(beside) - {path.name})
    return "; ".join(filter(None, [f"did you mean {near!r}?" if near else None, hint])) or None


def alike(path: Path) -> str | None:
    """Say which existing file a missing one is meant to be: of a name in another case, Unicode form or ending."""
    place = Path(path.anchor)
    for part in path.parts[1:] if path.anchor else path.parts:
        if (place / part).exists():
            place = place / part
            continue
        result = _entry_like(place, part)
        if result is None:
            return None
        place = place / result
    return f"{place} is there: names must agree in case, Unicode form and ending"


def _entry_like(folder: Path, name: str) -> str | None:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in itertools.islice(entries, LISTED))
    except OSError:
        return None
    for key in (_plain, lambda text: os.path.splitext(_plain(text))[0]):
        requested = key(name)
        result = next((other for other in names if key(other) == requested), None)
        if result:
            return result
    return None


def _plain(name: str) -> str:
    """A name without case and Unicode form."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def read_json(path: Path, key: str | None = None) -> Any:
    """The value in a JSON file; raises what :func:`read_text` and :func:`fne.utils.files.parse_json` raise."""
    return parse_json(read_text(path, key), path)


def read_rows(text: str, separator: str, path: Path, key: str | None = None) -> list[tuple[int, list[str]]]:
    """The rows of a table and the line each begins in; empty lines are left out.

    Cells may be quoted. A table with tabs or bars in which quotation marks are not what opens and closes a cell was
    written without quoting: its marks are part of the text. A quoted cell that goes on over lines which would be rows
    by themselves is not believed: in a table without quoting that is how rows vanish.

    Raises:
        UserError: A quoted cell never ends, or is not believed, and the rows are not those of a table without quoting.
    """
    try:
        return _quoted(text, separator)
    except csv.Error as error:
        problem, line = error.args
    plain = [(number, row.split(separator)) for number, row in enumerate(lines_of(text), 1) if row]
    unsure = any(_QUOTED.fullmatch(cell) for _, cells in plain for cell in cells if '""' in cell[1:-1])
    if separator == "," or unsure or len({len(cells) for _, cells in plain}) > 1:
        where = f"{key}: line {line}" if key else f"line {line}"
        hint = "quote each cell that holds a quotation mark, double the marks in it, and write a caption on one line"
        raise bad_input(f"not a readable table ({problem})", file=path, key=where, hint=hint)
    return plain


def lines_of(text: str) -> list[str]:
    """The lines of a text."""
    # Not str.splitlines, which parts lines at characters that captions may hold.
    return re.split(r"\r\n|\n|\r", text)


def _quoted(text: str, separator: str) -> list[tuple[int, list[str]]]:
    """The rows as a table with quoting has them; an error's second argument is the line of its row."""
    rows: list[tuple[int, list[str]]] = []
    first, lines = 1, list(io.StringIO(text, newline=""))
    reader = csv.reader(lines, delimiter=separator, strict=True)
    try:
        for cells in reader:
            columns, more = len(rows[0][1]) if rows else len(cells), lines[first : reader.line_num]
            if more and any(line.count(separator) + 1 >= columns for line in more):
                raise csv.Error("a quotation mark opens a cell that goes on over lines that are rows by themselves")
            if cells:
                rows.append((first, cells))
            first = reader.line_num + 1
    except csv.Error as error:
        raise csv.Error(str(error), first) from None
    return rows


def to_id(text: str) -> int | None:
    """The number that a text of ASCII digits is, as ids have them; None where it is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= ID_DIGITS else None
