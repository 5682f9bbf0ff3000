"""Paired tests by exchanging labels: over images (these trained models) and over seeds (another training)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fne.utils.min_seeds import EXACT_SEEDS, FLIPS, seed_floor
from fne.utils.seeding import numpy_stream

_CHUNK = 1000
_ROUNDING = 1e-9
"""Relative slack, so that a pattern equal to the observed one but for rounding counts as reaching it."""


def image_p_values(differences: np.ndarray, *, stream: int = 0, flips: int = FLIPS) -> np.ndarray:
    """Two-sided p values of paired permutation tests over images, ``(1 + #{|T*| >= |T|}) / (1 + flips)``.

    Exchanging the two variants' results on an image flips the sign of its difference. The test speaks about
    these trained models on other images of this kind, not about training them again.

    Args:
        differences: (N, C), one difference per image (averaged over seeds) and comparison.
        stream: Seed of the random signs; all columns see the same ones.
        flips: Number of random sign patterns.
    """
    observed = np.abs(differences.sum(axis=0))
    bound = observed - _ROUNDING * np.abs(differences).sum(axis=0)
    reached = np.zeros(differences.shape[1], dtype=np.int64)
    for start in range(0, flips, _CHUNK):
        size = min(_CHUNK, flips - start)
        bits = numpy_stream(stream, "image signs", start).integers(0, 2, (size, len(differences)), dtype=np.int8)
        sums = (2.0 * bits - 1.0) @ differences
        reached += (np.abs(sums) >= bound).sum(axis=0)
    return (1 + reached) / (1 + flips)


def image_floor(flips: int = FLIPS) -> float:
    """The least p value that the test over images can give: no random pattern reaches the observed sum."""
    return 1.0 / (1 + flips)


def seed_p_value(differences: np.ndarray, *, stream: int = 0, flips: int = FLIPS) -> tuple[float, float]:
    """Two-sided p value of the sign-flip test over seeds, and the least value it can take, ``2 / 2^n``.

    Exact up to :data:`EXACT_SEEDS` seeds. The test speaks about training both variants again. Below a floor
    of .05 (six seeds) it can say something, above it nothing.

    Args:
        differences: (n,) one difference per seed, the two runs of a seed being paired.

    Returns:
        p and its floor; NaN and NaN without a seed.
    """
    n = len(differences)
    if n == 0:
        return float("nan"), float("nan")
    if n <= EXACT_SEEDS:
        signs = 1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
    else:
        signs = 2.0 * numpy_stream(stream, "seed signs", n).integers(0, 2, (flips, n)) - 1.0
        signs = np.concatenate([np.ones((1, n)), signs])
    bound = abs(differences.sum()) - _ROUNDING * np.abs(differences).sum()
    p = float((np.abs(signs @ differences) >= bound).mean())
    return p, seed_floor(n, flips)


def drawn_floor(row: Mapping[str, Any], test: str) -> float:
    """The least p value that a test can give because its signs are drawn at random; 0 where all of them are counted.

    Args:
        row: Of ``contrasts.csv``.
        test: ``p_query`` or ``p_seed``.
    """
    exact = test == "p_seed" and row["n_seeds"] <= EXACT_SEEDS
    return 0.0 if exact else float(row[f"{test}_floor"])
