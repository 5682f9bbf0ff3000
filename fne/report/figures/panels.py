"""Panels of a figure: laid out so that nothing overlaps, and small ones for each variant under one legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fne.report.figures.figure import canvas
from fne.report.figures.style import DASHED, GRID, INK, MUTED, PAPER, WIDTH, label, letters, room
from fne.report.figures.variant_styles import Look

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fne.results.study import StudyResults, Variant

Points = Sequence[tuple[float, float, float, float]]
"""Place, rate, and the ends of its interval."""


def panels(rows: int, columns: int, height: float, **options: Any) -> tuple[Figure, np.ndarray]:
    """A figure and its axes (rows, columns), each as large as its labels leave room for.

    Args:
        rows, columns: Of the axes.
        height: Inches in the report.
        options: Of matplotlib's ``subplots``.
    """
    figure = canvas(WIDTH, height)
    figure.set_layout_engine("constrained", w_pad=0.03, h_pad=0.03, wspace=0.02, hspace=0.02)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def small_multiples(
    titles: Sequence[str], height: float, labels: tuple[str, str], handles: Sequence[Any], **options: Any
) -> tuple[Figure, list[Axes]]:
    """Panels on common axes, two beside each other, each under its title.

    Args:
        titles: One for each panel.
        height: Inches of a panel in the report.
        labels: What the horizontal and the vertical axes show.
        handles: Of the legend.
        options: As of :func:`panels`.
    """
    columns = min(2, len(titles))
    rows = -(-len(titles) // columns)
    figure, axes = panels(rows, columns, 0.8 + height * rows, sharex=True, **options)
    used = list(axes.flat[: len(titles)])
    for panel, title in zip(used, titles, strict=True):
        panel.set_title(label(title, 25))
    for panel in axes.flat[len(titles) :]:
        panel.set_visible(False)
        used[-2].tick_params(labelbottom=True)
    figure.supxlabel(labels[0], fontsize=letters(9.5))
    figure.supylabel(labels[1], fontsize=letters(9.5))
    legend(figure, handles)
    return figure, used


def legend(figure: Figure, handles: Sequence[Any]) -> None:
    """One legend above all panels, in as many columns as its words leave room for."""
    longest = max(len(handle.get_label()) for handle in handles)
    columns = min(max(room(90) // (longest + 6), 1), len(handles))
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, borderaxespad=0.2, columnspacing=1.2)


def mark(words: str, **style: Any) -> Any:
    """An entry of a legend: a line or a mark."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=words, **style)


def area(words: str, colour: str = GRID, alpha: float = 1.0) -> Any:
    """An entry of a legend: an area."""
    from matplotlib.patches import Patch

    return Patch(color=colour, alpha=alpha, label=words)


def rate_panels(
    variants: Sequence[Variant], xlabel: str, ylabel: str, marks: tuple[str, str]
) -> tuple[Figure, list[Axes]]:
    """A panel for each variant: where its picks lie, and how often those are false negatives.

    Args:
        variants: In order.
        xlabel, ylabel: What the axes show.
        marks: Words for the line with points and for the dashed line.
    """
    handles = [
        mark(marks[0], color=INK, marker="o", ms=4),
        mark(marks[1], color=MUTED, lw=1.1, ls=DASHED),
        area("where the picks lie"),
    ]
    titles = [variant.title for variant in variants]
    figure, axes = small_multiples(titles, 1.3, (xlabel, ylabel), handles, sharey=True)
    axes[0].yaxis.set_major_formatter(in_percent)
    for panel in axes:
        panel.grid(axis="y")
    return figure, axes


def in_percent(value: float, _: Any = None) -> str:
    """A tick of an axis of shares."""
    return f"{100 * value:g} %"


def fill(panel: Axes, edges: np.ndarray, picks: np.ndarray, base: Points, own: Points, look: Look) -> None:
    """Draw one variant: where its picks lie in grey, another rate dashed, its own rate with intervals.

    Args:
        panel: Of :func:`rate_panels`.
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
    panel.plot([x for x, *_ in base], [y for _, y, *_ in base], color=MUTED, lw=1.1, ls=DASHED, zorder=2)
    for x, _, low, high in own:
        panel.plot([x, x], [low, high], color=look.colour, lw=1.1, zorder=3)
    style: dict[str, Any] = {"marker": "o", "ms": 3.8, "mec": PAPER, "mew": 0.6}
    panel.plot([x for x, *_ in own], [y for _, y, *_ in own], color=look.colour, **style, zorder=4)


def nothing(panel: Axes, words: str = "no result") -> None:
    """Say that a panel has nothing to show."""
    panel.text(0.5, 0.5, words, transform=panel.transAxes, ha="center", va="center", color=MUTED, style="italic")


def in_words(study: StudyResults, values: Mapping[str, str]) -> str:
    """A number of every variant that has one, for somebody who cannot see the figure."""
    return "; ".join(f"{variant.title} {values[variant.id]}" for variant in study.variants if variant.id in values)


def coloured_cells(axes: Axes, values: np.ndarray, words: np.ndarray, rows: Sequence[str], columns: Sequence[str],
                   colours: str, ends: tuple[float | None, float | None] = (None, None)) -> None:  # fmt: skip
    """Draw a table of numbers as coloured cells; a cell without a number stays empty but for its words.

    Args:
        axes: Where.
        values: (rows, columns), NaN where there is none.
        words: What stands in each cell.
        rows, columns: Their names.
        colours: Name of matplotlib's colours, from light to dark.
        ends: Values of the lightest and the darkest; the least and the greatest unless given.
    """
    import seaborn

    seaborn.heatmap(values, ax=axes, cmap=colours, vmin=ends[0], vmax=ends[1], cbar=False, linewidths=1,
                    linecolor=PAPER, xticklabels=list(columns), yticklabels=list(rows))  # fmt: skip
    drawn = axes.collections[0]
    for (row, column), value in np.ndenumerate(values):
        ink = MUTED if np.isnan(value) else ink_on(np.array(drawn.to_rgba(value)))
        axes.text(column + 0.5, row + 0.5, str(words[row, column]), ha="center", va="center",
                  fontsize=letters(8.5), color=ink)  # fmt: skip
    axes.tick_params(length=0, labelrotation=0)


LIGHT, DARK = "#FEFEFE", "#020304"
"""Inks of numbers within cells, whose colours stay the same in the dark: no ink of the page."""


def ink_on(colour: np.ndarray) -> str:
    """The ink that stands out more from an sRGB colour, by the contrast ratio of WCAG 2."""
    cell = colour[:3]
    linear = np.where(cell <= 0.04045, cell / 12.92, ((cell + 0.055) / 1.055) ** 2.4)
    return DARK if float(linear @ (0.2126, 0.7152, 0.0722)) + 0.05 > (1.05 * 0.05) ** 0.5 else LIGHT
