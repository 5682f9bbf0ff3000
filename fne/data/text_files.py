"""Reading the text of files that other people wrote: UTF-8, JSON whose keys occur once, rows of tables.

A byte order mark is accepted everywhere. What a file cannot be read as is said with file and line.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import io
import itertools
import json
import os
import re
import reprlib
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fne.utils.errors import bad_input

SEPARATORS = (",", "\t", "|")
MOST_BESIDE = 10_000
"""Names of a folder that are looked through for the nearest one."""
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
        content = path.read_bytes()
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

    def plain(text: str) -> str:
        return unicodedata.normalize("NFKC", text).casefold()

    names, wanted = list(names), plain(name)
    same = next((one for one in names if plain(one) == wanted), None)
    return same or next(iter(difflib.get_close_matches(name, names, n=1, cutoff=0.8)), None)


def say_nearest(path: Path, hint: str | None = None) -> str | None:
    """A hint about a file that is not there: what lies beside it under a name much alike, before ``hint``."""
    try:
        beside = [entry.name for entry in itertools.islice(os.scandir(path.parent), MOST_BESIDE)]
    except OSError:
        return hint
    near = nearest(path.name, set(beside) - {path.name})
    return "; ".join(filter(None, [f"did you mean {near!r}?" if near else None, hint])) or None


class _RepeatedKeyError(ValueError):
    """A key that an object has twice."""


def parse_json(text: str, path: Path, line: int = 1) -> Any:
    """The value of a JSON text, in which no object has a key twice.

    Args:
        text: All of a file, or one of its lines.
        path, line: The file and where in it the text begins, for messages.

    Raises:
        UserError: It is not JSON, an object has a key twice, or it is nested, or a number is long, beyond all reason.
    """
    try:
        return json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        place = f"line {line + error.lineno - 1}"
        raise bad_input(f"not valid JSON: {error.msg}", file=path, key=place) from None
    except RecursionError:
        raise bad_input("not JSON that can be read: nested too deeply", file=path, key=f"line {line}") from None
    except _RepeatedKeyError as error:
        name, entry = error.args
        hint = "keep one of them: which counts is not known"
        problem, known = f"the key {name!r} occurs twice in one object: {entry}", f"line {line}" if line > 1 else None
        raise bad_input(problem, file=path, key=known, hint=hint) from None
    except ValueError as error:  # an integer of thousands of digits
        raise bad_input(f"not JSON that can be read: {str(error)[:60]}", file=path, key=f"line {line}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        repeated = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise _RepeatedKeyError(repeated[:80], reprlib.repr(made))
    return made


def read_json(path: Path, key: str | None = None) -> Any:
    """The value in a JSON file; raises what :func:`read_text` and :func:`parse_json` raise."""
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
