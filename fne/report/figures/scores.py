"""Score per variant: every seed as a point, the mean with its interval, the baseline as a line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fne.protocols import METRICS
from fne.report.figures.figure import Picture, canvas, notice
from fne.report.figures.style import MUTED, PAPER, WIDTH
from fne.report.figures.variant_styles import diamond, looks_of
from fne.report.text.summary import missing_seeds
from fne.report.text.wording import interval_phrase, metric_name, name, percent, protocol_phrase, seeds_phrase, short
from fne.results.study import StudyResults, Variant

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ID, TITLE, QUESTION = ("scores", "Score per variant", "Which variant retrieves best, and how much do its seeds vary?")


def draw(study: StudyResults) -> Picture:
    """Draw the primary metric of every variant in the order of the study."""
    if not any(study.values(variant.id) for variant in study.variants):
        return notice(ID, TITLE, QUESTION, "no run has a result")
    figure, axes = rows_of_names(study.variants, bold=study.baseline)
    for row, variant in enumerate(study.variants):
        values, estimate = study.values(variant.id), study.estimate(variant.id)
        look = looks_of(study)[variant.id]
        if not values:
            no_result(axes, row, why_missing(study, variant.id))
            continue
        mean = 100 * float(np.mean(list(values.values())))
        if estimate is not None and math.isfinite(estimate.low):
            ends = [100 * estimate.low, 100 * estimate.high]
            axes.plot(ends, [row, row], color=look.colour, lw=2.4, solid_capstyle="butt")
        points = [100 * value for value in values.values()]
        axes.scatter(points, [row + 0.3] * len(points), s=9, color=look.colour, alpha=0.8, linewidths=0, zorder=3)
        mark = {"s": 40, "marker": look.mark("D"), "color": look.colour, "edgecolor": PAPER, "linewidth": 1.0}
        axes.scatter([mean], [row], **mark, zorder=4)
        number_of(axes, row, percent(mean / 100))
    base = study.values(study.baseline)
    if base:
        axes.axvline(100 * float(np.mean(list(base.values()))), color=MUTED, lw=1, ls=(0, (4, 3)), zorder=1)
    fit(figure, axes)
    what = metric_name(study)
    item = METRICS[study.metric]
    axes.set_xlabel(
        f"test {what} (%)"
        if item.top is None or item.top == 1
        else f"test {what} ({item.meaning} in %, 0 to {100 * item.top})"
    )
    intervals = interval_phrase(study)
    caption = (
        f"Test score: {protocol_phrase(study)}; higher is better. Small points: single seeds ({seeds_phrase(study)}). "
        f"{diamond(looks_of(study)).capitalize()}: their mean.{f' Bar: {intervals}.' if intervals else ''} "
        f"Dashed line: mean of the baseline, {study[study.baseline].title}. Variants stand in the order of the study. "
        + ("Overlapping bars do not mean equal: the " if intervals else "The ")
        + "paired differences are in the figure of contrasts."
    )
    summary = [
        f"{variant.title} {percent(float(np.mean(list(result.values()))))}"
        for variant in study.variants
        if (result := study.values(variant.id))
    ]
    return Picture(
        ID,
        TITLE,
        QUESTION,
        caption,
        f"Dot plot of {what} for {len(study.variants)} variants. Means: {'; '.join(summary)}.",
        figure,
    )


ROW = 0.245
"""Inches of a variant's row."""


def rows_of_names(variants: Sequence[Variant], bold: str = "") -> tuple[Figure, Axes]:
    """A figure with one row per variant, whose name stands at its left; see :func:`fit`.

    Args:
        variants: In order.
        bold: The variant whose name stands out.
    """
    many = len(variants)
    height = 0.7 + ROW * many
    figure = canvas(WIDTH, height)
    axes = figure.add_axes((0.4, 0.52 / height, 0.45, ROW * many / height))
    axes.set_ylim(many - 0.5, -0.5)
    axes.set_yticks(range(many), [name(variant) for variant in variants])
    for variant, label in zip(variants, axes.get_yticklabels(), strict=True):
        label.set_fontweight("bold" if variant.id == bold else "normal")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.margins(x=0.03)
    return figure, axes


def number_of(axes: Axes, row: int, shown: str) -> None:
    """Write a variant's number at the right of its row."""
    axes.text(1.02, row, shown, transform=axes.get_yaxis_transform(), va="center", fontsize="small")


def fit(figure: Figure, axes: Axes) -> None:
    """Give the names and numbers beside the axes as much width as they take."""
    width = figure.bbox.width
    left = max(label.get_window_extent().width for label in axes.get_yticklabels()) / width + 0.03
    beside = [text for text in axes.texts if text.get_position()[0] > 1]
    right = max((text.get_window_extent().width for text in beside), default=0) / width + 0.03
    box = axes.get_position()
    axes.set_position((left, box.y0, 1 - left - right, box.height))


def no_result(axes: Axes, row: int, reason: str) -> None:
    """Say in the row of a variant why it has no marks."""
    axes.text(
        0.01,
        row,
        f"no result: {short(reason, 46)}",
        transform=axes.get_yaxis_transform(),
        va="center",
        color=MUTED,
        style="italic",
        fontsize="small",
    )


def why_missing(study: StudyResults, variant: str) -> str:
    """The reasons why a variant's seeds have no result, each once."""
    reasons = {f"{why} ({stage})" for stage, why in missing_seeds(study, variant).values()}
    return "; ".join(sorted(reasons))
