"""A study's ``published:`` section: the published results it is set against, the tolerance, what its encoders are."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from fne.data.published import FILE as PUBLISHED
from fne.data.published import Entry
from fne.utils.fields import Distinct, Text
from fne.utils.models import Section, read_section
from fne.utils.problems import Problems

Points = Annotated[float, Field(gt=0, le=100)] | None
Ids = Annotated[list[str], Distinct, Field(min_length=1)]


class Tolerance(Section):
    """By metric, half the width of what counts as the same, in percent points (rsum: points of 600)."""

    r1: Points = None
    r5: Points = None
    r10: Points = None
    rsum: Annotated[float, Field(gt=0, le=600)] | None = None
    map_at_r: Points = None
    r_precision: Points = None


class Backbone(Section):
    """What a study's encoder is called in ``published.yaml``.

    Args:
        name: That name.
        checkpoint: Last part of the folder or hub id for which this is true; under any other, nothing is claimed.
        image_size: Pixels a side for which it is true, or None where that does not matter.
    """

    name: Text
    checkpoint: Text
    image_size: Annotated[int, Field(ge=1)] | None = None

    def conflicts(self) -> Iterator[tuple[str, str, Any]]:
        """A checkpoint is named as any copy of it is."""
        if "/" in self.checkpoint:
            last = self.checkpoint.rstrip("/").rpartition("/")[2]
            problem = f"must be the last part of the folder or hub id, {last}: a local copy then counts as well"
            yield problem, "checkpoint", self.checkpoint


class Backbones(Section):
    """What the study's encoders are called there."""

    image: Backbone | None = None
    text: Backbone | None = None


class Comparison(Section):
    """The section as a study file has it.

    Args:
        tolerance: What counts as the same.
        backbone: What the study's encoders are called there.
        entries: By variant, ids of the published results of the same method.
        context: Ids of published results that stand in the table of methods and are compared with nothing.
    """

    tolerance: Tolerance = Tolerance.model_construct()
    backbone: Backbones = Backbones.model_construct()
    entries: dict[str, Ids] = {}
    context: Ids = []


@dataclass(frozen=True)
class PublishedComparison:
    """The section as it is used: a :class:`Comparison` with its results in place of their ids."""

    tolerance: Mapping[str, float]
    backbone: Mapping[str, Backbone]
    entries: Mapping[str, tuple[Entry, ...]]
    context: tuple[Entry, ...]

    @property
    def shown(self) -> tuple[Entry, ...]:
        """Every result of the section, once, in its order."""
        named = [entry for entries in self.entries.values() for entry in entries]
        return tuple({entry.id: entry for entry in [*named, *self.context]}.values())

    def declared(self) -> list[Any]:
        """The whole section as plain lists and texts, equal exactly where two sections are."""
        return [
            sorted(self.tolerance.items()),
            sorted((side, *map(str, dict(values).values())) for side, values in self.backbone.items()),
            [(variant, [entry.id for entry in entries]) for variant, entries in self.entries.items()],
            [entry.id for entry in self.context],
        ]


def read_published_comparison(
    given: Any, known: Mapping[str, Entry], declared: Collection[str], ids: Collection[str], dataset: str, file: Path
) -> PublishedComparison:
    """Read and check the section.

    Args:
        given: What stands in the study file.
        known: All published results.
        declared: The variants of the study file.
        ids: The variants of this loading, which the command line may have changed; others' entries are passed over.
        dataset: The study file's data set.
        file: The study file.

    Raises:
        UserError: Lists every problem: an unknown result, variant, metric or backbone (with the nearest match), a
            result on another data set, a tolerance that is not positive or that no result reads.
    """
    problems = Problems()
    section = read_section(Comparison, given, file, problems, "published.")
    problems.raise_any(str(file))
    assert section is not None

    def wrong(problem: str, key: str, **more: Any) -> None:
        problems.report(problem, file=file, key=f"published.{key}", **more)

    def results(names: list[str], key: str) -> tuple[Entry, ...]:
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
                wrong("no such published result", key, value=name, allowed=near or f"an id of {PUBLISHED}")
            elif known[name].dataset != dataset:
                problem = f"{name} is a result on {known[name].dataset}; this study's data set is {dataset!r}"
                wrong(problem, key, hint="results on different data sets are not compared")
        return tuple(known[name] for name in names if name in known)

    tolerance = section.tolerance.model_dump(exclude_none=True)
    backbone = {side: item for side, item in section.backbone if item}
    for side, item in backbone.items():
        names = {getattr(entry.backbone, side) for entry in known.values()} - {None}
        if item.name not in names:
            problem = f"no published result has this {side} encoder"
            wrong(problem, f"backbone.{side}.name", value=item.name, allowed=sorted(names))
    for variant in [name for name in section.entries if name not in (*declared, *ids)]:
        wrong("is not a variant of this study", f"entries.{variant}", value=variant, allowed=declared)
    entries = {variant: results(names, f"entries.{variant}") for variant, names in section.entries.items()}
    context = results(section.context, "context")
    if not entries and not context and not problems.messages:
        wrong("names no published result", "entries")
    for entry in context:
        if ("both", "rsum") not in entry.values:
            wrong("has no row in the table of methods, which shows recalls and their sum", "context", value=entry.id)
    for entry in (entry for each in entries.values() for entry in each):
        metrics = {metric for _, metric in entry.values}
        if not metrics & {*tolerance}:
            allowed = [metric for metric in Tolerance.model_fields if metric in metrics]
            wrong(f"none is declared for any metric of {entry.id}", "tolerance", allowed=allowed)
    problems.raise_any(str(file))
    return PublishedComparison(
        tolerance, backbone, {variant: entries[variant] for variant in entries if variant in ids}, context
    )
