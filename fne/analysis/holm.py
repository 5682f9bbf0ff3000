"""Many comparisons at once: Holm's step-down adjustment within one declared family."""

from __future__ import annotations

import numpy as np


def holm(p_values: np.ndarray) -> np.ndarray:
    """Adjusted p values: ``max_{j <= i} min(1, (m - j + 1) p_(j))`` over the ordered p values.

    The chance of any false rejection in the family stays below the level under any dependence.

    Args:
        p_values: (m,), the whole family; NaN (a comparison that could not be made) stays NaN, and still
            counts in m (the family was declared before anything ran).

    Source: Holm, Scandinavian Journal of Statistics, 1979.
    """
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values, kind="stable")
    steps = p_values[order] * (len(p_values) - np.arange(len(p_values)))
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def holm_floor(floor: float, comparisons: float) -> float:
    """The least adjusted p value in a family whose p values are at least ``floor``: ``min(1, m floor)``.

    The smallest p is multiplied by m, and no adjusted value lies below that of the smallest. NaN outside a family.
    """
    return min(1.0, comparisons * floor) if comparisons == comparisons else comparisons
