"""The search for tuned values: points of each round, where the best lies, and the best score after n trials.

*Source*: Bergstra and Bengio 2012 (random search); Halton 1960, scrambled by Owen 2017 (quasi-random points); Dodge et
al. 2019, "Show Your Work" (expected best score after n trials).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, get_args

import numpy as np

from fne.study.tuning import Axis, End, Place
from fne.utils.seeding import numpy_stream

Point = Mapping[str, Any]
AROUND = 1 / 4
"""Further trials lie at most this far from the middle of best and summit, on the scale of an axis, of 0 to 1."""
INSIDE, FLAT, BOUND, OPEN = get_args(Place)


def first_round(axes: Mapping[str, Axis], count: int, draw: int = 0) -> list[dict[str, Any]]:
    """Scrambled quasi-random points over whole ranges.

    They are drawn from a stream named by the axes, so that variants with the same axes try the same points. Without an
    axis there is one point.

    Args:
        axes: Ranges by key.
        count: Number of points.
        draw: Of the search; each has points of its own.
    """
    units = _units(axes, count, draw, 1)
    return [{key: axis.at(u) for (key, axis), u in zip(axes.items(), row, strict=True)} for row in units]


def further_round(
    axes: Mapping[str, Axis],
    points: Sequence[Point],
    scores: Sequence[float],
    leaders: int,
    number: int,
    *,
    count: int,
    draw: int = 0,
) -> tuple[dict[str, Axis], list[dict[str, Any]]]:
    """Ranges, extended at their open ends, and points around the middle of the best and the summit.

    On an axis the points lie within a quarter of the range of the middle between the best point and the summit of all
    scores (:func:`summit`): one trial is noisy, a surface may be wrong. Where the range was extended, they lie out to
    its new end. A choice keeps its best value.

    Args:
        axes: Ranges so far.
        points: All points so far.
        scores: Of each.
        leaders: How many of the best are asked for open ends; see :func:`open_ends`.
        number: Of the round, 2 or more.
        count: Of new points.
        draw: Of the search.
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    opened = open_ends(axes, [points[place] for place in order[:leaders]])
    wider = {key: axis.extended(opened[key]) if key in opened else axis for key, axis in axes.items()}
    top, windows = summit(wider, points, scores), []
    for key, axis in wider.items():
        best = axis.place(points[order[0]][key])
        at = best if axis.kind == "choice" else (best + top[key]) / 2
        low, high = max(at - AROUND, 0.0), min(at + AROUND, 1.0)
        if key in opened:
            low, high = (0.0, high) if opened[key] == "lowest" else (low, 1.0)
        windows.append((at, at) if axis.kind == "choice" else (low, high))
    starts, ends = np.array(windows).T
    places = starts + _units(axes, count, draw, number) * (ends - starts)
    return wider, [{key: axis.at(u) for (key, axis), u in zip(wider.items(), row, strict=True)} for row in places]


def summit(axes: Mapping[str, Axis], points: Sequence[Point], scores: Sequence[float]) -> dict[str, float]:
    """The place of 0 to 1 on each axis at which a smooth surface through all scores is greatest.

    ``a + sum_k (b_k u_k + c_k u_k^2)``, u the place less one half, by least squares with a penalty of
    ``0.1 (b_k^2 + c_k^2)``. Scores below the lower quartile count as that: a collapsed run says nothing of the summit.

    *Source*: response surfaces, Box and Wilson 1951.
    """
    places = np.array([[axis.place(point[key]) - 0.5 for key, axis in axes.items()] for point in points])
    heights = np.maximum(scores, np.quantile(scores, 0.25))
    terms = np.hstack([np.ones((len(places), 1)), places, places**2])
    penalty = np.diag([0.0, *[0.1] * (2 * len(axes))])
    fit = np.linalg.solve(terms.T @ terms + penalty, terms.T @ (heights - heights.mean()))
    slopes, bends = fit[1:].reshape(2, -1)
    grid = np.array(sorted(np.linspace(-0.5, 0.5, 101), key=abs))  # of equal heights, the middle
    best = np.argmax(slopes[:, None] * grid + bends[:, None] * grid**2, axis=1)
    return dict(zip(axes, (grid[best] + 0.5).tolist(), strict=True))


def _units(axes: Mapping[str, Axis], count: int, draw: int, number: int) -> np.ndarray:
    """Scrambled Halton points (count, axes) in [0, 1)."""
    from scipy.stats import qmc

    if not axes:
        return np.empty((1, 0))
    return qmc.Halton(len(axes), scramble=True, rng=numpy_stream(draw, "tune", number, *sorted(axes))).random(count)


def open_ends(axes: Mapping[str, Axis], leaders: Sequence[Point]) -> dict[str, End]:
    """Keys of which one of the best values lies at an end of the range that is no natural bound, and that end.

    Several of the best are asked, since on a surface that is flat within noise the very best may lie anywhere; of two
    at different ends the better one counts.

    Args:
        axes: Ranges.
        leaders: The best points, the very best first.
    """
    result: dict[str, End] = {}
    for key, axis in axes.items():
        for point in leaders:
            if (end := axis.end(point[key])) and not axis.bound(end):
                result.setdefault(key, end)
    return result


def where(
    axes: Mapping[str, Axis],
    points: Sequence[Point],
    scores: Sequence[float],
    means: Mapping[int, float],
    best: int,
    spread: float,
) -> dict[str, str]:
    """Where the best point lies on each axis.

    ``inside``; ``flat``: at an end, but a trial inside is at most ``spread`` worse; ``natural bound``: at an end beyond
    which nothing lies; ``open end``: at any other. Scores of the first seed and means over the further ones are
    compared apart: the best of many scores is a lucky one, means of finalists are less so.

    Args:
        axes: Ranges after the last round.
        points: All trials.
        scores: Of each, on the seed that all share.
        means: Of finalists over further seeds, by index.
        best: Index of the best.
        spread: Standard deviation over tuning seeds.
    """
    result = {}
    for key, axis in axes.items():
        end = axis.end(points[best][key])
        inside = [place for place, point in enumerate(points) if axis.end(point[key]) is None]
        worse = [scores[best] - scores[place] for place in inside]
        worse += [means[best] - means[place] for place in inside if place in means]
        if end is None:
            result[key] = INSIDE
        elif axis.bound(end):
            result[key] = BOUND
        else:
            result[key] = FLAT if worse and min(worse) <= spread else OPEN
    return result


def spread_over_seeds(scores: Sequence[Sequence[float]]) -> float:
    """Standard deviation over seeds, pooled: ``sqrt(sum_ts (x_ts - mean_t)^2 / sum_t (n_t - 1))``, t a trial."""
    rows = [np.asarray(row, float) for row in scores]
    freedom = sum(len(row) - 1 for row in rows)
    return float(np.sqrt(sum(((row - row.mean()) ** 2).sum() for row in rows) / freedom)) if freedom else 0.0


class Best(NamedTuple):
    """The best score of n trials: its expectation, its variance, and between what it lies in 95 % of searches."""

    expected: float
    variance: float
    low: float
    high: float


def best_after(scores: Sequence[float], n: int) -> Best:
    """The best of n trials, drawn independently from those that were made (bootstrap, in closed form).

    With ``v_1 <= ... <= v_N`` the best is at most ``v_i`` with probability ``(i / N)^n``; so
    ``E = sum_i v_i ((i / N)^n - ((i - 1) / N)^n)``, likewise the variance; low and high are its quantiles of 2.5 and
    97.5 %. The order in which trials were made does not matter.

    Args:
        scores: (N,) of trials that are a sample, such as a first round's, in any unit.
        n: Trials, 1 or more.

    Raises:
        ValueError: No trial is made or asked for.

    *Source*: Dodge et al. 2019, section 3.

    >>> best_after([460.0, 466.0], 1).expected
    463.0
    """
    if n < 1 or not len(scores):
        raise ValueError(f"the best of {n} of {len(scores)} trials is not defined")
    ranked = np.sort(np.asarray(scores, float))
    reached = (np.arange(len(ranked) + 1) / len(ranked)) ** n
    weights = np.diff(reached)
    expected = float(weights @ ranked)
    low, high = (float(ranked[np.searchsorted(reached[1:], share)]) for share in (0.025, 0.975))
    return Best(expected, float(weights @ (ranked - expected) ** 2), low, high)
