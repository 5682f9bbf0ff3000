"""Which numbers of a study are compared with which published ones, whether that is possible, and the verdict."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING

import numpy as np

from fne.analysis.equivalence import INCONCLUSIVE, REASONS, REPRODUCED, compare_with_published
from fne.analysis.intervals import hierarchical_intervals
from fne.data.published import Entry
from fne.protocols import DIRECTIONS
from fne.report.text.wording import listing

if TYPE_CHECKING:
    from fne.results.study import StudyResults
    from fne.study.published_comparison import PublishedComparison

NOT_COMPARABLE, NOT_AVAILABLE = "not comparable", "not available"
NO_VERDICT = {
    "not_available": "the published number could not be read",
    "ensemble": "the published number is an ensemble's, the runs here are single models",
    "other_dataset": "another data set",
    "other_protocol": "no result here is on the published protocol",
    "other_regime": "not both encoders are trained here",
    "other_backbone": "other encoders",
    "backbone_not_stated": "the source does not state the encoders",
    "no_result": "no run here has a result",
}
"""Reasons for having no verdict of equivalence, in the order in which they count."""
REASON_WORDS = REASONS | NO_VERDICT
NAMES = {"1k_test": "flickr30k_1k"}
"""Published protocols whose name in this project's fingerprints is another one."""


@dataclass(frozen=True)
class Comparison:
    """One published number beside what was obtained here; percent, rsum in points of 600.

    Args:
        variant: The variant of the study.
        entry: The published result.
        direction, metric: Of the number; ``all`` and empty where the whole result is not available.
        published: The number, or None.
        tolerance: Half the width of what counts as the same.
        mean, low, high: Mean over seeds and its interval here; NaN where there is none.
        n_seeds: Seeds behind it.
        verdict: A verdict of equivalence, or ``not comparable``, or ``not available``.
        reason: Its code, a key of :data:`REASON_WORDS`.
        differs: Codes of everything that keeps the two from being compared.
        setting: The same in words, and what the source leaves unsaid about its setting.
    """

    variant: str
    entry: Entry
    direction: str
    metric: str
    published: float | None
    tolerance: float | None
    mean: float
    low: float
    high: float
    n_seeds: int
    verdict: str
    reason: str
    differs: tuple[str, ...]
    setting: tuple[str, ...]


def comparisons(study: StudyResults, against: PublishedComparison) -> list[Comparison]:
    """Every number with a declared tolerance, in the order of the study file."""
    result = []
    for variant, entries in against.entries.items():
        for entry in entries:
            differences = setting(study, against, variant, entry)
            if entry.available:
                requested = [key for key in entry.values if key[1] in against.tolerance and _tells(entry, *key)]
            else:
                requested = [("all", "")]
            result += [_compare(study, against, variant, entry, *key, differences) for key in requested]
    return result


def protocol_of(study: StudyResults, entry: Entry) -> str | None:
    """The protocol of this study's test results that is the entry's, or None where there is none."""
    name = NAMES.get(entry.protocol, entry.protocol)
    return next((key for key, facts in study.protocols.items() if facts["name"] == name), None)


def setting(study: StudyResults, against: PublishedComparison, variant: str, entry: Entry) -> dict[str, str]:
    """What forbids a comparison, by reason code, in words."""
    result = {}
    if entry.ensemble:
        result["ensemble"] = NO_VERDICT["ensemble"]
    if entry.dataset != study.dataset:
        result["other_dataset"] = f"published on {entry.dataset}, here {study.dataset}"
    if protocol_of(study, entry) is None:
        here = listing(sorted(facts["name"] for facts in study.protocols.values()))
        result["other_protocol"] = f"published on {entry.protocol}, here {here}"
    head = study.definition.regime == "head"
    trained = "none" if head else study.definition.configs[variant]["finetune.trained"]
    if trained != "both":
        which = "no encoder" if trained == "none" else f"only the {trained} encoder"
        result["other_regime"] = f"{which} is trained here"
    apart = [words for side in ("image", "text") if (words := _backbone(study, against, variant, entry, side))]
    if apart:
        result["other_backbone"] = "; ".join(apart)
    elif not any(name for _, name in entry.backbone):
        result["backbone_not_stated"] = NO_VERDICT["backbone_not_stated"]
    return result


def estimate(
    study: StudyResults, variant: str, direction: str, metric: str, protocol: str
) -> tuple[float, float, float, int]:
    """Mean, interval (percent) and seeds of a metric; direction ``mean`` is the mean of both, seed by seed."""
    nothing = (math.nan, math.nan, math.nan, 0)
    if direction != "mean":
        item = study.estimate(variant, metric, direction, protocol)
        return nothing if item is None else (100 * item.mean, 100 * item.low, 100 * item.high, item.n_seeds)
    layout = study.layout(variant)
    keys = [(protocol, side, metric) for side in DIRECTIONS]
    if layout is None or not set(keys) <= set(layout.keys):
        return nothing
    both = layout.influence[:, :, [layout.keys.index(key) for key in keys]].mean(axis=2, keepdims=True)
    result = hierarchical_intervals(100 * both)
    return float(result.mean[0]), float(result.low[0]), float(result.high[0]), result.n_seeds


def sentence(result: list[Comparison]) -> str:
    """One sentence over all comparisons of a study."""
    counts = Counter(item.verdict for item in result)
    results = len({(item.variant, item.entry.id) for item in result})
    words = {
        REPRODUCED: "reproduced within the declared tolerance",
        NOT_COMPARABLE: "not comparable: the setting differs",
    }
    parts = [f"{n} {words.get(verdict, verdict)}" for verdict, n in counts.items()]
    missing = dict.fromkeys(f"{item.entry.id} (doi {item.entry.doi})" for item in result if not item.entry.available)
    return (
        f"Of {len(result)} numbers of {results} published results that are compared with this study: {listing(parts)}."
        f"{f' No number is available here of {listing(missing)}.' if missing else ''}"
    )


def _tells(entry: Entry, direction: str, metric: str) -> bool:
    """Is this one of the numbers to show: both directions, or their mean where only that was published?"""
    mean = entry.values.get(("mean", metric))
    apart = all(entry.values.get((side, metric)) is not None for side in DIRECTIONS)
    if direction == "mean":
        return mean is not None and not apart
    return direction == "both" or (direction in DIRECTIONS and (mean is None or apart))


def _compare(
    study: StudyResults,
    against: PublishedComparison,
    variant: str,
    entry: Entry,
    direction: str,
    metric: str,
    differences: dict[str, str],
) -> Comparison:
    published, tolerance = entry.values.get((direction, metric)), against.tolerance.get(metric)
    protocol = protocol_of(study, entry)
    here = (math.nan, math.nan, math.nan, 0)
    if metric and protocol is not None:
        here = estimate(study, variant, direction, metric, protocol)
    mean, low, high, n_seeds = here
    if published is None:
        verdict, reason = NOT_AVAILABLE, "not_available"
    elif differences:
        verdict, reason = NOT_COMPARABLE, next(code for code in NO_VERDICT if code in differences)
    elif not np.isfinite(mean):
        verdict, reason = INCONCLUSIVE, "no_result"
    else:
        assert tolerance is not None
        annotated = compare_with_published(low, high, published, tolerance)
        verdict, reason = annotated.verdict, annotated.reason
    words = [f"setting differs: {'; '.join(differences.values())}"] if differences else []
    unsaid = [f"the {side} encoder" for side, name in entry.backbone if name is None]
    if "backbone_not_stated" in differences:  # which is said already
        unsaid = []
    unsaid += ["whether it is an ensemble"] if entry.ensemble is None else []
    words += [f"the source does not state {listing(unsaid)}"] if unsaid else []
    return Comparison(
        variant, entry, direction, metric, published, tolerance, mean, low, high, n_seeds, verdict, reason,
        tuple(differences), tuple(words),
    )  # fmt: skip


def _backbone(study: StudyResults, against: PublishedComparison, variant: str, entry: Entry, side: str) -> str:
    """How an encoder differs from the one that the published result states; empty where it does not."""
    published = getattr(entry.backbone, side)
    if published is None:
        return ""
    config = study.definition.configs[variant]
    checkpoint = config[f"encoders.{side}.checkpoint"]
    used, called = PurePath(str(checkpoint)).name, against.backbone.get(side)
    size = config.get("finetune.image_size") if side == "image" else None
    if called is None or used != called.checkpoint:
        return f"{side} encoder published as {published}, here the checkpoint {used}"
    if called.image_size is not None and size is not None and size != called.image_size:
        return f"{side} encoder published as {published}, here {called.name} at {size} pixels"
    return "" if called.name == published else f"{side} encoder published as {published}, here {called.name}"
