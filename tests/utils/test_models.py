"""Sections of files read as models: everything that is wrong at once, what is right kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from pydantic import Field

from fne.utils.fields import Distinct, Text
from fne.utils.models import Section, read_parts, read_section
from fne.utils.problems import Problems

FILE = Path("file.yaml")


class Inner(Section):
    low: Annotated[float, Field(ge=0, le=1)]
    high: float = 1.0

    def conflicts(self) -> Iterator[tuple[str, str, Any]]:
        if self.low > self.high:
            yield "exceeds high", "low", self.low


class Outer(Section):
    name: Text
    inner: Inner
    other: Inner | None = None
    by_name: dict[str, Annotated[list[int], Distinct]] = {}
    anything: Any = None


WHOLE = {"name": " a ", "inner": {"low": 0}}


def test_a_section_is_read_in_its_own_types() -> None:
    problems = Problems()
    read = read_section(Outer, WHOLE | {"by_name": {"x": [2, 1]}, "anything": {"y": 3}}, FILE, problems)
    assert read is not None and not problems.messages
    assert (read.name, read.inner, read.other) == ("a", Inner(low=0.0, high=1.0), None)
    assert type(read.inner.low) is float and read.by_name == {"x": [2, 1]} and read.anything == {"y": 3}
    assert read.inner.model_dump(exclude_unset=True) == {"low": 0.0}, "a default was not given"


@pytest.mark.parametrize(
    ("changes", "saying"),
    [
        ({"nme": 1}, "file.yaml: top.nme: unknown key; got 'nme'; did you mean 'name'?"),
        ({"inner": 3}, "file.yaml: top.inner: must be a mapping; got 3; allowed: low, high"),
        ({"inner": {}}, "file.yaml: top.inner.low: is missing; allowed: a number >= 0 and <= 1"),
        ({"inner": {"low": 2}}, "file.yaml: top.inner.low: out of range; got 2; allowed: a number >= 0 and <= 1"),
        ({"inner": {"low": 0.5, "high": 0.2}}, "file.yaml: top.inner.low: exceeds high; got 0.5"),
        ({"other": {"low": 1, "hgh": 2}}, "file.yaml: top.other.hgh: unknown key; got 'hgh'; did you mean 'high'?"),
        ({"by_name": [1]}, "file.yaml: top.by_name: must be a mapping; got [1]"),
        ({"by_name": {"x": [1, 1]}}, "file.yaml: top.by_name.x: holds a value twice; got [1, 1]"),
    ],
)
def test_what_is_wrong_names_file_key_value_and_what_is_allowed(changes: dict[str, Any], saying: str) -> None:
    problems = Problems()
    assert read_section(Outer, WHOLE | changes, FILE, problems, "top.") is None
    [message] = problems.messages
    assert message.startswith(saying)


def test_everything_is_reported_at_once_and_the_rest_can_be_used() -> None:
    problems = Problems()
    content = {"name": 1, "inner": {"low": 0.5, "high": 0.2}, "other": {"low": 0.1}, "by_name": {"x": [1], "y": "z"}}
    parts = read_parts(Outer, content, FILE, problems)
    assert [message.partition(": ")[2].partition(":")[0] for message in problems.messages] == [
        "name", "inner.low", "by_name.y"
    ]  # fmt: skip
    assert parts == {"inner": None, "other": Inner(low=0.1), "by_name": {"x": [1]}}
