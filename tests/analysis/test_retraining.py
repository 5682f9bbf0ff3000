"""Welch's interval against scipy's; the rule of the tolerance; verdicts over whole studies, by simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import ttest_ind

from fne.analysis.equivalence import INCONCLUSIVE, NOT_REPRODUCED, REPRODUCED, VERDICTS
from fne.analysis.retraining import K, Tolerance, compare, overall, tolerance_of, welch


@pytest.mark.parametrize(("m", "n", "spread"), [(5, 5, 1.0), (5, 5, 2.0), (2, 5, 3.0), (3, 10, 0.1), (2, 2, 1.0)])
def test_welch_is_what_scipy_gives(m: int, n: int, spread: float) -> None:
    rng = np.random.default_rng(m * n)
    here, reference = rng.normal(4.3, 0.01, m), rng.normal(4.31, 0.01 * spread, n)
    result = [float(value) for value in welch(here, reference)]
    theirs = ttest_ind(here, reference, equal_var=False)
    assert result[0] == pytest.approx(here.mean() - reference.mean()) and result[3] == pytest.approx(
        theirs.df, rel=1e-9
    )
    assert result[1:3] == pytest.approx(list(theirs.confidence_interval(0.95)), rel=1e-9, abs=1e-12)


def test_where_nothing_varies_the_interval_is_a_point() -> None:
    difference, low, high, freedom = map(float, welch(np.full(5, 4.5), np.full(4, 4.25)))
    assert (difference, low, high, freedom) == (0.25, 0.25, 0.25, 7)
    with pytest.raises(ValueError, match="two seeds on each side, got 1 and 4"):
        welch(np.ones(1), np.ones(4))


@pytest.mark.parametrize(
    ("here", "reference", "verdict", "reason"),
    [
        ([4.30, 4.31, 4.29], [4.30, 4.31, 4.29], REPRODUCED, "interval_inside"),
        ([4.60, 4.61, 4.59], [4.30, 4.31, 4.29], NOT_REPRODUCED, "interval_outside_high"),
        ([4.10, 4.50, 4.30], [4.30, 4.31, 4.29], INCONCLUSIVE, "interval_too_wide"),
        ([4.30], [4.30, 4.31, 4.29], INCONCLUSIVE, "too_few_seeds"),
    ],
)
def test_verdicts(here: list[float], reference: list[float], verdict: str, reason: str) -> None:
    change = compare(np.array(here), np.array(reference), 0.1)
    assert (change.verdict.verdict, change.verdict.reason) == (verdict, reason)
    assert (change.n_here, change.n_reference) == (len(here), len(reference))
    assert change.change == pytest.approx(sum(here) / len(here) - sum(reference) / len(reference))
    if min(len(here), len(reference)) > 1:
        ends = ttest_ind(here, reference, equal_var=False).confidence_interval(0.95)
        assert (change.low, change.high) == pytest.approx(tuple(ends), rel=1e-6)
        assert change.within_noise == (change.low <= 0 <= change.high)
    else:
        assert math.isnan(change.low) and math.isnan(change.high) and not change.within_noise


def test_overall_verdict() -> None:
    for size in (1, 2, 3):
        for verdicts in itertools.product(VERDICTS, repeat=size):
            expected = REPRODUCED if all(item == REPRODUCED for item in verdicts) else INCONCLUSIVE
            assert overall(verdicts) == (NOT_REPRODUCED if NOT_REPRODUCED in verdicts else expected)
    assert overall([]) == INCONCLUSIVE


@pytest.mark.parametrize("baseline", [0, 2])
def test_the_rule_is_what_plain_loops_give(baseline: int) -> None:
    scores = np.random.default_rng(3).normal(4.3, 0.02, (4, 6))

    def variance(values: list[float]) -> float:
        mean = sum(values) / len(values)
        return sum((value - mean) ** 2 for value in values) / (len(values) - 1)

    of_scores, of_differences = [], []
    for row in range(4):
        of_scores.append(variance(list(scores[row])))
        if row != baseline:
            of_differences.append(variance([float(scores[row, s] - scores[baseline, s]) for s in range(6)]))
    expected = [9 * math.sqrt(sum(each) / len(each)) * math.sqrt(2 / 6) for each in (of_scores, of_differences)]
    assert tolerance_of(scores, baseline) == Tolerance(*map(pytest.approx, expected))


WORLDS, VARIANTS, SEEDS = 20_000, 10, 5
SPREADS = {
    "one sd": np.ones(VARIANTS),
    "from 1 to 2": np.linspace(1, 2, VARIANTS),
    "the baseline doubly": np.r_[2, np.ones(VARIANTS - 1)],
    "one variant doubly": np.r_[1, 2, np.ones(VARIANTS - 2)],
    "half of them doubly": np.r_[np.ones(VARIANTS // 2), np.full(VARIANTS // 2, 2)],
}


def two_sides(spread: np.ndarray, worlds: int, common: float) -> list[np.ndarray]:
    """Scores of the reference and of an honest retraining, each (worlds, V, n).

    Args:
        spread: (V,) standard deviation of each variant over seeds.
        worlds: Studies.
        common: Standard deviation of what a seed does to all variants alike.
    """
    rng = np.random.default_rng(7)
    return [
        rng.normal(0, 1, (worlds, len(spread), SEEDS)) * spread[:, None] + rng.normal(0, common, (worlds, 1, SEEDS))
        for _ in range(2)
    ]


def margins(spread: np.ndarray, shift: float = 0.0, worlds: int = WORLDS, common: float = 0.0) -> np.ndarray:
    """Low and high ends of all intervals over their tolerance, (2, worlds, 2 V - 1): variant 0 is the baseline.

    Args:
        spread, worlds, common: As of :func:`two_sides`.
        shift: Of variant 1 here, in tolerances of a score.
    """
    sides = two_sides(spread, worlds, common)
    pairs = [sides, [side[:, 1:] - side[:, :1] for side in sides]]
    sizes = [K * np.sqrt(reference.var(axis=2, ddof=1).mean(axis=1) * 2 / SEEDS)[:, None] for reference, _ in pairs]
    result = []
    for (reference, here), size, moved in zip(pairs, sizes, (1, 0), strict=True):
        here[:, moved] += shift * sizes[0]
        _, low, high, _ = welch(here, reference)
        result.append(np.stack([low / size, high / size]))
    return np.concatenate(result, axis=2)


@pytest.mark.parametrize("common", [0.0, 1.0])
@pytest.mark.parametrize("spread", SPREADS)
def test_an_honest_retraining_is_reproduced_as_a_whole(spread: str, common: float) -> None:
    """Also where seeds move all variants alike, so that differences vary less than scores."""
    low, high = margins(SPREADS[spread], common=common)
    reproduced = ((low >= -1) & (high <= 1)).all(axis=1).mean()
    assert reproduced >= 0.97, reproduced
    assert not ((low > 1) | (high < -1)).any(), "no honest retraining is called not reproduced"


@pytest.mark.parametrize(("shift", "share"), [(2.0, 0.985), (3.0, 0.9999), (-3.0, 0.9999)])
@pytest.mark.parametrize("spread", SPREADS)
def test_a_shift_of_a_few_tolerances_is_flagged(spread: str, shift: float, share: float) -> None:
    low, high = margins(SPREADS[spread], shift)
    flagged = ((low > 1) | (high < -1)).any(axis=1)
    assert flagged.mean() >= share, flagged.mean()
    assert not ((low >= -1) & (high <= 1)).all(axis=1).any(), "none passes as reproduced"
