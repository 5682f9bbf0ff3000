"""The primary metric of two bundles, paired by variant, seed and test image: A - B, as a study's contrasts are made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from fne.analysis.intervals import RESAMPLES, Intervals, batched_intervals, seed_intervals
from fne.results.bundle import Bundle
from fne.utils.errors import bad_input

LARGEST, MOST_IMAGES = 1e9, 100_000
"""No value of a metric is as large, of no image; no test split has as many images."""

Values = dict[str, dict[int, np.ndarray]]
"""Variant -> seed -> (N,) values of the primary metric by image, whose mean is the score; N = 1: the score itself."""


@dataclass(frozen=True)
class Scores:
    """What a bundle says of the primary metric.

    Args:
        means: Variant -> mean over seeds and the ends of its interval, NaN where there is none.
        contrasts: Variant -> difference to the baseline and the ends of its interval.
        seeds: Scores of the seeds that have one.
        images: Values by image of the seeds whose values are all finite; empty where the bundle holds none.
        source: What to call the bundle in a message.
    """

    means: dict[str, list[float]]
    contrasts: dict[str, list[float]]
    seeds: Values
    images: Values
    source: str

    @classmethod
    def of(cls, bundle: Bundle) -> Scores:
        """Read and check them.

        Raises:
            UserError: A table or column is missing, a value is of another kind, or values of images are not one a
                variant, seed and image, images in order.
        """
        means = _by_variant(bundle, "intervals", "mean", "low", "high")
        contrasts = _by_variant(bundle, "contrasts", "difference", "low", "high")
        return cls(means, contrasts, _seeds(bundle), _images(bundle), bundle.source)

    @property
    def variants(self) -> list[str]:
        """Those that have a score."""
        return [variant for variant, (mean, *_) in self.means.items() if np.isfinite(mean)]

    def stack(self, variants: Sequence[str]) -> np.ndarray:
        """(n, N, V) of the seeds that all these variants have; N = 1 where values of single images are not known."""
        of = self.images if {*variants} <= {*self.images} else self.seeds
        seeds = sorted(set.intersection(*(set(of.get(variant, {})) for variant in variants)))
        if not seeds:
            raise bad_input("no seed has a result of all the variants that are compared", file=self.source)
        return np.stack([[of[variant][seed] for seed in seeds] for variant in variants], axis=-1)


@dataclass
class Pair:
    """A - B of one variant.

    Args:
        seeds: Those that both have.
        alone: Those that A has alone, and B.
        without: Of A and of B: does it hold no values of single images?
        images: Test images; 0 where only seeds are counted.
        interval: Of one column; None where there is no common seed.
    """

    seeds: list[int]
    alone: tuple[list[int], list[int]]
    without: tuple[bool, bool]
    images: int = 0
    interval: Intervals | None = None

    @property
    def cells(self) -> tuple[float, float, float]:
        """The difference and the ends of its interval, NaN where there is none."""
        if self.interval is None:
            return (np.nan, np.nan, np.nan)
        return float(self.interval.mean[0]), float(self.interval.low[0]), float(self.interval.high[0])


def pairs(a: Scores, b: Scores, variants: Sequence[str]) -> dict[str, Pair]:
    """A - B of each variant, its interval over seeds and test images, or over seeds alone where images are not known.

    Raises:
        UserError: The two have values of other numbers of images.
    """
    made: dict[str, Pair] = {}
    by_image: dict[str, np.ndarray] = {}
    for variant in variants:
        without = (variant not in a.images, variant not in b.images)
        mine, its = (side.seeds.get(variant, {}) if any(without) else side.images[variant] for side in (a, b))
        seeds = sorted({*mine} & {*its})
        made[variant] = Pair(seeds, (sorted({*mine} - {*its}), sorted({*its} - {*mine})), without)
        if not seeds:
            continue
        sizes = len(mine[seeds[0]]), len(its[seeds[0]])
        if sizes[0] != sizes[1]:
            problem = f"values of {sizes[1]:,} images, where {a.source} has those of {sizes[0]:,}"
            raise bad_input(problem, file=b.source, key="images", hint="export both again")
        differences = np.stack([mine[seed] - its[seed] for seed in seeds])[:, :, None]
        if any(without):
            made[variant].interval = seed_intervals(differences[:, 0])
        else:
            made[variant].images, by_image[variant] = sizes[0], differences
    for variant, interval in batched_intervals(by_image, RESAMPLES).items():
        made[variant].interval = interval
    return made


def _rows(bundle: Bundle, table: str, *names: str) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Variant and cells of every row of the primary metric."""
    primary = bundle.facts["primary"]
    requested = (primary["protocol"], primary["direction"], primary["metric"])
    keys = zip(*bundle.columns(table, "protocol", "direction", "metric"), strict=True)
    cells = zip(*bundle.columns(table, "variant", *names), strict=True)
    for key, (variant, *values) in zip(keys, cells, strict=True):
        if key == requested:
            yield variant, tuple(values)


def _by_variant(bundle: Bundle, table: str, *names: str) -> dict[str, list[float]]:
    """Numbers of the primary metric, NaN where there is none or none that can be."""
    return {variant: [value if _is_score(value) else np.nan for value in cells]
            for variant, cells in _rows(bundle, table, *names)}  # fmt: skip


def _is_score(value: float | None) -> bool:
    return value is not None and abs(value) < LARGEST


def _seeds(bundle: Bundle) -> Values:
    """As :class:`Scores`."""
    result: Values = {}
    for variant, (split, seed, value) in _rows(bundle, "runs", "split", "seed", "value"):
        if split == "test" and seed is not None and _is_score(value):
            result.setdefault(variant, {})[seed] = np.array([value])
    return result


def _images(bundle: Bundle) -> Values:
    """As :class:`Scores`.

    Raises:
        UserError: They are not one a variant, seed and image, images in order.
    """
    if "images" not in bundle.tables:
        return {}
    result: Values = {}
    seen, sizes = set(), set()
    rows = zip(*bundle.columns("images", "variant", "seed", "image", "influence"), strict=True)
    for key, part in groupby(rows, key=lambda row: row[:2]):
        _, _, places, cells = zip(*part, strict=True)
        sizes.add(len(cells))
        if None in key or key in seen or len(sizes) > 1 or places != tuple(range(len(places))):
            problem = "not one value for each image, in order, of every variant and seed"
            raise bad_input(problem, file=bundle.source, key="images", hint="export the study again")
        if len(cells) > MOST_IMAGES:
            problem = f"values of {len(cells):,} images, more than any test split has"
            raise bad_input(problem, file=bundle.source, key="images", allowed=f"at most {MOST_IMAGES:,}")
        seen.add(key)
        values = np.array(cells, dtype=np.float64)
        if (np.abs(values) < LARGEST).all():
            result.setdefault(key[0], {})[key[1]] = values
    return result
