"""Metrics of one query from the ranks of its positives: numpy only, exact under ties."""

from __future__ import annotations

import numpy as np


def expected_hit(greater: np.ndarray, group: np.ndarray, positives: np.ndarray, k: int) -> np.ndarray:
    """Probability that at least one positive is in the first ``k`` when ties are broken at random.

    ``1 - C(t - p, s) / C(t, s)`` with ``s = min(max(k - g, 0), t)`` places left for the tie group.

    Args:
        greater: g, gallery items strictly above the best positive.
        group: t, items in the best positive's tie group, itself included.
        positives: p, positives among them, 1 <= p <= t.
        k: Cut-off, >= 1.
    """
    slots = np.clip(k - greater, 0, group)
    miss = np.ones(np.shape(greater))
    for drawn in range(int(slots.max(initial=0))):
        left = np.maximum(group - positives - drawn, 0) / np.maximum(group - drawn, 1)
        miss *= np.where(drawn < slots, left, 1.0)
    return 1.0 - miss
