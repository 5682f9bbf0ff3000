"""A study's ``series:`` section: one key of its data and several values, each of which makes a study of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fne.configuration.fields import check_key, check_value, flatten
from fne.configuration.problems import Problems
from fne.configuration.schema import DATASETS, data_fields
from fne.configuration.study import Study
from fne.configuration.variants import member_id
from fne.errors import bad_input


@dataclass(frozen=True)
class Axis:
    """What a series varies.

    Args:
        key: A key of ``data``, dotted.
        members: Value by id of the member study, values increasing.
    """

    key: str
    members: Mapping[str, float]


@dataclass(frozen=True)
class Series:
    """Studies that differ in one value of their data and in nothing else, loaded and checked.

    Args:
        name: File stem; the members' ids begin with it.
        title: As the file states it.
        question: As the file states it.
        key: The key of ``data`` that differs.
        values: Its values, increasing.
        members: The study of each value.
    """

    name: str
    title: str
    question: str
    key: str
    values: tuple[float, ...]
    members: tuple[Study, ...]

    @property
    def overrides(self) -> Mapping[str, Any]:
        """What the command line set, which all members share."""
        return self.shared.overrides

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of its results must know, which is said of each member alike."""
        return self.shared.notes

    @property
    def shared(self) -> Study:
        """Any member, asked for what all of them share: variants, seeds, baseline, primary metric, regime."""
        return self.members[0]


def read_axis(content: Mapping[str, Any], file: Path) -> Axis | None:
    """What a study file's ``series`` says, or ``None`` where there is no such section.

    Raises:
        UserError: Not exactly one key; no number of ``data``; fewer than two values, one that is not allowed, or two
            that are equal.
    """
    if "series" not in content:
        return None
    given = content["series"]
    if not isinstance(given, dict) or not given:
        allowed = "one key of data and its values, such as {data.prevalence: [0.0, 0.003]}"
        raise bad_input("must be a mapping", file=file, key="series", value=given, allowed=allowed)
    if content.get("tune") is not None:
        hint = "name the study whose values its members take: tuned"
        raise bad_input("a series makes no search of its own", file=file, key="tune", hint=hint)
    flat = flatten(given, file)
    if len(flat) > 1:
        hint = "several keys would be several questions: write several files"
        raise bad_input("must vary one key", file=file, key="series", value=sorted(flat), hint=hint)
    ((key, values),) = flat.items()
    shown = f"series.{key}"
    data = content.get("data") or {}
    data = data if isinstance(data, dict) else {}
    dataset = data.get("dataset", "scenes")
    if dataset not in list(DATASETS):
        raise bad_input("unknown", file=file, key="data.dataset", value=dataset, allowed=DATASETS)
    fields = data_fields(dataset)
    numbers = [name for name, field in fields.items() if field.kind in ("int", "float")]
    if not key.startswith("data."):
        problem = "is no key of data: what varies otherwise is a variant's (set or sweep)"
        raise bad_input(problem, file=file, key=shown, allowed=numbers)
    field = check_key(key, fields, file, shown)
    if key not in numbers:
        raise bad_input("is no number", file=file, key=shown, allowed=numbers)
    if key in flatten(data, file, "data."):
        raise bad_input("is in data and in series", file=file, key=shown)
    if not isinstance(values, list) or len(values) < 2:
        raise bad_input("must be a list of at least two values", file=file, key=shown, value=values)
    problems, members = Problems(), {}
    for value in values:
        with problems.collect():
            number = check_value(value, replace(field, null=False), file, shown) + 0  # -0.0 is 0.0
            name = member_id(file.stem, {key: number})
            if name in members:
                raise bad_input("two members are equal", file=file, key=shown, value=value, hint=f"both: {name}")
            members[name] = number
    problems.raise_any(str(file))
    return Axis(key, dict(sorted(members.items(), key=lambda item: item[1])))
