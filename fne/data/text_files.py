"""Reading the text of files that other people wrote: UTF-8, rows of tables, and what a missing one was meant to be.

A byte order mark is accepted everywhere. What a file cannot be read as is said with file and line.
"""

from __future__ import annotations

import csv
import difflib
import io
import os
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fne.utils.errors import bad_input
from fne.utils.files import parse_json, read_bytes, reading

SEPARATORS = (",", "\t", "|")
COMPARED = 5000
"""Names that are compared with a missing one letter by letter."""
ID_DIGITS = 18
"""Digits of the longest number that is an id."""


def read_text(path: Path, key: str | None = None, hint: str | None = None) -> str:
    """The text of a file, without a byte order mark.

    Raises:
        UserError: It is missing, may not be read, or is not UTF-8.
    """
    content = read_bytes(path, hint if path.is_file() else say_nearest(path, hint), key=key)
    with reading(path, hint, key):
        return content.decode("utf-8-sig")


def nearest(name: str, names: Iterable[str], cutoff: float = 0.8) -> str | None:
    """The name that is the same in another case or Unicode form, else one that is much alike."""
    plain = {_plain(item): item for item in names}
    near = difflib.get_close_matches(_plain(name), [*plain][:COMPARED], n=1, cutoff=cutoff)
    return plain.get(_plain(name)) or (plain[near[0]] if near else None)


def say_nearest(path: Path, hint: str | None = None, cutoff: float = 0.8) -> str | None:
    """A hint about a file that is not there: what lies beside it under a name so much alike, before ``hint``."""
    near = nearest(path.name, os.listdir(path.parent), cutoff) if path.parent.is_dir() else None
    return "; ".join(filter(None, [f"did you mean {near!r}?" if near else None, hint])) or None


def _plain(name: str) -> str:
    """A name without case and Unicode form."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def read_json(path: Path, key: str | None = None) -> Any:
    """The value in a JSON file; raises what :func:`read_text` and :func:`fne.utils.files.parse_json` raise."""
    return parse_json(read_text(path, key), path)


def read_rows(text: str, separator: str, path: Path) -> list[tuple[int, list[str]]]:
    """The rows of a table and the line each begins in; empty lines are left out.

    Cells may be quoted, except in a table with bars. A quoted cell that goes on over lines which would be rows by
    themselves is refused: in a table without quoting that is how rows vanish.

    Raises:
        UserError: A quoted cell never ends, or is refused.
    """
    lines = list(io.StringIO(text, newline=""))
    quoting: Any = csv.QUOTE_NONE if separator == "|" else csv.QUOTE_MINIMAL
    reader = csv.reader(lines, delimiter=separator, strict=True, quoting=quoting)
    rows: list[tuple[int, list[str]]] = []
    first = 1
    try:
        for cells in reader:
            columns = len(rows[0][1]) if rows else len(cells)
            if any(line.count(separator) + 1 >= columns for line in lines[first : reader.line_num]):
                raise csv.Error("a quotation mark opens a cell that goes on over lines that are rows by themselves")
            if cells:
                rows.append((first, cells))
            first = reader.line_num + 1
    except csv.Error as error:
        hint = "quote each cell that holds a quotation mark, double the marks in it, and write a caption on one line"
        raise bad_input(f"not a readable table ({error})", file=path, key=f"line {first}", hint=hint) from None
    return rows


def lines_of(text: str) -> list[str]:
    """The lines of a text."""
    # Not str.splitlines, which parts lines at characters that captions may hold.
    return re.split(r"\r\n|\n|\r", text)


def to_id(text: str) -> int | None:
    """The number that a text of ASCII digits is, as ids have them; None where it is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= ID_DIGITS else None
