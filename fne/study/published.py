"""Published results, ``ablations/published.yaml``: sourced numbers in percent, read strictly; null stays null."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fne.protocols import DIRECTIONS, METRICS, RECALLS, metric_of
from fne.study.variants import text_of
from fne.utils.errors import bad_input
from fne.utils.models import only_keys
from fne.utils.problems import Problems
from fne.utils.yaml_file import read_mapping

FILE = Path("ablations", "published.yaml")
REQUIRED = ("id", "method", "backbone", "dataset", "protocol", "ensemble", "metrics", "source", "confidence")
OPTIONAL = ("rsum_is_sum", "note")
PREFIXES = {
    ("flickr30k", "1k_test"): "f30k-",
    ("coco", "coco_1k_5fold"): "coco1k-",
    ("coco", "coco_5k"): "coco5k-",
    ("coco", "eccv"): "eccv-",
    ("coco", "cxc"): "cxc-",
}
"""What an id begins with; its keys are the pairs of data set and protocol that exist."""
CONFIDENCE = {
    "A": "primary source",
    "B": "secondary source, at least partly cross-checked",
    "C": "secondary source, not cross-checked",
}
ROUNDING = 0.05
"""Half a unit of the last digit that papers print."""

_RECALL = {"i2t": RECALLS, "t2i": RECALLS, "": ("rsum",)}
_ECCV = ("map_at_r", "r_precision", "r1")
_SHAPES = {
    "1k_test": _RECALL,
    "coco_1k_5fold": _RECALL,
    "coco_5k": _RECALL,
    "eccv": {"i2t": _ECCV, "t2i": _ECCV, "mean": (*_ECCV, "coco_5k_r1")},
    "cxc": {side: ("r1",) for side in ("i2t", "t2i", "t2t", "i2i", "mean")},
}
_EXTRA = {"coco_1k_5fold": ("i2t.pmrp", "t2i.pmrp")}
COMPARED = tuple(
    name for name in METRICS if any(name in metrics for shape in _SHAPES.values() for metrics in shape.values())
)
"""Metrics that this project computes too, and so can be set against a published number."""
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]*")
_DOI = re.compile(r"\b10\.\d{4,9}/[^\s,;)]+")


@dataclass(frozen=True)
class Entry:
    """One published result.

    Args:
        id: Its slug.
        method: Name of the method.
        backbone: ``image`` and ``text``; None where the source does not state it.
        dataset: ``flickr30k`` or ``coco``.
        protocol: A protocol of :data:`PREFIXES`.
        ensemble: Whether models were combined; None where the source does not say.
        values: Percent by (direction, metric), direction ``both`` for rsum; None where none could be read.
        source: Where the numbers stand.
        confidence: A key of :data:`CONFIDENCE`; None where there is no value.
        note: A remark, or nothing.
    """

    id: str
    method: str
    backbone: Mapping[str, str | None]
    dataset: str
    protocol: str
    ensemble: bool | None
    values: Mapping[tuple[str, str], float | None] = field(repr=False)
    source: str = field(repr=False)
    confidence: str | None
    note: str = field(default="", repr=False)

    @property
    def available(self) -> bool:
        """Is any of its numbers known here?"""
        return any(value is not None for value in self.values.values())

    @property
    def doi(self) -> str | None:
        """The DOI that its source or note names."""
        found = _DOI.search(f"{self.source} {self.note}")
        return found.group().rstrip(".") if found else None


def read_published(root: Path) -> dict[str, Entry]:
    """Read and check all published results, by id.

    Raises:
        UserError: Lists every problem: a missing or unknown key, an id twice, a value that cannot be (a recall beyond
            100, R@1 above R@5, an rsum that is not the sum within rounding), a result without any number or DOI.
    """
    file = Path(root) / FILE
    content = read_mapping(file)
    only_keys(content, ("results",), file)
    results = content.get("results")
    if not isinstance(results, list) or not results:
        raise bad_input("must be a list of results", file=file, key="results", value=results)
    problems, entries = Problems(), {}
    for place, given in enumerate(results):
        with problems.collect():
            entry = _entry(given, file, f"results[{place}]")
            if entry.id in entries:
                raise bad_input("is listed twice", file=file, key="id", value=entry.id)
            entries[entry.id] = entry
    problems.raise_any(str(file))
    return entries


def _entry(given: Any, file: Path, place: str) -> Entry:
    if not isinstance(given, dict) or not isinstance(given.get("id"), str) or not _SLUG.fullmatch(given["id"]):
        raise bad_input(
            "must be a mapping with an id",
            file=file,
            key=place,
            value=given.get("id") if isinstance(given, dict) else given,
            allowed="lower-case letters, digits and -",
        )
    name, problems = given["id"], Problems()

    def wrong(key: str, problem: str, **more: Any) -> None:
        problems.report(problem, file=file, key=f"{name}: {key}", **more)

    with problems.collect():
        only_keys(given, (*REQUIRED, *OPTIONAL), file, f"{name}: ")
    for key in REQUIRED:
        if key not in given:
            wrong(key, "is missing")
    problems.raise_any(str(file))
    for key in ("method", "source", *(["note"] if "note" in given else [])):
        with problems.collect():
            text_of({f"{name}: {key}": given[key]}, f"{name}: {key}", file)
    for key, allowed in (("ensemble", (True, False, None)), ("rsum_is_sum", (True, False))):
        if key in given and not any(given[key] is one for one in allowed):
            wrong(key, "must be a truth value", value=given[key], allowed=["true", "false", "null"][: len(allowed)])
    backbone = given["backbone"]
    if not isinstance(backbone, dict) or set(backbone) != {"image", "text"}:
        wrong("backbone", "must hold image and text", value=backbone)
    elif not all(value is None or isinstance(value, str) and value for value in backbone.values()):
        wrong("backbone", "must be text, or null where the source does not state it", value=backbone)
    dataset, protocol = given["dataset"], given["protocol"]
    prefix = PREFIXES.get((dataset, protocol)) if isinstance(dataset, str) and isinstance(protocol, str) else None
    if prefix is None:
        allowed = [" ".join(pair) for pair in PREFIXES]
        wrong("protocol", "no such data set and protocol", value=f"{dataset} {protocol}", allowed=allowed)
        problems.raise_any(str(file))
    if not name.startswith(prefix):
        wrong("id", f"of {dataset}, {protocol} must begin with {prefix!r}", value=name)
    values: dict[tuple[str, str], float | None] = {}
    with problems.collect():
        values = _values(given["metrics"], protocol, file, f"{name}: metrics")
    known = [value for value in values.values() if value is not None]
    if given["confidence"] not in (list(CONFIDENCE) if known else [None]) and values:
        allowed = list(CONFIDENCE) if known else "null, because it has no value"
        wrong("confidence", "does not fit", value=str(given["confidence"]), allowed=allowed)
    if given.get("rsum_is_sum") and values and values.get(("both", "rsum")) is None:
        wrong("rsum_is_sum", "there is no rsum")
    problems.raise_any(str(file))
    kept = {key: given[key] for key in REQUIRED if key != "metrics"}
    entry = Entry(**kept, values=values, note=given.get("note", ""))
    if not entry.available and entry.doi is None:
        raise bad_input("has no value and names no DOI", file=file, key=f"{name}: source", value=entry.source)
    return entry


def _values(given: Any, protocol: str, file: Path, where: str) -> dict[tuple[str, str], float | None]:
    shape = _SHAPES[protocol]
    needed = [f"{side}.{metric}".lstrip(".") for side, metrics in shape.items() for metric in metrics]
    if not isinstance(given, dict):
        raise bad_input("must be a mapping", file=file, key=where, value=given)
    flat, problems = dict(_leaves(given)), Problems()
    with problems.collect():
        only_keys(flat, (*needed, *_EXTRA.get(protocol, ())), file, f"{where}.")
    for key in needed:
        if key not in flat:
            problems.report("is missing", file=file, key=f"{where}.{key}", hint="null where no value could be read")
    values: dict[tuple[str, str], float | None] = {}
    for key, value in flat.items():
        top = 100 * (metric_of(key).top or 1)
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (number and math.isfinite(value) and 0 <= value <= top):
            allowed = f"a number from 0 to {top} (percent), or null"
            problems.report("cannot be", file=file, key=f"{where}.{key}", value=value, allowed=allowed)
        else:
            side, _, metric = key.rpartition(".")
            values[side or "both", metric] = None if value is None else float(value)
    problems.raise_any(where)
    for problem, key, value in _contradictions(values):
        problems.report(problem, file=file, key=f"{where}.{key}", value=value)
    problems.raise_any(where)
    return values


def _leaves(given: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in given.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _contradictions(values: Mapping[tuple[str, str], float | None]) -> Iterator[tuple[str, str, float]]:
    """What no single value can show: recalls that fall with K, an rsum or mean that does not follow from its parts."""
    sides = [side for side in DIRECTIONS if (side, "r5") in values]
    for side in sides:
        known = [(metric, values[side, metric]) for metric in RECALLS if values[side, metric] is not None]
        for (lower, before), (upper, after) in zip(known, known[1:], strict=False):
            if before > after:
                yield f"{lower} {before} exceeds {upper} {after}", f"{side}.{lower}", before
    rsum = values.get(("both", "rsum"))
    if rsum is not None:
        parts = [values[side, metric] for side in sides for metric in RECALLS]
        least = sum(part for part in parts if part is not None)
        most = least + 100 * parts.count(None)
        slack = ROUNDING * (len(parts) + 1) + 1e-9
        if not least - slack <= rsum <= most + slack:
            told = f"{least:.1f}" if least == most else f"{least:.1f} to {most:.1f}"
            yield f"is not the sum of its recalls, {told}, within rounding", "rsum", rsum
    for (side, metric), value in values.items():
        halves = [values.get((half, metric)) for half in DIRECTIONS]
        if side == "mean" and value is not None and None not in halves:
            mean = sum(halves) / 2
            if abs(mean - value) > 2 * ROUNDING + 1e-9:
                yield f"is not the mean of its directions, {mean:.2f}, within rounding", f"mean.{metric}", value
