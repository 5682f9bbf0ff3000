"""Colours that colour-blind people can tell apart, and labels that keep their distance."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from fne.report.figures.style import BASELINE, FALSE, HARD, INK, MUTED, PALETTE, PAPER, POSITIVE, spread
from fne.report.figures.variant_styles import Look, looks
from fne.report.page import build as page

# Machado, Oliveira and Fernandes (2009), severity 1; linear RGB.
SIGHT = {
    "normal": np.eye(3),
    "red-blind": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "green-blind": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
DARK_PAGE = "#1a1f26"


def linear(colour: str) -> np.ndarray:
    values = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ rgb
    t = xyz / np.array([0.9505, 1.0, 1.089])
    f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(first: str, second: str) -> float:
    dark, light = sorted(float(linear(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (first, second))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("sight", SIGHT)
def test_every_two_variants_can_be_told_apart(sight: str) -> None:
    seen = [lab(np.clip(SIGHT[sight] @ linear(colour), 0, 1)) for colour in (*PALETTE, BASELINE)]
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) >= 9


@pytest.mark.parametrize("colour", [*PALETTE, BASELINE])
def test_marks_stand_out_in_light_and_dark(colour: str) -> None:
    assert contrast(colour, PAPER) >= 2.4 and contrast(colour, DARK_PAGE) >= 2.2


@pytest.mark.parametrize("colour", [INK, MUTED, POSITIVE, HARD, FALSE])
def test_words_can_be_read(colour: str) -> None:
    assert contrast(colour, PAPER) >= 4.5


def test_words_can_be_read_in_the_dark() -> None:
    values = dict(re.findall(r"--(\w+): light-dark\(#\w+, (#\w+)\)", page.text("page.css")))
    assert values["paper"] == DARK_PAGE
    for name in ("ink", "muted", "accent", "positive", "hard", "false"):
        assert contrast(values[name], values["paper"]) >= 4.5, name


def test_colours_stay_with_their_variant() -> None:
    result = looks(["a", "base", "fne", "b"], "base", "fne")
    assert {name: look.colour for name, look in result.items()} == {
        "base": BASELINE, "fne": PALETTE[0], "a": PALETTE[1], "b": PALETTE[2]}  # fmt: skip
    assert looks(["fne", "x"], "fne") == {"fne": Look(BASELINE), "x": Look(PALETTE[0])}


def test_ten_variants_differ_by_colour_and_more_by_their_lines() -> None:
    for names in (["fne", *map(str, range(9))], list(map(str, range(10)))):
        result = looks(names, "0")
        assert {look.dash for look in result.values()} == {"-"} and len({*result.values()}) == 10
    assert len({*looks(list(map(str, range(28))), "0").values()}) == 28


@pytest.mark.parametrize("seed", range(8))
def test_labels_keep_order_distance_and_range(seed: int) -> None:
    draw = np.random.default_rng(seed)
    requested = draw.uniform(0, 1, draw.integers(1, 11)).tolist()
    placed = spread(requested, 0.08, 0.0, 1.0)
    order = np.argsort(requested, kind="stable")
    assert all(b - a >= 0.08 - 1e-9 for a, b in itertools.pairwise(np.array(placed)[order]))
    assert min(placed) >= -1e-9 and max(placed) <= 1 + 1e-9


def test_labels_move_as_little_as_possible() -> None:
    assert spread([0.1, 0.5, 0.9], 0.1, 0, 1) == pytest.approx([0.1, 0.5, 0.9])
    assert spread([0.5, 0.5], 0.1, 0, 1) == pytest.approx([0.45, 0.55])
    assert spread([0.0, 0.0], 0.1, 0, 1) == pytest.approx([0.0, 0.1])
    assert spread([1.0, 0.98], 0.1, 0, 1) == pytest.approx([1.0, 0.9])
    assert spread([], 0.1, 0, 1) == []
    requested, best = [0.3, 0.32, 0.34, 0.7], None
    grid = np.arange(0, 1.001, 0.02)
    for places in itertools.combinations(grid, 4):  # brute force over a grid
        if all(b - a >= 0.1 - 1e-9 for a, b in itertools.pairwise(places)):
            cost = sum((a - b) ** 2 for a, b in zip(places, requested, strict=True))
            best = min(best or (cost, places), (cost, places))
    assert sum((a - b) ** 2 for a, b in zip(spread(requested, 0.1, 0, 1), requested, strict=True)) <= best[0] + 1e-9
