"""Numbers as words: no false zeros, signs, percent and cut texts."""

from __future__ import annotations

import math

import pytest

from fne.reporting.wording import (
    clean,
    count,
    duration,
    listing,
    number,
    p_value,
    percent,
    seed_list,
    short,
    signed,
    span,
)

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
    [(0.0, "< 0.001"), (0.0009, "< 0.001"), (0.001, "0.001"), (0.0312, "0.031"), (1.0, "1.000")],
)
def test_p_values_are_never_zero(value: float, text: str) -> None:
    assert p_value(value) == text
    assert p_value(NAN) == "—"


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
