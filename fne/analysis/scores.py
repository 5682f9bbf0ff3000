"""How good a probability is: ECE, Brier score, log loss, AUROC, average precision, with a bootstrap over images."""

from __future__ import annotations

import math

import numpy as np

from fne.negatives.maps import CLIP

METRICS = ("ece", "brier", "log_loss", "auroc", "average_precision")
BINS = 15
"""Log loss takes no probability for nearer to 0 or 1, or a single certain mistake would be infinite."""


class Scored:
    """Probabilities with their outcomes, sorted once, so that weighted scores are cheap: no pass sorts again.

    Weights are how often a pair is counted. With w = 1:

    ======================  =====================================================================================
    ``ece``                 ``sum_b n_b/n |mean p in b - mean y in b|`` over bins of equal mass; ties share a bin
    ``brier``               ``mean (p - y)^2``
    ``log_loss``            ``-mean [y log p + (1 - y) log(1 - p)]``, p kept within [1e-7, 1 - 1e-7]
    ``auroc``               probability that a positive has the greater p, ties counted half
    ``average_precision``   ``sum_k precision_k (recall_k - recall_(k-1))`` over the distinct p, downwards
    ======================  =====================================================================================

    The last two are NaN without a positive or without a negative.

    Args:
        probability: (N,) in [0, 1].
        positive: (N,) bool.
        bins: Of equal mass: pair i is in bin ``floor(bins #{p_j < p_i} / N)``.
    """

    def __init__(self, probability: np.ndarray, positive: np.ndarray, bins: int = BINS) -> None:
        self.p, self.y, self.bins = probability.astype(np.float64), positive.astype(np.float64), bins
        order = np.argsort(probability)
        ascending = self.p[order]
        first = np.concatenate([[True], ascending[1:] > ascending[:-1]])
        below = np.flatnonzero(first)[np.cumsum(first) - 1]
        self.bin = np.empty(len(order), np.int64)
        self.bin[order] = (bins * below) // max(len(order), 1)
        # Ranks need the weight at each probability that a positive has (odd levels) and between two of them (even).
        self.hits = np.flatnonzero(positive)
        result = np.unique(self.p[self.hits])
        place = np.searchsorted(result, ascending)
        at = result[np.minimum(place, len(result) - 1)] == ascending if len(result) else np.zeros(len(order), bool)
        self.level, self.levels = np.empty(len(order), np.int64), 2 * len(result) + 1
        self.level[order] = 2 * place + at
        clipped = np.clip(self.p, CLIP, 1 - CLIP)
        self.squared = (self.p - self.y) ** 2
        self.surprise = -np.where(self.y == 1, np.log(clipped), np.log1p(-clipped))

    def scores(self, weights: np.ndarray | None = None) -> np.ndarray:
        """The scores in the order of :data:`METRICS`.

        Args:
            weights: (N,) >= 0, in the order given at first; None counts every pair once.
        """
        w = np.ones(len(self.p)) if weights is None else weights.astype(np.float64)
        total = w.sum()
        if not total:
            return np.full(len(METRICS), math.nan)
        gaps = np.bincount(self.bin, w * (self.p - self.y), minlength=self.bins)
        every = np.bincount(self.level, w, minlength=self.levels)
        hits = np.bincount(self.level[self.hits], w[self.hits], minlength=self.levels)
        misses = every - hits
        positives, negatives = hits.sum(), misses.sum()
        auroc = precision = math.nan
        if positives > 0 and negatives > 0:
            auroc = float((hits * (np.cumsum(misses) - misses / 2)).sum() / (positives * negatives))
            above = np.cumsum(hits[::-1]), np.cumsum(every[::-1])
            at = np.divide(above[0], above[1], out=np.zeros_like(above[0]), where=above[1] > 0)
            precision = float((hits[::-1] * at).sum() / positives)
        means = w @ self.squared / total, w @ self.surprise / total
        return np.array([np.abs(gaps).sum() / total, *means, auroc, precision])

    def reliability(self) -> list[dict[str, float]]:
        """Per bin of equal mass: mean probability, observed positives, pairs; empty bins left out."""
        counts = np.bincount(self.bin, minlength=self.bins)
        p, y = (np.bincount(self.bin, values, minlength=self.bins) for values in (self.p, self.y))
        return [
            {"bin": b, "probability": float(p[b] / counts[b]), "positives": int(y[b]), "pairs": int(counts[b])}
            for b in np.flatnonzero(counts).tolist()
        ]


def bootstrap(
    scored: Scored, image: np.ndarray, caption_image: np.ndarray, images: int, draws: int, stream: np.random.Generator
) -> np.ndarray:
    """Scores under images drawn anew with all of their captions, (draws, metrics).

    A pair counts as often as its image was drawn times as often as the image of its caption was.

    Args:
        scored: The pairs.
        image, caption_image: (N,) int, the pair's image, and the image of its caption.
        images: How many there are.
        draws: How often.
        stream: Source of the draws.

    *Source*: Owen, The pigeonhole bootstrap, 2007: somewhat too wide, never too narrow.
    """
    result = np.empty((draws, len(METRICS)))
    for at in range(draws):
        count = np.bincount(stream.integers(0, images, images), minlength=images)
        result[at] = scored.scores(count[image] * count[caption_image])
    return result
