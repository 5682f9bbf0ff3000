"""YAML files, read strictly: UTF-8, one mapping, no duplicated key, plain values only."""

from __future__ import annotations

import copy
import functools
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import yaml

from fne.utils.errors import bad_input


class _Strict(yaml.composer.Composer, yaml.CSafeLoader):
    """``yaml.SafeLoader`` that refuses a key given twice (PyYAML would keep the last one in silence).

    It parses in C, five times as fast, but composes in Python: nesting without end is an error there, in C a crash.
    """

    def __init__(self, stream: str) -> None:
        yaml.CSafeLoader.__init__(self, stream)
        yaml.composer.Composer.__init__(self)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, Hashable):
                if key in seen:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"key {key!r} is given twice", key_node.start_mark
                    )
                seen.add(key)
        return super().construct_mapping(node, deep)


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping.

    Raises:
        UserError: The file is missing, not UTF-8, empty, not YAML, not a mapping, or gives a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise bad_input("no such file", file=path) from None
    except UnicodeDecodeError as error:
        raise bad_input(f"not UTF-8 text (byte {error.start})", file=path) from None
    value = parse(text, path)
    if value is None:
        raise bad_input("the file is empty", file=path, hint="write at least one key")
    if not isinstance(value, dict):
        raise bad_input("must be a mapping of keys to values", file=path, value=value)
    try:
        _text_keys(value, path, "")
    except RecursionError:
        raise bad_input("a mapping contains itself", file=path) from None
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
            hint = "YAML reads an unquoted on/off/yes/no as a truth value" if isinstance(key, bool) else "quote it"
            raise bad_input("a key must be text", file=path, key=f"{prefix}{key}", hint=hint)
        if isinstance(item, dict):
            _text_keys(item, path, f"{prefix}{key}.")
