"""Published against reproduced: the verdict of an interval, and how often it is wrong."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from fne.analysis.equivalence import INCONCLUSIVE, NOT_REPRODUCED, REASONS, REPRODUCED, VERDICTS, compare_with_published
from fne.analysis.intervals import hierarchical_intervals

NAN = math.nan


def test_the_verdict_is_that_of_every_point_of_the_interval() -> None:
    """Brute force on a grid: all points within the tolerance, none of them, or some."""
    seen = set()
    for published, tolerance in ((6, 2), (5, 3), (7, 1)):
        for low, high in itertools.combinations_with_replacement(range(13), 2):
            inside = [abs(point - published) <= tolerance for point in range(low, high + 1)]
            # Between two grid points a narrow tolerance could be jumped over, but both its ends are grid points.
            requested = REPRODUCED if all(inside) else INCONCLUSIVE if any(inside) else NOT_REPRODUCED
            result = compare_with_published(float(low), float(high), float(published), float(tolerance))
            assert result.verdict == requested, (low, high, published, tolerance)
            seen.add(result.reason)
    assert seen == set(REASONS) - {"too_few_seeds"}


@pytest.mark.parametrize(
    "arguments", [(1.0, 2.0, 1.5, 0.0), (1.0, 2.0, 1.5, -1.0), (1.0, 2.0, 1.5, NAN), (2.0, 1.0, 1.5, 1.0)]
)
def test_a_tolerance_is_positive_and_an_interval_is_not_reversed(arguments: tuple[float, ...]) -> None:
    with pytest.raises(ValueError):
        compare_with_published(*arguments)


WORLDS = 2000


@pytest.fixture(scope="module", params=[3, 5, 10], ids="{} seeds".format)
def intervals(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    """95 % intervals of a mean that is truly 0, of many studies; seeds, images and their interaction vary."""
    rng, n, images = np.random.default_rng(request.param), request.param, 120
    values = rng.normal(0, 0.3, (n, 1, WORLDS)) + rng.normal(0, 1.0, (1, images, WORLDS))
    result = hierarchical_intervals(values + rng.normal(0, 1.0, (n, images, WORLDS)), resamples=500)
    return result.low, result.high


def shares(intervals: tuple[np.ndarray, np.ndarray], published: float, tolerance: float) -> dict[str, float]:
    verdicts = [
        compare_with_published(low, high, published, tolerance).verdict for low, high in zip(*intervals, strict=True)
    ]
    return {verdict: verdicts.count(verdict) / WORLDS for verdict in VERDICTS}


@pytest.mark.parametrize("sign", [-1, 1])
def test_a_mean_at_the_edge_of_the_tolerance_is_rarely_called_reproduced(
    intervals: tuple[np.ndarray, np.ndarray], sign: int
) -> None:
    """The worst case of a wrong `reproduced`: the true difference is the tolerance itself; two and a half percent."""
    result = shares(intervals, published=sign * 3.0, tolerance=3.0)
    assert 0.005 <= result[REPRODUCED] <= 0.05, result
    assert result[NOT_REPRODUCED] <= 0.05, result
    beyond = shares(intervals, published=sign * 3.3, tolerance=3.0)
    assert beyond[REPRODUCED] < result[REPRODUCED]


def test_the_true_value_is_called_reproduced_when_the_interval_is_narrow(
    intervals: tuple[np.ndarray, np.ndarray],
) -> None:
    width = float(np.median(intervals[1] - intervals[0]))
    narrow = shares(intervals, published=0.0, tolerance=2 * width)
    assert narrow[REPRODUCED] > 0.95 and narrow[NOT_REPRODUCED] == 0, narrow
