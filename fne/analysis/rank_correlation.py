"""Do two studies order the variants alike: rank correlations, with an interval from both studies' noise.

The question is about the orders of the *true* means. Noise in an estimated mean swaps neighbours, so that the rank
correlation r of estimates lies below that of the true orders, by a factor a, and one of bootstrap means lower by that
factor again: percentiles of the bootstrap alone miss the truth. The factor is measured in each study, as the mean
rank correlation of its bootstrap means with its own means. The interval is the hull of the percentile interval, of its
reflection about r (the basic interval) and of the percentiles divided by a^2, cut at -1 and 1. It is conservative: in
the simulations of the tests it covers at least 95 % from well separated means to nearly pure noise.

Source: Spearman, 1904 (the coefficient, and the division by a factor of attenuation); Kendall, Rank Correlation
    Methods, 1948 (tau-b); Davison and Hinkley, Bootstrap Methods and their Application, 1997, chapter 5 (percentile
    and basic intervals).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fne.analysis.intervals import LEVEL, image_draws, seed_draws, variance_of_mean, width_of_mean
from fne.utils.min_seeds import MIN_SEEDS

RESAMPLES = 2000
MIN_VARIANTS = 3
_LEAST = 1e-3
"""Of the factor of attenuation, so that pure noise gives [-1, 1] and no division by zero."""


@dataclass(frozen=True)
class Agreement:
    """A rank correlation with its interval (NaN where ``method`` says why)."""

    name: str
    value: float
    low: float
    high: float
    method: str


def spearman(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Pearson's correlation of average ranks, (...) from (..., V); NaN where one side is all tied."""
    a, b = (_ranks(x) for x in (first, second))
    scale = np.sqrt((a * a).sum(axis=-1) * (b * b).sum(axis=-1))
    return np.where(scale > 0, (a * b).sum(axis=-1) / np.where(scale > 0, scale, 1), np.nan)


def kendall(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """tau-b, ``(concordant - discordant) / sqrt(pairs untied in a * pairs untied in b)``, (...) from (..., V)."""
    both = of_first = of_second = np.zeros(())
    for apart in range(1, first.shape[-1]):  # no array of all pairs: V of them for each resample are memory enough
        a, b = (np.sign(x[..., apart:] - x[..., :-apart]) for x in (first, second))
        both = both + np.einsum("...v,...v->...", a, b)
        of_first, of_second = (old + np.count_nonzero(x, axis=-1) for old, x in ((of_first, a), (of_second, b)))
    scale = np.sqrt(of_first * of_second)
    return np.where(scale > 0, both / np.where(scale > 0, scale, 1), np.nan)


STATISTICS = {"Spearman": spearman, "Kendall": kendall}


def agreements(
    first: np.ndarray, second: np.ndarray, *, same_images: bool = False, resamples: int = RESAMPLES
) -> list[Agreement]:
    """Rank correlations of two studies' means over the variants that both have.

    Args:
        first: (n, N, V) values per seed, image and variant, as ``fne.analysis.layout`` makes them; N = 1 where only
            scores per seed are known.
        second: The other study's, (n', N', V).
        same_images: Both were scored on the same images, which are then resampled together.
        resamples: Draws of the bootstrap.
    """
    means = [values.mean(axis=(0, 1)) for values in (first, second)]
    variants = first.shape[2]
    few = min(len(first), len(second))
    why = ""
    if variants < MIN_VARIANTS:
        why = f"none: {variants} common variant{'s' if variants != 1 else ''} have no order to speak of"
    elif few < MIN_SEEDS:
        why = f"none: {few} seed{'s' if few != 1 else ''} cannot show how much a mean varies"
    draws = [] if why else [
        mean_draws(values, stream=stream, images=0 if same_images else stream, resamples=resamples)
        for stream, values in enumerate((first, second))
    ]  # fmt: skip
    over = "seeds and images" if min(first.shape[1], second.shape[1]) > 1 else "seeds"
    result = []
    for name, statistic in STATISTICS.items():
        value = float(statistic(*means)) if variants >= 2 else float("nan")
        if why or not np.isfinite(value):
            result.append(Agreement(name, value, np.nan, np.nan, why or "none: all variants tie"))
            continue
        drawn = statistic(*draws)
        low, high = np.quantile(drawn[np.isfinite(drawn)], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        kept = np.prod([np.nanmean(statistic(mean, own)) for mean, own in zip(means, draws, strict=True)])
        wide = np.array([low, high]) / max(float(kept), _LEAST) ** 2
        low, high = max(min(low, 2 * value - high, wide[0]), -1.0), min(max(high, 2 * value - low, wide[1]), 1.0)
        method = f"conservative bootstrap over {over} ({resamples:,} resamples), corrected for attenuation"
        result.append(Agreement(name, value, float(low), float(high), method))
    return result


def mean_draws(values: np.ndarray, *, stream: int, images: int, resamples: int) -> np.ndarray:
    """Bootstrap means of the variants about their common mean, (B, V), as wide as their variance says.

    Noise that all variants share moves no rank and is taken out first; the width is set as that of the intervals is.
    Estimated means lie further apart than the true ones, by their noise; they are drawn together by as much (which
    keeps their order), so that the bootstrap swaps as many neighbours as the estimation did.
    """
    apart = values - values.mean(axis=2, keepdims=True)
    n, n_images, variants = apart.shape
    seed_means = apart.mean(axis=1)
    mean = seed_means.mean(axis=0)
    draws = seed_draws(seed_means - mean, resamples, stream)
    if n_images > 1:
        draws = draws + image_draws(apart.mean(axis=0) - mean, resamples, images)
        variance, freedom = variance_of_mean(apart)
    else:
        variance, freedom = seed_means.var(axis=0, ddof=1) / n, np.full(variants, n - 1.0)
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    wide = draws * (width_of_mean(variance, freedom, LEVEL) / np.where(high > low, high - low, 1.0))
    spread = float((mean**2).sum())
    return mean * np.sqrt(max(0.0, 1 - float(variance.sum()) / spread) if spread else 0.0) + wide


def _ranks(x: np.ndarray) -> np.ndarray:
    """How many are smaller less how many are larger: integers, of which the average rank is an affine map."""
    from scipy.stats import rankdata

    return 2 * rankdata(x, axis=-1) - (x.shape[-1] + 1)
