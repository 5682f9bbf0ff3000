"""A study's ``published:`` section: the published results it is set against, the tolerance, what its encoders are."""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fne.protocols import metric_of
from fne.study.published import COMPARED, Entry
from fne.study.published import FILE as PUBLISHED
from fne.study.variants import text_of
from fne.utils.errors import bad_input
from fne.utils.models import only_keys
from fne.utils.problems import Problems

KEYS = ("tolerance", "backbone", "entries", "context")
SIDES = ("image", "text")


@dataclass(frozen=True)
class Backbone:
    """What a study's encoder is called in ``published.yaml``.

    Args:
        name: That name.
        checkpoint: Last part of the folder or hub id for which this is true; under any other, nothing is claimed.
        image_size: Pixels a side for which it is true, or None where that does not matter.
    """

    name: str
    checkpoint: str
    image_size: int | None = None


@dataclass(frozen=True)
class Against:
    """The published results that a study is set against.

    Args:
        tolerance: By metric, in percent points (rsum: points of 600): half the width of what counts as the same.
        backbone: By ``image`` and ``text``, what the study's encoders are called there.
        entries: By variant, the published results of the same method.
        context: Published results that stand in the table of methods and are compared with nothing.
    """

    tolerance: Mapping[str, float]
    backbone: Mapping[str, Backbone]
    entries: Mapping[str, tuple[Entry, ...]]
    context: tuple[Entry, ...]

    @property
    def shown(self) -> tuple[Entry, ...]:
        """Every result of the section, once, in its order."""
        named = [entry for entries in self.entries.values() for entry in entries]
        return tuple({entry.id: entry for entry in [*named, *self.context]}.values())

    def told(self) -> list[Any]:
        """The whole section as plain lists and texts, equal exactly where two sections are."""
        return [
            sorted(self.tolerance.items()),
            sorted((side, *map(str, vars(one).values())) for side, one in self.backbone.items()),
            [(variant, [entry.id for entry in entries]) for variant, entries in self.entries.items()],
            [entry.id for entry in self.context],
        ]


def read_against(
    given: Any, known: Mapping[str, Entry], stated: Collection[str], ids: Collection[str], dataset: str, file: Path
) -> Against:
    """Read and check the section.

    Args:
        given: What stands in the study file.
        known: All published results.
        stated: The variants of the study file.
        ids: The variants of this loading, which the command line may have changed; others' entries are passed over.
        dataset: The study file's data set.
        file: The study file.

    Raises:
        UserError: Lists every problem: an unknown result, variant, metric or backbone (with the nearest match), a
            result on another data set, a tolerance that is not positive or that no result reads.
    """
    if not isinstance(given, dict):
        raise bad_input("must be a mapping", file=file, key="published", value=given, allowed=", ".join(KEYS))
    problems = Problems()
    with problems.collect():
        only_keys(given, KEYS, file, "published.")

    def mapping(key: str) -> dict[str, Any]:
        section = given.get(key, {})
        if not isinstance(section, dict):
            problems.report("must be a mapping", file=file, key=f"published.{key}", value=section)
            return {}
        return section

    def listed(names: Any, key: str) -> tuple[Entry, ...]:
        if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
            problems.report("must be a list of ids", file=file, key=key, value=names)
            return ()
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
                hint = f"nearest: {', '.join(near)}" if near else f"each is an id of {PUBLISHED}"
                problems.report("no such published result", file=file, key=key, value=name, hint=hint)
            elif known[name].dataset != dataset:
                problem = f"{name} is a result on {known[name].dataset}; this study's data set is {dataset!r}"
                problems.report(problem, file=file, key=key, hint="results on different data sets are not compared")
        if len(set(names)) < len(names):
            problems.report("a result is listed twice", file=file, key=key, value=names)
        return tuple(known[name] for name in names if name in known)

    tolerance: dict[str, float] = {}
    for metric, value in mapping("tolerance").items():
        key, top = f"published.tolerance.{metric}", 100 * (metric_of(metric).top or 1)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if metric not in COMPARED:
            problems.report("unknown metric", file=file, key=key, value=metric, allowed=COMPARED)
        elif not (number and math.isfinite(value) and 0 < value <= top):
            problems.report("cannot be", file=file, key=key, value=value, allowed=f"a number > 0 and <= {top} (points)")
        else:
            tolerance[metric] = float(value)
    names = {side: {entry.backbone[side] for entry in known.values()} - {None} for side in SIDES}
    backbone = {}
    for side, section in mapping("backbone").items():
        with problems.collect():
            backbone[side] = _backbone(section, side, names, file)
    entries = {}
    for variant, list_ in mapping("entries").items():
        key = f"published.entries.{variant}"
        if variant not in {*stated, *ids}:
            problems.report("is not a variant of this study", file=file, key=key, value=variant, allowed=stated)
        entries[variant] = listed(list_, key)
    context = listed(given["context"], "published.context") if "context" in given else ()
    both = [entry.id for entry in context if any(entry in list_ for list_ in entries.values())]
    if both:
        hint = "context is what nothing is compared with"
        problems.report("is also among the entries", file=file, key="published.context", value=both[0], hint=hint)
    bare = [entry.id for entry in context if ("both", "rsum") not in entry.values]
    if bare:
        problem = "has no row in the table of methods, which shows recalls and their sum"
        problems.report(problem, file=file, key="published.context", value=bare[0])
    if not entries and not context:
        problems.report("names no published result", file=file, key="published.entries")
    problems.raise_any(str(file))
    _tolerances_fit(tolerance, entries, file)
    kept = {variant: list_ for variant, list_ in entries.items() if variant in ids}
    return Against(tolerance, backbone, kept, context)


def _backbone(section: Any, side: str, names: Mapping[str, Collection[str]], file: Path) -> Backbone:
    key = f"published.backbone.{side}"
    if side not in SIDES:
        raise bad_input("unknown key", file=file, key=key, value=side, allowed=SIDES)
    if not isinstance(section, dict):
        raise bad_input("must be a mapping", file=file, key=key, value=section, allowed="name, checkpoint, image_size")
    only_keys(section, ("name", "checkpoint", *(["image_size"] if side == "image" else [])), file, f"{key}.")
    text = {}
    for name in ("name", "checkpoint"):
        text[name] = text_of({f"{key}.{name}": section.get(name)}, f"{key}.{name}", file)
    if text["name"] not in names[side]:
        problem = f"no published result has this {side} encoder"
        raise bad_input(problem, file=file, key=f"{key}.name", value=text["name"], allowed=sorted(names[side]))
    if "/" in text["checkpoint"]:
        hint = "a local copy then counts as well"
        raise bad_input(
            "must be the last part of the folder or hub id", file=file, key=f"{key}.checkpoint",
            value=text["checkpoint"], allowed=text["checkpoint"].rstrip("/").rpartition("/")[2], hint=hint,
        )  # fmt: skip
    size = section.get("image_size")
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 1):
        raise bad_input("must be an integer >= 1", file=file, key=f"{key}.image_size", value=size)
    return Backbone(**text, image_size=size)


def _tolerances_fit(tolerance: Mapping[str, float], entries: Mapping[str, tuple[Entry, ...]], file: Path) -> None:
    """Every result has a metric with a tolerance, and every tolerance a result."""
    problems, read = Problems(), set()
    for list_ in entries.values():
        for entry in list_:
            metrics = {metric for _, metric in entry.values if metric in COMPARED}
            read |= metrics
            if not metrics & set(tolerance):
                allowed = [metric for metric in COMPARED if metric in metrics]
                problem = f"none is declared for any metric of {entry.id}"
                problems.report(problem, file=file, key="published.tolerance", allowed=allowed)
    for metric in tolerance:
        if metric not in read:
            problems.report("is read by no entry", file=file, key=f"published.tolerance.{metric}", value=metric)
    problems.raise_any(str(file))
