"""The shape of a JSON file that others may have written: which keys there are, and of what kind their values."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from fne.utils.errors import bad_input

ANY = "*"
"""Stands for all names of a mapping."""
WORDS = {int: "an integer", float: "a finite number", str: "a text", bool: "true or false", dict: "a mapping",
         list: "a list", None: "null"}  # fmt: skip
LARGEST = 2**63
"""No integer is as large: arrays and tables could not hold it."""


def check(value: Any, shape: Any, file: str | Path, key: str = "", *, more: bool = False, hint: str = "") -> None:
    """Compare keys and kinds with a shape.

    Args:
        value: What was read.
        shape: A mapping of keys, or of :data:`ANY`, to shapes, where a key that ends in ``?`` may be absent; a list of
            one shape; a tuple of one shape, beside which null is allowed; one of the kinds ``int``, ``float``, ``str``,
            ``bool``, ``dict``, ``list`` and ``None``, or a set of them; or ``object``, which is anything.
        file: It was read from here.
        key: Its dotted key there.
        more: It may have keys that the shape lacks, and mappings of any names may be empty.
        hint: What to do about it.

    Raises:
        UserError: A key is missing or unknown, or a value is of another kind or not finite.
    """

    def refuse(allowed: str) -> Exception:
        brief = f"{type(value).__name__} of {len(value)}" if isinstance(value, dict | list) else value
        shown = "null" if value is None else brief
        return bad_input("wrong kind", file=file, key=key or None, value=shown, allowed=allowed, hint=hint)

    if isinstance(shape, dict):
        if not isinstance(value, dict) or (ANY in shape and not value and not more):
            raise refuse("a mapping" if more else "a mapping that is not empty")
        parts = dict.fromkeys(value, shape[ANY]) if ANY in shape else {name.rstrip("?"): shape[name] for name in shape}
        for name in (*parts, *value):
            inside = f"{key}.{name}".lstrip(".")
            if name not in value and f"{name}?" not in shape:
                raise bad_input("entry is missing", file=file, key=inside, hint=hint)
            if name not in parts and not more:
                raise bad_input("unknown key", file=file, key=inside, value=name, allowed=parts, hint=hint)
            if name in parts and name in value:
                check(value[name], parts[name], file, inside, more=more, hint=hint)
    elif isinstance(shape, tuple):
        if value is not None:
            check(value, shape[0], file, key, more=more, hint=hint)
    elif isinstance(shape, list):
        if not isinstance(value, list):
            raise refuse("a list")
        for place, item in enumerate(value):
            check(item, shape[0], file, f"{key}[{place}]", more=more, hint=hint)
    else:
        kinds = shape if isinstance(shape, set) else {shape}
        if not any(_is(value, kind) for kind in kinds):
            raise refuse(" or ".join(sorted(WORDS[kind] for kind in kinds)))


def _is(value: Any, kind: Any) -> bool:
    """Is it of a kind, and a number that an array can hold?"""
    if kind is float and type(value) is float:
        return math.isfinite(value)
    if kind in (int, float) and type(value) is int:
        return abs(value) < LARGEST
    return kind is object or (value is None if kind is None else type(value) is kind and kind is not int)
