"""One small panel per swept key: score and false negatives among the picks against its value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fne.report.figures.figure import Picture, canvas, notice
from fne.report.figures.picks import percent_of
from fne.report.figures.style import BASELINE, HARD, MUTED, PAPER, WIDTH
from fne.report.text.summary import NO_SHARED_EPOCH, false_picks_phrase, pick_share
from fne.report.text.wording import interval_phrase, metric_name, percent, protocol_phrase, seeds_phrase, short
from fne.results.study import StudyResults
from fne.utils.names import show

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ID, TITLE = "sensitivity", "Sensitivity to one value at a time"
QUESTION = "Which swept values change the score or the false negatives that are picked, and how steeply?"
COLUMNS = 2
DECADES = 20
"""A numeric axis whose greatest positive value is more than so many times its least one is logarithmic."""

LETTERS = 28
"""So many letters fit between the first and the last value of a panel."""
CROWDED = 0.07
"""Numbers nearer to each other than this share of their axis have no room for their labels."""


@dataclass(frozen=True)
class Point:
    """A value of the swept key and the variant that has it; ``origin``: the variant that the sweep departs from."""

    value: Any
    variant: str
    origin: bool = False


@dataclass(frozen=True)
class Sweep:
    """The members of one sweep over one key, in order of its value (numbers) or of the file (words)."""

    key: str
    points: tuple[Point, ...]

    @property
    def numeric(self) -> bool:
        """Are all values numbers?"""
        return all(isinstance(p.value, int | float) and not isinstance(p.value, bool) for p in self.points)


def sweeps(study: StudyResults) -> list[Sweep]:
    """The study's sweeps over one key; where the parent is in the study and reads the key, it is a point too."""
    result: dict[tuple[str, str], list[Point]] = {}
    library, configs = study.definition.library, study.definition.configs
    for variant in study.definition.variants:
        declared = library[variant]
        if len(declared.swept) != 1:
            continue
        key, value = next(iter(declared.swept.items()))
        points = result.setdefault((variant.partition("--")[0], key), [])
        if not points and key in configs.get(declared.parent, {}):
            points.append(Point(configs[declared.parent][key], declared.parent, origin=True))
        points.append(Point(value, variant))
    made = [Sweep(key, tuple(points)) for (_, key), points in result.items()]
    return [Sweep(s.key, tuple(sorted(s.points, key=lambda p: p.value))) if s.numeric else s for s in made]


def places(sweep: Sweep) -> list[float]:
    """Where each point stands on the axis: words in a row, numbers by their value or by its logarithm (base 10).

    On a logarithmic axis zero stands one even step below the least positive value. Numbers that would run into each
    other on their axis, such as 0.99 and 0.999 beside 0, stand in a row too.
    """
    row = [float(place) for place in range(len(sweep.points))]
    if not sweep.numeric:
        return row
    result = [float(point.value) for point in sweep.points]
    positive = [value for value in result if value > 0]
    if min(result) >= 0 and positive and max(positive) > DECADES * min(positive):
        logs = [math.log10(value) for value in positive]
        step = (logs[-1] - logs[0]) / (len(logs) - 1)
        result = [math.log10(value) if value > 0 else logs[0] - step for value in result]
    gaps = np.diff(result)
    return result if len(gaps) == 0 or gaps.min() >= CROWDED * gaps.sum() else row


def draw(study: StudyResults) -> Picture:
    """Draw the primary metric and the share of false negatives among the picks, for every sweep over one key."""
    result = sweeps(study)
    if not result:
        return notice(ID, TITLE, QUESTION, "no variant of this study comes from a sweep over one key")
    if not any(study.values(point.variant) for sweep in result for point in sweep.points):
        return notice(ID, TITLE, QUESTION, "no run of a sweep has a result")
    rows = -(-len(result) // COLUMNS)
    height = 0.75 + 2.35 * rows
    figure = canvas(WIDTH, height)
    panels = figure.subplots(3 * rows, COLUMNS, squeeze=False, height_ratios=[1.25, 0.75, 0.75] * rows)
    figure.subplots_adjust(left=0.115, right=0.985, bottom=0.02, top=1 - 0.55 / height, wspace=0.3, hspace=0.12)
    for axes in panels[2::3].flat:  # every third row only makes room for the labels above it
        axes.set_visible(False)
    score_line, share_line = reference(study)
    cells = [(panels[3 * row][column], panels[3 * row + 1][column]) for row in range(rows) for column in range(COLUMNS)]
    for axes in [axes for cell in cells[len(result) :] for axes in cell]:
        axes.set_visible(False)
    for place, (sweep, (top, low)) in enumerate(zip(result, cells, strict=False)):
        one_panel(top, sweep, {p.variant: score(study, p.variant) for p in sweep.points}, score_line)
        one_panel(low, sweep, {p.variant: picked(study, p.variant) for p in sweep.points}, share_line)
        top.set_title(short(sweep.key, 36), fontsize=9)
        label_values(low, sweep)
        x = places(sweep)
        pad = 0.08 * (max(x) - min(x)) or 0.5
        for axes in (top, low):
            axes.set_xlim(min(x) - pad, max(x) + pad)
        top.set_xticks(x, [""] * len(x))
        if place % COLUMNS == 0:
            top.set_ylabel(metric_name(study), fontsize=8.5)
            low.set_ylabel("false, %", fontsize=8.5)
    for quantity in zip(*cells[: len(result)], strict=True):
        share_levels(quantity)
    legend(figure, height)
    base, intervals = study[study.baseline].title, interval_phrase(study)
    lower = NO_SHARED_EPOCH
    if study.shared_epochs:
        bars = ", with 95 % intervals" if intervals else ""
        lower = f"{false_picks_phrase(study)}{bars}; empty where nothing is known"
    caption = (
        "One key at a time, everything else as in the variant that the sweep departs from. Score: "
        f"{protocol_phrase(study)}; {seeds_phrase(study)}. Upper panels: mean"
        f"{f' and {intervals} (band; bars where values are words)' if intervals else ' over seeds'}. Lower panels: "
        f"{lower}. Grey{' line and band' if intervals else ' line'}: the baseline, {base}. Square: the value of the "
        "variant that the sweep departs from. All upper panels share one scale, as do all lower ones. Numbers whose "
        f"greatest is more than {DECADES} times the least stand by their logarithm, with zero one step below the "
        f"least; crowded ones stand in a row. {'Overlapping bands do not mean equal: the' if intervals else 'The'} "
        "paired differences are in the figure of contrasts."
    )
    return Picture(ID, TITLE, QUESTION, caption, alt_text(study, result), figure)


Mark = tuple[float, float, float] | None
"""Mean and the ends of its interval in percent (NaN without one), or None."""


def score(study: StudyResults, variant: str) -> Mark:
    """The primary metric of a variant."""
    values, estimate = study.values(variant), study.estimate(variant)
    if not values:
        return None
    ends = (100 * estimate.low, 100 * estimate.high) if estimate is not None else (math.nan, math.nan)
    return (100 * float(np.mean(list(values.values()))), *ends)


def picked(study: StudyResults, variant: str) -> Mark:
    """The share of false negatives among a variant's picks."""
    result = pick_share(study, variant)
    return (100 * result.value, 100 * result.low, 100 * result.high) if result is not None else None


def reference(study: StudyResults) -> tuple[Mark, Mark]:
    """Score and share of the baseline."""
    return score(study, study.baseline), picked(study, study.baseline)


def one_panel(axes: Axes, sweep: Sweep, marks: dict[str, Mark], line: Mark) -> None:
    """Draw one quantity of one sweep, and the baseline behind it."""
    axes.grid(axis="y")
    if line is not None:
        axes.axhline(line[0], color=BASELINE, lw=1, ls=(0, (4, 3)), zorder=1)
        if math.isfinite(line[1]):
            axes.axhspan(line[1], line[2], color=BASELINE, alpha=0.16, lw=0, zorder=0)
    every = zip(places(sweep), sweep.points, strict=True)
    shown = [(at, point, mark) for at, point in every if (mark := marks[point.variant]) is not None]
    if not shown:
        axes.text(0.5, 0.5, "no result", transform=axes.transAxes, ha="center", va="center", color=MUTED, fontsize=8.5)
        return
    at = [item[0] for item in shown]
    mean, low, high = (np.array([item[2][part] for item in shown]) for part in range(3))
    if sweep.numeric:
        axes.plot(at, mean, color=HARD, lw=1.4, zorder=3)
        axes.fill_between(at, low, high, color=HARD, alpha=0.2, lw=0, zorder=2)
    else:
        axes.vlines(at, low, high, color=HARD, lw=1.8, zorder=2)
    for place, point, mark in shown:
        kind, size = ("s", 24) if point.origin else ("o", 20)
        axes.scatter([place], [mark[0]], size, color=HARD, marker=kind, edgecolor=PAPER, linewidth=0.7, zorder=4)


def label_values(axes: Axes, sweep: Sweep) -> None:
    """Write every value below its point, slanted where words would run into each other."""
    words = [f"{point.value:g}" if sweep.numeric else short(show(point.value), 12) for point in sweep.points]
    x = places(sweep)
    room = LETTERS / ((max(x) - min(x)) or 1.0)  # letters per unit of the axis
    neighbours = zip(np.diff(x), words, words[1:], strict=False)
    slanted = any(room * gap < (len(left) + len(right)) / 2 + 1 for gap, left, right in neighbours)
    angle, side = (35, "right") if slanted else (0, "center")
    axes.set_xticks(x, words, fontsize=8, rotation=angle, ha=side)
    if slanted:
        for label in axes.get_xticklabels():
            label.set_rotation_mode("anchor")


def share_levels(panels: tuple[Axes, ...]) -> None:
    """One vertical scale for all panels."""
    low, high = (side(axes.get_ylim()[at] for axes in panels) for at, side in ((0, min), (1, max)))
    for axes in panels:
        axes.set_ylim(low, high)


def legend(figure: Any, height: float) -> None:
    """Say once what line, band and marks mean."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=HARD, marker="o", ms=4, lw=1.4, label="member of the sweep"),
        Line2D([], [], color=HARD, marker="s", ms=4.5, lw=0, label="where it departs from"),
        Line2D([], [], color=BASELINE, lw=1, ls=(0, (4, 3)), label="baseline"),
    ]
    figure.legend(handles=handles, loc="upper left", ncols=3, bbox_to_anchor=(0.01, 1.0), fontsize=8.5)


def alt_text(study: StudyResults, result: list[Sweep]) -> str:
    """The numbers of the figure in words."""
    parts = []
    for sweep in result:
        values = []
        for point in sweep.points:
            mark, share = score(study, point.variant), picked(study, point.variant)
            if mark is not None:
                false = f", {percent_of(share[0] / 100)} false" if share is not None else ""
                values.append(f"{show(point.value)}: {percent(mark[0] / 100)}{false}")
        parts.append(f"{sweep.key}: {'; '.join(values) or 'no result'}")
    return f"{metric_name(study)} and false negatives among the picks by value. {'. '.join(parts)}."
