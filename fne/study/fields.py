"""What a config value may be, and the checks of keys and values against it. Keys are dotted."""

from __future__ import annotations

import difflib
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fne.negatives.registry import installed
from fne.utils.errors import UserError, bad_input
from fne.utils.files import expanded

WORDS = {
    "int": "an integer",
    "float": "a number",
    "text": "text",
    "path": "a path",
    "ints": "a list of increasing integers",
    "bool": "true or false",
    "scalar": "a number, text, true or false",
}
CHOOSERS = {"negatives": "negatives.strategy", "loss": "loss.kind"}
"""Sections of the config that choose a rule, and the key that names it."""
OPTION = re.compile(r"(negatives|loss)\.options\.[A-Za-z_]\w*")
"""Keys of the options of a rule from outside; which of them there are, its class says (:mod:`.plugins`)."""
TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class Field:
    """What a leaf value may be.

    Args:
        kind: ``int``, ``float``, ``bool``, ``text``, ``path``, ``choice``, ``ints`` (a list of increasing integers),
            ``rule`` (a registered name, an entry point or ``module:Class``) or ``scalar`` (int, float, bool or text).
        low: Least value (``int``, ``float``, each of ``ints``).
        high: Greatest value.
        open_low: ``low`` itself is excluded.
        open_high: ``high`` itself is excluded.
        choices: The words a ``choice`` may be, or the registered names of a ``rule``.
        group: The group of entry points of a ``rule``.
        null: ``null`` is allowed.
        multiple: An ``int`` must be a multiple of it.
        neutral: The value at which all is as it was before there was such a key: it is then no part of a digest, and a
            new key trains nothing anew. The keys of the first version have none.
    """

    kind: str
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    choices: tuple[str, ...] = ()
    null: bool = False
    multiple: int = 1
    group: str = ""
    neutral: Any = ...

    def allowed(self) -> str | tuple[str, ...]:
        """What the value may be, for an error message."""
        if self.kind == "choice":
            return self.choices + (("null",) if self.null else ())
        if self.kind == "rule":
            return (*self.choices, *installed(self.group), "module:Class")
        words = WORDS[self.kind]
        if self.low > -math.inf:
            words += f" {'>' if self.open_low else '>='} {self.low:.12g}"
        if self.high < math.inf:
            words += f" and {'<' if self.open_high else '<='} {self.high:.12g}"
        words += f", a multiple of {self.multiple}" if self.multiple > 1 else ""
        return words + (", or null" if self.null else "")

    def inside(self, value: float) -> bool:
        """Is a number finite and within the range?"""
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        most = sys.float_info.max if self.kind == "float" else 2**63 - 1
        return abs(value) <= most and above and below and (self.multiple == 1 or value % self.multiple == 0)


def flatten(nested: Mapping[str, Any], file: str | Path | None = None, prefix: str = "") -> dict[str, Any]:
    """Turn nested sections into dotted leaf keys; dotted keys in the input are welcome too.

    Raises:
        UserError: Not a mapping, or a key is reached twice, once nested and once dotted.
    """
    if not isinstance(nested, Mapping):
        raise bad_input("must be a mapping", file=file, key=prefix.rstrip(".") or None, value=nested)
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        dotted = f"{prefix}{key}"
        items = flatten(value, file, f"{dotted}.") if isinstance(value, Mapping) else {dotted: value}
        for leaf, item in items.items():
            if leaf in flat:
                raise bad_input("is given twice, nested and dotted", file=file, key=leaf)
            flat[leaf] = item
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted leaf keys into nested sections."""
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        *sections, leaf = key.split(".")
        place = nested
        for section in sections:
            place = place.setdefault(section, {})
        place[leaf] = value
    return nested


def check_key(key: str, fields: Mapping[str, Field], file: str | Path | None, shown: str | None = None) -> Field:
    """Find the field of a key.

    Raises:
        UserError: There is no such key; names the nearest one, or says that it is a section.
    """
    if key in fields:
        return fields[key]
    if OPTION.fullmatch(key) and CHOOSERS[key.partition(".")[0]] in fields:
        return Field("scalar", null=True)
    inside = [name.removeprefix(f"{key}.") for name in fields if name.startswith(f"{key}.")]
    if inside:
        hint = f"it holds {', '.join(inside)}"
        raise bad_input("is a section, not a value", file=file, key=shown or key, hint=hint)
    parent = key.rpartition(".")[0]
    while parent and parent not in fields and not any(name.startswith(f"{parent}.") for name in fields):
        parent = parent.rpartition(".")[0]
    if parent in fields:
        raise bad_input("is a value, not a section", file=file, key=parent, allowed=fields[parent].allowed())
    siblings = [name for name in fields if not parent or name.startswith(f"{parent}.")]
    near = _nearest(key, siblings) or _nearest(key, list(fields))
    names = list(dict.fromkeys(name[len(parent) + 1 if parent else 0 :].split(".")[0] for name in siblings))
    error = "unknown key" + (f"; did you mean {near!r}?" if near else "")
    raise bad_input(error, file=file, key=shown or key, allowed=names)


def _nearest(key: str, names: list[str]) -> str | None:
    """The name closest to ``key``, by its last part first."""
    leaf = key.rpartition(".")[2]
    by_leaf = {name.rpartition(".")[2]: name for name in reversed(names)}
    near = difflib.get_close_matches(leaf, list(by_leaf), n=1, cutoff=0.6)
    if near:
        return by_leaf[near[0]]
    whole = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    return whole[0] if whole else None


def check_value(value: Any, field: Field, file: str | Path | None, key: str) -> Any:
    """Check a value and return it in its one canonical type (an integer given for a number becomes a float).

    Raises:
        UserError: Wrong type, out of range, or not among the choices.
    """
    if value is None:
        if field.null:
            return None
        raise bad_input("must not be null", file=file, key=key, allowed=field.allowed())
    if isinstance(value, Mapping):
        raise bad_input("is a value, not a section", file=file, key=key, allowed=field.allowed())

    def wrong(problem: str, hint: str | None = None) -> UserError:
        return bad_input(problem, file=file, key=key, value=value, allowed=field.allowed(), hint=hint)

    if field.kind == "scalar":
        if not isinstance(value, int | float | str):
            raise wrong("must be a scalar")
        kind = {bool: "bool", int: "int", float: "float"}.get(type(value), "text")
        return check_value(value, Field(kind), file, key)
    if field.kind in ("int", "float"):
        return _number(value, field, wrong)
    if field.kind == "ints":
        if not isinstance(value, list) or not value or any(type(item) is not int for item in value):
            raise wrong("must be a list of integers")
        if not all(field.inside(item) for item in value) or value != sorted(set(value)):
            raise wrong("out of range")
        return list(value)
    if field.kind == "bool":
        if not isinstance(value, bool):
            raise wrong("must be true or false")
        return value
    if isinstance(value, bool):
        raise wrong("must be text", "YAML reads an unquoted on/off/yes/no as a truth value: quote it")
    if not isinstance(value, str):
        raise wrong("must be text", "quote it" if isinstance(value, int | float) else None)
    if field.kind == "choice":
        if value not in field.choices:
            raise wrong("not one of the choices")
        return value
    if field.kind == "rule":
        if value not in field.choices and not TARGET.fullmatch(value) and value not in installed(field.group):
            raise wrong("not a registered name, an entry point or module:Class")
        return value
    if not value.strip() or "\0" in value:
        raise wrong("must not be empty")
    return str(expanded(value, file=file, key=key)) if field.kind == "path" else value


def _number(value: Any, field: Field, wrong: Any) -> int | float:
    noun = "an integer" if field.kind == "int" else "a number"
    if isinstance(value, str):
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        kept = int(number) if field.kind == "int" and number.is_integer() else number
        fits = math.isfinite(number) and (field.kind == "float" or type(kept) is int) and field.inside(kept)
        hint = f"YAML reads this as text: write {yaml_number(kept)}" if fits else None
        raise wrong(f"must be {noun}, not text", hint)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong(f"must be {noun}")
    if field.kind == "int" and isinstance(value, float):
        raise wrong("must be an integer", f"write {int(value)}" if value.is_integer() else None)
    if not field.inside(value):
        raise wrong("out of range")
    return value if field.kind == "int" else float(value)


def yaml_number(number: float) -> str:
    """A number as YAML 1.1 reads it: with a point before any exponent."""
    text = repr(number)
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa}.0e{exponent}" if e and "." not in mantissa else text
