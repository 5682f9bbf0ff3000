"""Points of a search, where its best lies, and the best score after n trials, against loops and enumeration."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from fne.analysis import search
from fne.study.tuning import Axis

LOG = Axis("log", 1e-4, 1e-2)
LINEAR = Axis("linear", -0.5, 1.5)
INTEGER = Axis("integer", 0, 6)
WHOLE_LOG = Axis("log", 32, 2048, whole=True)
WHOLE_LINEAR = Axis("linear", 10, 90, whole=True)
CHOICE = Axis("choice", 0, 1, values=("global", "none", "row"))
KINDS = {"log": LOG, "linear": LINEAR, "integer": INTEGER, "whole": WHOLE_LOG, "steps": WHOLE_LINEAR, "choice": CHOICE}
NUMBERS = {name: axis for name, axis in KINDS.items() if name != "choice"}


@pytest.mark.parametrize(("trials", "n"), [(1, 1), (1, 3), (2, 5), (3, 1), (4, 3), (5, 4), (7, 3)])
@pytest.mark.parametrize("ties", [False, True])
def test_the_best_of_n_trials_is_that_of_all_ordered_draws(trials: int, n: int, ties: bool) -> None:
    scores = np.random.default_rng(trials + 10 * n).normal(460, 5, trials)
    scores = np.round(scores / 6) * 6 if ties else scores
    best = sorted(max(draw) for draw in itertools.product(scores.tolist(), repeat=n))
    expected = math.fsum(best) / len(best)
    made = search.best_after(scores, n)
    assert math.isclose(made.expected, expected, rel_tol=1e-12)
    assert math.isclose(made.variance, math.fsum((item - expected) ** 2 for item in best) / len(best), abs_tol=1e-8)

    def quantile(share: float) -> float:
        """The least value that so large a share of draws reaches or stays below."""
        return next(value for value in best if sum(item <= value for item in best) / len(best) >= share - 1e-12)

    assert (made.low, made.high) == (quantile(0.025), quantile(0.975))
    assert search.best_after(scores[::-1], n) == made, "the order of trials does not matter"


def test_the_spread_over_seeds_is_pooled_over_trials() -> None:
    rows = [[460.0, 462.0, 467.0], [440.0], [450.0, 455.5]]
    squares, freedom = 0.0, 0
    for row in rows:
        mean = sum(row) / len(row)
        for value in row:
            squares += (value - mean) ** 2
        freedom += len(row) - 1
    assert math.isclose(search.spread_over_seeds(rows), math.sqrt(squares / freedom), rel_tol=1e-12)
    assert search.spread_over_seeds([[460.0], [430.0]]) == search.spread_over_seeds([]) == 0.0


@pytest.mark.parametrize("name", NUMBERS)
def test_the_place_of_a_value_is_where_it_was_taken(name: str) -> None:
    axis = KINDS[name]
    for unit in np.linspace(0, 1, 41):
        value = axis.at(unit)
        assert axis.low <= value <= axis.high and isinstance(value, int) == (axis.whole or name == "integer")
        assert axis.at(axis.place(value)) == value
    assert axis.at(0.0) == axis.low and axis.at(1.0) == axis.high
    assert axis.place(axis.low) == 0 and axis.place(axis.high) == 1
    assert math.isclose(LOG.at(0.5), 1e-3) and LINEAR.at(0.25) == 0 and WHOLE_LOG.at(0.5) == 256
    assert float(f"{LOG.at(0.123):.3g}") == LOG.at(0.123), "three digits"


@pytest.mark.parametrize(
    ("axis", "lowest", "inside", "highest"),
    [(LOG, 1.7e-4, (1.8e-4, 5.6e-3), 5.7e-3), (LINEAR, -0.26, (-0.25, 1.25), 1.26), (INTEGER, 0, (1, 5), 6)],
)
def test_a_value_in_the_outer_eighth_lies_at_an_end(
    axis: Axis, lowest: float, inside: tuple[float, ...], highest: float
) -> None:
    assert axis.end(lowest) == axis.end(axis.low) == "lowest" and axis.end(highest) == axis.end(axis.high) == "highest"
    assert [axis.end(value) for value in inside] == [None, None]
    assert [CHOICE.end(value) for value in CHOICE.values] == [None, None, None]


@pytest.mark.parametrize(
    ("axis", "low", "high"),
    [
        (LOG, 1e-5, 0.1),
        (WHOLE_LOG, 4, 16400),
        (Axis("log", 0.1, 0.4, limits={"lowest": (0.06, True), "highest": (0.5, True)}), 0.06, 0.5),
        (Axis("linear", 0.2, 0.8, limits={"lowest": (0.0, False), "highest": (1.0, False)}), 0.1, 0.9),
        (Axis("log", 2, 8, whole=True, limits={"lowest": (1.0, True)}), 1, 16),
    ],
)
def test_an_extended_range_is_half_as_long_again_as_far_as_its_key_allows(axis: Axis, low: float, high: float) -> None:
    down, up = axis.extended("lowest"), axis.extended("highest")
    assert (down.low, down.high) == (pytest.approx(low, rel=1e-9), axis.high)
    assert (up.low, up.high) == (axis.low, pytest.approx(high, rel=1e-9))
    assert all(isinstance(end, int) for end in (down.low, up.high)) or not axis.whole
    twice = [axis.extended("lowest").extended("lowest").low, axis.extended("highest").extended("highest").high]
    free = [not down.bound("lowest"), not up.bound("highest")]
    assert [a == pytest.approx(b) for a, b, may in zip(axis.furthest(2), twice, free, strict=True) if may] == [
        True
    ] * sum(free)
    assert axis.furthest(1) == [pytest.approx(low), pytest.approx(high)]


def test_where_the_best_lies_has_four_words() -> None:
    bounded = Axis("linear", 0.0, 1.0, reasons={"lowest": "why"})
    axes = {"a": Axis("linear", 0.0, 1.0), "b": bounded, "c": CHOICE}

    def word(value: float, scores: tuple[float, ...] = (460.0, 450.0), means: tuple[float, ...] = ()) -> list[str]:
        points = [{"a": value, "b": value, "c": "none"}, {"a": 0.4, "b": 0.4, "c": "row"}]
        return [*search.where(axes, points, scores, {0: 460.0, **dict(enumerate(means))}, 0, 1.0).values()]

    assert word(0.5) == ["inside", "inside", "inside"]
    assert word(0.05) == ["open end", "natural bound", "inside"]
    assert word(0.95) == ["open end", "open end", "inside"]
    assert word(0.95, (460.0, 459.0)) == word(0.95, (458.0, 460.0)) == ["flat", "flat", "inside"]
    assert word(0.95, (460.0, 458.9)) == ["open end", "open end", "inside"]
    assert word(0.05, (460.0, 459.5)) == ["flat", "natural bound", "inside"]
    assert word(0.95, means=(450.0, 449.5)) == ["flat", "flat", "inside"], "means of finalists count too"
    assert word(0.95, means=(450.0, 448.9)) == ["open end", "open end", "inside"]
    alone = search.where({"a": axes["a"]}, [{"a": 1.0}, {"a": 0.0}], [460.0, 460.0], {0: 460.0, 1: 460.0}, 0, 5.0)
    assert alone == {"a": "open end"}, "no trial inside tells that it is flat"
    at_a, at_b = {"a": 0.99, "b": 0.01, "c": "row"}, {"a": 0.5, "b": 0.99, "c": "row"}
    assert search.open_ends(axes, [at_a]) == {"a": "highest"} and search.open_ends(axes, [at_b]) == {"b": "highest"}
    assert search.open_ends(axes, [at_b, at_a]) == {"a": "highest", "b": "highest"}, "any of the best opens an end"
    low = {"a": 0.01, "b": 0.5, "c": "row"}
    assert search.open_ends(axes, [at_a, low]) == {"a": "highest"}, "the better one's end counts"
    assert search.open_ends(axes, [low, at_a]) == {"a": "lowest"}


def test_first_rounds_fill_the_ranges_and_every_draw_is_scrambled_anew() -> None:
    rounds = [search.first_round(KINDS, 24, draw) for draw in range(4)]
    for points in rounds:
        for key, axis in NUMBERS.items():
            quarters = [min(int(4 * axis.place(point[key])), 3) for point in points]
            assert {*quarters} == {0, 1, 2, 3}, f"{key} misses a quarter"
        assert {point["choice"] for point in points} == {*CHOICE.values}
    for item, other in itertools.combinations(rounds, 2):
        assert not {point["log"] for point in item} & {point["log"] for point in other}
        assert [point["choice"] for point in item] != [point["choice"] for point in other]
    assert search.first_round(KINDS, 24) == rounds[0], "a draw is the same whenever it is made"
    assert search.first_round({}, 24) == [{}]


@pytest.mark.parametrize("place", [0.0, 0.05, 0.2, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("number", [2, 3])
def test_further_rounds_lie_around_the_best_and_cover_an_end_that_was_extended(
    place: float, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = {"bound": Axis("linear", 0.0, 1.0, reasons={"lowest": "why", "highest": "why"})}
    axes = KINDS | bound
    best, other = ({key: axis.at(at) for key, axis in axes.items()} for at in (place, 0.45))
    top = dict.fromkeys(axes, 0.7)
    monkeypatch.setattr(search, "summit", lambda *_: top)
    so_far = (axes, [other, best], [1.0, 2.0], 1)
    wider, points = search.further_round(*so_far, number, count=16)
    assert {point["choice"] for point in points} == {best["choice"]}
    for key, axis in (NUMBERS | bound).items():
        end, wide = axis.end(best[key]), wider[key]
        opened = end if key != "bound" else None
        assert wide == (axis.extended(opened) if opened else axis)
        units, at = [wide.place(point[key]) for point in points], (wide.place(best[key]) + 0.7) / 2
        slack = 0.12 if key in ("integer", "steps") else 0.01  # of whole numbers, and of three digits
        low = 0.0 if opened == "lowest" else max(at - 0.25, 0)
        high = 1.0 if opened == "highest" else min(at + 0.25, 1)
        assert low - slack <= min(units) and max(units) <= high + slack
        if opened:  # beyond the end of before, and near the new one
            assert any(point[key] < axis.low if end == "lowest" else point[key] > axis.high for point in points)
            assert min(units) < low + 0.13 and max(units) > high - 0.13
    again = search.further_round(*so_far, number, count=16)[1]
    assert again == points != search.further_round(*so_far, 5 - number, count=16)[1]
    assert points != search.further_round(*so_far, number, count=16, draw=1)[1]
    assert points[:9] == search.further_round(*so_far, number, count=9)[1], "a larger budget keeps the trials"


def test_the_summit_is_that_of_the_least_penalised_squares() -> None:
    from scipy.optimize import minimize

    axes = {"a": Axis("linear", 0.0, 1.0), "b": Axis("log", 1e-4, 1e-2)}
    random = np.random.default_rng(3)
    points = search.first_round(axes, 20)
    scores = [400 - 90 * (axes["a"].place(p["a"]) - 0.3) ** 2 - 50 * (axes["b"].place(p["b"]) - 0.8) ** 2
              + random.normal(0, 2) for p in points]  # fmt: skip
    scores[4] = 3.0  # collapsed
    floor = np.quantile(scores, 0.25)

    def cost(parameters: np.ndarray) -> float:
        a, *rest = parameters
        total = 0.1 * sum(value**2 for value in rest)
        for point, score in zip(points, scores, strict=True):
            fitted = a
            for k, key in enumerate(axes):
                u = axes[key].place(point[key]) - 0.5
                fitted += rest[k] * u + rest[2 + k] * u**2
            total += (max(score, floor) - fitted) ** 2
        return total

    rest = minimize(cost, [400, 0, 0, 0, 0], method="BFGS", options={"gtol": 1e-7}).x[1:]
    result = search.summit(axes, points, scores)
    for k, key in enumerate(axes):
        best = max(
            (step / 100 for step in range(101)), key=lambda u: rest[k] * (u - 0.5) + rest[2 + k] * (u - 0.5) ** 2
        )
        assert result[key] == pytest.approx(best, abs=0.011)
    assert abs(result["a"] - 0.3) < 0.2 and abs(result["b"] - 0.8) < 0.2, "a collapsed run does not pull it away"
