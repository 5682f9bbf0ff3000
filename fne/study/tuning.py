"""The search that a study declares: ``tune: {budget, seeds, search}``, the same for each of its variants."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from fne.study.model import Seed
from fne.study.variants import variant_field
from fne.utils.errors import bad_input
from fne.utils.fields import Distinct, flatten
from fne.utils.models import Section, read_axes, read_parts
from fne.utils.problems import Problems


class Tuning(Section):
    """A declared search.

    Args:
        budget: Greatest number of trials of a variant.
        seeds: Tuning seeds; no seed of a study.
        search: Dotted key -> the values that are tried; a variant's axes are those that it reads.
    """

    budget: Annotated[int, Field(ge=1, le=10_000)]
    seeds: Annotated[list[Seed], Distinct, Field(min_length=1, title="a list of distinct seeds")]
    search: dict[str, Any]

    def plain(self) -> dict[str, Any]:
        """The declaration as YAML holds it."""
        return self.model_dump(mode="json")

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
    problems, search = Problems(), f"{prefix}.search"
    parts = read_parts(Tuning, given, file, problems, f"{prefix}.")
    with problems.collect():
        if "search" in parts:
            parts["search"] = read_axes(
                parts["search"], file, search, partial(variant_field, file=file, prefix=f"{search}.")
            )
            if (points := math.prod(map(len, parts["search"].values()))) > 1e15:
                raise bad_input("too many combinations", file=file, key=search, value=points, allowed="at most 1e15")
    problems.raise_any(str(file))
    return Tuning.model_construct(**parts)


def check_seeds(tuning: Tuning, seeds: tuple[int, ...], file: Path | str, key: str) -> None:
    """Refuse tuning seeds that are seeds of the study.

    Raises:
        UserError: Names them.
    """
    if shared := sorted({*tuning.seeds} & {*seeds}):
        hint = "tune on other seeds than those that are reported"
        raise bad_input("are seeds of the study too", file=file, key=key, value=shared, hint=hint)
