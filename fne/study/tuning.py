"""The search that a study declares: ``tune: {budget, seeds, search}``, the same for each of its variants."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fne.study.seeds import GREATEST
from fne.study.variants import variant_field
from fne.utils.errors import bad_input
from fne.utils.fields import flatten
from fne.utils.models import only_keys
from fne.utils.problems import Problems

TUNE_KEYS = ("budget", "seeds", "search")
MOST = 10_000
"""Trials of a variant."""


@dataclass(frozen=True)
class Tuning:
    """A declared search.

    Args:
        budget: Greatest number of trials of a variant.
        seeds: Tuning seeds; no seed of a study.
        search: Dotted key -> the values that are tried; a variant's axes are those that it reads.
    """

    budget: int
    seeds: tuple[int, ...]
    search: Mapping[str, tuple[Any, ...]]

    def plain(self) -> dict[str, Any]:
        """The declaration as YAML holds it."""
        search = {key: list(values) for key, values in self.search.items()}
        return {"budget": self.budget, "seeds": list(self.seeds), "search": search}

    def changed(self, other: Tuning) -> str:
        """What differs from another declaration, in words; empty where nothing does."""
        mine, its = flatten(self.plain()), flatten(other.plain())
        keys = [key for key in {**mine, **its} if mine.get(key) != its.get(key)]
        return "; ".join(f"{key} was {its.get(key, 'not there')} and is {mine.get(key, 'not there')}" for key in keys)


def read_tuning(given: Any, file: Path, prefix: str = "tune") -> Tuning:
    """Check a declaration.

    Args:
        given: The mapping.
        file: Where it stands.
        prefix: Its key there.

    Raises:
        UserError: Lists every missing or mistyped entry, unknown key, and value that a key cannot take.
    """
    allowed = "a mapping {budget: 6, seeds: [1000], search: {train.learning_rate: [0.001, 0.002]}}"
    if not isinstance(given, dict):
        raise bad_input("must be a mapping", file=file, key=prefix, value=given, allowed=allowed)
    problems = Problems()
    with problems.collect():
        only_keys(given, TUNE_KEYS, file, f"{prefix}.")
    budget, seeds, search = (given.get(key) for key in TUNE_KEYS)
    if type(budget) is not int or not 1 <= budget <= MOST:
        at = {"file": file, "key": f"{prefix}.budget", "value": budget}
        problems.report("must be a number of trials", allowed=f"an integer from 1 to {MOST}", **at)
    sound = isinstance(seeds, list) and seeds and all(type(seed) is int and 0 <= seed <= GREATEST for seed in seeds)
    if not sound or len(set(seeds)) < len(seeds):
        at = {"file": file, "key": f"{prefix}.seeds", "value": seeds}
        problems.report("must be a list of distinct seeds", allowed=f"integers from 0 to {GREATEST}", **at)
    ranges = {}
    if not isinstance(search, dict) or not search:
        problems.report("must be a mapping of keys to lists", file=file, key=f"{prefix}.search", value=search)
    else:
        with problems.collect():
            for key, values in flatten(search, file).items():
                with problems.collect():
                    ranges[key] = _range(key, values, file, f"{prefix}.search.")
    if (points := math.prod(map(len, ranges.values()))) > 1e15:
        at = {"file": file, "key": f"{prefix}.search", "value": points}
        problems.report("too many combinations", allowed="at most 1e15", **at)
    problems.raise_any(str(file))
    return Tuning(budget, tuple(seeds), ranges)


def _range(key: str, values: Any, file: Path, prefix: str) -> tuple[Any, ...]:
    field, shown = variant_field(key, file, prefix), f"{prefix}{key}"
    if not isinstance(values, list) or len(values) < 2:
        raise bad_input("must be a list of at least two values", file=file, key=shown, value=values)
    checked = [field.check(value, file, shown) for value in values]
    if any(value in checked[:place] for place, value in enumerate(checked)):
        raise bad_input("holds a value twice", file=file, key=shown, value=values)
    return tuple(checked)


def check_seeds(tuning: Tuning, seeds: tuple[int, ...], file: Path | str, key: str) -> None:
    """Refuse tuning seeds that are seeds of the study.

    Raises:
        UserError: Names them.
    """
    if shared := sorted({*tuning.seeds} & {*seeds}):
        hint = "tune on other seeds than those that are reported"
        raise bad_input("are seeds of the study too", file=file, key=key, value=shared, hint=hint)
