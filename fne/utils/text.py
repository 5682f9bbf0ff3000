"""Words that others wrote, made fit for one line or for a terminal."""

from __future__ import annotations

import unicodedata


def clean(text: str) -> str:
    """The user's own words on one line, without control characters (they are not allowed in XML)."""
    return " ".join("".join(letter if unicodedata.category(letter) != "Cc" else " " for letter in text).split())


def harmless(text: str) -> str:
    """Lines of text for a terminal, without control characters: those could move its cursor or clear it."""
    return "".join(letter if letter == "\n" or unicodedata.category(letter) != "Cc" else " " for letter in text)
