"""What figures, tables and sentences agree on: shares of false negatives, cost, who is best."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fne.stats.intervals import hierarchical_intervals
from fne.stats.proportion import Share, share

if TYPE_CHECKING:
    import pandas as pd

    from fne.study_results import StudyResults, Variant

TRUTH_WORDS = {
    "exact": "every relevant pair is known exactly",
    "judged": "relevant pairs are those that people judged relevant; unjudged pairs count as not relevant",
    "equal_captions": "only pairs provable by equal captions are known, so true shares are higher",
}


def truth_kind(study: StudyResults, split: str) -> str | None:
    """How the relevant pairs of a split are known; ``None`` where the prepared data are not at hand."""
    manifest = study.manifest
    return manifest.truth_files[split]["kind"] if manifest is not None and split in manifest.truth_files else None


def pick_share(study: StudyResults, variant: str, direction: str | None = None) -> Share | None:
    """Share of a variant's picks of the main phase that are known to be relevant; ``None`` if unknown."""
    rows = study.audit_of(variant)
    if direction:
        rows = rows[rows["direction"] == direction]
    if rows.empty or not rows["picks"].sum() or not truth_is_known(study):
        return None
    sums = rows.groupby("seed", sort=True)[["false_negatives", "picks"]].sum()
    return share(sums["false_negatives"].to_numpy(), sums["picks"].to_numpy())


def truth_is_known(study: StudyResults) -> bool:
    """Are false negatives of the train split known: exactly (then there may be none), or was any met in training?"""
    if truth_kind(study, "train") == "exact":
        return True
    rows = study.audit
    return any(bool((rows[name] > 0).any()) for name in ("false_negatives", "candidate_false_negatives"))


def by_hardness(study: StudyResults, variant: str) -> pd.DataFrame:
    """Counts of a variant by similarity bin and seed, directions pooled."""
    rows = study.audit_of(variant)
    counts = ["picks", "false_negatives", "candidates", "candidate_false_negatives"]
    return rows.groupby(["bin_low", "bin_high", "seed"], sort=True)[counts].sum().reset_index()


def seconds_per_run(variant: Variant) -> float:
    """Training seconds of one seed: a block's seconds divided by the seeds that trained together."""
    seeds = sum(len(run["seeds"]) for run in variant.runs)
    return sum(run["cost"]["seconds_total"] for run in variant.runs) / seeds if seeds else math.nan


def seconds_per_step(variant: Variant) -> float:
    """Seconds of one step of one seed."""
    steps = sum(run["cost"]["steps"] * len(run["seeds"]) for run in variant.runs)
    return sum(run["cost"]["seconds_total"] for run in variant.runs) / steps if steps else math.nan


def ranked(
    study: StudyResults, metric: str | None = None, direction: str | None = None, protocol: str | None = None
) -> list[tuple[str, float]]:
    """Variants with their means, best first; ties in the order of the study."""
    means = [
        (variant.id, float(np.mean(list(found.values()))))
        for variant in study.variants
        if (found := study.values(variant.id, metric, direction, protocol))
    ]
    sign = 1 if metric == "median_rank" else -1
    return sorted(means, key=lambda item: sign * item[1])


def supported_best(
    study: StudyResults, metric: str | None = None, direction: str | None = None, protocol: str | None = None
) -> str | None:
    """The best variant, if the interval of its paired lead over the runner-up excludes zero, or ``None``."""
    order = ranked(study, metric, direction, protocol)
    if len(order) < 2:
        return None
    low, high = paired_interval(study, order[0][0], order[1][0], metric, direction, protocol)
    return order[0][0] if low > 0 or high < 0 else None


def paired_interval(
    study: StudyResults,
    first: str,
    second: str,
    metric: str | None = None,
    direction: str | None = None,
    protocol: str | None = None,
) -> tuple[float, float]:
    """Interval of the difference of two variants, paired by seed and image, made as the contrasts' are.

    Returns:
        Its ends, as fractions; NaN where the variants share too few seeds for an interval.
    """
    wanted = study.key(metric, direction, protocol)
    layouts = study.layout(first), study.layout(second)
    if layouts[0] is None or layouts[1] is None or not all(wanted in one.keys for one in layouts):
        return math.nan, math.nan
    shared = sorted({*layouts[0].seeds} & {*layouts[1].seeds})
    if not shared:
        return math.nan, math.nan
    mine, its = (one.influence[one.rows(shared)][:, :, [one.keys.index(wanted)]] for one in layouts)
    found = hierarchical_intervals(mine - its)
    return float(found.low[0]), float(found.high[0])
