"""What figures, tables and sentences agree on: shares of false negatives, cost, who is best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fne.analysis.intervals import hierarchical_intervals
from fne.analysis.layout import Key
from fne.analysis.proportion import Share, share
from fne.protocols import METRICS, metric_of
from fne.report.text.wording import listing
from fne.results.elsewhere import elsewhere
from fne.utils.text import clean

if TYPE_CHECKING:
    import pandas as pd

    from fne.results.study import StudyResults, Variant

TRUTH_WORDS = {
    "exact": "every relevant pair is known exactly",
    "judged": "relevant pairs are those that people judged relevant; of pairs that nobody judged nothing is known",
    "equal_captions": "only pairs provable by equal captions are known to be relevant, so true shares are higher",
}
NO_SHARED_EPOCH = "no epoch is after the warm-up of every variant"
"""Why shares of picks are not compared."""
LOWER_BOUNDS = (
    "relevant items that nobody found count as wrong: hit rates (R@K, P@1) are lower bounds, while "
    f"{listing(item.label for item in METRICS.values() if item.per_relevant)}, which also divide by the number of "
    "relevant items, may be too high or too low"
)
"""What unknown relevant items do to scores."""


def truth_kind(study: StudyResults, split: str) -> str | None:
    """How the relevant pairs of a split are known; ``None`` where the prepared data are not at hand."""
    manifest = study.manifest
    return manifest.truth_files[split]["kind"] if manifest is not None and split in manifest.truth_files else None


def pick_share(study: StudyResults, variant: str, direction: str | None = None) -> Share | None:
    """Share of a variant's picks that are known to be relevant, ``None`` if unknown: of the shared epochs."""
    rows = study.audit_of(variant)
    if direction:
        rows = rows[rows["direction"] == direction]
    if rows.empty or not rows["picks"].sum() or not truth_is_known(study):
        return None
    sums = rows.groupby("seed", sort=True)[["false_negatives", "picks"]].sum()
    return share(sums["false_negatives"].to_numpy(), sums["picks"].to_numpy())


def shared_phrase(study: StudyResults) -> str:
    """The epochs that shares of picks are compared over, in words; there are some: ``StudyResults.shared_epochs``."""
    return epochs_phrase(study.shared_epochs, len(study.definition.variants))


def epochs_phrase(shared: range, variants: int) -> str:
    """Epochs that so many variants are compared over, in words; there are some."""
    first, last = shared[0] + 1, shared[-1] + 1
    which = f"epochs {first} to {last}" if first < last else f"epoch {first}"
    return which + (", after the warm-up of every variant" if first > 1 and variants > 1 else "")


def false_picks_phrase(study: StudyResults) -> str:
    """What the share of false negatives among the picks is a share of, in words; there are shared epochs."""
    return f"of the negatives picked in {shared_phrase(study)}, the share that is {relevant_words(study)} to its anchor"


def relevant_words(study: StudyResults) -> str:
    """``in truth relevant`` or ``known to be relevant``: what a pick is that counts as a false negative."""
    return "in truth relevant" if truth_kind(study, "train") == "exact" else "known to be relevant"


@dataclass(frozen=True)
class Collapse:
    """The epochs, counted from 1, in which a seed set off the collapse alarm, and whether it recovered from the last.

    The alarm: the mean loss of an epoch within 5 % of what equal similarities give.
    """

    seed: int
    epochs: tuple[int, ...]
    recovered: bool

    @property
    def lasting(self) -> bool:
        """Did it last: several epochs, or to the end?"""
        return len(self.epochs) > 1 or not self.recovered


def outcome(result: Sequence[Collapse]) -> str:
    """Whether the seeds that collapsed recovered, in words."""
    back = sum(item.recovered for item in result)
    return {0: "not recovered", len(result): "recovered"}.get(back, f"{back} of {len(result)} recovered")


def collapses(curves: pd.DataFrame) -> list[Collapse]:
    """Of every seed that set off the alarm, in order.

    Args:
        curves: Rows of ``curves.csv`` of one variant.
    """
    if not len(curves) or "collapsed" not in curves:
        return []
    result = []
    for seed, rows in curves.groupby("seed", sort=True):
        fallen = sorted({int(epoch) for epoch in rows.loc[rows["collapsed"] == 1, "epoch"]})
        if fallen:
            epochs = tuple(epoch + 1 for epoch in fallen)
            result.append(Collapse(int(seed), epochs, fallen[-1] != int(rows["epoch"].max())))
    return result


def truth_is_known(study: StudyResults) -> bool:
    """Are false negatives of the train split known: exactly (then there may be none), or was any met in training?"""
    if truth_kind(study, "train") == "exact":
        return True
    rows = study.audit
    return any(bool((rows[name] > 0).any()) for name in ("false_negatives", "candidate_false_negatives"))


def by_hardness(study: StudyResults, variant: str) -> pd.DataFrame:
    """Counts of a variant by similarity bin and seed, directions pooled, of the shared epochs."""
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
        (variant.id, float(np.mean(list(result.values()))))
        for variant in study.variants
        if (result := study.values(variant.id, metric, direction, protocol))
    ]
    sign = -1 if metric_of(metric or study.metric).higher_is_better else 1
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
    values = _paired(study, first, second, study.key(metric, direction, protocol))
    if values is None:
        return math.nan, math.nan
    result = hierarchical_intervals(values)
    return float(result.low[0]), float(result.high[0])


def paired_elsewhere(study: StudyResults, first: str, second: str) -> tuple[float, float]:
    """Interval of the same difference in the primary metric widened; NaN where not known."""
    record, values = study.known[0], _paired(study, first, second, study.key())
    if record is None or values is None:
        return math.nan, math.nan
    return elsewhere(values[:, :, 0], *paired_interval(study, first, second), record.another(first, second)[0])


def _paired(study: StudyResults, first: str, second: str, key: Key) -> np.ndarray | None:
    """Differences (n, N, 1) of two variants by shared seed and image; ``None`` where they share none."""
    layouts = [item for item in (study.layout(first), study.layout(second)) if item is not None and key in item.keys]
    if len(layouts) < 2:
        return None
    shared = sorted({*layouts[0].seeds} & {*layouts[1].seeds})
    if not shared:
        return None
    mine, its = (item.influence[item.rows(shared)][:, :, [item.keys.index(key)]] for item in layouts)
    return mine - its


def missing_seeds(study: StudyResults, variant: str) -> dict[int, tuple[str, str]]:
    """Stage and reason of every seed of a variant that has no result."""
    done = study.values(variant)
    missing = [seed for seed in study.seeds if seed not in done]
    if not missing:
        return {}
    rows = study.missing[study.missing["variant"] == variant]
    summary = {int(row.seed): (str(row.stage), clean(str(row.reason))) for row in rows.itertuples()}
    absent = ("evaluate", f"{' '.join(study.key())} has no finite value")
    odd = dict.fromkeys(study.measured.get(variant, ()), absent)  # there are results, but not of the primary metric
    unknown = ("unknown", "no reason was recorded")
    return {seed: summary.get(seed) or odd.get(seed, unknown) for seed in missing}
