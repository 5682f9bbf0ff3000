"""A small panel for each variant: where its picks lie, and how often those are false negatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fne.report.figures.figure import canvas
from fne.report.figures.style import GRID, MUTED, PAPER, WIDTH, panel_legend
from fne.report.figures.variant_styles import Look
from fne.report.text.wording import name
from fne.results.study import Variant

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = Sequence[tuple[float, float, float, float]]
"""Place, rate, and the ends of its interval."""


def grid(
    variants: Sequence[Variant], xlabel: str, ylabel: str, marks: tuple[str, str, str]
) -> tuple[Figure, list[Axes]]:
    """A figure of panels on common axes, two beside each other, each under its variant's name.

    Args:
        variants: In order.
        xlabel, ylabel: What the axes show.
        marks: As of :func:`fne.report.figures.style.panel_legend`.
    """
    columns = min(2, len(variants))
    rows = -(-len(variants) // columns)
    height = 1.0 + 1.3 * rows
    figure = canvas(WIDTH, height)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    figure.subplots_adjust(
        left=0.125, right=0.985, bottom=0.55 / height, top=1 - 0.62 / height, wspace=0.06, hspace=0.42
    )
    for panel, variant in zip(axes.flat, variants, strict=False):
        panel.set_title(name(variant, 29))
        panel.grid(axis="y")
    for panel in axes.flat[len(variants) :]:
        panel.set_visible(False)
    for panel in axes[-1]:
        panel.set_xlabel(xlabel)
    axes.flat[0].yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    figure.supylabel(ylabel, fontsize=9.5, x=0.005)
    panel_legend(figure, *marks)
    return figure, list(axes.flat[: len(variants)])


def fill(panel: Axes, edges: np.ndarray, picks: np.ndarray, base: Points, own: Points, look: Look) -> None:
    """Draw one variant: where its picks lie in grey, another rate dashed, its own rate with intervals.

    Args:
        panel: Of :func:`grid`.
        edges: (K, 2) of the bins.
        picks: (K,) picks in each.
        base, own: Rates.
        look: Of the variant.
    """
    # The area's height is relative: it takes the upper 55 % of the panel whatever the scale of the rates is.
    heights = 0.55 * picks / max(picks.max(), 1)
    where = panel.get_xaxis_transform()
    panel.fill_between(
        edges.reshape(-1), np.repeat(heights, 2), color=GRID, alpha=0.75, lw=0, zorder=0, transform=where
    )
    panel.plot([x for x, *_ in base], [y for _, y, *_ in base], color=MUTED, lw=1.1, ls=(0, (4, 2)), zorder=2)
    for x, _, low, high in own:
        panel.plot([x, x], [low, high], color=look.colour, lw=1.1, zorder=3)
    mark = {"marker": look.mark("o"), "ms": 3.8, "mec": PAPER, "mew": 0.6}
    panel.plot([x for x, *_ in own], [y for _, y, *_ in own], color=look.colour, **mark, zorder=4)


def nothing(panel: Axes, words: str) -> None:
    """Say that a panel has nothing to show."""
    panel.text(0.5, 0.5, words, transform=panel.transAxes, ha="center", va="center", color=MUTED, style="italic")
