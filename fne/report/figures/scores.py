"""Score per variant: every seed as a point, the mean with its interval, the baseline as a line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fne.protocols import METRICS
from fne.report.figures.figure import Picture, notice
from fne.report.figures.panels import in_words, panels
from fne.report.figures.style import DASHED, MUTED, PAPER, label, letters, wrapped
from fne.report.figures.variant_styles import looks_of
from fne.report.text.summary import missing_seeds
from fne.report.text.wording import interval_phrase, metric_name, percent, protocol_phrase, seeds_phrase, short
from fne.results.study import StudyResults, Variant

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ID, TITLE, QUESTION = ("scores", "Score per variant", "Which variant retrieves best, and how much do its seeds vary?")


def draw(study: StudyResults) -> Picture:
    """Draw the primary metric of every variant in the order of the study."""
    means = {variant.id: float(np.mean([*values.values()])) for variant in study.variants
             if (values := study.values(variant.id))}  # fmt: skip
    if not means:
        return notice(ID, TITLE, QUESTION, "no run has a result")
    figure, axes = rows_of_names(study.variants, bold=study.baseline)
    for row, variant in enumerate(study.variants):
        values, estimate = study.values(variant.id), study.estimate(variant.id)
        look = looks_of(study)[variant.id]
        if not values:
            no_result(axes, row, study, variant.id)
            continue
        if estimate is not None and math.isfinite(estimate.low):
            ends = [100 * estimate.low, 100 * estimate.high]
            axes.plot(ends, [row, row], color=look.colour, lw=2.4, solid_capstyle="butt")
        points = [100 * value for value in values.values()]
        axes.scatter(points, [row + 0.3] * len(points), s=9, color=look.colour, alpha=0.8, linewidths=0, zorder=3)
        mark: dict[str, Any] = {"s": 40, "marker": "D", "color": look.colour, "edgecolor": PAPER, "linewidth": 1.0}
        axes.scatter([100 * means[variant.id]], [row], **mark, zorder=4)
        number_of(axes, row, percent(means[variant.id]))
    if study.baseline in means:
        axes.axvline(100 * means[study.baseline], color=MUTED, lw=1, ls=DASHED, zorder=1)
    what, item = metric_name(study), METRICS[study.metric]
    scale = "(%)" if item.top is None or item.top == 1 else f"({item.meaning} in %, 0 to {100 * item.top})"
    axes.set_xlabel(wrapped(f"test {what} {scale}"))
    intervals = interval_phrase(study)
    caption = (
        f"Test score: {protocol_phrase(study)}; higher is better. Small points: single seeds ({seeds_phrase(study)}). "
        f"Diamond: their mean.{f' Bar: {intervals}.' if intervals else ''} "
        f"Dashed line: mean of the baseline, {study[study.baseline].title}. Variants stand in the order of the study. "
        "Overlapping bars do not mean equal: the paired differences are in the figure of contrasts."
    )
    scored = in_words(study, {name: percent(mean) for name, mean in means.items()})
    alt = f"Dot plot of {what} for {len(study.variants)} variants. Means: {scored}."
    return Picture(ID, TITLE, QUESTION, caption, alt, figure)


def rows_of_names(variants: Sequence[Variant], bold: str = "") -> tuple[Figure, Axes]:
    """A figure with one row per variant, whose name stands at its left.

    Args:
        variants: In order.
        bold: The variant whose name stands out.
    """
    names = [label(variant.title, 34) for variant in variants]
    lines = max(name.count("\n") + 1 for name in names)
    figure, axes = panels(1, 1, 0.7 + (0.1 + 0.145 * lines) * len(variants))
    rows = axes[0, 0]
    rows.set_ylim(len(variants) - 0.5, -0.5)
    rows.set_yticks(range(len(variants)), names)
    for variant, text in zip(variants, rows.get_yticklabels(), strict=True):
        text.set_fontweight("bold" if variant.id == bold else "normal")
    rows.tick_params(axis="y", length=0)
    rows.spines["left"].set_visible(False)
    rows.grid(axis="x")
    rows.margins(x=0.03)
    return figure, rows


def number_of(axes: Axes, row: int, shown: str) -> None:
    """Write a variant's number at the right of its row."""
    axes.text(1.02, row, shown, transform=axes.get_yaxis_transform(), va="center", fontsize=letters(8.5))


def no_result(axes: Axes, row: int, study: StudyResults, variant: str) -> None:
    """Say in the row of a variant why its seeds have no result, each reason once."""
    reasons = sorted({f"{why} ({stage})" for stage, why in missing_seeds(study, variant).values()})
    words = f"no result: {short('; '.join(reasons), 46)}"
    style: dict[str, Any] = {"va": "center", "color": MUTED, "style": "italic", "fontsize": letters(8.5)}
    axes.text(0.01, row, words, transform=axes.get_yaxis_transform(), **style)
