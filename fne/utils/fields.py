"""Keys of the configuration, dotted: what a value may be, when it is read, and the checks of both."""

from __future__ import annotations

import difflib
import functools
import json
import re
import sys
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError, core_schema

from fne.utils.errors import bad_input
from fne.utils.files import expanded
from fne.utils.problems import Problems

MOST = 2**63 - 1
LARGEST = sys.float_info.max
"""The greatest integer, and the greatest number, that a value may be."""
SIGNS = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
NONE = object()
"""No default, or no neutral value."""
CHOOSERS = {"negatives": "negatives.strategy", "loss": "loss.kind"}
"""Sections of the config that choose a rule, and the key that names it."""
OPTION = re.compile(r"(negatives|loss)\.options\.[A-Za-z_]\w*")
"""Keys of the options of a rule from outside; which of them there are, its class says."""
TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
"""``module:Class``."""
SCALAR = "a number, text, true or false"
TRUTHS = "YAML reads an unquoted on/off/yes/no as a truth value"
NOUNS = {
    "array": "a list of increasing integers",
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "string": "text",
}
PLURALS = {"integer": "integers", "number": "numbers", "string": "text"}


@dataclass(frozen=True)
class When:
    """A key is read only while others have certain values; of several conditions of a key, one must hold.

    Args:
        values: By key, what its value must be among; all of them must hold. A key without a dot is of the same section.
    """

    values: Mapping[str, Container[Any]]

    def __post_init__(self) -> None:
        lists = self.values.values() if isinstance(self.values, Mapping) else [None]
        if not lists or not all(isinstance(allowed, tuple | list | range) and allowed for allowed in lists):
            raise TypeError("When takes a mapping of keys to tuples of values")

    def __hash__(self) -> int:  # a type with such metadata can be looked up
        return hash(tuple(self.values))


@dataclass(frozen=True)
class Neutral:
    """The value at which all is as it was before there was such a key; its default too, where nothing else is said.

    At it a key is no part of a digest, so that a new key trains nothing anew. The keys of the first version have none.
    """

    value: Any


@dataclass(frozen=True)
class Key:
    """A leaf of the configuration.

    Args:
        type: What a value may be: a type that pydantic knows, with its bounds.
        default: Of a rule's option; shared keys have theirs in ``base.yaml``.
        meaning: What it is, in a line.
        when: Conditions under which it is read, by dotted keys; none: always.
        neutral: See :class:`Neutral`.
    """

    type: Any
    default: Any = NONE
    meaning: str = ""
    when: tuple[Mapping[str, Container[Any]], ...] = ()
    neutral: Any = NONE

    @classmethod
    def of(cls, annotated: Any, section: str, default: Any = NONE) -> Key:
        """The key of an annotation ``Annotated[type, bounds, When(...), Neutral(...), "meaning"]``."""
        metadata = getattr(annotated, "__metadata__", ())
        if bare := [item.__name__ for item in metadata if item in (When, Neutral, Choice)]:
            raise TypeError(f"{bare[0]} takes arguments")
        when = tuple(
            {
                name if "." in name or name == "regime" else f"{section}.{name}": item.values[name]
                for name in item.values
            }
            for item in metadata
            if isinstance(item, When)
        )
        meaning = next((item for item in metadata if isinstance(item, str)), "")
        neutral = next((item.value for item in metadata if isinstance(item, Neutral)), NONE)
        return cls(annotated, neutral if default is NONE else default, meaning, when, neutral)

    @functools.cached_property
    def _adapter(self) -> TypeAdapter:
        return TypeAdapter(self.type, config=ConfigDict(strict=True, allow_inf_nan=False))

    @functools.cached_property
    def schema(self) -> dict[str, Any]:
        """Its JSON schema, without null; see :attr:`null`."""
        whole = self._adapter.json_schema()
        parts = [part for part in whole.get("anyOf", [whole]) if part.get("type") != "null"]
        return parts[0] if len(parts) == 1 else {**whole, "anyOf": parts}

    @functools.cached_property
    def null(self) -> bool:
        """May it be null?"""
        return any(part.get("type") == "null" for part in self._adapter.json_schema().get("anyOf", []))

    @property
    def is_number(self) -> bool:
        """Is its value an integer or a number?"""
        return self.schema.get("type") in ("integer", "number")

    def allowed(self) -> str | tuple[str, ...]:
        """What the value may be, for an error message."""
        choices = self.schema.get("enum") or ([self.schema["const"]] if "const" in self.schema else None)
        if choices:
            return (*choices, *(("null",) if self.null else ()))
        bounds = self.schema.get("items", self.schema)
        if self.schema.get("type") == "array" and bounds.get("type") == "string":
            return "a list of text"
        words = self.schema.get("title") or NOUNS.get(self.schema.get("type", ""), SCALAR)
        bound = [f"{sign} {bounds[name]:.12g}" for name, sign in SIGNS.items() if name in bounds]
        words += f" {' and '.join(bound)}" if bound else ""
        words += f", a multiple of {bounds['multipleOf']}" if "multipleOf" in bounds else ""
        return words + (", or null" if self.null else "")

    def check(self, value: Any, file: str | Path | None, key: str) -> Any:
        """A value in its one canonical type (an integer given for a number becomes a float).

        Raises:
            UserError: Wrong type, out of range, or not among the choices.
        """
        if self.type in (Scalar, Scalar | None) and isinstance(value, int | float | str):  # it keeps its own type
            return Key(Text if isinstance(value, str) else type(value)).check(value, file, key)
        problem: str | None = None
        try:
            kept = self._adapter.validate_python(value)
            if isinstance(kept, int | float) and abs(kept) > (MOST if type(kept) is int else LARGEST):
                problem = "out of range"
        except ValidationError as error:
            problem = self._words(error.errors()[0], value)
        if problem:
            shown = None if isinstance(value, Mapping) else value
            hint = self._meant(value)
            raise bad_input(problem, file=file, key=key, value=shown, allowed=self.allowed(), hint=hint)
        return str(expanded(kept, file=file, key=key)) if self.type in (Place, Place | None) and kept else kept

    def _words(self, error: Any, value: Any) -> str:
        """What is wrong with a value."""
        if value is None:
            return "must not be null"
        if isinstance(value, Mapping):
            return "is a value, not a section"
        if error["type"] == "unusable":
            return error["msg"]
        if error["type"] == "string_pattern_mismatch":
            return "cannot be"
        if error["type"] == "literal_error":
            return "not one of the choices" if isinstance(value, str) else "must be text"
        if not error["type"].endswith(("_type", "int_from_float")):
            return "out of range"
        expected = self.schema.get("type", "")
        item = PLURALS.get(self.schema["items"].get("type"), "values") if expected == "array" else ""
        noun = f"a list of {item}" if item else NOUNS.get(expected, "a scalar")
        return f"must be {noun}" + (", not text" if isinstance(value, str) and self.is_number else "")

    def _meant(self, value: Any) -> str | None:
        """What YAML made of a value that was meant otherwise: of ``1e-5`` a text, of ``no`` a truth value."""
        first = value[0] if isinstance(value, list) and value else value
        if isinstance(first, bool):
            return TRUTHS
        kind = self.schema.get("items", self.schema).get("type")
        if not isinstance(first, str | float) or kind not in ("number", "integer"):
            return None
        try:
            number: float = float(first)
            number = int(number) if kind == "integer" and number.is_integer() else number
            if self.is_number:
                self._adapter.validate_python(number)
        except ValueError:
            return None
        return ("YAML reads this as text: " if isinstance(first, str) else "") + f"write {yaml_number(number)}"


class Choice:
    """Metadata of a type: a text must be one of some names, known when the module is imported."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = list(names)

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return core_schema.literal_schema(self.names)


def _unusable(problem: str) -> PydanticCustomError:
    return PydanticCustomError("unusable", problem)  # type: ignore[arg-type]


def _not_empty(text: str) -> str:
    if not text.strip() or "\0" in text:
        raise _unusable("must not be empty")
    return text.strip()


def _increasing(values: list[int]) -> list[int]:
    if not values or values != sorted(set(values)):
        raise _unusable("out of range")
    return values


def _distinct(values: list[Any]) -> list[Any]:
    if len({*values}) < len(values):
        raise _unusable("holds a value twice")
    return values


Text = Annotated[str, AfterValidator(_not_empty), Field(title="non-empty text")]
Place = Annotated[str, AfterValidator(_not_empty), Field(title="a path")]
Scalar = int | float | bool | str

Increasing, Distinct = AfterValidator(_increasing), AfterValidator(_distinct)
"""Metadata of a list of integers, and of any list."""


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


def check_key(key: str, fields: Mapping[str, Key], file: str | Path | None, shown: str | None = None) -> Key:
    """Find the field of a key.

    Raises:
        UserError: There is no such key; names the nearest one, or says that it is a section.
    """
    if key in fields:
        return fields[key]
    if OPTION.fullmatch(key) and CHOOSERS[key.partition(".")[0]] in fields:
        return Key(Scalar | None)
    inside = [name.removeprefix(f"{key}.") for name in fields if name.startswith(f"{key}.")]
    if inside:
        hint = f"it holds {', '.join(inside)}"
        raise bad_input("is a section, not a value", file=file, key=shown or key, hint=hint)
    parent = next((name for name in fields if key.startswith(f"{name}.")), None)
    if parent:
        raise bad_input("is a value, not a section", file=file, key=parent, allowed=fields[parent].allowed())
    section = key.rpartition(".")[0]
    siblings = [name for name in fields if name.startswith(f"{section}.")] if section else [*fields]
    near = _nearest(key, siblings) or _nearest(key, list(fields))
    names = dict.fromkeys(name.removeprefix(f"{section}.").split(".")[0] for name in siblings or fields)
    error = "unknown key" + (f"; did you mean {near!r}?" if near else "")
    raise bad_input(error, file=file, key=shown or key, allowed=names)


def checked(value: Any, key: str, keys: Mapping[str, Key], file: str | Path | None, shown: str | None = None) -> Any:
    """The value of a key, both checked.

    Args:
        value: The value.
        key: The key, dotted.
        keys: All keys.
        file: Where they stand.
        shown: What the key is called there.

    Raises:
        UserError: As :func:`check_key` and :meth:`Key.check`.
    """
    return check_key(key, keys, file, shown).check(value, file, shown or key)


def check_all(
    given: Mapping[str, Any], keys: Mapping[str, Key], file: str | Path, problems: Problems, prefix: str = ""
) -> dict[str, Any]:
    """The values of many keys, those that can be used; what is wrong with the others is kept in ``problems``."""
    valid = {}
    for key, value in given.items():
        with problems.collect():
            valid[key] = checked(value, key, keys, file, f"{prefix}{key}")
    return valid


def _nearest(key: str, names: list[str]) -> str | None:
    """The name closest to ``key``, by its last part first."""
    by_leaf = {name.rpartition(".")[2]: name for name in reversed(names)}
    leaf = difflib.get_close_matches(key.rpartition(".")[2], by_leaf, n=1)
    whole = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    return by_leaf[leaf[0]] if leaf else whole[0] if whole else None


def yaml_number(number: float) -> str:
    """A number as YAML 1.1 reads it: with a point before any exponent."""
    text = repr(number)
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa}.0e{exponent}" if e and "." not in mantissa else text


def is_read(name: str, keys: Mapping[str, Key], values: Mapping[str, Any]) -> bool:
    """Does a config read a key: has it no condition, or does one hold, by values that are read themselves?

    Args:
        name: The key.
        keys: All keys.
        values: The config, flat, and ``regime``.
    """

    def holds(condition: Mapping[str, Container[Any]]) -> bool:
        return all(values.get(other) in allowed and (other not in keys or is_read(other, keys, values))
                   for other, allowed in condition.items())  # fmt: skip

    return not keys[name].when or any(holds(condition) for condition in keys[name].when)


def canonical(value: Any) -> str:
    """The one JSON text of a value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
