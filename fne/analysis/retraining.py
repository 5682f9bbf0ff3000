"""Is a finished study what its reference is, but for the noise of training anew? Seeds' scores in, verdicts out.

Test images are the same on both sides, so their noise cancels and is not counted: a change of one score is the mean
over seeds here minus the mean over seeds there, seeds unpaired, because a seed names other random numbers on another
machine. A change of one difference is the same with differences (variant - baseline) that are paired by seed within
each side.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from fne.analysis.equivalence import INCONCLUSIVE, NOT_REPRODUCED, REPRODUCED, Verdict, compare_with_published
from fne.analysis.intervals import LEVEL

RULE = "retraining"
K = 9.0
"""Of the rule ``retraining``. Simulated for ten variants of five seeds on each side, normal, all nineteen verdicts
together: an honest retraining is reproduced as a whole in 99.9 % of studies where all variants have one standard
deviation, in 99.8 % where these spread evenly from 1 to 2, and in 97.4 % in the worst case of a factor of two, where
one variant alone has the double one; with heavier tails (Student's t, 6 degrees of freedom) in 98.6, 98.0 and 94.6 %,
the rest inconclusive. No honest retraining is called not reproduced. A shift of one variant by two
tolerances is called not reproduced in 99 %, by three in more than 99.99 %, and never passes as reproduced."""
MIN_SEEDS = 5
"""Of a reference: with three seeds intervals are wider, and ``K`` would have to be 13."""


@dataclass(frozen=True)
class Tolerance:
    """What counts as the same: half widths for scores and for differences, in the unit of the scores, > 0."""

    score: float
    difference: float


@dataclass(frozen=True)
class Change:
    """One quantity here against the reference.

    Args:
        reference, here: Means over seeds; NaN where a side has none.
        n_reference, n_here: Seeds.
        low, high: The interval of ``here - reference``; NaN with fewer than two seeds on a side.
        tolerance: Half the width of what counts as the same.
        verdict: See :func:`fne.analysis.equivalence.compare_with_published`.
    """

    reference: float
    here: float
    n_reference: int
    n_here: int
    low: float
    high: float
    tolerance: float
    verdict: Verdict

    @property
    def change(self) -> float:
        """``here - reference``."""
        return self.here - self.reference

    @property
    def within_noise(self) -> bool:
        """Does the interval hold no change at all?"""
        return self.low <= 0 <= self.high


def welch(
    here: np.ndarray, reference: np.ndarray, level: float = LEVEL
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Interval of a difference of two means whose variances may differ.

    ``mean(here) - mean(reference) +- t_df sqrt(v)``, ``v = s_h^2 / m + s_r^2 / n``, and
    ``df = v^2 / ((s_h^2 / m)^2 / (m - 1) + (s_r^2 / n)^2 / (n - 1))``; where nothing varies, a point.

    Args:
        here: (..., m) scores, m >= 2.
        reference: (..., n) scores, n >= 2.
        level: Nominal coverage.

    Returns:
        Difference, low, high and degrees of freedom, each (...).

    Raises:
        ValueError: A side has fewer than two seeds.

    *Source*: Welch 1947; degrees of freedom after Satterthwaite 1946.
    """
    from scipy.special import stdtrit

    m, n = here.shape[-1], reference.shape[-1]
    if min(m, n) < 2:
        raise ValueError(f"needs two seeds on each side, got {m} and {n}")
    a, b = here.var(axis=-1, ddof=1) / m, reference.var(axis=-1, ddof=1) / n
    variance, uncertainty = a + b, a**2 / (m - 1) + b**2 / (n - 1)
    freedom = np.where(uncertainty > 0, variance**2 / np.where(uncertainty > 0, uncertainty, 1.0), m + n - 2.0)
    half = stdtrit(freedom, (1 + level) / 2) * np.sqrt(variance)
    difference = here.mean(axis=-1) - reference.mean(axis=-1)
    return difference, difference - half, difference + half, freedom


def compare(here: np.ndarray, reference: np.ndarray, tolerance: float) -> Change:
    """Set the scores of the seeds of one quantity against those of the reference.

    Args:
        here: (m,), any m.
        reference: (n,), any n.
        tolerance: > 0.
    """
    low = high = float("nan")
    if min(len(here), len(reference)) >= 2:
        _, low, high, _ = map(float, welch(here, reference))
    before, now = (float(side.mean()) if len(side) else float("nan") for side in (reference, here))
    verdict = compare_with_published(low, high, 0.0, tolerance)
    return Change(before, now, len(reference), len(here), low, high, tolerance, verdict)


def tolerance_of(scores: np.ndarray, baseline: int) -> Tolerance:
    """The tolerance by the rule ``retraining``, from the reference's own seeds.

    ``K s sqrt(2 / n)``: ``s sqrt(2 / n)`` is the standard deviation of a change that retraining makes, with s the root
    mean square over the study's variants of the standard deviation over seeds (of a score), or over the other variants
    of that of ``variant - baseline`` (of a difference).

    Args:
        scores: (V, n) of V >= 2 variants and n >= 2 seeds, each column of one seed.
        baseline: Row of the baseline.
    """
    differences = np.delete(scores, baseline, axis=0) - scores[baseline]
    n = scores.shape[1]
    of_score, of_difference = (
        K * float(np.sqrt(values.var(axis=1, ddof=1).mean() * 2 / n)) for values in (scores, differences)
    )
    return Tolerance(of_score, of_difference)


def overall(verdicts: Iterable[str]) -> str:
    """Not reproduced if any is, reproduced if all are, else inconclusive."""
    given = set(verdicts)
    return NOT_REPRODUCED if NOT_REPRODUCED in given else REPRODUCED if given == {REPRODUCED} else INCONCLUSIVE
