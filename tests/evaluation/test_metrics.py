"""Metrics against rankings written out: every order of the ties enumerated."""

from __future__ import annotations

import itertools
from fractions import Fraction
from math import comb

import numpy as np
import pytest

from fne.evaluation.metrics import best_rank, expected_hit, map_at_r, of_queries, r_precision, tie_groups

KS = (1, 2, 3, 5, 10)


def counts(scores: np.ndarray, relevant: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Plain-loop (query, greater, ties) of every relevant pair."""
    rows = [
        (q, sum(s > scores[q, i] for s in scores[q]), sum(s == scores[q, i] for s in scores[q]) - 1)
        for q, i in zip(*np.nonzero(relevant), strict=True)
    ]
    return tuple(np.array(rows).T)


def all_metrics(scores: np.ndarray, relevant: np.ndarray, rule: str) -> dict[str, np.ndarray]:
    groups = tie_groups(*counts(scores, relevant), len(scores), rule)
    return {
        **of_queries(groups, [f"r{k}" for k in KS]), "rank": best_rank(groups), "map_at_r": map_at_r(groups),
        "r_precision": r_precision(groups),
    }  # fmt: skip


def of_ranking(flags: np.ndarray) -> dict[str, float]:
    """The definitions, read off one ranked list of relevance flags."""
    total = int(flags.sum())
    precision = [flags[: r + 1].mean() for r in range(total)]
    return {
        **{f"r{k}": float(flags[:k].any()) for k in KS},
        "rank": float(np.flatnonzero(flags)[0] + 1),
        "map_at_r": sum(p * f for p, f in zip(precision, flags, strict=False)) / total,
        "r_precision": float(flags[:total].mean()),
    }


def every_order(scores: np.ndarray, flags: np.ndarray) -> list[np.ndarray]:
    """The relevance flags of every ranking that agrees with the scores."""
    levels = [np.flatnonzero(scores == value) for value in sorted(set(scores), reverse=True)]
    orders = itertools.product(*(itertools.permutations(level) for level in levels))
    return [flags[list(itertools.chain(*order))] for order in orders]


CASES = [
    (scores, relevant)
    for seed in range(25)
    for rng in [np.random.default_rng(seed)]
    for scores in [rng.integers(0, 1 + seed % 4, (3, 7)).astype(float)]
    for relevant in [rng.random((3, 7)) < 0.4]
    if relevant.any(1).all()
]


@pytest.mark.parametrize("rule", ["expected", "pessimistic"])
@pytest.mark.parametrize("case", range(len(CASES)))
def test_metrics_are_the_mean_or_the_worst_of_every_order_of_the_ties(case: int, rule: str) -> None:
    scores, relevant = CASES[case]
    result = all_metrics(scores, relevant, rule)
    for q in range(len(scores)):
        orders = [of_ranking(flags) for flags in every_order(scores[q], relevant[q])]
        for name, values in result.items():
            of = np.mean if rule == "expected" else max if name == "rank" else min
            assert values[q] == pytest.approx(of([order[name] for order in orders]), abs=1e-12), name


def test_large_tie_groups_keep_their_precision() -> None:
    """Against exact rational arithmetic, at COCO's size."""
    for total, positives, k in ((25_000, 5, 10), (25_000, 24_000, 10), (5_000, 1, 1000), (12, 5, 10)):
        exact = 1 - Fraction(comb(total - positives, k), comb(total, k))
        result = expected_hit(np.array([0]), np.array([total]), np.array([positives]), k)
        assert result[0] == pytest.approx(float(exact), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize(
    ("queries", "greater", "ties", "count", "rule", "words"),
    [
        ([0, 0], [0, 0], [0, 0], 2, "expected", "needs a positive"),
        ([0, 0], [3, 3], [1, 2], 1, "expected", "contradict"),
        ([0, 0], [0, 0], [1, 1], 1, "optimistic", "tie_rule"),
    ],
)
def test_what_cannot_be_scored_is_refused(queries, greater, ties, count, rule, words) -> None:
    with pytest.raises(ValueError, match=words):
        tie_groups(*map(np.array, (queries, greater, ties)), count, rule)
