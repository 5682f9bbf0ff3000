"""The primary metric of two bundles, paired by variant, seed and test image: A - B, as a study's contrasts are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fne.analysis.intervals import RESAMPLES, Intervals, batched_intervals, seed_intervals
from fne.results.bundle import Bundle
from fne.utils.errors import bad_input

if TYPE_CHECKING:
    import pandas as pd

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
        runs = _primary(bundle, "runs")
        runs = runs[(runs["split"] == "test") & np.isfinite(runs["value"]) & runs["seed"].notna()]
        seeds: Values = {}
        for variant, seed, value in zip(runs["variant"], runs["seed"], runs["value"], strict=True):
            seeds.setdefault(variant, {})[int(seed)] = np.array([value])
        means = _by_variant(_primary(bundle, "intervals"), "mean")
        contrasts = _by_variant(_primary(bundle, "contrasts"), "difference")
        return cls(means, contrasts, seeds, _images(bundle), bundle.source)

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


def _primary(bundle: Bundle, table: str) -> pd.DataFrame:
    """The rows of the primary metric."""
    rows = bundle.table(table)
    for name in ("protocol", "direction", "metric"):
        rows = rows[rows[name] == bundle.facts["primary"][name]]
    return rows


def _by_variant(rows: pd.DataFrame, name: str) -> dict[str, list[float]]:
    """A number and the ends of its interval, by variant."""
    cells = rows[[name, "low", "high"]].astype(float).to_numpy().tolist()
    return dict(zip(rows["variant"], cells, strict=True))


def _images(bundle: Bundle) -> Values:
    """As :class:`Scores`.

    Raises:
        UserError: They are not one a variant, seed and image, images in order.
    """
    if "images" not in bundle.tables:
        return {}
    result: Values = {}
    sizes = set()
    for (variant, seed), rows in bundle.table("images").groupby(["variant", "seed"], sort=False, dropna=False):
        sizes.add(len(rows))
        if np.isnan(seed) or len(sizes) > 1 or not np.array_equal(rows["image"], np.arange(len(rows))):
            problem = "not one value for each image, in order, of every variant and seed"
            raise bad_input(problem, file=bundle.source, key="images", hint="export the study again")
        if np.isfinite(rows["influence"]).all():
            result.setdefault(variant, {})[int(seed)] = rows["influence"].to_numpy(np.float64)
    return result
