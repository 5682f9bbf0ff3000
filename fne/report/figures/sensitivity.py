"""One small panel per swept key: score and false negatives among the picks against its value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fne.report.figures.figure import Picture, notice
from fne.report.figures.panels import legend, mark, nothing, panels
from fne.report.figures.picks import percent_of
from fne.report.figures.style import BASELINE, DASHED, HARD, PAPER, letters, room
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
"""A numeric axis whose greatest value is more than so many times its least one is logarithmic."""


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
    """Where each point stands on the axis: positive numbers by value, over decades by logarithm; the rest in a row."""
    values = [point.value for point in sweep.points]
    if not sweep.numeric or min(values) <= 0:
        return [float(place) for place in range(len(values))]
    if max(values) > DECADES * min(values):
        return [math.log10(value) for value in values]
    return [float(value) for value in values]


def draw(study: StudyResults) -> Picture:
    """Draw the primary metric and the share of false negatives among the picks, for every sweep over one key."""
    swept = sweeps(study)
    if not swept:
        return notice(ID, TITLE, QUESTION, "no variant of this study comes from a sweep over one key")
    if not any(study.values(point.variant) for sweep in swept for point in sweep.points):
        return notice(ID, TITLE, QUESTION, "no run of a sweep has a result")
    rows = -(-len(swept) // COLUMNS)
    figure, axes = panels(2 * rows, COLUMNS, 0.5 + 2.35 * rows, height_ratios=[1.25, 0.75] * rows)
    for axis in axes.flat:
        axis.set_visible(False)
    for quantity, offset in ((score, 0), (picked, 1)):
        shown = axes[offset::2].flat[: len(swept)]
        for axis, sweep in zip(shown, swept, strict=True):
            axis.set_visible(True)
            marks = [quantity(study, point.variant) for point in sweep.points]
            _panel(axis, sweep, marks, quantity(study, study.baseline))
        limits = np.array([axis.get_ylim() for axis in shown])
        for axis in shown:
            axis.set_ylim(limits[:, 0].min(), limits[:, 1].max())
    for place, (sweep, top, low) in enumerate(zip(swept, axes[0::2].flat, axes[1::2].flat, strict=False)):
        top.set_title(short(sweep.key, room(36)))
        top.tick_params(labelbottom=False)
        _name_values(low, sweep)
        if place % COLUMNS == 0:
            top.set_ylabel(metric_name(study))
            low.set_ylabel("false, %")
    handles = [
        mark("member of the sweep", color=HARD, marker="o", ms=4, lw=1.4),
        mark("where it departs from", color=HARD, marker="s", ms=4.5, lw=0),
        mark("baseline", color=BASELINE, lw=1, ls=DASHED),
    ]
    legend(figure, handles)
    intervals = interval_phrase(study)
    lower = f"{false_picks_phrase(study)}; empty where nothing is known" if study.shared_epochs else NO_SHARED_EPOCH
    caption = (
        "One key at a time, everything else as in the variant that the sweep departs from (square). Score: "
        f"{protocol_phrase(study)}; {seeds_phrase(study)}. Upper panels: mean"
        f"{f' and {intervals}' if intervals else ''}. Lower panels: {lower}. Grey: the baseline, "
        f"{study[study.baseline].title}. All upper panels share one scale, as do all lower ones. Positive numbers "
        f"stand by their value, those whose greatest is more than {DECADES} times the least by their logarithm; all "
        "others in a row. Overlapping bands do not mean equal: the paired differences are in the figure of contrasts."
    )
    return Picture(ID, TITLE, QUESTION, caption, _alt(study, swept), figure)


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


def _panel(axes: Axes, sweep: Sweep, marks: list[Mark], base: Mark) -> None:
    """Draw one quantity of one sweep, and the baseline behind it."""
    axes.grid(axis="y")
    if base is not None:
        axes.axhline(base[0], color=BASELINE, lw=1, ls=DASHED, zorder=1)
        axes.axhspan(base[1], base[2], color=BASELINE, alpha=0.16, lw=0, zorder=0)
    x = places(sweep)
    pad = 0.08 * (max(x) - min(x)) or 0.5
    axes.set(xlim=(min(x) - pad, max(x) + pad), xticks=x)
    shown = [(at, point, item) for at, point, item in zip(x, sweep.points, marks, strict=True) if item is not None]
    if not shown:
        nothing(axes)
        return
    at = [place for place, _, _ in shown]
    mean, low, high = np.array([item for _, _, item in shown]).T
    if sweep.numeric:
        axes.plot(at, mean, color=HARD, lw=1.4, zorder=3)
        axes.fill_between(at, low, high, color=HARD, alpha=0.2, lw=0, zorder=2)
    else:
        axes.vlines(at, low, high, color=HARD, lw=1.8, zorder=2)
    for place, point, item in shown:
        kind, size = ("s", 24) if point.origin else ("o", 20)
        axes.scatter([place], [item[0]], size, color=HARD, marker=kind, edgecolor=PAPER, linewidth=0.7, zorder=4)


def _name_values(axes: Axes, sweep: Sweep) -> None:
    """Write every value below its point, slanted where there are many or words."""
    words = [short(show(point.value), 12) for point in sweep.points]
    slanted = not sweep.numeric or sum(len(word) + 2 for word in words) > room(28)
    angle, side = (35, "right") if slanted else (0, "center")
    axes.set_xticks(places(sweep), words, rotation=angle, ha=side, rotation_mode="anchor" if slanted else "default")
    axes.tick_params(axis="x", labelsize=letters(8.5))


def _alt(study: StudyResults, swept: list[Sweep]) -> str:
    """The numbers of the figure in words."""
    parts = []
    for sweep in swept:
        values = []
        for point in sweep.points:
            mean, share = score(study, point.variant), picked(study, point.variant)
            if mean is not None:
                false = f", {percent_of(share[0] / 100)} false" if share is not None else ""
                values.append(f"{show(point.value)}: {percent(mean[0] / 100)}{false}")
        parts.append(f"{sweep.key}: {'; '.join(values) or 'no result'}")
    return f"{metric_name(study)} and false negatives among the picks by value. {'. '.join(parts)}."
