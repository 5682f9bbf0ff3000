"""The search that a study declares: ``tune: {trials, budget, finalists, seeds, search}``, the same for each variant."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, PlainSerializer

from fne.study.model import Seed
from fne.study.variants import variant_field
from fne.utils.errors import bad_input
from fne.utils.fields import Distinct, Key, Scalar, Text, flatten
from fne.utils.models import Section, read_section
from fne.utils.problems import Problems

Place = Literal["inside", "flat", "natural bound", "open end"]
"""Where a best value lies on its range."""
End = Literal["lowest", "highest"]
ENDS: tuple[End, End] = ("lowest", "highest")
PER_AXIS = 4
"""Fewest trials of the first round for each axis that a variant reads."""
EDGE = 1 / 8
"""A best value in the outer eighth of its range, on its scale, lies at its end."""
ROUNDS = 2
"""Rounds after the first; each may extend ranges."""
DRAWS_APART = 1000
"""Draw k tunes on the declared seeds plus k times this."""
Ends = Annotated[
    list[float],
    Field(min_length=2, max_length=2, title="a list of two numbers, the least and greatest"),
    PlainSerializer(lambda ends: [int(item) if item.is_integer() else item for item in ends]),
]


class Range(Section):
    """What is tried of one key: one of ``log``, ``linear``, ``integer`` (two ends) and ``choice`` (a list of values).

    Args:
        log: Every factor is as likely as any other; of a key of whole numbers, rounded.
        linear: Every number is as likely as any other.
        integer: Every whole number is as likely as any other.
        choice: Values that are no numbers.
        lowest: Why nothing lies below the least value, which makes it a natural bound; else the range may be extended.
        highest: The same of the greatest.
    """

    log: Ends | None = None
    linear: Ends | None = None
    integer: Ends | None = None
    choice: Annotated[list[Scalar], Distinct, Field(min_length=2, title="a list of two values or more")] | None = None
    lowest: Text | None = None
    highest: Text | None = None


KINDS = ("log", "linear", "integer", "choice")


@dataclass(frozen=True)
class Axis:
    """The range of one key, read.

    Args:
        kind: One of :data:`KINDS`.
        low, high: Its ends; of a choice 0 and 1.
        whole: Only whole numbers.
        values: Of a choice.
        reasons: Why an end is a natural bound.
        limits: What the key itself allows, as ``(bound, inclusive)``, by end.
    """

    kind: str
    low: float
    high: float
    whole: bool = False
    values: tuple[Any, ...] = ()
    reasons: Mapping[End, str] = field(default_factory=dict)
    limits: Mapping[End, tuple[float, bool]] = field(default_factory=dict)

    def at(self, unit: float) -> Any:
        """The value at a place of 0 to 1 on the axis' scale, to three digits that count, or more on a narrow range."""
        if self.kind == "choice":
            return self.values[min(int(unit * len(self.values)), len(self.values) - 1)]
        if self.kind == "integer":
            return int(min(self.low + math.floor(unit * (self.high - self.low + 1)), self.high))
        if self.kind == "log":
            value = self.low * (self.high / self.low) ** unit
        else:
            value = self.low + unit * (self.high - self.low)
        value = min(max(self._rounded(value), self.low), self.high)
        return round(value) if self.whole else value

    def place(self, value: Any) -> float:
        """The place of 0 to 1 of a value, less or more where it is outside."""
        if self.kind == "choice":
            return (self.values.index(value) + 0.5) / len(self.values)
        if self.kind == "log":
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def end(self, value: Any) -> End | None:
        """The end at which a value lies: in the outer eighth of the range; None inside, and of a choice."""
        if self.kind == "choice":
            return None
        place = self.place(value)
        return "lowest" if place < EDGE else "highest" if place > 1 - EDGE else None

    def bound(self, end: End) -> str:
        """Why an end is a natural bound; empty where the range may be extended beyond it."""
        if end in self.reasons:
            return self.reasons[end]
        if self.whole and self.kind == "log" and end == "lowest" and self.low == 1:
            return "the least whole number on a logarithmic scale"
        least = f"the {'least' if end == 'lowest' else 'greatest'} that the key may be"
        return least if self.limits.get(end) == (self._at(end), True) else ""

    def extended(self, end: End) -> Axis:
        """The range with half its length, on its scale, added beyond an end, as far as the key allows.

        An end that the key excludes is approached by half the way.
        """
        if self.kind == "log":
            step = math.sqrt(self.high / self.low)
            value = self.low / step if end == "lowest" else self.high * step
        else:
            step = (self.high - self.low) / 2
            step = math.ceil(step) if self.kind == "integer" else step
            value = self.low - step if end == "lowest" else self.high + step
        value = self._rounded(value)
        if end in self.limits:
            limit, inclusive = self.limits[end]
            if (value < limit if end == "lowest" else value > limit) or (value == limit and not inclusive):
                half = (self._at(end) + limit) / 2
                rounded = self._rounded(half)
                value = limit if inclusive else half if rounded == limit else rounded
        value = round(value) if self.whole else value
        value = max(value, 1) if self.whole and self.kind == "log" else value
        return replace(self, low=value) if end == "lowest" else replace(self, high=value)

    def _at(self, end: End) -> float:
        return self.low if end == "lowest" else self.high

    def _rounded(self, value: float) -> float:
        """A value to three digits, and one more for each power of ten that its range is shorter than its ends."""
        share = (self.high - self.low) / max(abs(self.low), abs(self.high))
        return float(f"{value:.{3 + max(0, math.floor(-math.log10(share)))}g}")

    def raised(self, reason: str) -> Axis:
        """A range of whole numbers without its least, and why nothing lies below."""
        return replace(self, low=self.low + 1, reasons={**self.reasons, "lowest": reason})

    def furthest(self, rounds: int) -> list[Any]:
        """Its ends after so many extensions, or the values of a choice."""
        if self.kind == "choice":
            return list(self.values)
        result = []
        for end in ENDS:
            axis = self
            for _ in range(rounds):
                axis = axis if axis.bound(end) else axis.extended(end)
            value = axis._at(end)
            result.append(int(value) if self.whole or self.kind == "integer" else value)
        return result

    @property
    def shown(self) -> str:
        """As a person reads it."""
        if self.kind == "choice":
            return ", ".join(map(str, self.values))
        return f"{self.low:g} to {self.high:g}"


class Tuning(Section):
    """A declared search.

    Args:
        trials: Of the first round, the same number for every variant: at least four for each axis that it reads.
        budget: Number of trials of a variant; what the first round leaves is split between two further rounds.
        finalists: How many of the best trials of a variant are trained from the further seeds, which decide.
        seeds: Tuning seeds, none of them a seed of a study: the first of all trials, the others (at least three) of
            finalists.
        search: Dotted key -> :class:`Range`; a variant's axes are those that it reads.
    """

    trials: Annotated[int, Field(ge=1, le=10_000)]
    budget: Annotated[int, Field(ge=1, le=10_000)]
    finalists: Annotated[int, Field(ge=1, le=100)]
    seeds: Annotated[list[Seed], Distinct, Field(min_length=4, title="a list of four distinct seeds or more")]
    search: dict[str, Range]

    def conflicts(self) -> Iterator[tuple[str, str, Any]]:
        """The first round is part of the budget, and finalists are of its trials; no two draws share a seed."""
        if not self.search:
            yield "has no range", "search", None
        if self.budget < self.trials:
            yield f"is below the first round of {self.trials} trials", "budget", self.budget
        if self.finalists > self.trials:
            yield f"are more than the {self.trials} trials", "finalists", self.finalists
        if len({seed % DRAWS_APART for seed in self.seeds}) < len(self.seeds):
            yield f"would be seeds of two draws, which are {DRAWS_APART} apart", "seeds", self.seeds

    def plain(self) -> dict[str, Any]:
        """The declaration as YAML holds it."""
        return self.model_dump(mode="json", exclude_none=True)

    def is_of(self, declared: Mapping[str, Any]) -> bool:
        """Is it the same as the declaration that a file of tuned values holds, in the same order?"""
        return self.plain() == declared and [*self.search] == [*declared["search"]]

    def axes(self, read: Iterable[str]) -> dict[str, Axis]:
        """The axes of a variant that reads these keys, in the order of the declaration."""
        read = {*read}
        return {key: axis_of(item, variant_field(key, "")) for key, item in self.search.items() if key in read}

    def of_draw(self, draw: int) -> list[int]:
        """The tuning seeds of a draw."""
        return [seed + DRAWS_APART * draw for seed in self.seeds]


def axis_of(given: Range, key: Key) -> Axis:
    """The axis of a range that was read, for its key."""
    kind = next(kind for kind in KINDS if getattr(given, kind) is not None)
    listed = getattr(given, kind)
    if kind == "choice":
        return Axis(kind, 0, 1, values=tuple(listed))
    limits: dict[End, tuple[float, bool]] = {}
    for end, side in zip(ENDS, ("inimum", "aximum"), strict=True):
        for name, inclusive in ((f"m{side}", True), (f"exclusiveM{side}", False)):
            if name in key.schema:
                limits[end] = (float(key.schema[name]), inclusive)
    reasons = {end: why for end in ENDS if (why := getattr(given, end))}
    whole = key.schema.get("type") == "integer"
    return Axis(kind, listed[0], listed[1], whole, reasons=reasons, limits=limits)


def read_tuning(given: Any, file: Path, prefix: str = "tune") -> Tuning:
    """Check a declaration.

    Args:
        given: The mapping.
        file: Where it stands.
        prefix: Its key there.

    Raises:
        UserError: Lists every missing or mistyped entry, unknown key, range that its key cannot have, natural bound
            without a reason, and a budget below the first round.
    """
    problems = Problems()
    if isinstance(given, dict) and isinstance(given.get("search"), dict):
        given = given | {"search": _by_key(given["search"], file)}
    tuning = read_section(Tuning, given, file, problems, f"{prefix}.")
    problems.raise_any(str(file))
    assert tuning is not None
    for key, item in tuning.search.items():
        with problems.collect():
            _check_range(item, variant_field(key, file, f"{prefix}.search."), file, f"{prefix}.search.{key}")
    problems.raise_any(str(file))
    return tuning


def _by_key(search: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """The ranges by dotted key, whichever way they are nested."""
    ranges: dict[str, Any] = {}
    for name, value in flatten(search, file).items():
        key, _, part = name.rpartition(".")
        if part in Range.model_fields:
            ranges.setdefault(key, {})[part] = value
        else:
            ranges[name] = value
    return ranges


def _check_range(given: Range, key: Key, file: Path, shown: str) -> None:
    """Check the ends of a range, or the values of a choice, for its key."""
    kinds = [kind for kind in KINDS if getattr(given, kind) is not None]
    if len(kinds) != 1:
        raise bad_input("must have one kind", file=file, key=shown, value=kinds, allowed=KINDS)
    kind, listed = kinds[0], getattr(given, kinds[0])
    at = {"file": file, "key": f"{shown}.{kind}", "value": listed}
    if kind == "choice":
        if any(isinstance(value, int | float) and not isinstance(value, bool) for value in listed):
            raise bad_input("holds numbers", **at, allowed="log, linear or integer for numbers")
        for value in listed:
            key.check(value, file, at["key"])
        return
    if not key.is_number and key.type != Scalar | None:  # an option's kind is known to its rule alone
        raise bad_input("is no range for this key", **at, allowed=f"choice of {key.allowed()}")
    low, high = listed
    if not low < high or (kind == "log" and low <= 0):
        raise bad_input("is no range", **at, allowed=f"[least, greatest]{', above 0' if kind == 'log' else ''}")
    whole = kind == "integer" or key.schema.get("type") == "integer"
    if whole and not (low.is_integer() and high.is_integer()):
        raise bad_input("must have whole numbers as ends", **at)
    for end in listed:
        key.check(int(end) if whole else end, file, at["key"])


def check_seeds(tuned_on: Iterable[int], seeds: Iterable[int], file: Path | str, key: str) -> None:
    """Refuse tuning seeds that are seeds of the study.

    Raises:
        UserError: Names them.
    """
    if shared := sorted({*tuned_on} & {*seeds}):
        hint = "tune on other seeds than those that are reported"
        raise bad_input("are seeds of the study too", file=file, key=key, value=shared, hint=hint)
