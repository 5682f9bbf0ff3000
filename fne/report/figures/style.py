"""One look for every figure: fonts, inks, sizes, and labels that keep their distance.

The nine colours were chosen by search so that, together with the grey of the baseline, every two differ by at
least 9 in CIELAB for normal, red-blind and green-blind eyes, and each stands out from a white and a
near-black page.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fne.report.text.wording import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fne.report.figures.variant_styles import Look

PALETTE = ("#0072B2", "#D55E00", "#117733", "#CC6677", "#6699CC", "#994455", "#40B0A6", "#E7298A", "#F28E2B")
BASELINE = "#6B7280"
INK, MUTED, GRID, PAPER = "#1C2128", "#59636E", "#D5DAE0", "#FFFFFF"
"""Text, secondary text, grid lines and background; the page gives them other values in the dark."""
WIDTH = 5.5
"""Inches of every figure of the report: with letters of 9 points it can still be read on a phone."""
COLUMNS = {"single": 3.3, "double": 6.9}
"""Inches of one column of a paper, and of two with the gap between them."""
TALLEST = 7.0
"""Inches of a figure of a paper; a caption stands below, on the same page."""
PAPER_SCALE = 0.84
"""How much smaller letters and heights of a paper's figures are: letters from 7 to 8 points."""
POSITIVE, HARD, FALSE = "#126B36", "#0B5F9E", "#B54708"
"""Populations, not variants: positives, hard negatives, false negatives; dark enough to write in."""
DASHED = (0, (4, 2))
"""The line of everything that is only there for comparison."""

PLATE = {"facecolor": PAPER, "edgecolor": "none", "pad": 1.0}
"""Behind words on a drawing, so that lines do not run through them."""

SIZES = {
    "font.size": 9.5,
    "axes.labelsize": 9.5,
    "axes.titlesize": 9,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 9,
}
RC: dict[Any, Any] = {
    **SIZES,
    "font.family": ["DejaVu Sans"],
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
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
    "text.color": INK,
    "text.parse_math": False,  # titles are the user's own words: a dollar sign is a dollar sign
    "legend.frameon": False,
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
            smaller: dict[Any, Any] = {key: size * PAPER_SCALE for key, size in SIZES.items()}
            matplotlib.rcParams.update(smaller)
            matplotlib.rcParams["figure.figsize"] = (COLUMNS[column], WIDTH)
        yield


def width() -> float:
    """Inches of a figure in the present look."""
    import matplotlib

    return float(matplotlib.rcParams["figure.figsize"][0])


def scale() -> float:
    """Letters and heights of the present look, relative to the report's."""
    return 1.0 if width() == WIDTH else PAPER_SCALE


def letters(size: float) -> float:
    """Points of letters in the present look that have so many points in the report."""
    return size * scale()


def room(limit: float) -> int:
    """How many letters the present look holds where the report's width holds so many."""
    return int(limit * width() / WIDTH / scale())


def label(text: str, limit: int) -> str:
    """The user's words as a label: shortened where even two lines of the letters that fit are not enough."""
    return textwrap.fill(
        short(text, max(limit, 2 * room(limit) - 4)), max(room(limit), limit // 2), break_on_hyphens=False
    )


def wrapped(text: str) -> str:
    """The words of an axis or a heading, in as many lines as its width takes."""
    return textwrap.fill(text, room(45))


def spread(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move labels apart: as near to ``values`` as possible, at least ``gap`` apart, in ``[low, high]``.

    The labels keep their order. When there is too little room for all of them they are squeezed evenly.

    Args:
        values: Where labels should stand.
        gap: The height of a label.
        low, high: Where the first and the last may stand.
    """
    order = sorted(range(len(values)), key=lambda place: (values[place], place))
    gap = min(gap, (high - low) / max(len(values) - 1, 1))
    # Pools of touching labels: each pool sits at the mean of where its members should begin.
    pools: list[list[float]] = []  # [sum of starts, members]
    for number, place in enumerate(order):
        pools.append([values[place] - gap * number, 1.0])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] >= pools[-1][0] / pools[-1][1]:
            total, members = pools.pop()
            pools[-1][0] += total
            pools[-1][1] += members
    last = high - gap * (len(values) - 1)
    starts = [min(max(total / members, low), last) for total, members in pools for _ in range(int(members))]
    result = [0.0] * len(values)
    for number, (start, place) in enumerate(zip(starts, order, strict=True)):
        result[place] = start + gap * number
    return result


def end_labels(axes: Axes, ends: Sequence[tuple[float, str, Look]], *, x: float = 1.04, size: float = 8.5) -> None:
    """Name lines at their right end instead of in a legend.

    Args:
        axes: Axes with their final limits.
        ends: The height of each line's end in data units, its name and its look.
        x: Where the labels begin, in axes units (1 is the right edge).
        size: Font size in points of the report.
    """
    size, names = letters(size), [label(name, 28) for _, name, _ in ends]
    lines = max((name.count("\n") + 1 for name in names), default=1)
    height = axes.get_position().height * axes.figure.figure.get_figheight() * 72  # points
    to_axes = axes.transScale + axes.transLimits
    heights = [float(to_axes.transform((1.0, value))[1]) for value, _, _ in ends]
    heights = [min(max(value, 0.0), 1.0) if math.isfinite(value) else 0.0 for value in heights]
    gap = 1.15 * size * lines / height
    placed = spread(heights, gap, gap / 2, 1 - gap / 2)
    for name, (_, _, own), true, shown in zip(names, ends, heights, placed, strict=True):
        arrow = {"arrowstyle": "-", "color": own.colour, "linestyle": own.dash, "linewidth": 1.1}
        axes.annotate(
            name,
            (1.0, true),
            (x, shown),
            "axes fraction",
            "axes fraction",
            fontsize=size,
            va="center",
            annotation_clip=False,
            arrowprops={**arrow, "shrinkA": 1, "shrinkB": 0, "relpos": (0, 0.5)},
        )
