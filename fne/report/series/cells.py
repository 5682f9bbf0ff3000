"""The figure of all cells of a design: the differences to the baseline, a panel for each variant."""

from __future__ import annotations

import math
from textwrap import fill

from fne.report.figures.figure import Picture, canvas
from fne.report.figures.style import BASELINE, INK, PAPER, WIDTH
from fne.report.figures.variant_styles import Look, looks
from fne.report.series.results import SeriesResults, Value, name_of, value_of
from fne.report.series.tables import within
from fne.report.text.wording import short, signed

ROW, HEAD, FOOT = 0.2, 0.75, 0.5
"""Inches: of a cell's row, above the rows of panels and below them."""
ACROSS, LETTERS = 4, 15
"""Panels beside each other; letters of a line of their headings."""


def labels(series: SeriesResults) -> list[str]:
    """What each cell is called: the values of the factors in which it differs from the first cell."""
    centre, result = next(iter(series.points.values())), []
    for point in series.points.values():
        differs = [key for key in point if point[key] != centre[key]]
        same = len(differs) == len(point) and len({*point.values()}) == 1
        each = [f"{name_of(key)} {value_of(key, point[key])}" for key in differs]
        result.append(f"all {value_of(differs[0], point[differs[0]])}" if same else ", ".join(each) or "centre")
    return result


def draw(series: SeriesResults) -> Picture:
    """Draw a panel for each variant: its difference to the baseline in every cell."""
    others = [variant for variant in series.variants if variant != series.baseline]
    across = min(ACROSS, len(others)) or 1
    down = -(-len(others) // across) or 1
    high = HEAD + ROW * len(series.members) + FOOT
    figure = canvas(WIDTH, high * down)
    axes = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    figure.subplots_adjust(left=0.24, right=0.985, top=1 - HEAD / (high * down), bottom=FOOT / (high * down),
                           wspace=0.12, hspace=(HEAD + FOOT) / (ROW * len(series.members)))  # fmt: skip
    own = looks(series.variants, series.baseline, series.method)
    for panel, variant in zip(axes.flat, others, strict=False):
        look = own[variant] if variant in series.strategies else Look(INK)
        panel.set_title("\n".join(fill(short(series.title_of(variant), 40), LETTERS).split("\n")[:3]), fontsize="small")
        panel.axvline(0, color=BASELINE, lw=1.2, zorder=1)
        for row, member in enumerate(series.members):
            item = _effect(series, member, variant)
            if item is None:
                continue
            if math.isfinite(item.low):
                panel.plot([100 * item.low, 100 * item.high], [row, row], color=look.colour, lw=2, zorder=2)
            fill_with = look.colour if item.apart else PAPER
            mark = {"marker": "D", "ms": 4.5, "mfc": fill_with, "mec": look.colour, "ls": "", "zorder": 3}
            panel.plot([100 * item.estimate], [row], **mark)
        panel.grid(axis="x")
    for panel in axes.flat[len(others) :]:
        panel.set_visible(False)
    axes.flat[0].set_yticks(range(len(series.members)), labels(series))
    axes.flat[0].set_ylim(len(series.members) - 0.5, -0.5)
    metric = series.metric(series.primary)
    figure.supxlabel(f"difference in {metric} to the baseline", fontsize="medium", y=0.01)
    seeds, intervals = len(series.shared.seeds), series.intervals()
    caption = (
        f"{seeds} seed{'s' if seeds != 1 else ''} per variant and cell; the baseline is "
        f"{series.title_of(series.baseline)}.{f' Bars: {intervals}; filled: it excludes zero.' if intervals else ''} "
        f"{within(series)}"
    )
    question = f"Is each variant better or worse than the baseline in every {series.noun}?"
    return Picture("cells", "Differences to the baseline in every cell", question, caption, alt(series), figure)


def _effect(series: SeriesResults, member: str, variant: str) -> Value | None:
    return series.effect(member, variant, series.primary, series.baseline)


def alt(series: SeriesResults) -> str:
    """The range of each variant's difference to the baseline over all cells."""
    summary = []
    for variant in (name for name in series.variants if name != series.baseline):
        result = [item.estimate for member in series.members if (item := _effect(series, member, variant))]
        if result:
            summary.append(f"{series.title_of(variant)} from {signed(min(result))} to {signed(max(result))}")
    return f"Differences to the baseline over all {series.noun}s: {'; '.join(summary) or 'no result'}."
