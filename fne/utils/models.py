"""Sections of YAML files read as pydantic models: every problem at once, in this project's words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import PydanticUndefined

from fne.utils.errors import bad_input
from fne.utils.fields import Key
from fne.utils.problems import Problems

Read = TypeVar("Read", bound="Section")


class Section(BaseModel):
    """Keys that stand together in a file; no other key may stand among them, and values are of their very types."""

    model_config = ConfigDict(extra="forbid", strict=True, defer_build=True, frozen=True, arbitrary_types_allowed=True)


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
    """Read a mapping as a model.

    Args:
        model: Its keys; a key with a default may be missing.
        content: What stands in the file.
        file: The file.
        problems: Where everything that is wrong is kept.
        prefix: Key of the section in the file, with a point behind it.

    Returns:
        The section, or None where anything of it is wrong.
    """
    before = len(problems.messages)
    if not isinstance(content, Mapping):
        problems.report("must be a mapping", file=file, key=prefix.rstrip(".") or None, value=content,
                        allowed=", ".join(model.model_fields))  # fmt: skip
        return None
    with problems.collect():
        only_keys(content, model.model_fields, file, prefix)
    values: dict[str, Any] = {}
    types = get_type_hints(model, include_extras=True)
    for name, field in model.model_fields.items():
        if name not in content:
            if field.default is PydanticUndefined and field.default_factory is None:
                problems.report("is missing", file=file, key=f"{prefix}{name}")
        else:
            with problems.collect():
                values[name] = _value(types[name], content[name], file, f"{prefix}{name}", problems)
    if len(problems.messages) > before:
        return None
    try:
        return model(**values)
    except ValidationError as error:  # a rule between keys
        for one in error.errors():
            problems.report(one["msg"].removeprefix("Value error, "), file=file, key=prefix.rstrip(".") or None)
        return None


def _value(annotation: Any, given: Any, file: Path, key: str, problems: Problems) -> Any:
    """A value as its annotation wants it: a section, a mapping of values, or a leaf."""
    kind = get_origin(annotation) or annotation
    if isinstance(kind, type) and issubclass(kind, Section):
        return read_section(kind, given, file, problems, f"{key}.")
    if kind is dict:
        if given is None:
            return {}
        if not isinstance(given, dict):
            raise bad_input("must be a mapping", file=file, key=key, value=given)
        inner = get_args(annotation)[1]
        return given if inner is Any else {n: _value(inner, v, file, f"{key}.{n}", problems) for n, v in given.items()}
    return given if annotation is Any else Key(annotation).check(given, file, key)
