"""A study's ``factors:``: keys of its data and the draw of its encoders; each point of a design makes a study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fne.study.model import DATASET, Seed, data_keys
from fne.study.plugins import KEYS
from fne.study.study import Study
from fne.utils.errors import bad_input
from fne.utils.fields import Key, flatten
from fne.utils.models import read_axes
from fne.utils.names import RANDOM_FACTORS, member_id, points_of

Point = Mapping[str, float]
"""A value of every factor, by its key."""
DRAW = "encoders.draw"
TUNING_DRAW = "tuned.draw"
"""Which draw of a search tuned values are of: no key of the configuration, but a factor like one."""
Design = Literal["crossed", "corners"]
PRETRAINED_HERE = (
    "encoders of a draw from 1 on are pretrained where used: results with them hold for the machine that made them"
)
"""A note of every study with such encoders."""


@dataclass(frozen=True)
class Factors:
    """What a study varies beside its variants and seeds.

    Args:
        values: Of each factor, by its dotted key.
        members: Point of the design by id of the member study.
    """

    values: Mapping[str, tuple[float, ...]]
    members: Mapping[str, Point]


@dataclass(frozen=True)
class Series:
    """Studies that differ in the values of their factors and in nothing else, loaded and checked.

    Args:
        name: File stem; the members' ids begin with it.
        title: As the file states it.
        question: As the file states it.
        factors: Values of each factor, by its dotted key.
        points: The point of each member.
        members: The study of each point.
    """

    name: str
    title: str
    question: str
    factors: Mapping[str, tuple[float, ...]]
    points: tuple[Point, ...]
    members: tuple[Study, ...]

    @property
    def random(self) -> tuple[str, ...]:
        """Factors whose values are a sample of many: what varies with them is decomposed."""
        return tuple(key for key in self.factors if key in RANDOM_FACTORS)

    @property
    def fixed(self) -> tuple[str, ...]:
        """Factors whose values were chosen for their own sake."""
        return tuple(key for key in self.factors if key not in RANDOM_FACTORS)

    @property
    def grows(self) -> bool:
        """Does one chosen value alone vary, so that each member can be set against the first?"""
        return len(self.factors) == len(self.fixed) == 1

    @property
    def overrides(self) -> Mapping[str, Any]:
        """What the command line set, which all members share."""
        return self.shared.overrides

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of its results must know: the notes of all members, each once."""
        return tuple(dict.fromkeys(note for member in self.members for note in member.notes))

    @property
    def shared(self) -> Study:
        """Any member, asked for what all of them share: variants, seeds, baseline, primary metric, regime."""
        return self.members[0]


def read_factors(content: Mapping[str, Any], file: Path) -> Factors | None:
    """What a study file's ``factors`` and ``design`` say, or ``None`` where there is no such section.

    The design ``crossed`` has every combination, values increasing. ``corners`` has the first value of each factor,
    one factor at a time at its other values, and the points at which each factor has its k-th value, k = 2, 3, ...

    Raises:
        UserError: No mapping, or a search beside it; a key that cannot be a factor; fewer than two values, one that is
            not allowed, or two that are equal; an unknown design, or one that these factors cannot have.
    """
    if "factors" not in content:
        return None
    if content.get("tune") is not None:
        hint = "name the study whose values its members take: tuned"
        raise bad_input("a study with factors makes no search of its own", file=file, key="tune", hint=hint)
    sections = {name: given for name in ("data", "encoders") if isinstance(given := content.get(name), dict)}
    declared = flatten(sections, file)
    dataset = DATASET.check(declared.get("data.dataset", "scenes"), file, "data.dataset")
    numbers = [name for name, key in data_keys(dataset).items() if key.is_number and not key.null]
    keys = {**data_keys(dataset), DRAW: KEYS[DRAW], TUNING_DRAW: Key(Seed)}
    allowed = [DRAW, TUNING_DRAW, *numbers]

    def known(name: str) -> Key:
        if name not in allowed:
            problem = "is no number of data and no draw of the encoders or the tuning; other things a variant varies"
            raise bad_input(problem, file=file, key=f"factors.{name}", value=name, allowed=allowed)
        if name in declared:
            raise bad_input(f"is in {name.partition('.')[0]} and in factors", file=file, key=f"factors.{name}")
        return keys[name]

    values = read_axes(content["factors"], file, "factors", known)
    values = {name: tuple(value + 0 for value in listed) for name, listed in values.items()}  # -0.0 is 0.0
    if Key(Design).check(content.get("design", "crossed"), file, "design") == "crossed":
        values = {key: tuple(sorted(listed)) for key, listed in values.items()}
        points = points_of(values, file, "factors")
    else:
        points = _corners(values, file)
    return Factors(values, {member_id(file.stem, point, file): point for point in points})


def _corners(values: Mapping[str, tuple[float, ...]], file: Path) -> list[dict[str, float]]:
    """The centre, of first values; one factor at a time at its others; and the points where all have their k-th."""
    if len(values) < 2 or len({len(listed) for listed in values.values()}) > 1:
        allowed = "two factors or more with equally many values; or design: crossed"
        raise bad_input("corners do not fit these factors", file=file, key="design", allowed=allowed)
    points = [dict(zip(values, point, strict=True)) for point in zip(*values.values(), strict=True)]
    alone = [points[0] | {key: value} for key, listed in values.items() for value in listed[1:]]
    return [points[0], *alone, *points[1:]]
