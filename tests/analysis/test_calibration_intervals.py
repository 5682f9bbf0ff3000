"""Intervals of ECE, Brier score, log loss, AUROC and average precision cover: 200 simulated tests of each world.

A world is a posterior of pairs of images and captions that is overconfident and shifted, by another amount in each
seed; how easily an image is matched, and a caption, is shared by all pairs of theirs.
"""

from __future__ import annotations

import numpy as np
import pytest

from fne.analysis.scores import METRICS, Scored, bootstrap
from fne.results.calibration_tables import intervals

WORLDS, IMAGES, DRAWS = 200, 24, 60


def scored(rng: np.random.Generator, images: int, seeds: int, spread: float) -> list[Scored]:
    """The same pairs under the posteriors of some seeds; ``spread``: the standard deviation of their shifts."""
    hard = rng.normal(0, 0.3, (2, images))
    logit = -1.5 + hard[0][:, None] + hard[1] + rng.normal(0, 1, (images, images))
    other = ~np.eye(images, dtype=bool)
    positive = (rng.random((images, images)) < 1 / (1 + np.exp(-logit)))[other]
    shift, noise = rng.normal(0.5, spread, seeds), rng.normal(0, 0.5, (seeds, images, images))
    wrong = 1.3 * (logit + noise) + shift[:, None, None]
    return [Scored(1 / (1 + np.exp(-item[other])), positive) for item in wrong]


def truth(spread: float) -> np.ndarray:
    """The scores of very many pairs and seeds."""
    rng = np.random.default_rng(11)
    return np.mean([item.scores() for _ in range(40) for item in scored(rng, 250, 3, spread)], axis=0)


def covered(seeds: int, spread: float) -> tuple[dict[str, float], dict[str, float]]:
    """How often the intervals hold the truth, and how often percentiles of the draws alone would."""
    rng, requested, pairs = np.random.default_rng(seeds), truth(spread), np.nonzero(~np.eye(IMAGES, dtype=bool))
    held = np.zeros((2, len(METRICS)))
    for world in range(WORLDS):
        result = scored(rng, IMAGES, seeds, spread)
        drawn = bootstrap(result, *pairs, IMAGES, DRAWS, np.random.default_rng(world))
        low, high, _ = intervals(np.stack([item.scores() for item in result]), drawn)
        plain = np.quantile(drawn.mean(axis=0), [0.025, 0.975], axis=0)
        held += [(low <= requested) & (requested <= high), (plain[0] <= requested) & (requested <= plain[1])]
    return tuple(dict(zip(METRICS, row / WORLDS, strict=True)) for row in held)


@pytest.mark.parametrize(("seeds", "spread", "least"), [(3, 0.0, 0.935), (5, 0.2, 0.935), (5, 1.0, 0.9)])
def test_intervals_cover(seeds: int, spread: float, least: float) -> None:
    held, plain = covered(seeds, spread)
    assert min(held.values()) >= least, held
    assert plain["ece"] < 0.9, "why percentiles are not enough"


def test_the_interval_by_hand() -> None:
    drawn = np.repeat(np.linspace(0.2, 0.4, 201)[None, :, None], 3, axis=0).repeat(len(METRICS), axis=2)
    values = np.array([0.2, 0.25, 0.3])[:, None].repeat(len(METRICS), axis=1)
    low, high, method = intervals(values, drawn)
    # percentiles .205 and .395 about .25: .145 at most; t .975 of 2 degrees of freedom times .05 / sqrt 3
    reach = np.hypot(0.145, 4.302652729911275 * 0.05 / np.sqrt(3))
    assert low == pytest.approx([0.25 - reach] * 5) and high == pytest.approx([0.25 + reach] * 5)
    assert "Student's t over seeds" in method
    for few, words in ((2, "none: 2 seeds are too few"), (1, "none: 1 seed is too few")):
        low, high, method = intervals(values[:few], drawn[:few])
        assert np.isnan(low).all() and np.isnan(high).all() and method == words
    values[0, 3], drawn[:, :150, 4] = np.nan, np.nan
    low, high, _ = intervals(values * 3, drawn * 3)
    assert np.isnan(low[3:]).all() and np.isnan(high[3:]).all()
    assert high[0] == 1.0 and high[2] == pytest.approx(0.75 + 3 * reach), "log loss has no upper end"
    assert intervals(values, np.full_like(drawn, np.nan))[2].startswith("none: a density")
