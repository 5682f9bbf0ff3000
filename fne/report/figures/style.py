"""One look for every figure: fonts, inks, sizes, and labels that keep their distance.

The nine colours were chosen by search so that, together with the grey of the baseline, every two differ by at
least 9 in CIELAB for normal, red-blind and green-blind eyes, and each stands out from a white and a
near-black page.
"""

from __future__ import annotations

import itertools
import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from fne.report.figures.variant_styles import Look

PALETTE = ("#0072B2", "#D55E00", "#117733", "#CC6677", "#6699CC", "#994455", "#40B0A6", "#E7298A", "#F28E2B")
BASELINE = "#6B7280"
INK, MUTED, GRID, PAPER = "#1C2128", "#59636E", "#D5DAE0", "#FFFFFF"
"""Text, secondary text, grid lines and background; the page gives them other values in the dark."""
WIDTH = 5.5
"""Inches of every figure of the report: with letters of 9 points it can still be read on a phone."""
COLUMNS = {"single": 3.3, "double": 6.9}
"""Inches of one column of a paper, and of two with the gap between them."""
SHRINK = {COLUMNS["single"]: 0.8, COLUMNS["double"]: 0.9}
"""By width, how much smaller letters and heights are than in the report."""
WRAPPED = 18
"""Letters of a line's name beside a figure of one column, before a new line begins."""
POSITIVE, HARD, FALSE = "#126B36", "#0B5F9E", "#B54708"
"""Populations, not variants: positives, hard negatives, false negatives; dark enough to write in."""

PLATE = {"facecolor": PAPER, "edgecolor": "none", "pad": 1.0}
"""Behind words on a drawing, so that lines do not run through them."""

RC: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9.5,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "text.color": INK,
    "text.parse_math": False,  # titles are the user's own words: a dollar sign is a dollar sign
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": PAPER,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",  # words stay words: searchable, readable aloud, and small
    "pdf.fonttype": 42,  # TrueType, embedded: publishers refuse Type 3
    "figure.figsize": (WIDTH, WIDTH),
    "svg.hashsalt": "fne",  # with dates left out, the same numbers give the same bytes
}


@contextmanager
def look(column: str | None = None) -> Iterator[None]:
    """Draw with the project's settings, whatever the user's own are.

    Args:
        column: Of :data:`COLUMNS`: draw for a paper; None: for the report.
    """
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(RC)
        if column is not None:
            matplotlib.rcParams["figure.figsize"] = (COLUMNS[column], WIDTH)
        yield


def panel_legend(figure: Figure, line: str, dashed: str, area: str) -> None:
    """Say once, above all panels, what their three marks mean.

    Args:
        figure: Of the panels.
        line, dashed, area: Words for the line with points, the dashed line and the grey area.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Line2D([], [], color=INK, marker="o", ms=4, label=line),
        Line2D([], [], color=MUTED, lw=1.1, ls=(0, (4, 2)), label=dashed),
        Patch(color=GRID, label=area),
    ]
    figure.legend(
        handles=handles, loc="upper left", ncols=3, bbox_to_anchor=(0.01, 1.0), borderaxespad=0.3, columnspacing=1.2
    )


def shrink() -> float:
    """How much smaller letters and heights of the present look are than in the report."""
    import matplotlib

    return SHRINK.get(matplotlib.rcParams["figure.figsize"][0], 1.0)


def letters(size: float) -> float:
    """Points of letters in the present look that have so many points in the report: for a paper from 7 to 9."""
    return size if shrink() == 1 else min(max(size * shrink(), 7.0), 9.0)


def spread(values: Sequence[float], gap: float | Sequence[float], low: float, high: float) -> list[float]:
    """Move labels apart: as near to ``values`` as possible, as far apart as they are high, in ``[low, high]``.

    The labels keep their order. When there is too little room for all of them they are squeezed evenly.

    Args:
        values: Where labels should stand.
        gap: The height of every label, or of all.
        low, high: Where the first and the last may stand.
    """
    order = sorted(range(len(values)), key=lambda place: (values[place], place))
    if not order:
        return []
    sizes = [gap if isinstance(gap, int | float) else gap[place] for place in order]
    steps = [0.0, *itertools.accumulate((item + other) / 2 for item, other in itertools.pairwise(sizes))]
    if steps[-1] >= high - low > 0:
        steps = [step * (high - low) / steps[-1] for step in steps]
    # Pools of touching labels: each pool sits at the mean of what its members want.
    pools: list[list[float]] = []  # [sum of wanted starts, members]
    for step, place in zip(steps, order, strict=True):
        pools.append([values[place] - step, 1.0])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] >= pools[-1][0] / pools[-1][1]:
            total, members = pools.pop()
            pools[-1][0] += total
            pools[-1][1] += members
    starts = [min(max(total / members, low), high - steps[-1]) for total, members in pools for _ in range(int(members))]
    result = [0.0] * len(values)
    for start, step, place in zip(starts, steps, order, strict=True):
        result[place] = start + step
    return result


def end_labels(axes: Axes, ends: Sequence[tuple[float, str, Look]], *, x: float, size: float = 9) -> None:
    """Name lines at their right end instead of in a legend.

    Args:
        axes: Axes with their final limits.
        ends: The height of each line's end in data units, its name and its look.
        x: Where the labels begin, in axes units (1 is the right edge).
        size: Font size in points.
    """
    size = letters(size)
    narrow = WRAPPED if shrink() == SHRINK[COLUMNS["single"]] else 99
    ends = [(value, textwrap.fill(name, narrow), own) for value, name, own in ends]
    figure = axes.figure.figure
    lines = [1.25 * size * (1 + name.count("\n")) for _, name, _ in ends]
    height = axes.get_position().height * figure.get_size_inches()[1] * 72  # points
    if shrink() != 1 and (more := 1.15 * sum(lines) / height) > 1:
        figure.set_size_inches(figure.get_size_inches() * (1, more))
        height *= more
    scale = axes.transScale + axes.transLimits
    heights = [float(scale.transform((1.0, value))[1]) for value, _, _ in ends]
    heights = [min(max(value, 0.0), 1.0) if math.isfinite(value) else 0.0 for value in heights]
    placed = spread(heights, [item / height for item in lines], 0.0, 1.0)
    words = x + (0.03 if any(own.shape for _, _, own in ends) else 0.0)
    for (_, name, own), true, shown in zip(ends, heights, placed, strict=True):
        axes.annotate(
            name,
            (1.0, true),
            (words, shown),
            "axes fraction",
            textcoords="axes fraction",
            color=INK,
            fontsize=size,
            va="center",
            ha="left",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": own.colour,
                "linestyle": own.dash,
                "linewidth": 1.1,
                "shrinkA": 1,
                "shrinkB": 0,
                "relpos": (0, 0.5),
            },
        )
        if own.shape is not None:
            where: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
            axes.plot([x + 0.008], [shown], color=own.colour, marker=own.mark(""), ms=5, mew=0, ls="", **where)
