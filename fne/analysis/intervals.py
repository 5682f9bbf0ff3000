"""Intervals of a mean over seeds and images, both of which are samples: a hierarchical bootstrap that covers.

The data are one number per seed s, image i and column (a metric, or a difference of two variants). The plain
hierarchical bootstrap (draw seeds, then images, take percentiles) does not cover what it claims: with five seeds it
treats five values as the whole population (coverage down to 80 %), and where seed and image interact it counts that
noise three times (up to 100 %). So its shape is kept and its width is set by what the two-way layout says the variance
of the mean is, with the t quantile for the number of seeds.

Source: two-way random effects (Searle, Casella and McCulloch, Variance Components, 1992); the over-counted interaction
is Owen, The pigeonhole bootstrap, 2007; degrees of freedom after Satterthwaite, 1946.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from fne.utils.min_seeds import MIN_SEEDS
from fne.utils.seeding import numpy_stream

LEVEL = 0.95
RESAMPLES = 10_000
_CHUNK = 500
_HELD = 1 << 26
"""Counts of drawn images that are kept, a byte each."""
TOGETHER = 32
"""A grid of hundreds needs little more memory than so many."""


@dataclass(frozen=True)
class Intervals:
    """Means with intervals, one per column; ``low`` and ``high`` are NaN where ``method`` says why."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray
    sd_seeds: np.ndarray
    n_seeds: int
    level: float
    method: str


def hierarchical_intervals(
    values: np.ndarray, *, stream: int = 0, resamples: int = RESAMPLES, level: float = LEVEL
) -> Intervals:
    """Two-sided intervals of the mean over seeds and images, column by column.

    With MS the mean squares of the seed means, the image means and the remainder, n seeds and N images::

        Var(mean) = (MS_images + max(MS_seeds - MS_rest, 0)) / (n N)
        width     = 2 t_df sqrt(Var(mean))

    The bootstrap draws decide how the width is split below and above the mean. All columns see the same draws of
    images.

    Args:
        values: (n, N, C), the mean over N being the metric of a seed (see ``fne.analysis.layout``).
        stream: Seed of the bootstrap's random streams.
        resamples: Draws of seeds and of images.
        level: Nominal coverage.

    Raises:
        ValueError: A value is not finite, or there is no seed or no image.
    """
    if values.ndim != 3 or not values.size or not np.isfinite(values).all():
        raise ValueError(f"values must be finite, (seeds, images, columns), got shape {values.shape}")
    n, n_images, columns = values.shape
    seed_means = values.mean(axis=1)
    mean = seed_means.mean(axis=0)
    if n < MIN_SEEDS or n_images < 2:
        sd = seed_means.std(axis=0, ddof=1) if n > 1 else np.full(columns, np.nan)
        why = f"{n} seed{'s' if n > 1 else ''}" if n < MIN_SEEDS else "1 image"
        nothing = np.full(columns, np.nan)
        return Intervals(mean, nothing, nothing, sd, n, level, f"none: {why} cannot show how much a mean varies")
    variance, freedom = variance_of_mean(values)
    draws = image_draws(values.mean(axis=0) - mean, resamples, stream)
    draws += seed_draws(seed_means - mean, resamples, stream)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    scale = width_of_mean(variance, freedom, level) / np.where(high > low, high - low, 1.0)
    method = (
        f"hierarchical bootstrap over seeds and images ({resamples:,} resamples), "
        "its width from variance components and Student's t"
    )
    sd = seed_means.std(axis=0, ddof=1)
    return Intervals(mean, mean + scale * low, mean + scale * high, sd, n, level, method)


def seed_intervals(values: np.ndarray, *, level: float = LEVEL) -> Intervals:
    """Two-sided intervals of the mean over seeds alone, given the test images: ``mean -+ t_(n-1) s / sqrt(n)``.

    Args:
        values: (n, C), a score or difference per seed.
        level: Nominal coverage.

    Raises:
        ValueError: A value is not finite, or there is no seed.
    """
    points = hierarchical_intervals(values[:, None], level=level)
    n, mean = points.n_seeds, points.mean
    if n < MIN_SEEDS:
        return points
    half = width_of_mean(points.sd_seeds**2 / n, np.full(len(mean), n - 1.0), level) / 2
    method = "Student's t over seeds alone, given these test images"
    return replace(points, low=mean - half, high=mean + half, method=method)


def image_intervals(
    values: np.ndarray, *, stream: int = 0, resamples: int = RESAMPLES, level: float = LEVEL
) -> Intervals:
    """Two-sided intervals of the mean over images alone, given these runs, of width ``2 t_(N-1) s / sqrt(N)``.

    As in :func:`hierarchical_intervals` the bootstrap's draws decide how the width is split below and above the mean.

    Args:
        values: (n, N, C), as of :func:`hierarchical_intervals`; s is over the means of the n runs by image.
        stream, resamples, level: As there.

    Raises:
        ValueError: A value is not finite, or there is no run or no image.
    """
    one = hierarchical_intervals(values[:1], level=level)
    images, seed_means = values.mean(axis=0), values.mean(axis=1)
    n_images, mean = len(images), images.mean(axis=0)
    sd = seed_means.std(axis=0, ddof=1) if len(values) > 1 else one.sd_seeds
    if n_images < 2:
        return replace(one, mean=mean, sd_seeds=sd, n_seeds=len(values), method="none: 1 image shows no spread")
    draws = image_draws(images - mean, resamples, stream)
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    width = width_of_mean(images.var(axis=0, ddof=1) / n_images, np.full(len(mean), n_images - 1.0), level)
    scale = width / np.where(high > low, high - low, 1.0)
    method = f"bootstrap over images, given these runs ({resamples:,} resamples), its width from Student's t"
    return Intervals(mean, mean + scale * low, mean + scale * high, sd, len(values), level, method)


def batched_intervals(values: Mapping[str, np.ndarray], resamples: int) -> dict[str, Intervals]:
    """Intervals of many (n, N, C): :data:`TOGETHER` of equal n share one pass over the bootstrap's draws."""
    result: dict[str, Intervals] = {}
    for n in sorted({len(part) for part in values.values()}):
        alike = [name for name, part in values.items() if len(part) == n]
        for start in range(0, len(alike), TOGETHER):
            names = alike[start : start + TOGETHER]
            ends = np.cumsum([values[name].shape[2] for name in names])
            whole = np.concatenate([values[name] for name in names], axis=2)
            together = hierarchical_intervals(whole, resamples=resamples)
            for name, end in zip(names, ends, strict=True):
                cut = slice(end - values[name].shape[2], end)
                mean, low, high, sd = (
                    part[cut] for part in (together.mean, together.low, together.high, together.sd_seeds)
                )
                result[name] = Intervals(mean, low, high, sd, n, together.level, together.method)
    return result


def variance_of_mean(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Variance of the grand mean of a two-way layout with both ways random, and its degrees of freedom.

    Args:
        values: (n, N, C).

    Returns:
        Variance (C,), and Satterthwaite's degrees of freedom (C,), at least n - 1.
    """
    n, n_images, _ = values.shape
    seed_means, image_means = values.mean(axis=1), values.mean(axis=0)
    mean = seed_means.mean(axis=0)
    total = n * n_images
    seeds = n_images * ((seed_means - mean) ** 2).sum(axis=0) / (n - 1)
    images = n * ((image_means - mean) ** 2).sum(axis=0) / (n_images - 1)
    rest = values - seed_means[:, None] - image_means[None] + mean
    remainder = np.einsum("sic,sic->c", rest, rest) / ((n - 1) * (n_images - 1))
    counted = seeds > remainder
    variance = (images + np.where(counted, seeds - remainder, 0.0)) / total
    uncertainty = images**2 / (n_images - 1) + counted * (
        seeds**2 / (n - 1) + remainder**2 / ((n - 1) * (n_images - 1))
    )
    freedom = (total * variance) ** 2 / np.where(uncertainty > 0, uncertainty, 1.0)
    return variance, np.maximum(freedom, n - 1)


def width_of_mean(variance: np.ndarray, freedom: np.ndarray, level: float) -> np.ndarray:
    """Width of a two-sided interval of a mean, ``2 t_df sqrt(Var)``."""
    from scipy.special import stdtrit

    return 2 * stdtrit(freedom, (1 + level) / 2) * np.sqrt(variance)


def image_draws(deviations: np.ndarray, resamples: int, stream: int) -> np.ndarray:
    """Means of images drawn with replacement, (B, C); the draws depend on ``stream`` and N only."""
    n_images = len(deviations)
    counts = _counts if resamples * n_images <= _HELD else _counts.__wrapped__
    draws = np.empty((resamples, deviations.shape[1]))
    for start in range(0, resamples, _CHUNK):
        size = min(_CHUNK, resamples - start)
        draws[start : start + size] = counts(stream, n_images, start, size).astype(np.float64) @ deviations
    return draws / n_images


@lru_cache(RESAMPLES // _CHUNK)
def _counts(stream: int, n_images: int, start: int, size: int) -> np.ndarray:
    """How often each image is in each resample, (size, N): a study's tables see the same draws many times."""
    rng = numpy_stream(stream, "bootstrap images", n_images, start)
    picked = rng.integers(0, n_images, (size, n_images)) + n_images * np.arange(size)[:, None]
    weights = np.bincount(picked.ravel(), minlength=size * n_images).reshape(size, n_images)
    return weights.astype(np.min_scalar_type(weights.max()))


def seed_draws(deviations: np.ndarray, resamples: int, stream: int) -> np.ndarray:
    """Means of seeds drawn with replacement, (B, C), rescaled to the unbiased variance of a mean of n."""
    n = len(deviations)
    rng = numpy_stream(stream, "bootstrap seeds", n)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=resamples) / n
    return weights @ deviations * np.sqrt(n / (n - 1))
