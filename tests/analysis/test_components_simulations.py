"""Components of variance checked by simulation at the design of the study ``variance``.

Four encoder draws and four worlds, one at a time and together (10 cells), three training seeds, five variants that
share them and the baseline: four differences. Standard deviations are in points of rsum. Streams are fixed.

Measured over 500 studies of the first kind and 200 of each other, in the order of ``KINDS``:

===============================================  =================================================
sum of factors and interaction, estimate / true  one difference 1.23, 1.02, 1.05, 0.67 against 0;
                                                 pooled differences 1.14, 0.99, 1.02, 0.47 against 0
interval of a component, of one difference       0.94-1.00, 0.95-1.00, 0.92-0.97, 0.96-1.00
of the differences pooled                        1.00, 0.99-1.00, 0.99-1.00, 0.99-1.00
interval for another cell, pooled differences    0.994, 0.989, 0.982, 1.000
the same of levels                               0.991, 0.982, 0.976, 1.000
the conditional interval in its place            0.77, 0.45, 0.40, 0.95; of levels 0.51, 0.23, 0.16, 0.97
===============================================  =================================================

With six draws, six worlds and five seeds (16 cells, 500 studies of the second and third kind) the interval for another
cell covers 0.966 to 0.978. No component can be below zero, so small ones are too large on the mean, and with few levels
the interval for another cell errs to the safe side.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pytest
from scipy.stats import chi2

from fne.analysis.components import Another, Cell, _Fit, _part, half_width_elsewhere
from fne.analysis.intervals import variance_of_mean, width_of_mean

FACTORS = ("encoders.draw", "data.seed")
LEVELS, SEEDS, IMAGES, VARIANTS = 4, 3, 40, 5
POINTS = [(0, 0), *((k, 0) for k in range(1, LEVELS)), *((0, k) for k in range(1, LEVELS)),
          *((k, k) for k in range(1, LEVELS))]  # fmt: skip
MOST = float(chi2.ppf(0.95, 1))


@dataclass(frozen=True)
class Kind:
    """Standard deviations of a level and of a difference to the baseline, by source."""

    draw: tuple[float, float]
    world: tuple[float, float]
    both: tuple[float, float]
    seed: tuple[float, float] = (1.0, 1.0)
    images: tuple[float, float] = (2.0, 1.0)


KINDS = {
    "as measured": Kind((9, 1.3), (0, 0.4), (1.6, 0.8), (2.1, 2), (4.5, 0.9)),
    "as expected": Kind((7, 2), (7, 2), (2, 0.7)),
    "interaction as large": Kind((7, 2), (7, 2), (7, 2)),
    "no factor matters": Kind((0, 0), (0, 0), (0, 0)),
}
"""What ``ablations/variance.yaml`` says; what was seen before it, with worlds of the same order; and two extremes."""


def effects(rng: np.random.Generator, sd: tuple[float, float], *shape: int) -> np.ndarray:
    """Effects on every variant, (..., V): a shared and an own part, so that levels and differences have these sds."""
    own = sd[1] / np.sqrt(2)
    shared = np.sqrt(max(sd[0] ** 2 - own**2, 0))
    return shared * rng.normal(size=(*shape, 1)) + own * rng.normal(size=(*shape, VARIANTS))


def study(rng: np.random.Generator, kind: Kind) -> tuple[list[np.ndarray], np.ndarray]:
    """Influence values (seeds, images, variants) of every cell; expected scores in a cell of another draw and world."""
    draws, worlds = effects(rng, kind.draw, LEVELS), effects(rng, kind.world, LEVELS)
    images = effects(rng, kind.images, LEVELS, IMAGES) * np.sqrt(IMAGES)
    cells = []
    for draw, world in POINTS:
        level = draws[draw] + worlds[world] + effects(rng, kind.both) + effects(rng, kind.seed, SEEDS, 1)
        unlike = effects(rng, (0.5, 0.5), IMAGES) + effects(rng, (0.5, 0.5), SEEDS, IMAGES)
        cells.append(level + images[world] + unlike * np.sqrt(IMAGES))
    return cells, effects(rng, kind.draw) + effects(rng, kind.world) + effects(rng, kind.both)


def fit(cells: list[np.ndarray], variants: Iterator[int] | range) -> _Fit:
    points = [dict(zip(FACTORS, point, strict=True)) for point in POINTS]
    return _Fit([
        _part([Cell(point, cell[:, :, v]) for point, cell in zip(points, cells, strict=True)],
              list(FACTORS), ["data.seed"])
        for v in variants
    ])  # fmt: skip


def covers(found: _Fit, truth: np.ndarray) -> np.ndarray:
    """Does each component's interval hold the truth? An interval is where the deviance is at most this."""
    values = truth / found.unit
    values[-1] = max(values[-1], 1e-8)
    return np.array([found.deviance(k, value) <= MOST for k, value in enumerate(values)])


@functools.cache
def simulate(name: str, studies: int = 100) -> Mapping[str, np.ndarray]:
    """Estimates, and what covers, of one difference, of all differences together and of all levels together."""
    rng, kind = np.random.default_rng(1), KINDS[name]
    truth = np.array([kind.draw, kind.world, kind.both, kind.seed]).T ** 2
    truth[0] = np.maximum(truth[0], truth[1] / 2)  # a level has at least its own part of a difference
    truth[:, -1] += 0.5**2  # seeds rank images unlike
    result: dict[str, list[np.ndarray]] = {}
    for _ in range(studies):
        cells, new = study(rng, kind)
        differences = [cell - cell[:, :, :1] for cell in cells]
        for name, values, truths, variants, target in (
            ("one difference", differences, truth[1], range(1, 2), new - new[0]),
            ("differences", differences, truth[1], range(1, VARIANTS), new - new[0]),
            ("levels", cells, truth[0], range(VARIANTS), new),
        ):
            made = fit(values, variants)
            another = Another(*made.sum_but_seed(), LEVELS)
            variance, freedom = variance_of_mean(values[0])
            half = [half_width_elsewhere(variance[v], freedom[v], another) for v in variants]
            far = [abs(values[0][:, :, v].mean() - target[v]) for v in variants]
            result.setdefault(f"{name}: estimate", []).append(made.best * made.unit)
            result.setdefault(f"{name}: components", []).append(covers(made, truths.copy()))
            result.setdefault(f"{name}: elsewhere", []).append(np.array(far) <= half)
            result.setdefault(f"{name}: here", []).append(far <= width_of_mean(variance, freedom, 0.95)[variants] / 2)
    return {name: np.array(values).mean(axis=0) for name, values in result.items()}


@pytest.mark.parametrize("name", KINDS)
def test_components_and_the_wider_interval_cover(name: str) -> None:
    result = simulate(name)
    for score in ("one difference", "differences", "levels"):
        assert result[f"{score}: components"].min() >= 0.9, (score, result[f"{score}: components"])
        assert result[f"{score}: elsewhere"].mean() >= 0.93, (score, result[f"{score}: elsewhere"])
    if name != "no factor matters":
        assert result["differences: elsewhere"].mean() < 0.997, "an interval that always covers says nothing"
        assert result["levels: here"].mean() < 0.75, "the conditional interval must not do"


def test_estimates_are_right_on_the_mean_and_near_zero_where_nothing_is() -> None:
    result = simulate("as expected")
    for score, sds in (("differences", (2, 2, 0.7)), ("levels", (7, 7, 2))):
        *factors, seed = result[f"{score}: estimate"]
        assert sum(factors) == pytest.approx(sum(sd**2 for sd in sds), rel=0.15), score
        assert seed == pytest.approx(1 + 0.5**2, rel=0.05), score
    draw, world, both, _ = simulate("no factor matters")["differences: estimate"]
    assert max(draw, both) < 0.15, "small against the seed's 1.25"
    assert world < 0.5, "worlds have test images of their own, whose variance of 1.25 is taken off"
