"""Agreement of two strategies: how often they pick the same negative for the same anchor at the same step."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from fne.analysis.proportion import method, share
from fne.protocols import DIRECTIONS
from fne.utils.min_seeds import MIN_SEEDS

if TYPE_CHECKING:
    import pandas as pd

MOST = 60
"""Variants of which all pairs are counted: the number of pairs grows with the square of theirs."""


@dataclass(frozen=True)
class Keyed:
    """Picks of the shared epochs, by anchor.

    Args:
        group: (P,) int64: seed, direction and step.
        anchor, candidate: (P,) int64. No pair of group and anchor stands twice.
    """

    group: np.ndarray
    anchor: np.ndarray
    candidate: np.ndarray


def keyed(picks: pd.DataFrame) -> Keyed:
    """The picks of the shared epochs by seed, direction, step and anchor; anchors met twice in a batch are left out.

    Args:
        picks: As :func:`fne.analysis.rates.prepared`.
    """
    some = picks[picks["shared"]]
    some = some.drop_duplicates(["seed", "direction", "step", "anchor"], keep=False)
    seed, step, anchor, candidate = (some[name].to_numpy(np.int64) for name in ("seed", "step", "anchor", "candidate"))
    backwards = (some["direction"] == "t2i").to_numpy(np.int64)
    return Keyed((seed << 32) | (step << 1) | backwards, anchor, candidate)


def pairs(variants: Sequence[str], baseline: str) -> list[tuple[str, str]]:
    """The pairs that are counted: all among the first :data:`MOST` variants, and the baseline with each of the rest.

    Args:
        variants: Ids of those that have picks, in the study's order.
        baseline: Id of the study's baseline.
    """
    result = list(combinations(variants[:MOST], 2))
    if baseline in variants[MOST:]:
        result += [(other, baseline) for other in variants[:MOST]]
    if baseline in variants:
        result += [(baseline, other) for other in variants[MOST:] if other != baseline]
    return result


def agreement(first: str, second: str, item: Keyed, other: Keyed) -> list[dict[str, Any]]:
    """A row per direction and for both: the share of common anchors with the same pick, and corrected for chance.

    Two rules that like the same few popular candidates agree by accident. With n_a(c), n_b(c) the picks of candidate
    c that the two make at a step of n common anchors, that is what is left if each rule's picks are dealt to its
    anchors anew: ``expected = mean over anchors of sum_c n_a(c) n_b(c) / n^2``, and
    ``kappa = (agreement - expected) / (1 - expected)``: 1 for identical picks, 0 for no more than accident.

    The interval of the share is that of :func:`fne.analysis.proportion.share`; kappa's is Student's t over seeds.

    Args:
        first, second: Ids of the variants.
        item, other: Their picks, as :func:`keyed` gives them.
    """
    group, left, right = _joined(item, other)
    same, expected = left == right, _expected(group, left, right)
    rows = []
    for direction in (*DIRECTIONS, "both"):
        kept = np.ones(len(group), bool) if direction == "both" else (group & 1) == int(direction == "t2i")
        seeds, place = np.unique(group[kept] >> 32, return_inverse=True)
        if not len(seeds):
            continue
        anchors, hits = np.bincount(place), np.bincount(place, same[kept])
        chance = np.bincount(place, expected[kept]) / anchors
        whole, by_chance = share(hits, anchors), float(expected[kept].mean())
        low, high = _t_interval(_kappa(hits / anchors, chance))
        rows.append(
            {"variant": first, "other": second, "direction": direction, "seeds": len(seeds), "anchors": int(kept.sum()),
             "same": whole.hits, "agreement": whole.value, "low": whole.low, "high": whole.high,
             "method": method(len(seeds)), "expected": by_chance,
             "kappa": float(_kappa(np.array(whole.value), np.array(by_chance))), "kappa_low": low, "kappa_high": high}
        )  # fmt: skip
    return rows


def _joined(item: Keyed, other: Keyed) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Group and both picks of every anchor that both rules have a pick for."""
    groups, places = np.unique(np.concatenate([item.group, other.group]), return_inverse=True)
    first, second = places[: len(item.group)], places[len(item.group) :]
    _, left, right = np.intersect1d(
        (first << 32) | item.anchor, (second << 32) | other.anchor, assume_unique=True, return_indices=True
    )
    return groups[first[left]], item.candidate[left], other.candidate[right]


def _expected(group: np.ndarray, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """(P,): for every common anchor the agreement by accident in its group."""
    groups, place, sizes = np.unique(group, return_inverse=True, return_counts=True)
    keys, counts = np.unique((place << 32) | left, return_counts=True)
    other_keys, other_counts = np.unique((place << 32) | right, return_counts=True)
    common, first, second = np.intersect1d(keys, other_keys, assume_unique=True, return_indices=True)
    products = np.bincount(common >> 32, counts[first] * other_counts[second], minlength=len(groups))
    return (products / sizes.astype(np.float64) ** 2)[place]


def _kappa(agreed: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """NaN where chance alone agrees always."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(expected < 1, (agreed - expected) / (1 - expected), math.nan)


def _t_interval(values: np.ndarray) -> tuple[float, float]:
    from scipy.special import stdtrit

    n = len(values)
    if n < MIN_SEEDS or not np.isfinite(values).all():
        return math.nan, math.nan
    reach = float(stdtrit(n - 1, 0.975)) * values.std(ddof=1) / math.sqrt(n)
    return float(values.mean() - reach), float(values.mean() + reach)
