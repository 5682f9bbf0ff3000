"""The shape of a JSON file that others may have written: which keys there are, and of what kind their values."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from fne.utils.errors import bad_input

ANY = "*"
"""Stands for all names of a mapping."""
WORDS = {int: "an integer", float: "a finite number", str: "a text"}


def check(value: Any, shape: Any, file: Path, key: str = "", *, more: bool = False) -> None:
    """Compare keys and kinds with a shape.

    Args:
        value: What was read.
        shape: A mapping of keys, or of :data:`ANY`, to shapes; a list of one shape; or ``int``, ``float`` or ``str``.
        file: It was read from here.
        key: Its dotted key there.
        more: It may have keys that the shape lacks, and mappings of any names may be empty.

    Raises:
        UserError: A key is missing or unknown, or a value is of another kind or not finite.
    """
    if isinstance(shape, dict):
        if not isinstance(value, dict) or (ANY in shape and not value and not more):
            allowed = "a mapping" if more else "a mapping that is not empty"
            raise bad_input("wrong kind", file=file, key=key, value=value, allowed=allowed)
        names = value if ANY in shape else shape
        for name in (*names, *value):
            inside = f"{key}.{name}".lstrip(".")
            if name not in value:
                raise bad_input("entry is missing", file=file, key=inside)
            if name not in names and not more:
                raise bad_input("unknown key", file=file, key=inside, value=name, allowed=names)
        for name in names:
            check(value[name], shape.get(ANY, shape.get(name)), file, f"{key}.{name}".lstrip("."), more=more)
    elif isinstance(shape, list):
        if not isinstance(value, list):
            raise bad_input("wrong kind", file=file, key=key, value=value, allowed="a list")
        for place, one in enumerate(value):
            check(one, shape[0], file, f"{key}[{place}]", more=more)
    elif type(value) not in ({float, int} if shape is float else {shape}) or not _finite(value):
        raise bad_input("wrong kind", file=file, key=key, value=value, allowed=WORDS[shape])


def _finite(value: Any) -> bool:
    """Also of an integer that no float can hold."""
    try:
        return isinstance(value, str) or math.isfinite(value)
    except OverflowError:
        return False
