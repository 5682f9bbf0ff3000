"""Components of variance against plain loops and closed forms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import chi2, t

from fne.analysis.components import (
    IMAGES,
    INTERACTION,
    SEED,
    Another,
    Cell,
    Components,
    _Fit,
    _part,
    decompose,
    half_width_elsewhere,
    pool,
)

DRAW, WORLD = "encoders.draw", "data.seed"
FACTORS = (DRAW, WORLD)


def exact(point: dict[str, int], scores: np.ndarray) -> Cell:
    """A cell whose test images leave nothing open: each of four gives the seed's score."""
    return Cell(point, np.repeat(np.asarray(scores, dtype=float)[:, None], 4, axis=1))


def crossed(values: np.ndarray) -> list[Cell]:
    """Cells of scores (draws, worlds, seeds)."""
    sizes = values.shape[:2]
    return [exact({DRAW: e, WORLD: w}, values[e, w]) for e, w in itertools.product(*map(range, sizes))]


def uneven(rng: np.random.Generator) -> list[Cell]:
    """A design with gaps, other numbers of seeds and images that matter."""
    points = [(0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (1, 1), (2, 2), (3, 1)]
    draws, worlds, images = rng.normal(0, 2, 4), rng.normal(0, 2, 3), rng.normal(0, 6, (3, 30))
    return [
        Cell({DRAW: e, WORLD: w}, draws[e] + worlds[w] + rng.normal(0, 1) + rng.normal(0, 1, (n, 1)) + images[w]
             + rng.normal(0, 3, 30) + rng.normal(0, 2, (n, 30)))
        for (e, w), n in zip(points, (5, 3, 1, 2, 5, 4, 2, 3), strict=True)
    ]  # fmt: skip


def dense(cells: list[Cell], covariance: np.ndarray, variances: dict[str, float]) -> float:
    """The restricted log-likelihood of all scores, in plain loops; ``covariance``: of the cells' images."""
    scores, place = [], []
    for c, cell in enumerate(cells):
        for seed in range(len(cell.values)):
            scores.append(sum(cell.values[seed]) / len(cell.values[seed]))
            place.append(c)
    size = len(scores)
    matrix = np.zeros((size, size))
    for a in range(size):
        for b in range(size):
            item, other = cells[place[a]].point, cells[place[b]].point
            for factor in FACTORS:
                matrix[a, b] += variances[factor] if item[factor] == other[factor] else 0
            matrix[a, b] += variances[INTERACTION] if place[a] == place[b] else 0
            matrix[a, b] += variances[SEED] if a == b else 0
            matrix[a, b] += covariance[place[a], place[b]]
    inverse, ones, values = np.linalg.inv(matrix), np.ones(size), np.array(scores)
    mean = ones @ inverse @ values / (ones @ inverse @ ones)
    rest = values - mean
    return -0.5 * float(np.linalg.slogdet(matrix)[1] + math.log(ones @ inverse @ ones) + rest @ inverse @ rest)


@pytest.mark.parametrize("seed", range(5))
def test_the_likelihood_is_that_of_all_scores_in_plain_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cells = uneven(rng)
    part = _part(cells, list(FACTORS), [WORLD])
    fit = _Fit([part])
    places = rng.uniform(0.01, 3, (6, 4))
    loops = [dense(cells, part.images, dict(zip((*FACTORS, INTERACTION, SEED), item * fit.unit, strict=True)))
             for item in places]  # fmt: skip
    costs = [fit._costs(item)[0] for item in places]
    np.testing.assert_allclose(np.diff(loops), -np.diff(costs), rtol=1e-8)


def anova(values: np.ndarray) -> dict[str, float]:
    """Two-way balanced analysis of variance of (draws, worlds, seeds), in plain loops."""
    a, b, n = values.shape
    mean = values.mean()
    seed = sum((values[e, w, s] - values[e, w].mean()) ** 2 for e in range(a) for w in range(b) for s in range(n))
    both = sum((values[e, w].mean() - values[e].mean() - values[:, w].mean() + mean) ** 2
               for e in range(a) for w in range(b))  # fmt: skip
    mean_squares = {
        SEED: seed / (a * b * (n - 1)),
        INTERACTION: n * both / ((a - 1) * (b - 1)),
        DRAW: b * n * sum((values[e].mean() - mean) ** 2 for e in range(a)) / (a - 1),
        WORLD: a * n * sum((values[:, w].mean() - mean) ** 2 for w in range(b)) / (b - 1),
    }
    return {
        SEED: mean_squares[SEED],
        INTERACTION: (mean_squares[INTERACTION] - mean_squares[SEED]) / n,
        DRAW: (mean_squares[DRAW] - mean_squares[INTERACTION]) / (b * n),
        WORLD: (mean_squares[WORLD] - mean_squares[INTERACTION]) / (a * n),
    }


def balanced(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(0, 3, (4, 1, 1)) + rng.normal(0, 2, (1, 5, 1)) + rng.normal(0, 1, (4, 5, 1))
            + rng.normal(0, 1, (4, 5, 3)) + 430)  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_of_a_balanced_design_it_is_the_analysis_of_variance(seed: int) -> None:
    values = balanced(seed)
    requested = anova(values)
    assert min(requested.values()) > 0
    result = decompose(crossed(values), FACTORS, images=())
    for name, variance in requested.items():
        assert result.sources[name].variance == pytest.approx(variance, rel=1e-3), name
    assert result.another.variance == pytest.approx(sum(requested.values()) - requested[SEED], rel=1e-3)
    assert (result.cells, result.runs, result.another.levels) == (20, 60, 4)


def test_the_error_of_another_cell_is_satterthwaites() -> None:
    values = balanced(0)
    a, b, n = values.shape
    requested, result = anova(values), decompose(crossed(values), FACTORS, images=())
    squares = {SEED: requested[SEED], INTERACTION: requested[SEED] + n * requested[INTERACTION]}
    squares[DRAW] = squares[INTERACTION] + b * n * requested[DRAW]
    squares[WORLD] = squares[INTERACTION] + a * n * requested[WORLD]
    weights = {DRAW: 1 / (b * n), WORLD: 1 / (a * n), INTERACTION: 1 / n - 1 / (b * n) - 1 / (a * n), SEED: -1 / n}
    freedom = {DRAW: a - 1, WORLD: b - 1, INTERACTION: (a - 1) * (b - 1), SEED: a * b * (n - 1)}
    variance = sum(2 * (weights[name] * squares[name]) ** 2 / freedom[name] for name in weights)
    assert result.another.error == pytest.approx(math.sqrt(variance), rel=1e-3)


def test_one_factor_without_and_with_test_images_of_its_own() -> None:
    """Shared images cancel; a world's own are part of how worlds differ, and are subtracted."""
    rng = np.random.default_rng(3)
    size, n = 400, 4
    shared = [Cell({DRAW: k}, rng.normal(0, 3) + rng.normal(0, 1, (n, 1)) + image)
              for image in [rng.normal(0, 8, size)] for k in range(8)]  # fmt: skip
    own = [Cell({WORLD: k}, rng.normal(0, 3) + rng.normal(0, 1, (n, 1)) + rng.normal(0, 20, size)) for k in range(8)]
    for cells, factor in ((shared, DRAW), (own, WORLD)):
        result = decompose(cells, [factor])
        means = [cell.values.mean() for cell in cells]
        seed = np.mean([cell.values.mean(axis=1).var(ddof=1) for cell in cells])
        images = np.mean([cell.values.mean(axis=0).var(ddof=1) / size for cell in cells])
        variance = np.var(means, ddof=1) - seed / n - (images if factor == WORLD else 0)
        assert result.sources[factor].variance == pytest.approx(variance, rel=5e-3)
        assert result.sources[IMAGES].variance == pytest.approx(images, rel=1e-9)
        assert INTERACTION not in result.sources and set(result.sources) == {factor, SEED, IMAGES}


def test_ends_of_an_interval_are_where_the_profile_likelihood_says() -> None:
    rng = np.random.default_rng(5)
    fit = _Fit([_part(uneven(rng), list(FACTORS), [WORLD])])
    for k in range(4):
        component = fit.interval(k)
        for end in (component.low, component.high):
            if end > 0:
                assert fit.deviance(k, end / fit.unit) == pytest.approx(chi2.ppf(0.95, 1), abs=0.01)
            else:
                assert fit.deviance(k, 0.0) <= chi2.ppf(0.95, 1)
        assert component.low <= component.variance <= component.high


def test_of_equal_scores_the_pool_is_one_of_them_and_of_others_a_mean() -> None:
    item, other = balanced(0), 2 * balanced(1)
    single = decompose(crossed(item), FACTORS, images=())
    assert as_array(pool([crossed(item)] * 3, FACTORS, images=())) == pytest.approx(as_array(single), rel=1e-6)
    both = pool([crossed(item), crossed(other)], FACTORS, images=())
    for name in (*FACTORS, INTERACTION, SEED):
        assert both.sources[name].variance == pytest.approx((anova(item)[name] + anova(other)[name]) / 2, rel=1e-3)


def as_array(found: Components) -> np.ndarray:
    return np.array([*found.sources.values()]).ravel()


def test_scores_that_do_not_vary_have_no_components() -> None:
    result = decompose(crossed(np.full((3, 3, 2), 4.2)), FACTORS, images=())
    assert not as_array(result).any() and result.another == Another(0.0, 0.0, 3)


def test_one_at_a_time_alone_cannot_distinguish_an_interaction() -> None:
    rng = np.random.default_rng(7)
    points = [(0, 0), *((k, 0) for k in range(1, 5)), *((0, k) for k in range(1, 5))]
    cells = [exact({DRAW: e, WORLD: w}, rng.normal(0, 1, 3)) for e, w in points]
    assert INTERACTION not in decompose(cells, FACTORS).sources
    assert INTERACTION in decompose([*cells, exact({DRAW: 1, WORLD: 1}, rng.normal(0, 1, 3))], FACTORS).sources


BAD = {
    "finite": lambda cells: [Cell(cells[0].point, np.array([[np.nan, 1.0]])), *cells[1:]],
    "finite, (seeds, images)": lambda cells: [Cell(cells[0].point, np.zeros(3)), *cells[1:]],
    "comes twice": lambda cells: [*cells, cells[0]],
    "no level of data.seed": lambda cells: [Cell({DRAW: 0}, cells[0].values), *cells[1:]],
    "a cell with two seeds": lambda cells: [Cell(cell.point, cell.values[:1]) for cell in cells],
    "does not vary encoders.draw": lambda cells: [cell for cell in cells if cell.point[DRAW] == 0],
    "apart from each other": lambda cells: [cell for cell in cells if cell.point[DRAW] == cell.point[WORLD]],
    "share test images": lambda cells: [Cell(cells[0].point, cells[0].values[:, :3]), *cells[1:]],
}


@pytest.mark.parametrize("problem", BAD)
def test_data_that_show_no_components_are_errors(problem: str) -> None:
    cells = crossed(balanced(0)[:3, :3])
    with pytest.raises(ValueError, match=problem.replace("(", r"\(").replace(")", r"\)")):
        decompose(BAD[problem](cells), FACTORS)


def test_the_wider_interval_by_hand() -> None:
    half = half_width_elsewhere(4.0, 10.0, Another(6.0, 3.0, 6))
    total = 4 + 2 * 6
    assert half == pytest.approx(t.ppf(0.975, total**2 / (4**2 / 10 + 2 * 3**2)) * math.sqrt(total))
    few = half_width_elsewhere(4.0, 10.0, Another(0.1, 9.0, 6))
    assert few == pytest.approx(t.ppf(0.975, 5) * math.sqrt(4.2))
    assert half_width_elsewhere(4.0, 10.0, Another(0.0, 0.0, 6)) == pytest.approx(t.ppf(0.975, 10) * 2)
    assert half_width_elsewhere(0.0, 4.0, Another(0.0, 0.0, 6)) == 0
