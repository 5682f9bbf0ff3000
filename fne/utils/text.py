"""Words that others wrote, made fit for one line or for a terminal; numbers as a person reads them."""

from __future__ import annotations

import unicodedata

_REORDERING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def clean(text: str) -> str:
    """The user's own words on one line, without control characters (they are not allowed in XML)."""
    return " ".join("".join(" " if _is_control(letter) else letter for letter in text).split())


def harmless(text: str) -> str:
    """Lines of text for a terminal, without control characters: those could move its cursor or clear it."""
    return "".join(" " if _is_control(letter) and letter != "\n" else letter for letter in text)


def markdown(text: str) -> str:
    """The user's own words on one line of Markdown, no sign of it with a meaning."""
    text = clean(text)
    for sign in "\\|*_`[]<>#":
        text = text.replace(sign, f"\\{sign}")
    return text


def size(count: float) -> str:
    """Bytes as text, in units of 1000."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while count >= 999.5 and len(units) > 1:
        count, units = count / 1000, units[1:]
    return f"{count:.3g} {units[0]}"


def _is_control(letter: str) -> bool:
    """Also one that shows what follows in another order, and half a letter, which no file can hold."""
    return not letter.isprintable() and (
        unicodedata.category(letter) in ("Cc", "Cs") or unicodedata.bidirectional(letter) in _REORDERING
    )
