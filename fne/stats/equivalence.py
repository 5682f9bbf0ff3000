"""Is a published number reproduced? An interval against a tolerance, with a reason."""

from __future__ import annotations

import math
from dataclasses import dataclass

VERDICTS = ("reproduced", "not reproduced", "inconclusive")


@dataclass(frozen=True)
class Verdict:
    """A verdict of :data:`VERDICTS` and its reason code."""

    verdict: str
    reason: str


def compare_with_published(low: float, high: float, published: float, tolerance: float) -> Verdict:
    """Judge whether the interval of a mean reproduces a published value.

    ``reproduced``: the interval lies within ``published +- tolerance`` (reason ``within``). ``not
    reproduced``: it lies outside (``below``, ``above``). ``inconclusive``: it is wider than the tolerance
    allows (``too_wide``: more seeds or images would decide), it straddles an end (``straddles``), or there is
    none (``no_interval``).

    Args:
        low, high: The interval; NaN where there is none.
        published: The number to be reproduced, in the same unit.
        tolerance: Half-width of what counts as the same, declared beforehand, > 0.

    Raises:
        ValueError: The tolerance is not positive, or the interval is reversed.
    """
    if not tolerance > 0:
        raise ValueError(f"a tolerance is positive, got {tolerance}")
    if math.isnan(low) or math.isnan(high):
        return Verdict("inconclusive", "no_interval")
    if low > high:
        raise ValueError(f"not an interval: [{low}, {high}]")
    bottom, top = published - tolerance, published + tolerance
    if bottom <= low and high <= top:
        return Verdict("reproduced", "within")
    if high < bottom or low > top:
        return Verdict("not reproduced", "below" if high < bottom else "above")
    return Verdict("inconclusive", "too_wide" if high - low > 2 * tolerance else "straddles")
