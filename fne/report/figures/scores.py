"""Score per variant: every seed as a point, the mean with its interval, the baseline as a line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fne.protocols import METRICS
from fne.report.figures.figure import Picture, canvas, notice
from fne.report.figures.style import MUTED, PAPER, PLATE, WIDTH
from fne.report.figures.variant_styles import diamond, looks_of
from fne.report.text.summary import missing_seeds
from fne.report.text.wording import (
    interval_phrase,
    metric_name,
    name,
    percent,
    protocol_phrase,
    seeds_phrase,
    short,
    span,
)
from fne.results.study import StudyResults, Variant

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ID, TITLE, QUESTION = (
    "scores",
    "Score per variant",
    "Which variant retrieves best, and how much do its seeds vary?",
)


def draw(study: StudyResults) -> Picture:
    """Draw the primary metric of every variant in the order of the study."""
    if not any(study.values(variant.id) for variant in study.variants):
        return notice(ID, TITLE, QUESTION, "no run has a result")
    figure, axes = rows_of_names(study.variants)
    for row, variant in enumerate(study.variants):
        values, estimate = study.values(variant.id), study.estimate(variant.id)
        look = looks_of(study)[variant.id]
        if not values:
            name_row(axes, row, variant, "", bold=variant.id == study.baseline)
            no_result(axes, row, why_missing(study, variant.id))
            continue
        mean = 100 * float(np.mean(list(values.values())))
        if estimate is not None and math.isfinite(estimate.low):
            ends = [100 * estimate.low, 100 * estimate.high]
            axes.plot(ends, [row, row], color=look.colour, lw=2.4, solid_capstyle="butt")
        places = row + 0.17 + offsets(len(values), 0.05)
        points = [100 * value for value in values.values()]
        axes.scatter(points, places, s=13, color=look.colour, alpha=0.8, linewidths=0, zorder=3)
        mark = {"s": 54, "marker": look.mark("D"), "color": look.colour, "edgecolor": PAPER, "linewidth": 1.2}
        axes.scatter([mean], [row], **mark, zorder=4)
        shown = percent(mean / 100) + (f"  {span(estimate.low, estimate.high)}" if estimate is not None else "")
        name_row(axes, row, variant, shown, bold=variant.id == study.baseline)
    base = study.values(study.baseline)
    if base:
        level = 100 * float(np.mean(list(base.values())))
        axes.axvline(level, color=MUTED, lw=1, ls=(0, (4, 3)), zorder=1)
        axes.text(
            level,
            -0.62,
            f"baseline {percent(level / 100)}",
            ha="center",
            va="bottom",
            fontsize=8.5,
            color=MUTED,
        )
    what = metric_name(study)
    one = METRICS[study.metric]
    axes.set_xlabel(
        f"test {what} (%)"
        if one.top is None or one.top == 1
        else f"test {what} ({one.meaning} in %, 0 to {100 * one.top})"
    )
    intervals = interval_phrase(study)
    caption = (
        f"Test score: {protocol_phrase(study)}; higher is better. Small points: single seeds ({seeds_phrase(study)}). "
        f"{diamond(looks_of(study)).capitalize()}: their mean.{f' Bar: {intervals}.' if intervals else ''} "
        f"Dashed line: mean of the baseline, {study[study.baseline].title}. Variants stand in the order of the study. "
        + ("Overlapping bars do not mean equal: the " if intervals else "The ")
        + "paired differences are in the figure of contrasts."
    )
    told = [
        f"{variant.title} {percent(float(np.mean(list(found.values()))))}"
        for variant in study.variants
        if (found := study.values(variant.id))
    ]
    return Picture(
        ID,
        TITLE,
        QUESTION,
        caption,
        f"Dot plot of {what} for {len(study.variants)} variants. Means: {'; '.join(told)}.",
        figure,
    )


def rows_of_names(variants: Sequence[Variant]) -> tuple[Figure, Axes]:
    """A figure with one row per variant: its name and numbers above, room for its marks below."""
    count = len(variants)
    height = 0.85 + 0.5 * count
    figure = canvas(WIDTH, height)
    axes = figure.add_axes((0.02, 0.5 / height, 0.96, 1 - 0.75 / height))
    axes.set_ylim(count - 0.6, -0.6)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.margins(x=0.03)
    return figure, axes


def name_row(axes: Axes, row: int, variant: Variant, shown: str, *, bold: bool = False) -> None:
    """Write a variant's name above its row on the left and its numbers on the right."""
    place: dict[str, Any] = {
        "transform": axes.get_yaxis_transform(),
        "va": "center",
        "fontsize": 9,
        "bbox": PLATE,
        "zorder": 2.5,
    }
    axes.text(0.0, row - 0.29, name(variant, 40), ha="left", fontweight="bold" if bold else "normal", **place)
    axes.text(1.0, row - 0.29, shown, ha="right", **place)


def no_result(axes: Axes, row: int, reason: str) -> None:
    """Say in the row of a variant why it has no marks."""
    axes.text(
        0.5,
        row + 0.05,
        f"no result: {short(reason, 56)}",
        transform=axes.get_yaxis_transform(),
        ha="center",
        va="center",
        color=MUTED,
        style="italic",
        fontsize=8.5,
    )


def offsets(count: int, reach: float) -> np.ndarray:
    """Small steps up and down, the same at every call, so that equal seeds stay visible."""
    return np.linspace(-reach, reach, count) if count > 1 else np.zeros(count)


def why_missing(study: StudyResults, variant: str) -> str:
    """The reasons why a variant's seeds have no result, each once."""
    reasons = {f"{why} ({stage})" for stage, why in missing_seeds(study, variant).values()}
    return "; ".join(sorted(reasons))
