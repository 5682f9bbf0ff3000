"""YAML files, read strictly: UTF-8, one mapping, no duplicated key, plain values only."""

from __future__ import annotations

import copy
import functools
import math
import re
from collections.abc import Collection, Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from fne.utils.errors import UserError, bad_input
from fne.utils.fields import TRUTHS, canonical, yaml_number
from fne.utils.files import read_bytes, reading

LARGEST, MOST = 4 << 20, 100_000
"""Bytes of a file of configuration, and values in it; the largest has 100 kB and 10,000."""
PLAIN = re.compile(r"[-+]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)(e[-+]?[0-9]+)?|[-+]?\.(inf|nan)", re.I)
"""A number to YAML 1.1 and to YAML 1.2 alike."""


class _Strict(yaml.composer.Composer, yaml.CSafeLoader):
    """``yaml.SafeLoader`` that refuses what PyYAML would change or multiply in silence.

    A key given twice, a number that YAML 1.1 alone reads as one (``010`` is 8, ``1:30`` is 90), a date, a tag,
    more than :data:`MOST` values, also by aliases. It parses in C, five times as fast, but composes in Python: nesting
    without end is an error there, in C a crash.
    """

    def __init__(self, stream: str) -> None:
        yaml.CSafeLoader.__init__(self, stream)
        yaml.composer.Composer.__init__(self)
        self._composed = 0
        self._sizes: dict[str, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event, before = self.peek_event(), self._composed
        if getattr(event, "tag", None) is not None:
            raise _refused("a tag: write the value alone", event)
        is_alias = isinstance(event, yaml.AliasEvent)
        # An alias counts as all that it stands for; one within itself has no end.
        self._composed += self._sizes.get(event.anchor, MOST) if is_alias else 1
        if self._composed > MOST:
            raise _refused(f"holds more than {MOST} values, or itself", event)
        node = super().compose_node(parent, index)
        if not is_alias and event.anchor is not None:
            self._sizes[event.anchor] = self._composed - before
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):
                if key in seen:
                    raise _refused(f"key {key!r} is given twice", key_node)
                seen.add(key)
        return super().construct_mapping(node, deep)

    def construct_plain(self, node: yaml.ScalarNode) -> int | float:
        """A number, where it is one in YAML 1.2 as well and to a person; no key holds a date."""
        text, kind = node.value, node.tag.rpartition(":")[2]
        if not PLAIN.fullmatch(text):
            raise _refused(f"{text} is a number or a date to YAML 1.1: write it in full, or '{text}' for text", node)
        return self.construct_yaml_int(node) if kind == "int" else self.construct_yaml_float(node)


for _kind in ("int", "float", "timestamp"):
    _Strict.add_constructor(f"tag:yaml.org,2002:{_kind}", _Strict.construct_plain)


def _refused(problem: str, node: yaml.Node | yaml.Event) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping.

    Raises:
        UserError: The file is missing, not UTF-8, empty, too large, not YAML, not a mapping, gives a key twice, or
            holds a number that only YAML 1.1 reads as one.
    """
    with reading(path):
        value = parse(read_bytes(path, most=LARGEST).decode("utf-8-sig"), path)
    if value is None:
        raise bad_input("the file is empty", file=path, hint="write at least one key")
    if not isinstance(value, dict):
        raise bad_input("must be a mapping of keys to values", file=path, value=value)
    _text_keys(value, path, "")
    return value


def parse(text: str, source: str | Path) -> Any:
    """Parse YAML text strictly; ``source`` names it in errors."""
    try:
        return copy.deepcopy(_loaded(text))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}" if mark else None
        raise bad_input(f"not valid YAML: {error.problem or error.context}", file=source, key=where) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise bad_input(f"not valid YAML: {str(error).splitlines()[0]}", file=source) from None


@functools.lru_cache(maxsize=1024)
def _loaded(text: str) -> Any:
    """A text's value, worked out once: the same files are read for every study and variant that inherits from them."""
    return yaml.load(text, Loader=_Strict)  # noqa: S506 - a SafeLoader


def _text_keys(value: Mapping[Any, Any], path: Path, prefix: str) -> None:
    for key, item in value.items():
        if not isinstance(key, str):
            hint = TRUTHS if isinstance(key, bool) else "quote it"
            raise bad_input("a key must be text", file=path, key=f"{prefix}{key}", hint=hint)
        if isinstance(item, dict):
            _text_keys(item, path, f"{prefix}{key}.")


def flow(value: Any) -> str:
    """A value on one line, as a person writes it into YAML.

    >>> flow({"r1": 52.9, "r5": None, "paper": "VSE++: a, b"})
    "{r1: 52.9, r5: null, paper: 'VSE++: a, b'}"
    """
    text = yaml.safe_dump([value], default_flow_style=True, sort_keys=False, allow_unicode=True, width=math.inf)
    return text.strip()[1:-1]


def filled(text: str, values: Mapping[str, Any]) -> str:
    r"""YAML with other values under some of its dotted keys; comments and all else of the text stay.

    >>> filled("a: {b: null} # why\\n", {"a.b": "x"})
    'a: {b: x} # why\\n'
    """
    whole, spans = yaml.compose(text, Loader=yaml.SafeLoader), []
    for key, value in values.items():
        node = whole
        for part in key.split("."):
            node = next(inner for name, inner in node.value if name.value == part)
        spans.append((*span(node), flow(value)))
    for start, end, new in sorted(spans, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def span(node: yaml.Node) -> tuple[int, int]:
    """Where a node stands in its text; a block ends with its last value, before comments and blank lines."""
    last = node
    while isinstance(last, yaml.CollectionNode) and not last.flow_style and last.value:
        last = last.value[-1][1] if isinstance(last, yaml.MappingNode) else last.value[-1]
    return node.start_mark.index, last.end_mark.index


def parse_set(items: Collection[str], option: str = "--set") -> dict[str, Any]:
    """Overrides from ``dotted.key=value`` texts; the value is read as YAML.

    Raises:
        UserError: An item without ``=``, a value that is not YAML, or a key given twice.
    """
    overrides: dict[str, Any] = {}
    for item in items:
        key, equals, text = item.partition("=")
        key = key.strip()
        if not equals or not key:
            raise bad_input("must read key=value", file="command line", key=option, value=item)
        if key in overrides:
            raise bad_input("is given twice", file="command line", key=f"{option} {key}")
        overrides[key] = parse(text, f"command line: {option} {key}")
    return overrides


def set_items(overrides: Mapping[str, Any]) -> list[str]:
    """Overrides as the texts ``key=value`` that :func:`parse_set` reads back."""
    return [f"{key}={_yaml_text(value)}" for key, value in overrides.items()]


def _yaml_text(value: Any) -> str:
    """A value as text that :func:`parse_set` reads back."""
    if isinstance(value, float):
        return yaml_number(value)
    if isinstance(value, str):
        try:
            plain = parse(value, "") == value
        except UserError:
            plain = False
        return value if plain else canonical(value)
    return canonical(value)
