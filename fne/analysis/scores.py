"""How good a probability is: ECE, Brier score, log loss, AUROC, average precision, with a bootstrap over images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fne.negatives.maps import CLIP

METRICS = ("ece", "brier", "log_loss", "auroc", "average_precision")
BINS = 15
AT_ONCE = 50
"""Draws of a bootstrap in one pass over the pairs."""
BLOCK = 100_000
"""Weights that are held at once."""


class Scored:
    """Probabilities with their outcomes, sorted once, so that weighted scores are cheap: no pass sorts again.

    Pairs that come by increasing probability are not sorted at all.

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
        p, y, self.bins = probability.astype(np.float64), positive.astype(np.float64), bins
        self.order = None if (p[1:] >= p[:-1]).all() else np.argsort(p, kind="stable")
        self.p, self.y = (p, y) if self.order is None else (p[self.order], y[self.order])
        first = np.concatenate([[True], self.p[1:] > self.p[:-1]])[: len(p)]
        below = np.flatnonzero(first)[np.cumsum(first) - 1]
        self.bin = (bins * below) // max(len(p), 1)
        # Ranks need the weight at each probability that a positive has (odd levels) and between two of them (even).
        self.hits = np.flatnonzero(self.y)
        result = np.unique(self.p[self.hits])
        place = np.searchsorted(result, self.p)
        at = np.minimum(place, max(len(result) - 1, 0))
        level = 2 * place + (result[at] == self.p if len(result) else False)
        # All of these increase: what is summed of a bin or level is a slice.
        self.bin_starts, self.level_starts = (np.flatnonzero(np.diff(part, prepend=-1)) for part in (self.bin, level))
        self.hit_starts = np.flatnonzero(np.diff(level[self.hits], prepend=-1))
        self.hit_levels = np.flatnonzero(level[self.level_starts] % 2)
        clipped = np.clip(self.p, CLIP, 1 - CLIP)
        self.gap = self.p - self.y
        self.squared = self.gap**2
        self.surprise = -np.where(self.y == 1, np.log(clipped), np.log1p(-clipped))

    def scores(self, weights: np.ndarray | None = None) -> np.ndarray:
        """The scores in the order of :data:`METRICS`.

        Args:
            weights: (N,) >= 0, in the order given at first; None counts every pair once.
        """
        w = np.ones(len(self.p)) if weights is None else weights.astype(np.float64)
        return under([self], lambda pairs: w[pairs, None], 1)[0, 0]

    def reliability(self) -> list[dict[str, float]]:
        """Per bin of equal mass: mean probability, observed positives, pairs; empty bins left out."""
        counts = np.bincount(self.bin, minlength=self.bins)
        p, y = (np.bincount(self.bin, values, minlength=self.bins) for values in (self.p, self.y))
        return [
            {"bin": b, "probability": float(p[b] / counts[b]), "positives": int(y[b]), "pairs": int(counts[b])}
            for b in np.flatnonzero(counts).tolist()
        ]


class _Sums:
    """What scores are made of, under several weights: pairs are added from the least probability on."""

    def __init__(self, of: Scored, columns: int) -> None:
        self.of = of
        self.gaps = np.zeros((len(of.bin_starts), columns))
        self.every, self.hits = (np.zeros((len(of.level_starts), columns)) for _ in range(2))
        self.of_hits, self.sums = np.zeros((len(of.hits), columns)), np.zeros((3, columns))
        self.of_pairs = np.stack([np.ones_like(of.p), of.squared, of.surprise])

    def add(self, start: int, w: np.ndarray) -> None:
        """Add the weights (pairs, columns) of the pairs from the place ``start`` on."""
        of, part = self.of, slice(start, start + len(w))
        self.sums += self.of_pairs[:, part] @ w
        _add(self.gaps, of.bin_starts, w * of.gap[part, None], start)
        _add(self.every, of.level_starts, w, start)
        mine = slice(*np.searchsorted(of.hits, [start, start + len(w)]))
        self.of_hits[mine] = w[of.hits[mine] - start]

    def scores(self) -> np.ndarray:
        """(columns, metrics)."""
        every, hits = self.every, self.hits
        hits[self.of.hit_levels] = np.add.reduceat(self.of_hits, self.of.hit_starts, axis=0)
        misses = every - hits
        total, positives, negatives = self.sums[0], hits.sum(axis=0), misses.sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):  # 0 / 0 where nothing is counted: NaN
            above = np.cumsum(every[::-1], axis=0)[::-1]
            precision = np.cumsum(hits[::-1], axis=0)[::-1] / np.where(above > 0, above, 1)
            return np.stack([
                np.abs(self.gaps).sum(axis=0) / total,
                *(self.sums[1:] / total),
                (hits * (np.cumsum(misses, axis=0) - misses / 2)).sum(axis=0) / (positives * negatives),
                np.where(negatives > 0, (hits * precision).sum(axis=0) / positives, np.nan),
            ], axis=1)  # fmt: skip


def under(scored: Sequence[Scored], weights: Callable[[slice | np.ndarray], np.ndarray], columns: int) -> np.ndarray:
    """The scores (probabilities, columns, metrics) under several weights, in one pass over the pairs, in little memory.

    Args:
        scored: Several probabilities of the same pairs; those that came sorted are given the same weights.
        weights: Gives those of some pairs, named by their place in the order given at first, (pairs, columns).
        columns: How many there are.
    """
    sums, step = [_Sums(item, columns) for item in scored], max(1, BLOCK // columns)
    for start in range(0, len(scored[0].p), step):
        part, shared = slice(start, start + step), None
        for item, of_item in zip(scored, sums, strict=True):
            if item.order is not None:
                of_item.add(start, weights(item.order[part]))
            else:
                shared = weights(part) if shared is None else shared
                of_item.add(start, shared)
    return np.stack([of_item.scores() for of_item in sums])


def bootstrap(
    scored: Sequence[Scored],
    image: np.ndarray,
    caption_image: np.ndarray,
    images: int,
    draws: int,
    stream: np.random.Generator,
) -> np.ndarray:
    """Scores under images drawn anew with all of their captions, (probabilities, draws, metrics).

    A pair counts as often as its image was drawn times as often as the image of its caption was.

    Args:
        scored: Several probabilities of the same pairs: all see the same draws.
        image, caption_image: (N,) int, the pair's image, and the image of its caption.
        images: How many there are.
        draws: How often.
        stream: Source of the draws.

    *Source*: Owen, The pigeonhole bootstrap, 2007: somewhat too wide, never too narrow.
    """
    drawn = (np.bincount(stream.integers(0, images, images), minlength=images) for _ in range(draws))
    counts = np.stack(list(drawn), axis=1).astype(np.float64)
    parts = [counts[:, at : at + AT_ONCE] for at in range(0, draws, AT_ONCE)]  # memory: levels times draws
    found = [
        under(scored, lambda pairs, some=some: some[image[pairs]] * some[caption_image[pairs]], some.shape[1])  # type: ignore[misc]  # bound here
        for some in parts
    ]
    return np.concatenate(found, axis=1)


def _add(sums: np.ndarray, starts: np.ndarray, rows: np.ndarray, at: int) -> None:
    """Add rows to the sums of their slices: those of all rows begin at ``starts``, and these rows at ``at``."""
    first, last = np.searchsorted(starts, [at, at + len(rows) - 1], side="right") - 1
    sums[first : last + 1] += np.add.reduceat(rows, np.maximum(starts[first : last + 1] - at, 0), axis=0)
