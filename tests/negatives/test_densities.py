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
    out: dict[str, list] = {}
    for pos, neg in samples:
        for side, values in (("pos", pos), ("neg", neg)):
            out.setdefault(f"{side}_count", []).append(len(values))
            out.setdefault(f"{side}_mean", []).append(values.mean())
            out.setdefault(f"{side}_var", []).append(values.var(ddof=1))
            edges = np.arange(BINS + 1) * WIDTH - 1
            out.setdefault(f"{side}_histogram", []).append(np.histogram(values, edges)[0])
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
    samples = drawn(4, spread), drawn(5, spread)
    result = posterior(load_density("kde"), summary_of(*samples), CENTRES)
    logs = []
    for pos, neg in samples:
        # scipy's Silverman factor is (4 / (3 n))^(1/5), times the standard deviation with n - 1.
        logs.append([stats.gaussian_kde(values, "silverman").logpdf(CENTRES) for values in (pos, neg)])
    for r in range(2):
        reach = np.minimum(*logs[r]) > -600  # beyond it both underflow
        np.testing.assert_allclose(result[r][reach], bayes(logs[r][0] - logs[r][1])[reach], rtol=1e-7, atol=1e-12)
        assert reach.sum() > 100
    between = posterior(load_density("kde"), summary_of(*samples), (CENTRES[:-1] + CENTRES[1:]) / 2)
    ratio = np.array(logs[0][0]) - np.array(logs[0][1])
    ratio = np.where(np.isfinite(ratio), ratio, 0)
    near = (CENTRES[1:] > 0.3) & (CENTRES[1:] < 0.7)
    expected = bayes((ratio[:-1] + ratio[1:]) / 2)
    np.testing.assert_allclose(between[0][near], expected[near], rtol=1e-7)


def test_far_from_all_data_the_kde_says_the_prior() -> None:
    result = posterior(load_density("kde"), summary_of(drawn(6, 0.005)), np.array([-0.9]))
    assert result.item() == pytest.approx(PRIOR)


def test_logistic_equals_scipy_optimize() -> None:
    samples = drawn(7), drawn(8, 0.017)
    result = posterior(load_density("logistic"), summary_of(*samples), GRID)
    for r, (pos, neg) in enumerate(samples):
        both = np.concatenate([pos, neg])
        x, y = (both - both.mean()) / both.std(), np.repeat([1, 0], [len(pos), len(neg)])

        def cost(b: np.ndarray, x=x, y=y) -> float:
            z = b[0] + b[1] * x
            return float(np.logaddexp(0, np.where(y == 1, -z, z)).sum() + 1e-3 / 2 * b[1] ** 2)

        best = optimize.minimize(cost, [0.0, 0.0], method="BFGS", options={"gtol": 1e-8}).x
        z = best[0] + best[1] * (GRID - both.mean()) / both.std()
        np.testing.assert_allclose(result[r], bayes(z - math.log(len(pos) / len(neg))), rtol=1e-3, atol=1e-9)


def test_logistic_stays_finite_where_the_samples_are_separable() -> None:
    pos, neg = np.array([0.7, 0.72, 0.74]), np.array([0.1, 0.2, 0.15, 0.18])
    density = load_density("logistic")
    fitted = density.fit(summary_of((pos, neg)))
    assert all(value.isfinite().all() for value in fitted.values())
    low, high = posterior(density, summary_of((pos, neg)), np.array([0.2, 0.7]), 0.5)[0]
    assert low < 0.01 and high > 0.99


def pool_adjacent_violators(hits: list[float], counts: list[float]) -> list[float]:
    """Plain PAV over the occupied bins; an empty bin takes the next occupied one's value, at the end the last one's."""
    blocks: list[list[float]] = []  # hits, counts, bins
    for h, n in zip(hits, counts, strict=True):
        if n == 0:
            continue
        blocks.append([h, n, 1])
        while len(blocks) > 1 and blocks[-2][0] / blocks[-2][1] >= blocks[-1][0] / blocks[-1][1]:
            last = blocks.pop()
            blocks[-1] = [a + b for a, b in zip(blocks[-1], last, strict=True)]
    values = [h / n for h, n, bins in blocks for _ in range(int(bins))]
    out, place = [], 0
    for n in counts:
        out.append(values[min(place, len(values) - 1)])
        place += n > 0
    return out


@pytest.mark.parametrize("spread", [0.2, 0.06])
def test_isotonic_equals_plain_pool_adjacent_violators(spread: float) -> None:
    samples = drawn(9, spread), drawn(10, spread)
    summary = summary_of(*samples)
    result = posterior(load_density("isotonic"), summary, CENTRES)
    for r in range(2):
        pos, neg = summary["pos_histogram"][r].tolist(), summary["neg_histogram"][r].tolist()
        share = pool_adjacent_violators(pos, [a + b for a, b in zip(pos, neg, strict=True)])
        expected = [
            1.0 if g == 1 else 0.0 if g == 0 else bayes(np.array(math.log(g / (1 - g)) - math.log(150 / 300)))
            for g in share
        ]
        assert len(set(expected)) > 5
        np.testing.assert_allclose(result[r], np.array(expected, float), rtol=1e-9, atol=1e-12)


def test_isotonic_ignores_what_fading_leaves_in_empty_bins() -> None:
    summary = summary_of(drawn(11, 0.2))
    faded = {name: value * 0.1 * 10 if "histogram" in name else value for name, value in summary.items()}
    plain = posterior(load_density("isotonic"), summary, CENTRES)
    np.testing.assert_allclose(posterior(load_density("isotonic"), faded, CENTRES), plain, atol=1e-9)


@pytest.mark.parametrize("name", DENSITIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_all_agree_with_the_truth_where_it_is_two_normals(name: str, dtype: torch.dtype) -> None:
    """Every family recovers a posterior that it can represent, whatever the dtype: equal variances suit them all."""
    rng = np.random.default_rng(12)
    pos, neg = rng.normal(0.55, 0.08, 40_000), rng.normal(0.35, 0.08, 80_000)
    grid = torch.linspace(0.3, 0.6, 61).to(dtype)
    result = posterior(load_density(name), summary_of((pos, neg)), grid.float().numpy(), 0.1, dtype)[0]
    s = grid.double().numpy()
    logs = stats.norm.logpdf(s, 0.55, 0.08) - stats.norm.logpdf(s, 0.35, 0.08)
    np.testing.assert_allclose(result, bayes(logs, 0.1), atol=0.06)


@pytest.mark.parametrize("name", DENSITIES)
def test_a_prior_for_each_replicate_is_that_prior_alone(name: str) -> None:
    samples, density = (drawn(13), drawn(14)), load_density(name)
    together = posterior(density, summary_of(*samples), GRID, torch.tensor([0.2, 0.001], dtype=torch.float64))
    for r, prior in enumerate((0.2, 0.001)):
        np.testing.assert_allclose(together[r], posterior(density, summary_of(samples[r]), GRID, prior)[0], rtol=1e-9)
