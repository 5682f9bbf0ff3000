"""The procedures checked by simulation: intervals that claim 95 % cover, tests that claim 5 % reject 5 %.

Every world draws binary hits of five captions per image from a probit model whose true mean is known exactly;
1,000 to 4,000 worlds each, random streams fixed, so nothing here fails by chance. The bounds: 93.5 to 96.5 %
for an interval that claims 95 %, 3.5 to 6.5 % for a test that claims 5 %.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from fne.analysis.holm import holm
from fne.analysis.intervals import hierarchical_intervals
from fne.analysis.permutation import image_p_values, seed_p_value
from fne.analysis.proportion import share

IMAGES, CAPTIONS = 150, 5


def probit_hits(latent: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mean hit of the captions of every image: (seeds, images, worlds)."""
    chance = norm.cdf(latent)
    return rng.binomial(CAPTIONS, chance) / CAPTIONS


def one_variant(rng: np.random.Generator, n: int, worlds: int, spread: dict[str, float]) -> tuple[np.ndarray, float]:
    """Hits of one variant and their true mean over all seeds and images."""
    seed = rng.normal(0, spread["seed"], (n, 1, worlds))
    image = rng.normal(0, spread["image"], (1, IMAGES, worlds))
    both = rng.normal(0, spread["both"], (n, IMAGES, worlds))
    mean = 0.3
    total = np.sqrt(1 + sum(value**2 for value in spread.values()))
    return probit_hits(mean + seed + image + both, rng), float(norm.cdf(mean / total))


def covered(values: np.ndarray, truth: float) -> float:
    result = hierarchical_intervals(values, resamples=1000)
    return float(np.mean((result.low <= truth) & (truth <= result.high)))


MEANS = {
    "images dominate": {"seed": 0.02, "image": 1.0, "both": 0.5},
    "images and seeds": {"seed": 0.1, "image": 0.7, "both": 0.7},
    "seeds dominate": {"seed": 0.5, "image": 0.5, "both": 0.2},
}


@pytest.mark.parametrize("n", [5, 10])
@pytest.mark.parametrize("world", MEANS)
def test_intervals_of_a_mean_cover(n: int, world: str) -> None:
    values, truth = one_variant(np.random.default_rng(n), n, 3000, MEANS[world])
    share = covered(values, truth)
    assert 0.935 <= share <= 0.965, share


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("world", MEANS)
def test_intervals_of_a_paired_difference_cover(n: int, world: str) -> None:
    """Two variants that share images (how hard each is) and partly the seed (order, initial weights)."""
    rng, worlds, spread = np.random.default_rng(100 + n), 3000, MEANS[world]
    shared = rng.normal(0, spread["image"], (1, IMAGES, worlds)) + rng.normal(0, 0.05, (n, 1, worlds))
    hits, truths = [], []
    for mean in (0.3, 0.45):
        own = rng.normal(0, spread["seed"], (n, 1, worlds)) + rng.normal(0, spread["both"], (1, IMAGES, worlds))
        hits.append(probit_hits(mean + shared + own, rng))
        total = np.sqrt(1 + spread["image"] ** 2 + 0.05**2 + spread["seed"] ** 2 + spread["both"] ** 2)
        truths.append(norm.cdf(mean / total))
    share = covered(hits[1] - hits[0], truths[1] - truths[0])
    assert 0.935 <= share <= 0.965, share


def null_differences(rng: np.random.Generator, worlds: int) -> np.ndarray:
    """Differences per image of two variants that are equally good on every image: (images, worlds)."""
    latent = rng.normal(0.3, 1.0, (IMAGES, worlds))
    return probit_hits(latent, rng) - probit_hits(latent, rng)


def test_the_permutation_test_over_images_rejects_at_its_level() -> None:
    p_values = image_p_values(null_differences(np.random.default_rng(0), 4000), flips=1000)
    for level, low, high in ((0.05, 0.035, 0.065), (0.2, 0.17, 0.23)):
        assert low <= np.mean(p_values <= level) <= high


def test_the_sign_flip_test_over_seeds_rejects_at_its_level() -> None:
    rng = np.random.default_rng(2)
    rejected = np.mean([seed_p_value(rng.normal(0, 1, 8))[0] <= 0.05 for _ in range(4000)])
    assert 0.035 <= rejected <= 0.065
    with_difference = np.mean([seed_p_value(rng.normal(1.5, 1, 8))[0] <= 0.05 for _ in range(500)])
    assert with_difference > 0.9


def test_holm_keeps_the_chance_of_any_false_rejection() -> None:
    """Nine variants against one baseline, none of them better; and with independent comparisons for the lower
    bound."""
    rng, studies, family = np.random.default_rng(3), 1000, 9
    latent = rng.normal(0.3, 1.0, (IMAGES, 1, studies))
    baseline = probit_hits(latent, rng)
    against_one = probit_hits(np.repeat(latent, family, 1), rng) - baseline
    independent = null_differences(rng, family * studies).reshape(IMAGES, family, studies)
    shares = {}
    for name, differences in {"one": against_one, "independent": independent}.items():
        p_values = image_p_values(differences.reshape(IMAGES, -1), flips=2000).reshape(family, studies)
        shares[name] = np.mean([(holm(p_values[:, s]) <= 0.05).any() for s in range(studies)])
        assert np.mean((p_values <= 0.05).any(axis=0)) > 0.15, "unadjusted, the family must fail"
    assert shares["one"] <= 0.065 and 0.025 <= shares["independent"] <= 0.065, shares


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize(("rate", "spread", "low", "high"), [
    (0.1, 0.0, 0.945, 0.995), (0.1, 0.1, 0.935, 0.975), (0.01, 0.3, 0.935, 0.975), (0.1, 0.5, 0.925, 0.965),
])  # fmt: skip
def test_intervals_of_a_share_of_picks_cover(n: int, rate: float, spread: float, low: float, high: float) -> None:
    """3,000 worlds of 1,500 to 2,500 picks of each seed; ``spread``: of the seeds' log odds about those of ``rate``."""
    rng, worlds, centre = np.random.default_rng(n), 3000, np.log(rate / (1 - rate))
    truth = float(np.mean(1 / (1 + np.exp(-centre - spread * norm.ppf((np.arange(10_000) + 0.5) / 10_000)))))
    chance = 1 / (1 + np.exp(-centre - spread * rng.normal(size=(worlds, n))))
    picks = rng.integers(1500, 2500, (worlds, n))
    result = [share(*world) for world in zip(rng.binomial(picks, chance), picks, strict=True)]
    covers = float(np.mean([item.low <= truth <= item.high for item in result]))
    assert low <= covers <= high, covers
