"""Which items are picked most often, and how unevenly picks fall on items."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd

TOP = 20


def popular(variant: str, picks: pd.DataFrame, ids: dict[str, Any]) -> list[dict[str, Any]]:
    """The most-picked candidates of the shared epochs per direction, seeds pooled; ties in order of position.

    Args:
        variant: Its id.
        picks: As :func:`fne.analysis.rates.prepared`.
        ids: Ids of the training split's candidates by direction (captions for i2t, images for t2i); empty where the
            prepared data are not at hand.
    """
    rows = []
    for direction, some in picks[picks["shared"]].groupby("direction", sort=True):
        counts = some.groupby("candidate").agg(
            picks=("candidate", "size"),
            anchors=("anchor", "nunique"),
            false_negatives=("false_negative", lambda truth: int((truth == 1).sum())),
        )
        counts = counts.sort_values("picks", ascending=False, kind="stable").head(TOP)
        for place, row in enumerate(counts.itertuples(), start=1):
            name = ids[direction][row.Index] if direction in ids else None
            rows.append(
                {"variant": variant, "direction": direction, "place": place, "candidate": row.Index, "id": name,
                 "picks": row.picks, "share_of_picks": row.picks / len(some), "anchors": row.anchors,
                 "false_negatives": row.false_negatives if some["looked"].all() else None}
            )  # fmt: skip
    return rows


def concentration(variant: str, picks: pd.DataFrame, items: dict[str, int]) -> list[dict[str, Any]]:
    """How unevenly the picks of the shared epochs fall on the items of the training split, per direction.

    ``gini``: Gini's coefficient of the picks per item, items never picked included, seeds pooled; 0: all alike.
    ``gini_by_chance``: what as many picks fall to if each is drawn uniformly (so that few picks do not pass for
    preference). ``top_share``: share of the picks that fall on the most-picked hundredth of the items.

    Args:
        variant, picks: As :func:`popular`.
        items: Items of the training split by direction.
    """
    rows = []
    for direction, some in picks[picks["shared"]].groupby("direction", sort=True):
        total = items.get(direction, 0)
        counts = np.bincount(some["candidate"].to_numpy(), minlength=total).astype(np.float64)
        most = np.sort(counts)[::-1][: max(1, round(len(counts) / 100))]
        rows.append(
            {"variant": variant, "direction": direction, "picks": len(some), "items": total or None,
             "items_picked": int((counts > 0).sum()),
             "gini": gini(counts) if total else None,
             "gini_by_chance": poisson_gini(len(some) / total) if total else None,
             "top_share": float(most.sum() / len(some)) if total else None}
        )  # fmt: skip
    return rows


def gini(counts: np.ndarray) -> float:
    """Gini's coefficient: mean absolute difference of two items over twice the mean.

    ``sum_i (2 i - n - 1) x_(i) / (n sum x)`` over x sorted upwards, i from 1.

    Args:
        counts: (n,) >= 0.
    """
    n, total = len(counts), counts.sum()
    if not total:
        return math.nan
    ranks = 2 * np.arange(1, n + 1) - n - 1
    return float((ranks * np.sort(counts)).sum() / (n * total))


def poisson_gini(mean: float) -> float:
    """Gini's coefficient of a Poisson distribution, ``e^{-2 mean} (I_0(2 mean) + I_1(2 mean))``.

    *Source*: the mean difference of two Poisson variables, Ramasubban, Biometrika 45, 1958.
    """
    from scipy.special import ive

    return float(ive(0, 2 * mean) + ive(1, 2 * mean))
