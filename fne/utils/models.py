"""Sections of YAML files read as pydantic models: every problem at once, in this project's words."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict

from fne.utils.errors import bad_input
from fne.utils.fields import Key, flatten
from fne.utils.problems import Problems
from fne.utils.yaml_file import flow

Read = TypeVar("Read", bound="Section")


class Section(BaseModel):
    """Keys that stand together in a file; no other key may stand among them, and values are of their very types."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True, frozen=True, arbitrary_types_allowed=True)

    def conflicts(self) -> Iterable[tuple[str, str, Any]]:
        """Rules between its keys that do not hold: what is wrong, the key that shows it, and its value."""
        return ()


def only_keys(content: Mapping[str, Any], allowed: Iterable[str], file: Path, prefix: str = "") -> None:
    """Refuse unknown keys.

    Raises:
        UserError: Names each, with the nearest that is allowed.
    """
    problems, allowed = Problems(), list(allowed)
    for key in content:
        if key not in allowed:
            problems.report("unknown key", file=file, key=f"{prefix}{key}", value=key, allowed=allowed)
    problems.raise_any(str(file))


def read_section(model: type[Read], content: Any, file: Path, problems: Problems, prefix: str = "") -> Read | None:
    """Read a mapping as a model, and check the rules between its keys.

    Returns:
        The section, or None where anything of it is wrong; see :func:`read_parts`.
    """
    before = len(problems.messages)
    parts = read_parts(model, content, file, problems, prefix)
    if len(problems.messages) > before:
        return None
    section = model.model_construct({*parts}, **parts)
    for problem, key, value in section.conflicts():
        problems.report(problem, file=file, key=f"{prefix}{key}", value=value)
    return None if len(problems.messages) > before else section


def read_parts(model: type[Section], content: Any, file: Path, problems: Problems, prefix: str = "") -> dict[str, Any]:
    """What of a section can be used, whatever is wrong with its other keys; a wrong section in it is None.

    Args:
        model: Its keys; a key with a default may be missing.
        content: What stands in the file.
        file: The file.
        problems: Where everything that is wrong is kept.
        prefix: Key of the section in the file, with a point or a colon behind it.
    """
    parts: dict[str, Any] = {}
    if not isinstance(content, Mapping):
        at = {"file": file, "key": prefix.rstrip(".: ") or None, "value": content}
        problems.report("must be a mapping", allowed=", ".join(model.model_fields), **at)
        return parts
    with problems.collect():
        only_keys(content, model.model_fields, file, prefix)
    for name, kind in _kinds(model).items():
        if name in content:
            with problems.collect():
                parts[name] = _value(kind, content[name], file, f"{prefix}{name}", problems)
        elif model.model_fields[name].is_required():
            allowed = kind.allowed() if isinstance(kind, Key) else None
            examples = model.model_fields[name].examples or ()
            hint = "; ".join(f"such as {name}: {flow(example)}" for example in examples)
            problems.report("is missing", file=file, key=f"{prefix}{name}", allowed=allowed, hint=hint)
    return parts


@functools.cache
def _kinds(model: type[Section]) -> dict[str, Any]:
    """What each key of a model is."""
    types = get_type_hints(model, include_extras=True)
    return {name: _kind(types[name]) for name in model.model_fields}


@functools.cache
def _kind(annotation: Any) -> Any:
    """A section, a mapping (the kind of its values, in a list), anything at all, or a leaf."""
    options = (annotation, *get_args(annotation))
    if get_origin(annotation) is dict:
        return [_kind(options[2])]
    sections = [item for item in options if isinstance(item, type) and issubclass(item, Section)]
    return sections[0] if sections else Any if annotation is Any else Key(annotation)


def _value(kind: Any, given: Any, file: Path, key: str, problems: Problems) -> Any:
    """A value as its kind wants it; of a mapping, what of it can be used."""
    if kind is Any:
        return given
    if isinstance(kind, Key):
        return kind.check(given, file, key)
    if isinstance(kind, type):
        return read_section(kind, given, file, problems, f"{key}.")
    if not isinstance(given, dict | None):
        raise bad_input("must be a mapping", file=file, key=key, value=given)
    values = {}
    for name, value in (given or {}).items():
        with problems.collect():
            values[name] = _value(kind[0], value, file, f"{key}.{name}", problems)
    return values


def read_axes(
    given: Any, file: Path, prefix: str, known: Callable[[str], Key], least: int = 2
) -> dict[str, tuple[Any, ...]]:
    """The values that keys are varied over, in their order, none twice.

    Args:
        given: Keys, nested or dotted, and lists.
        file: Where they stand.
        prefix: Key of the mapping there.
        known: Gives the key of a dotted name, or refuses it.
        least: Values of each.

    Raises:
        UserError: Lists every problem.
    """
    if not isinstance(given, dict) or not given:
        raise bad_input("must be a mapping of keys to lists", file=file, key=prefix, value=given)
    problems, axes = Problems(), dict[str, tuple[Any, ...]]()
    for name, listed in flatten(given, file).items():
        shown, values = f"{prefix}.{name}", []
        with problems.collect():
            key = known(name)
            if not isinstance(listed, list) or len(listed) < least:
                problem = f"must be a list of {'at least two ' if least == 2 else ''}values"
                raise bad_input(problem, file=file, key=shown, value=listed)
            for value in listed:
                with problems.collect():
                    kept = key.check(value, file, shown)
                    if kept in values:
                        raise bad_input("holds a value twice", file=file, key=shown, value=value)
                    values.append(kept)
            axes[name] = tuple(values)
    problems.raise_any(str(file))
    return axes
