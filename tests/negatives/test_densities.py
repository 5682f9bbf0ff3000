"""Every family of densities against scipy or plain loops in float64, on similarities that were really drawn."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import optimize, stats

from fne.negatives.catalog import DENSITIES, load_density
from fne.negatives.densities.density import Density
from fne.negatives.statistics import BINS, WIDTH

CENTRES = (np.arange(BINS) + 0.5) * WIDTH - 1
PRIOR = 0.003


def drawn(seed: int, spread: float = 0.06, binned: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Positives and twice as many negatives that overlap; ``binned``: every value at the centre of its bin."""
    rng = np.random.default_rng(seed)
    pos, neg = rng.normal(0.55, spread, 150).clip(-0.99, 0.99), rng.normal(0.42, 1.4 * spread, 300).clip(-0.99, 0.99)
    if binned:
        pos, neg = (CENTRES[np.floor((values + 1) / WIDTH).astype(int)] for values in (pos, neg))
    return pos, neg


def summary_of(*samples: tuple[np.ndarray, np.ndarray]) -> dict[str, torch.Tensor]:
    """Counts, means, variances and histograms of some replicates, (R,) and (R, BINS)."""
    edges, out = np.arange(BINS + 1) * WIDTH - 1, {}
    for side, of in (("pos", [pos for pos, _ in samples]), ("neg", [neg for _, neg in samples])):
        out[f"{side}_count"] = [len(values) for values in of]
        out[f"{side}_mean"] = [values.mean() for values in of]
        out[f"{side}_var"] = [values.var(ddof=1) for values in of]
        out[f"{side}_histogram"] = [np.histogram(values, edges)[0] for values in of]
    return {name: torch.tensor(np.array(values), dtype=torch.float64) for name, values in out.items()}


def posterior(density: Density, summary: dict[str, torch.Tensor], s: np.ndarray, prior=PRIOR, dtype=torch.float64):
    """(R, len(s)) probabilities."""
    grid = torch.from_numpy(s).to(dtype).expand(len(summary["pos_count"]), 1, -1)
    return density.probability(grid, density.fit(summary), prior).double().squeeze(1).numpy()


def bayes(log_ratio: np.ndarray, prior: float = PRIOR) -> np.ndarray:
    return 1 / (1 + np.exp(np.clip(-log_ratio - math.log(prior / (1 - prior)), -700, 700)))


GRID = np.linspace(-0.2, 0.98, 237)


def log_ratio(name: str, pos: np.ndarray, neg: np.ndarray) -> np.ndarray:
    """Of the two densities on the grid, by scipy."""
    if name == "beta":
        logs = []
        for values in (pos, neg):
            x = (values + 1) / 2
            common = x.mean() * (1 - x.mean()) / x.var(ddof=1) - 1
            logs.append(stats.beta.logpdf((GRID + 1) / 2, x.mean() * common, (1 - x.mean()) * common))
        return logs[0] - logs[1]
    scales = pos.std(ddof=1), neg.std(ddof=1)
    if name == "tied":
        squares = sum(((values - values.mean()) ** 2).sum() for values in (pos, neg))
        scales = (math.sqrt(squares / (len(pos) + len(neg) - 2)),) * 2
    return stats.norm.logpdf(GRID, pos.mean(), scales[0]) - stats.norm.logpdf(GRID, neg.mean(), scales[1])


@pytest.mark.parametrize("name", ["normal", "tied", "beta"])
@pytest.mark.parametrize("spread", [0.06, 0.017])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float64, 1e-8), (torch.float32, 2e-3)])
def test_families_of_moments_equal_scipy(name: str, spread: float, dtype: torch.dtype, close: float) -> None:
    samples = drawn(1, spread, binned=False), drawn(2, spread, binned=False)
    result = posterior(load_density(name), summary_of(*samples), GRID, dtype=dtype)
    for r, sample in enumerate(samples):
        np.testing.assert_allclose(result[r], bayes(log_ratio(name, *sample)), rtol=close, atol=1e-12)


@pytest.mark.parametrize("spread", [0.06, 0.017])
def test_kde_equals_scipy_at_the_centres_and_is_linear_between_them(spread: float) -> None:
    samples, density = (drawn(4, spread), drawn(5, spread)), load_density("kde")
    result = posterior(density, summary_of(*samples), CENTRES)
    between = posterior(density, summary_of(*samples), (CENTRES[:-1] + CENTRES[1:]) / 2)
    for r, sample in enumerate(samples):
        # scipy's Silverman factor is (4 / (3 n))^(1/5), times the standard deviation with n - 1.
        pos, neg = (stats.gaussian_kde(values, "silverman").logpdf(CENTRES) for values in sample)
        reach = np.minimum(pos, neg) > -600  # beyond it both underflow
        assert reach.sum() > 100
        np.testing.assert_allclose(result[r][reach], bayes((pos - neg)[reach]), rtol=1e-7, atol=1e-12)
        near = (CENTRES[1:] > 0.3) & (CENTRES[1:] < 0.7)
        ratio = (pos - neg)[:-1][near] + (pos - neg)[1:][near]
        np.testing.assert_allclose(between[r][near], bayes(ratio / 2), rtol=1e-7)
    far = posterior(density, summary_of(drawn(6, 0.005)), np.array([-0.9]))
    assert far.item() == pytest.approx(PRIOR), "far from all data it says the prior"


def test_logistic_equals_scipy_optimize_and_stays_finite_where_the_samples_are_separable() -> None:
    samples, density = (drawn(7), drawn(8, 0.017)), load_density("logistic")
    result = posterior(density, summary_of(*samples), GRID)
    for r, (pos, neg) in enumerate(samples):
        both = np.concatenate([pos, neg])
        x, y = (both - both.mean()) / both.std(), np.repeat([1, 0], [len(pos), len(neg)])

        def cost(b: np.ndarray, x=x, y=y) -> float:
            z = b[0] + b[1] * x
            return float(np.logaddexp(0, np.where(y == 1, -z, z)).sum() + 1e-3 / 2 * b[1] ** 2)

        best = optimize.minimize(cost, [0.0, 0.0], method="BFGS", options={"gtol": 1e-8}).x
        z = best[0] + best[1] * (GRID - both.mean()) / both.std()
        np.testing.assert_allclose(result[r], bayes(z - math.log(len(pos) / len(neg))), rtol=1e-3, atol=1e-9)
    apart = summary_of((np.array([0.7, 0.72, 0.74]), np.array([0.1, 0.2, 0.15, 0.18])))
    low, high = posterior(density, apart, np.array([0.2, 0.7]), 0.5)[0]
    assert low < 0.01 and high > 0.99


@pytest.mark.parametrize("spread", [0.2, 0.06])
def test_isotonic_equals_scipy_over_the_occupied_bins(spread: float) -> None:
    """An empty bin takes the next occupied bin's value, at the end the last one's."""
    samples = drawn(9, spread), drawn(10, spread)
    summary = summary_of(*samples)
    result = posterior(load_density("isotonic"), summary, CENTRES)
    for r in range(2):
        pos, neg = summary["pos_histogram"][r].numpy(), summary["neg_histogram"][r].numpy()
        at = np.flatnonzero(pos + neg)
        share = optimize.isotonic_regression((pos / (pos + neg + 1e-300))[at], weights=(pos + neg)[at]).x
        share = share[np.minimum(np.searchsorted(at, np.arange(BINS)), len(at) - 1)]
        with np.errstate(divide="ignore"):
            expected = bayes(np.log(share) - np.log1p(-share) - math.log(150 / 300))
        assert len(set(expected)) > 5
        np.testing.assert_allclose(result[r], expected, rtol=1e-9, atol=1e-12)
    faded = {name: value * 0.1 * 10 if "histogram" in name else value for name, value in summary.items()}
    np.testing.assert_allclose(posterior(load_density("isotonic"), faded, CENTRES), result, atol=1e-9)


@pytest.mark.parametrize("name", DENSITIES)
def test_a_prior_for_each_replicate_is_that_prior_alone(name: str) -> None:
    samples, density = (drawn(13), drawn(14)), load_density(name)
    together = posterior(density, summary_of(*samples), GRID, torch.tensor([0.2, 0.001], dtype=torch.float64))
    for r, prior in enumerate((0.2, 0.001)):
        np.testing.assert_allclose(together[r], posterior(density, summary_of(samples[r]), GRID, prior)[0], rtol=1e-9)
