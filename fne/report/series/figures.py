"""The figures of a series; here the one of a chosen value: scores, differences and false picks against it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fne.report.figures.figure import Picture, canvas
from fne.report.figures.registry import WORDS
from fne.report.figures.style import BASELINE, INK, WIDTH, end_labels, look
from fne.report.figures.variant_styles import Look, looks
from fne.report.series import cells, components, names
from fne.report.series.results import MAP, SeriesResults, Value, open_series
from fne.report.series.tables import within
from fne.report.text.wording import short
from fne.study import paths
from fne.study.api import Series
from fne.utils.files import write_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TOP, HEIGHT, GAP, BOTTOM = 0.35, 1.75, 0.42, 0.6
"""Inches: above the first panel, of a panel, between two, below the last."""
LEFT, RIGHT = 0.105, 0.66
LABEL = 30
DODGE = 0.012
"""Bars of one world stand this much apart, as a share of the distance between worlds, so that none hides another."""


def run(series: str | Series, root: str | Path = ".") -> list[Path]:
    """Write ``reports/<series>/figures``: each figure as SVG and PNG, and ``captions.json``."""
    results = open_series(series, root)
    folder = Path(root) / paths.reports_folder(results.definition) / "figures"
    drawn = {"series": draw, "cells": cells.draw, "components": components.draw}
    with look():
        pictures = [drawn[name](results) for name in names.figures(results.definition)]
    made = [path for picture in pictures for path in picture.save(folder)]
    write_json(folder / WORDS, [picture.words() for picture in pictures])
    return [*made, folder / WORDS]


def draw(series: SeriesResults) -> Picture:
    """Draw a panel each: the score, its difference to the baseline, that of mAP@R, the share of false picks."""
    panels = _panels(series)
    height = TOP + HEIGHT * len(panels) + GAP * (len(panels) - 1) + BOTTOM
    figure = canvas(WIDTH, height)
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    figure.subplots_adjust(left=LEFT, right=RIGHT, top=1 - TOP / height, bottom=BOTTOM / height, hspace=GAP / HEIGHT)
    for panel, (title, read) in zip(axes, panels, strict=True):
        panel.set_title(title)
        panel.grid(axis="y")
        _lines(panel, series, read)
    axes[-1].set_xticks(range(len(series.members)), [series.at(member) for member in series.members])
    axes[-1].set_xlim(-0.12, len(series.members) - 0.88)
    axes[-1].set_xlabel(f"{series.leaf} (one world each, evenly spaced)")
    title = f"{series.metric(series.primary)} and false picks by {series.leaf}"
    return Picture("series", title, series.question, _caption(series), cells.alt(series), figure)


def _panels(series: SeriesResults) -> list[tuple[str, Callable[[str, str], Value | None]]]:
    """The heading of each panel, and what gives the value of a member and variant in it."""
    metric = series.metric(series.primary)

    def difference(which: tuple[str, str, str]) -> Callable[[str, str], Value | None]:
        def read(member: str, variant: str) -> Value | None:
            if variant == series.baseline:
                return series.effect(member, variant, which) and Value(0.0, 0.0, 0.0)
            return series.effect(member, variant, which, series.baseline)

        return read

    panels = [
        (f"test {metric}", lambda member, variant: series.effect(member, variant, series.primary)),
        (f"difference in {metric} to the baseline", difference(series.primary)),
    ]
    if MAP in series.scores:
        panels.append((f"difference in {series.metric(MAP)} to the baseline", difference(MAP)))
    if series.picks:
        panels.append(("false negatives among the picks, %", series.picked))
    return panels


def _lines(panel: Axes, series: SeriesResults, read: Callable[[str, str], Value | None]) -> None:
    """One line per variant with the band of its intervals; oracles in ink, apart from all strategies."""
    own, ends = looks(series.variants, series.baseline, series.method), []
    for order, variant in enumerate(series.variants):
        result = [(place, item) for place, member in enumerate(series.members)
                  if (item := read(member, variant)) is not None]  # fmt: skip
        if not result:
            continue
        x = [place for place, _ in result]
        middle, low, high = ([100 * getattr(item, name) for _, item in result] for name in ("estimate", "low", "high"))
        if variant == series.baseline and not any(middle):
            panel.axhline(0, color=BASELINE, lw=1, zorder=0)
        oracle = variant not in series.strategies
        look = Look(INK) if oracle else own[variant]
        style = {"color": look.colour, "lw": 1.5, "marker": "o", "ms": 3.4, "ls": look.dash, "zorder": 3}
        if oracle:
            ceiling = variant not in series.floors
            style |= {"lw": 2.4, "marker": "^" if ceiling else "v", "ms": 5, "ls": "-" if ceiling else ":", "zorder": 4}
        moved = [place + DODGE * (order - len(series.variants) / 2) for place in x]
        if all(math.isfinite(item) for item in (*low, *high)):
            panel.fill_between(moved, low, high, color=look.colour, alpha=0.13, lw=0, zorder=1)
        panel.plot(moved, middle, **style)
        role = "" if not oracle else "▼ " if variant in series.floors else "▲ "
        ends.append((middle[-1], role + short(series.title_of(variant), LABEL), look))
    panel.margins(y=0.06)
    panel.autoscale_view()
    end_labels(panel, ends, x=1.05, size=8)


def _caption(series: SeriesResults) -> str:
    seeds = len(series.shared.seeds)
    oracles = [
        f"{series.title_of(variant)} ({'floor, ▼' if variant in series.floors else 'ceiling, ▲'})"
        for variant in series.variants
        if variant not in series.strategies
    ]
    known = f" Black: what knows the truth, {' and '.join(oracles)}." if oracles else ""
    intervals, picked = series.intervals(), ""
    if series.picks:
        how = "; 95 % interval, the wider of Wilson's and one that takes the seeds as clusters" if intervals else ""
        picked = f" Last panel: {series.false_picks}{how}."
    return (
        f"{seeds} seed{'s' if seeds != 1 else ''} per variant and world.{f' Bands: {intervals}.' if intervals else ''} "
        f"{within(series)}{known}{picked} Within a world points stand a little apart so that none hides another."
    )
