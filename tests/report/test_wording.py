"""Numbers as words: no false zeros, signs, percent and cut texts."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from fne.analysis.holm import holm, holm_floor
from fne.analysis.permutation import drawn_floor, image_floor, image_p_values
from fne.report.text.wording import (
    count,
    duration,
    listing,
    number,
    p_equals,
    p_value,
    percent,
    seed_list,
    short,
    signed,
    span,
)
from fne.utils.min_seeds import seed_floor
from fne.utils.text import clean

NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.4567, "45.7"),
        (4.5312, "453.1"),
        (0.0, "0.0"),
        (-0.0001, "0.0"),
        (-0.25, "−25.0"),
        (NAN, "—"),
        (math.inf, "—"),
    ],
)
def test_percent(value: float, text: str) -> None:
    assert percent(value) == text


def test_a_rank_is_no_percentage() -> None:
    assert percent(3.5, "median_rank") == "3.5"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.081, "+8.1"), (-0.081, "−8.1"), (0.0, "0.0"), (0.0001, "+0.0"), (-0.0001, "−0.0"), (NAN, "—")],
)
def test_a_difference_keeps_its_sign_where_it_rounds_to_zero(value: float, text: str) -> None:
    assert signed(value) == text


def test_intervals() -> None:
    assert span(0.1, 0.25) == "[10.0, 25.0]"
    assert span(-0.1, 0.25, sign=True) == "[−10.0, +25.0]"
    assert span(NAN, 0.25) == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.00003, "0.00003"), (0.00048, "0.0005"), (0.00096, "0.001"), (0.001, "0.001"), (0.0312, "0.031"), (1, "1.000")],
)
def test_p_values_are_never_zero(value: float, text: str) -> None:
    assert p_value(value) == text and p_equals(value) == f"p = {text}"
    assert p_value(NAN) == "—" and p_equals(NAN) == ""


@pytest.mark.parametrize("flips", [1, 7, 9, 19, 99, 999, 1234, 9_999, 10_000, 100_000])
@pytest.mark.parametrize("family", [1, 2, 9, 10, 11, 60, 2_500])
def test_no_p_is_written_below_what_resampling_and_holm_can_show(flips: int, family: int) -> None:
    """The strongest results that there can be, adjusted: what is written is true, and as low as it may be."""
    differences = np.ones((400, 1))  # no random pattern of signs reaches 400 ones
    p = image_p_values(differences, flips=flips)[0] if flips < 10_000 else image_floor(flips)
    assert p == image_floor(flips) == 1 / (flips + 1)
    adjusted = holm(np.full(family, p))
    floor = holm_floor(image_floor(flips), family)
    assert adjusted == pytest.approx(floor) and floor == pytest.approx(min(1.0, family / (flips + 1)))
    shown = p_value(adjusted[0], floor)
    if floor == 1:
        assert shown == "1.000"
        return
    exact, written = Fraction(family, flips + 1), Fraction(shown.removeprefix("≤ "))
    assert shown.startswith("≤ ") and exact <= written <= exact * Fraction(101, 100)
    for times in (2, 3, 10):  # a result that so many patterns less one reach
        higher = p_value(min(1.0, times * floor), floor)
        assert "≤" not in higher and "<" not in higher and Fraction(higher) >= exact


def test_an_exact_p_is_a_number() -> None:
    row = {"n_seeds": 9, "p_seed_floor": 2 / 2**9, "p_query_floor": 1 / 10_001}
    assert p_value(2 / 2**9, drawn_floor(row, "p_seed")) == "0.004"
    assert p_value(1 / 10_001, drawn_floor(row, "p_query")) == "≤ 0.0001"
    many = row | {"n_seeds": 17, "p_seed_floor": seed_floor(17)}
    assert p_value(seed_floor(17), drawn_floor(many, "p_seed")) == "≤ 0.0001"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0123, "12 ms"), (9.04, "9.0 s"), (65, "65 s"), (600, "10 min"), (7200, "2.0 h"), (NAN, "—")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("seeds", "text"),
    [((0, 1, 2, 3, 4), "0 to 4"), ((0, 1), "0, 1"), ((4, 0, 7), "0, 4, 7"), ((3,), "3"), ((), "none")],
)
def test_seed_lists(seeds: tuple[int, ...], text: str) -> None:
    assert seed_list(seeds) == text


def test_small_words() -> None:
    assert listing(["a"]) == "a"
    assert listing(["a", "b", "c"]) == "a, b and c"
    assert listing([]) == ""
    assert count(1234567) == "1\u202f234\u202f567"
    assert number(-12.34, 1) == "−12.3"


def test_texts_are_cleaned_and_cut_at_words() -> None:
    assert clean("two\x00 \n\tlines\x0b here") == "two lines here"
    assert short("a title that fits", 20) == "a title that fits"
    cut = short("FNE without elimination and cut-down", 20)
    assert cut == "FNE without…" and len(cut) <= 20
    assert short("Donaudampfschifffahrtsgesellschaft", 10) == "Donaudamp…"
