"""Words that others wrote, made fit for what they go into; numbers as a person reads them.

Each output has one function here: a line of anything (:func:`clean`), a terminal (:func:`harmless`), HTML and SVG
(:func:`markup`), Markdown (:func:`markdown`), a cell of CSV (:func:`guarded`); LaTeX has its own
in :mod:`fne.utils.latex`.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections.abc import Sequence

_MARKDOWN = re.compile(r"([\\`*_\[\]|<>#~$])")
_UNSEEN = (
    r"[\s\x00-\x1f\x7f-\xa0\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    r"\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\U000e0000-\U000e0fff]"
)
"""Blanks and signs without a width, which a spreadsheet may pass over."""
_FORMULA = re.compile(rf"'*{_UNSEEN}*[=+\-@\t＝＋－＠﹦﹢﹣﹫]")  # noqa: RUF001
_GUARDED = re.compile(rf"'{_FORMULA.pattern}")
_REORDERING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def clean(text: str) -> str:
    """The user's own words on one line, without control characters (they are not allowed in XML)."""
    return " ".join(spaced(text).split())


def spaced(text: str) -> str:
    """Text on one line, without control characters, blanks as they are."""
    return "".join(" " if _is_control(letter) else letter for letter in text)


def shortened(text: str, most: int) -> str:
    """A long text by its beginning and its end."""
    return text if len(text) <= most else f"{text[: most * 2 // 3]} ... {text[-most // 3 :]}"


def harmless(text: str) -> str:
    """Lines of text for a terminal, without control characters: those could move its cursor or clear it."""
    return "".join(" " if _is_control(letter) and letter != "\n" else letter for letter in text)


def markup(text: str) -> str:
    """Text for HTML or SVG, between tags or in an attribute; blanks stay what they are."""
    return html.escape(spaced(text), quote=True)


def markdown(text: str) -> str:
    """The user's own words on one line of Markdown, no sign of it with a meaning."""
    return _MARKDOWN.sub(r"\\\1", clean(text))


def guarded(text: str) -> str:
    """Text for a cell of CSV: one that a spreadsheet would take for a formula begins with an apostrophe.

    An end of line is that of the file: Python's writer would leave another one unquoted, and a reader see a row there.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if _FORMULA.match(text) else text


def unguarded(cell: str) -> str:
    """The text of which :func:`guarded` made a cell."""
    return cell[1:] if _GUARDED.match(cell) else cell


def columns(rows: Sequence[Sequence[str]], *, numbers: bool = False) -> list[str]:
    """Rows of cells as aligned lines; with ``numbers`` all cells but the first of a row end at one place."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    placed = ([cell.rjust(width) if numbers and place else cell.ljust(width)
               for place, (cell, width) in enumerate(zip(row, widths, strict=True))] for row in rows)  # fmt: skip
    return ["  ".join(row).rstrip() for row in placed]


def size(count: float) -> str:
    """Bytes as text, in units of 1000."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while count >= 999.5 and len(units) > 1:
        count, units = count / 1000, units[1:]
    return f"{count:.3g} {units[0]}"


def _is_control(letter: str) -> bool:
    """Also one that shows what follows in another order or on another line, and half a letter, which no file can
    hold."""
    return not letter.isprintable() and (
        unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(letter) in _REORDERING
    )
