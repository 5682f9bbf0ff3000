"""Intervals, tests and adjustments against plain loops, enumerations and worked numbers."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t as student

from fne.analysis import intervals, layout
from fne.analysis.holm import holm
from fne.analysis.intervals import hierarchical_intervals, variance_of_mean
from fne.analysis.permutation import image_p_values


def values(n: int = 5, n_images: int = 60, columns: int = 3, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    both = rng.normal(0, 1, (n, n_images, columns))
    return 3 + both + rng.normal(0, 0.5, (n, 1, columns)) + rng.normal(0, 1, (1, n_images, columns))


def plain_mean_squares(y: np.ndarray) -> tuple[float, float, float]:
    """The two-way table of one column, by loops."""
    n, n_images = y.shape
    grand = sum(y.flat) / y.size
    seeds = [sum(row) / n_images for row in y]
    images = [sum(row) / n for row in y.T]
    rest = sum((y[s, i] - seeds[s] - images[i] + grand) ** 2 for s in range(n) for i in range(n_images))
    return (
        n_images * sum((m - grand) ** 2 for m in seeds) / (n - 1),
        n * sum((m - grand) ** 2 for m in images) / (n_images - 1),
        rest / ((n - 1) * (n_images - 1)),
    )


def test_variance_and_degrees_of_freedom_are_those_of_the_two_way_table() -> None:
    y = values()
    variance, freedom = variance_of_mean(y)
    for c in range(3):
        seeds, images, rest = plain_mean_squares(y[:, :, c])
        assert seeds > rest
        expected = (images + seeds - rest) / 300
        assert variance[c] == pytest.approx(expected, rel=1e-12)
        satterthwaite = (seeds**2 / 4 + images**2 / 59 + rest**2 / 236) / 300**2
        assert freedom[c] == pytest.approx(expected**2 / satterthwaite, rel=1e-12)


def test_interval_width_is_the_t_quantile_and_its_shape_the_bootstraps() -> None:
    y = values()
    y[..., 2] = np.exp(1.5 * y[..., 2] - 4.5)  # a skewed one
    result = hierarchical_intervals(y, resamples=4000)
    variance, freedom = variance_of_mean(y)
    np.testing.assert_allclose(result.mean, y.mean(axis=(0, 1)), rtol=1e-12)
    np.testing.assert_allclose(result.sd_seeds, y.mean(axis=1).std(axis=0, ddof=1), rtol=1e-12)
    width = 2 * student.ppf(0.975, freedom) * np.sqrt(variance)
    np.testing.assert_allclose(result.high - result.low, width, rtol=1e-9)
    above = (result.high - result.mean) / (result.mean - result.low)
    assert 0.9 < above[0] < 1.1 and above[2] > 1.1
    assert (result.n_seeds, result.level) == (5, 0.95) and "hierarchical bootstrap" in result.method
    narrower = hierarchical_intervals(y, resamples=4000, level=0.8)
    assert (narrower.high - narrower.low < 0.75 * width).all()


def test_the_bootstrap_draws_have_the_moments_of_plain_resampling() -> None:
    """Image by image and seed by seed, against a loop that really draws indices."""
    deviations = values(columns=1)[0] - 3.0
    deviations -= deviations.mean()
    rng = np.random.default_rng(5)
    plain = [deviations[rng.integers(0, 60, 60), 0].mean() for _ in range(4000)]
    draws = intervals.image_draws(deviations, 4000, 0)[:, 0]
    assert draws.std() == pytest.approx(np.std(plain), rel=0.05)
    assert abs(draws.mean()) < 4 * draws.std() / np.sqrt(4000)
    seeds = np.array([[-1.0], [0.13], [0.87]])
    draws = intervals.seed_draws(seeds, 20_000, 0)[:, 0]
    assert draws.var() == pytest.approx(seeds.var(ddof=1) / 3, rel=0.05)
    assert len(np.unique(draws.round(9))) == 10, "3 seeds have 10 resamples"


def test_no_interval_is_made_up_where_there_is_none() -> None:
    for n, why in ((1, "1 seed cannot"), (2, "2 seeds cannot")):
        result = hierarchical_intervals(values(n))
        assert np.isnan(result.low).all() and np.isnan(result.high).all() and why in result.method
        assert np.isnan(result.sd_seeds).all() == (n == 1) and np.isfinite(result.mean).all()
    assert "1 image" in hierarchical_intervals(values(n_images=1)).method
    same = hierarchical_intervals(np.full((4, 10, 1), 0.25), resamples=50)
    assert same.low[0] == same.mean[0] == same.high[0] == 0.25
    broken = values()
    broken[0, 0, 0] = np.nan
    for bad in (broken, np.empty((0, 5, 1)), np.empty((3, 0, 1)), np.ones((3, 5))):
        with pytest.raises(ValueError, match="finite"):
            hierarchical_intervals(bad)


def test_image_p_values_are_those_of_all_sign_patterns() -> None:
    rng = np.random.default_rng(3)
    differences = rng.normal([0.1, 0.5, 1.5], 1, (9, 3))
    result = image_p_values(differences, flips=20_000)
    signs = np.array(list(itertools.product((-1, 1), repeat=9)))
    for c in range(3):
        exact = np.mean(np.abs(signs @ differences[:, c]) >= abs(differences[:, c].sum()) - 1e-12)
        assert result[c] == pytest.approx(exact, abs=4 * np.sqrt(exact / 20_000) + 1e-4)
    assert result[2] < 0.1 < result[0]


def test_image_p_value_is_never_zero_and_one_where_nothing_differs() -> None:
    assert image_p_values(np.ones((200, 1)), flips=99)[0] == pytest.approx(0.01)
    assert image_p_values(np.zeros((10, 2)), flips=99).tolist() == [1.0, 1.0]
    thirds = np.array([[0.1], [0.2], [-0.3 + 1e-17]])  # sums that are equal but for rounding count as reached
    assert image_p_values(thirds, flips=199)[0] == 1.0
    whole, cut = (image_p_values(values()[0] - 3, flips=1500), image_p_values(values()[0][:, :1] - 3, flips=1500))
    assert whole[0] == cut[0]


def test_holm_on_worked_numbers() -> None:
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.5, 0.6])), [1.0, 1.0])
    adjusted = holm(np.array([np.nan, 0.01, 0.02]))
    np.testing.assert_allclose(adjusted, [np.nan, 0.03, 0.04])
    assert holm(np.array([])).shape == (0,)


def write_queries(path: Path, seeds: list[int], sums: dict[str, np.ndarray], counts: dict[str, np.ndarray]) -> Path:
    np.savez(path, seeds=np.array(seeds), **sums, **{f"{name}/count": count for name, count in counts.items()})
    return path


def test_contributions_and_influence_of_unequal_caption_counts(tmp_path: Path) -> None:
    """Means are the ratios; the influence spreads as the ratio does when whole images are resampled."""
    rng = np.random.default_rng(0)
    n_images, seeds = 80, [3, 1]
    counts = {"own/i2t": np.ones(n_images, int), "own/t2i": rng.integers(1, 9, n_images)}
    counts["truth/t2i"] = counts["own/t2i"] * (rng.random(n_images) < 0.5)
    sums = {}
    for part, metrics in (("own/i2t", ("r1", "r5", "r10")), ("own/t2i", ("r1", "r5", "r10")), ("truth/t2i", ("p1",))):
        for metric in metrics:
            chance = rng.random(n_images) * (0.5 + 0.4 / counts["own/t2i"])  # images with few captions are easier
            sums[f"{part}/{metric}"] = rng.binomial(counts[part], chance, (2, n_images)).astype(float)
    item = layout.load([write_queries(tmp_path / "q.npz", seeds, sums, counts)])
    assert item.seeds == (1, 3) and item.contributions.shape == item.influence.shape == (2, n_images, 8)
    for c, (protocol, direction, metric) in enumerate(item.keys):
        parts = [f"own/{d}/{m}" for d in ("i2t", "t2i") for m in ("r1", "r5", "r10")]
        names = parts if metric == "rsum" else [f"{protocol}/{direction}/{metric}"]

        def ratio(seed: int, images: np.ndarray, names: list[str] = names) -> float:
            return sum(sums[n][seed, images].sum() / counts[n.rpartition("/")[0]][images].sum() for n in names)

        everything = np.arange(n_images)
        expected = [ratio(1, everything), ratio(0, everything)]
        np.testing.assert_allclose(item.contributions[:, :, c].mean(1), expected, rtol=1e-12)
        np.testing.assert_allclose(item.influence[:, :, c].mean(1), expected, rtol=1e-12)
        draws = rng.integers(0, n_images, (3000, n_images))
        real = np.std([ratio(1, images) for images in draws])
        assert item.influence[0, draws, c].mean(axis=1).std() == pytest.approx(real, rel=0.05), metric
    queries = dict(zip(item.keys, item.queries, strict=True))
    assert queries["own", "t2i", "r1"] == counts["own/t2i"].sum()
    assert queries["own", "both", "rsum"] == counts["own/t2i"].sum() + n_images
    assert queries["truth", "t2i", "p1"] == counts["truth/t2i"].sum()


def test_statistics_and_metrics_import_no_torch_and_no_pandas() -> None:
    code = (
        "import sys, fne.steps.compare, fne.steps.aggregate, fne.analysis.equivalence, fne.steps.evaluate;"
        "print([m for m in ('torch', 'pandas', 'scipy', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
