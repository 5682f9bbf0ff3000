"""Rank correlations against scipy; their interval by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from fne.analysis.rank_correlation import agreements, kendall, spearman

SIMULATIONS = 60


@pytest.mark.parametrize("ties", [False, True])
def test_rank_correlations_are_those_of_scipy(ties: bool) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, 4 if ties else 10**9, (2, 3, 7)).astype(float) for _ in range(2))
    for i, j in np.ndindex(2, 3):
        x, y = a[i, j], b[i, j]
        assert spearman(a, b)[i, j] == pytest.approx(stats.spearmanr(x, y).statistic)
        assert kendall(a, b)[i, j] == pytest.approx(stats.kendalltau(x, y).statistic)
    assert np.isnan(spearman(np.ones(4), np.arange(4.0))) and np.isnan(kendall(np.ones(4), np.arange(4.0)))


def simulated(order: np.ndarray, other: np.ndarray, seeds: int, noise: float, images: int) -> dict[str, float]:
    """Share of simulated pairs of studies whose interval holds the rank correlation of the true orders."""
    rng = np.random.default_rng(seeds)
    truth = {"Spearman": float(spearman(order, other)), "Kendall": float(kendall(order, other))}
    held = dict.fromkeys(truth, 0)
    for _ in range(SIMULATIONS):
        made = []
        for means in (order, other):
            shape = (seeds, images, len(means))
            shared = rng.normal(0, 3, (seeds, 1, 1)) + rng.normal(0, 3, (1, images, 1))
            of_image = rng.normal(0, noise, (1, images, len(means))) * (images > 1)
            made.append(means + shared + rng.normal(0, noise, (seeds, 1, len(means))) + of_image
                        + rng.normal(0, noise, shape) * (images > 1))  # fmt: skip
        for item in agreements(*made, resamples=200):
            held[item.name] += item.low - 1e-9 <= truth[item.name] <= item.high + 1e-9
    return {name: count / SIMULATIONS for name, count in held.items()}


TRUE = np.arange(10.0)


@pytest.mark.parametrize("other", [TRUE, TRUE[[0, 1, 3, 2, 4, 5, 7, 6, 8, 9]], TRUE[[4, 8, 2, 6, 9, 0, 5, 1, 7, 3]]])
@pytest.mark.parametrize(("seeds", "noise", "images"), [(3, 1.0, 1), (5, 1.0, 12), (5, 4.0, 1), (10, 6.0, 1)])
def test_the_interval_holds_the_true_rank_correlation(other: np.ndarray, seeds: int, noise: float, images: int) -> None:
    """At least 95 % nominally; 60 simulations of one scenario may fall to 90 % by chance, never below."""
    assert min(simulated(TRUE, other, seeds, noise, images).values()) >= 0.9


def test_the_interval_tells_something_where_the_means_are_apart() -> None:
    rng = np.random.default_rng(1)
    a, b = (TRUE + rng.normal(0, 0.7, (5, 1, 10)) for _ in range(2))
    result = {item.name: item for item in agreements(a, b)}
    assert result["Spearman"].low > 0.7 and result["Kendall"].low > 0.6 and result["Kendall"].high == 1.0
    assert "bootstrap over seeds (2,000 resamples)" in result["Kendall"].method
    assert agreements(a, b) == agreements(a, b), "the same data, the same draws"


def test_too_few_of_anything_gives_no_interval_and_says_why() -> None:
    rng = np.random.default_rng(3)
    for shape, words in (((2, 1, 5), "2 seeds"), ((5, 1, 2), "2 common variants"), ((5, 1, 1), "1 common variant ")):
        for item in agreements(rng.normal(size=shape), rng.normal(size=shape)):
            assert np.isnan(item.low) and np.isnan(item.high) and words in item.method
    tied = agreements(np.ones((5, 1, 4)), rng.normal(size=(5, 1, 4)))
    assert all(np.isnan(item.value) and "tie" in item.method for item in tied)
