"""The figure of all cells of a design: scores and differences, a column for each cell, a colour for each variant."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fne.report.figures.figure import Picture, canvas
from fne.report.figures.style import BASELINE, GRID, INK, WIDTH, end_labels
from fne.report.figures.variant_styles import Look, looks
from fne.report.series.results import Effect, SeriesResults, name_of, value_of
from fne.report.series.tables import within
from fne.report.text.wording import short, signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TOP, HEIGHT, BETWEEN, BOTTOM = 0.55, 2.1, 0.42, 0.7
"""Inches: above the first panel, of a panel, between two, below the last."""
LEFT, RIGHT = 0.1, 0.66
LABEL, MOST = 28, 26
"""Letters of a variant's name; columns that have room for a label each."""
GAP, WITHIN_COLUMN = 0.7, 0.5
"""Between two groups of columns, and of a column for its variants' points, in columns."""


def groups(series: SeriesResults) -> list[tuple[str, list[tuple[str, str]]]]:
    """Members in groups of columns: what a group is called, and the label and name of each member.

    Crossed factors: a group for each combination of all factors but the last, whose values are the columns. Corners: a
    group for each factor, which varies from the centre on, and one in which all vary.
    """
    factors = series.definition.factors
    *before, last = factors
    members = {tuple(point.values()): member for member, point in series.points.items()}
    found: dict[str, list[tuple[str, str]]] = {}
    if len(members) == math.prod(map(len, factors.values())):
        for member, point in series.points.items():
            name = ", ".join(f"{name_of(key)} {value_of(key, point[key])}" for key in before)
            found.setdefault(name or name_of(last), []).append((value_of(last, point[last]), member))
        return list(found.items())
    centre = {key: values[0] for key, values in factors.items()}
    for key, values in factors.items():
        line = [(value_of(key, value), members[tuple((centre | {key: value}).values())]) for value in values]
        found[name_of(key)] = line
    corners = [corner for corner in zip(*factors.values(), strict=True)][1:]
    found["both" if len(factors) == 2 else "all"] = [
        (", ".join(dict.fromkeys(map(value_of, factors, corner))), members[corner]) for corner in corners
    ]
    return list(found.items())


def draw(series: SeriesResults) -> Picture:
    """Draw the score of every variant in every cell, and below it the difference to the baseline."""
    height = TOP + 2 * HEIGHT + BETWEEN + BOTTOM
    figure = canvas(WIDTH, height)
    upper, lower = figure.subplots(2, 1, sharex=True)
    figure.subplots_adjust(
        left=LEFT, right=RIGHT, top=1 - TOP / height, bottom=BOTTOM / height, hspace=BETWEEN / HEIGHT
    )
    metric, columns, names = series.metric(series.primary), groups(series), []
    places: dict[str, list[tuple[float, str]]] = {}
    x = 0.0
    for name, members in columns:
        places[name] = [(x + step, member) for step, (_, member) in enumerate(members)]
        names += [(x + step, label) for step, (label, _) in enumerate(members)]
        x += len(members) + GAP
    upper.set_title(f"test {metric}", pad=20)
    lower.set_title(f"difference in {metric} to the baseline")
    for panel, reference in ((upper, ""), (lower, series.baseline)):
        panel.grid(axis="y")
        for line in list(places.values())[1:]:
            panel.axvline(line[0][0] - (1 + GAP) / 2, color=GRID, lw=1, zorder=0)
        _lines(panel, series, places, reference)
    for name, line in places.items():
        middle = (line[0][0] + line[-1][0]) / 2
        upper.annotate(name, (middle, 1.0), (0, 4), xycoords=("data", "axes fraction"), textcoords="offset points",
                       ha="center", va="bottom", fontsize=8, color=INK)  # fmt: skip
    shown = names if len(names) <= MOST else [(line[0][0], label) for (_, ((label, _), *_)), line in
                                              zip(columns, places.values(), strict=True)]  # fmt: skip
    lower.set_xticks(*zip(*shown, strict=True))
    lower.set_xlim(-0.6, x - GAP - 0.4)
    crossed = len(names) == len(series.members)  # in corners the centre stands in several groups
    varies = name_of([*series.definition.factors][-1]) if crossed else "value of what varies"
    lower.set_xlabel(f"{varies} (a column for each cell)")
    seeds, intervals = len(series.shared.seeds), series.intervals()
    caption = (
        f"{seeds} seed{'s' if seeds != 1 else ''} per variant and cell.{f' Bars: {intervals}.' if intervals else ''} "
        f"{within(series)} Lines join the cells of a group and mean no order."
    )
    title = f"{metric} in every cell"
    return Picture("cells", title, series.question, caption, _alt(series), figure)


def _lines(panel: Axes, series: SeriesResults, places: dict[str, list[tuple[float, str]]], reference: str) -> None:
    """Points of every variant with their intervals, joined within a group; oracles in ink."""
    own, ends = looks(series.variants, series.baseline, series.method), []
    for order, variant in enumerate(series.variants):
        look = Look(INK) if variant not in series.strategies else own[variant]
        moved = WITHIN_COLUMN * ((order + 0.5) / len(series.variants) - 0.5)
        last = None
        for line in places.values():
            found = [(x + moved, one) for x, member in line if (one := _effect(series, member, variant, reference))]
            if not found:
                continue
            x, middle = [at for at, _ in found], [100 * one.estimate for _, one in found]
            bars = [(at, one) for at, one in found if one.high > one.low]
            panel.vlines([at for at, _ in bars], [100 * one.low for _, one in bars],
                         [100 * one.high for _, one in bars], color=look.colour, lw=1.2, alpha=0.55)  # fmt: skip
            panel.plot(x, middle, color=look.colour, ls=look.dash, lw=0.9, marker=look.mark("o"), ms=3.4, zorder=3)
            last = middle[-1]
        if last is not None:
            ends.append((last, short(series.title_of(variant), LABEL), look))
    if reference:
        panel.axhline(0, color=BASELINE, lw=1, zorder=0)
    panel.margins(y=0.06)
    panel.autoscale_view()
    end_labels(panel, ends, x=1.05, size=8)


def _effect(series: SeriesResults, member: str, variant: str, reference: str) -> Effect | None:
    return None if variant == reference else series.effect(member, variant, series.primary, reference)


def _alt(series: SeriesResults) -> str:
    """The range of each variant over all cells."""
    told = []
    for variant in series.variants:
        for reference, what in (("", "score"), (series.baseline, "difference to the baseline")):
            found = [one.estimate for member in series.members if (one := _effect(series, member, variant, reference))]
            if found:
                ends = [signed(end) if reference else f"{100 * end:.1f}" for end in (min(found), max(found))]
                told.append(f"{series.title_of(variant)}: {what} from {ends[0]} to {ends[1]} in {len(found)} cells")
    return f"{'; '.join(told)}."
