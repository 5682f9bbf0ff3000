"""Is a published number reproduced? The interval of a mean against a declared tolerance, with a reason code."""

from __future__ import annotations

import math
from dataclasses import dataclass

REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE = "reproduced", "not reproduced", "inconclusive"
VERDICTS = (REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE)
REASONS = {
    "interval_inside": "the whole interval lies within the tolerance",
    "interval_outside_low": "the whole interval lies below the tolerance",
    "interval_outside_high": "the whole interval lies above the tolerance",
    "interval_crosses": "the interval lies across one end of the tolerance",
    "interval_too_wide": "the interval is wider than the tolerance, so more seeds or test images would be needed",
    "too_few_seeds": "too few seeds to say how much the mean varies",
}
"""Why a verdict is what it is."""


@dataclass(frozen=True)
class Verdict:
    """A verdict of :data:`VERDICTS` and its reason, a key of :data:`REASONS`."""

    verdict: str
    reason: str


def compare_with_published(low: float, high: float, published: float, tolerance: float) -> Verdict:
    """Judge whether the interval of a mean reproduces a published value.

    ``reproduced``: ``published - tolerance <= low`` and ``high <= published + tolerance``; ``not reproduced``:
    ``high < published - tolerance`` or ``low > published + tolerance``; else ``inconclusive``. With a 95 % interval
    these are two one-sided tests at 2.5 % each, so a mean that truly lies at an end of the tolerance or beyond is
    called reproduced in at most 2.5 % of studies (with the usual 90 % interval: 5 %).

    Args:
        low, high: The interval; NaN where there are too few seeds for one.
        published: The number to be reproduced, in the same unit, taken as exact.
        tolerance: Half the width of what counts as the same, declared beforehand, > 0.

    Raises:
        ValueError: The tolerance is not positive, or the interval is reversed.

    *Source*: Schuirmann 1987, two one-sided tests; the interval inclusion rule of Westlake 1972.
    """
    if not tolerance > 0:
        raise ValueError(f"a tolerance is positive, got {tolerance}")
    if math.isnan(low) or math.isnan(high):
        return Verdict(INCONCLUSIVE, "too_few_seeds")
    if low > high:
        raise ValueError(f"not an interval: [{low}, {high}]")
    bottom, top = published - tolerance, published + tolerance
    if bottom <= low and high <= top:
        return Verdict(REPRODUCED, "interval_inside")
    if high < bottom or low > top:
        return Verdict(NOT_REPRODUCED, "interval_outside_low" if high < bottom else "interval_outside_high")
    return Verdict(INCONCLUSIVE, "interval_too_wide" if high - low > 2 * tolerance else "interval_crosses")
