"""Rates of known false negatives among picks: per epoch, per gap to the positive."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fne.analysis.proportion import method, share
from fne.protocols import DIRECTIONS

if TYPE_CHECKING:
    import pandas as pd

GAP_WIDTH = 0.05
ROUNDING = 1e-6
"""A gap this little below the end of a bin is on it: an exact twin of the positive has the gap 0 up to rounding."""
MEANS = {"hardness": "similarity", "gap": "gap", "posterior": "posterior", "weight": "weight"}


def prepared(picks: pd.DataFrame, warmup_epochs: int, shared: range) -> pd.DataFrame:
    """The picks of one variant with what the tables group by.

    Args:
        picks: As ``StudyResults.picks`` gives them.
        warmup_epochs: Epochs before the variant's main phase.
        shared: The epochs that variants are compared over, see :func:`fne.study.api.shared_epochs`.

    Returns:
        The same rows with ``phase``, ``shared`` (whether the epoch is one of those), ``gap`` (s - s+, similarity of the
        pick minus that of the anchor's own pair) and ``looked`` (whether the truth of any pick of the variant is
        known).
    """
    return picks.assign(
        phase=np.where(picks["epoch"] < warmup_epochs, "warmup", "main"),
        shared=picks["epoch"].isin(shared),
        gap=picks["similarity"].astype(np.float64) - picks["positive_similarity"].astype(np.float64),
        looked=picks["false_negative"].notna().any(),
        direction=np.asarray(DIRECTIONS, dtype=object)[picks["direction"]],
    )


def both_ways(picks: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The picks of each direction, and of both."""
    return [*((d, picks[picks["direction"] == d]) for d in DIRECTIONS), ("both", picks)]


def rate(picks: pd.DataFrame) -> dict[str, Any]:
    """Counts of some picks, and the rate of known false negatives among them with its 95 % interval.

    Where the truth is known in part only, so is the rate: it counts the known ones among all picks, whatever is not
    known of the others. It is NaN where nothing is known of any pick of the variant. See
    :func:`fne.analysis.proportion.share`.
    """
    by_seed = picks["seed"].to_numpy()
    seeds = np.unique(by_seed)
    summary: dict[str, Any] = {"seeds": len(seeds), "picks": len(picks)}
    summary |= dict.fromkeys(("false_negatives", "rate", "low", "high"), math.nan)
    summary["method"] = "none: the truth of no pick is known" if len(picks) else "none: no pick"
    if not len(picks) or not picks["looked"].all():
        return summary
    result = (picks["false_negative"] == 1).fillna(False).to_numpy(bool)
    hits = [result[by_seed == seed].sum() for seed in seeds]
    item = share(np.array(hits), np.array([(by_seed == seed).sum() for seed in seeds]))
    return summary | {"false_negatives": item.hits, "rate": item.value, "low": item.low, "high": item.high,
                   "method": method(len(seeds))}  # fmt: skip


def epochs(variant: str, picks: pd.DataFrame) -> list[dict[str, Any]]:
    """A row per epoch and direction, and one for all epochs that variants are compared over (its epoch is empty).

    ``hardness``, ``gap``, ``posterior`` and ``weight`` are means over the picks (NaN where the rule has none);
    ``from_queue`` the share of them that came out of the queue, ``age`` the mean age of those in steps.

    Args:
        variant: Its id.
        picks: As :func:`prepared`.
    """
    parts = [(epoch, part) for epoch, part in picks.groupby("epoch", sort=True)]
    parts.append((None, picks[picks["shared"]]))
    rows = []
    for epoch, part in parts:
        for direction, some in both_ways(part):
            if some.empty:
                continue
            queued = some["from_queue"] == 1
            aged = some.loc[queued & (some["age"] >= 0), "age"]
            rows.append(
                {"variant": variant, "epoch": epoch, "phase": some["phase"].iloc[0], "direction": direction}
                | rate(some)
                | {name: _mean(some[column]) for name, column in MEANS.items()}
                | {"from_queue": float(queued.mean()), "age": _mean(aged)}
            )  # fmt: skip
    return rows


def risk(variant: str, picks: pd.DataFrame) -> list[dict[str, Any]]:
    """The risk-hardness curve: how often a pick of the shared epochs is a false negative, by its gap s - s+.

    Bins of 0.05, ``gap_low <= s - s+ < gap_high``, only those that hold a pick; a diverging run's picks without a gap
    are in none.

    Args:
        variant, picks: As :func:`epochs`.
    """
    some = picks[picks["shared"] & np.isfinite(picks["gap"])]
    some = some.assign(bin=np.floor((some["gap"] + ROUNDING) / GAP_WIDTH).astype(int)) if len(some) else some
    return [
        {"variant": variant, "direction": direction, "gap_low": round(place * GAP_WIDTH, 2),
         "gap_high": round((place + 1) * GAP_WIDTH, 2), **rate(part)}
        for direction, side in both_ways(some)
        if len(side)
        for place, part in side.groupby("bin", sort=True)
    ]  # fmt: skip


def _mean(values: pd.Series) -> float:
    """The mean of what is a number; NaN where nothing is."""
    values = values.to_numpy(np.float64)
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else math.nan
