"""The one kind of error a user sees: a single message, no traceback at the command line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fne.utils.text import shortened, spaced

LONG, LONGER, MANY = 300, 5000, 300
"""Characters of a value and of other parts that an error shows, and allowed values."""


class UserError(Exception):
    """Input that cannot be used as it is. ``fne`` prints the message and exits with status 2."""


def bad_input(
    problem: str,
    *,
    file: str | Path | None = None,
    key: str | None = None,
    value: Any = None,
    allowed: Iterable[Any] | str | None = None,
    hint: str | None = None,
) -> UserError:
    """Build a :class:`UserError` that names the file, the key, the value, what is allowed and the nearest match.

    Args:
        problem: What is wrong, in one clause.
        file: The file that holds it.
        key: Dotted key (or line, column, id) within the file.
        value: The offending value; left out when ``None``.
        allowed: The allowed values (those nearest to ``value`` are named first), or a phrase that describes them.
        hint: What to do about it.

    Returns:
        The error, to be raised by the caller.
    """
    key = key and shortened(key, LONG)
    where = ": ".join(str(part) for part in (file, key) if part is not None)
    parts = [f"{where}: {problem}" if where else problem]
    if value is not None:
        parts.append(f"got {shortened(repr(value), LONG)}")
    if isinstance(allowed, str):
        parts.append(f"allowed: {allowed}")
    elif allowed is not None:
        options = [shortened(str(option), LONG) for option in allowed]
        text = value if isinstance(value, str) and len(value) <= LONG else ""
        near = difflib.get_close_matches(text, options[:LONGER], cutoff=0.5) if text else []
        parts += [f"did you mean {option!r}?" for option in near[:1]]
        options = list(dict.fromkeys([*near, *options]))  # the nearest first: a list may be long
        more = [f"{len(options) - MANY} more"] if len(options) > MANY else []
        parts.append("allowed: " + (", ".join([*options[:MANY], *more]) if options else "nothing"))
    if hint:
        parts.append(hint)
    return UserError("; ".join(spaced(shortened(part, LONGER)) for part in parts))
