"""Score per variant: every seed as a point, the mean with its interval, the baseline as a line."""

from __future__ import annotations

import math

import numpy as np

from fne.reporting.figure import Picture, canvas, notice
from fne.reporting.style import INK, MUTED, PAPER, colours
from fne.reporting.wording import (
    METRICS,
    interval_phrase,
    name,
    percent,
    protocol_phrase,
    seeds_phrase,
    short,
    span,
)
from fne.study_results import StudyResults

ID, TITLE, QUESTION = "scores", "Score per variant", "Which variant retrieves best, and how much do its seeds vary?"
LANE = 0.16
"""Mean and interval stand this far above the middle of a row, the seeds this far below it."""


def draw(study: StudyResults) -> Picture:
    """Draw the primary metric of every variant in the order of the study."""
    if not any(study.values(variant.id) for variant in study.variants):
        return notice(ID, TITLE, QUESTION, "no run has a result")
    colour = colours([variant.id for variant in study.variants], study.baseline)
    rows = len(study.variants)
    figure = canvas(7.6, 1.25 + 0.42 * rows)
    axes = figure.add_axes((0.315, 0.62 / (1.25 + 0.42 * rows), 0.45, 1 - 1.0 / (1.25 + 0.42 * rows)))
    for row, variant in enumerate(study.variants):
        values, estimate = study.values(variant.id), study.estimate(variant.id)
        ink = colour[variant.id]
        if not values:
            axes.text(0.5, row, f"no result: {short(why_missing(study, variant.id), 46)}", transform=axes.get_yaxis_transform(),
                      ha="center", va="center", color=MUTED, style="italic", fontsize=9)  # fmt: skip
            continue
        mean = 100 * float(np.mean(list(values.values())))
        if estimate is not None and math.isfinite(estimate.low):
            axes.plot([100 * estimate.low, 100 * estimate.high], [row - LANE] * 2, color=ink, lw=2.4, solid_capstyle="butt")
        places = row + LANE + offsets(len(values), 0.09)
        axes.scatter([100 * value for value in values.values()], places, s=15, color=ink, alpha=0.8, linewidths=0, zorder=3)
        axes.scatter([mean], [row - LANE], s=62, marker="D", color=ink, edgecolor=PAPER, linewidth=1.2, zorder=4)
        shown = percent(mean / 100) + (f"  {span(estimate.low, estimate.high)}" if estimate is not None else "")
        axes.text(1.03, row, shown, transform=axes.get_yaxis_transform(), va="center", color=INK, fontsize=9)
    base = study.values(study.baseline)
    if base:
        level = 100 * float(np.mean(list(base.values())))
        axes.axvline(level, color=MUTED, lw=1, ls=(0, (4, 3)), zorder=1)
        axes.text(level, -0.78, f"baseline {percent(level / 100)}", ha="center", va="bottom", fontsize=8.5, color=MUTED)
    axes.text(1.03, -0.78, "mean  [interval]", transform=axes.get_yaxis_transform(), va="bottom", fontsize=8.5, color=MUTED)
    axes.set_yticks(range(rows), [name(variant) for variant in study.variants])
    for tick, variant in zip(axes.get_yticklabels(), study.variants, strict=True):
        tick.set_color(INK)
        tick.set_fontweight("bold" if variant.id == study.baseline else "normal")
    axes.set_ylim(rows - 0.45, -0.7)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    what = METRICS.get(study.metric, study.metric)
    axes.set_xlabel(f"test {what}" + (" (sum of six recalls in %, 0 to 600)" if study.metric == "rsum" else " (%)"))
    caption = (
        f"{protocol_phrase(study)}; higher is better. Small points: single seeds ({seeds_phrase(study)}). Diamond: their "
        f"mean. Bar: {interval_phrase(study)}. Dashed line: mean of the baseline, {study[study.baseline].title}. Variants "
        "stand in the order of the study. Overlapping bars do not mean equal: the paired differences are in the figure "
        "of contrasts."
    )
    ends = [f"{variant.title} {percent(float(np.mean(list(found.values()))))}" for variant in study.variants
            if (found := study.values(variant.id))]  # fmt: skip
    return Picture(ID, TITLE, QUESTION, caption, f"Dot plot of {what} for {rows} variants. Means: {'; '.join(ends)}.", figure)


def offsets(count: int, reach: float) -> np.ndarray:
    """Small steps up and down, the same at every call, so that equal seeds stay visible."""
    return np.linspace(-reach, reach, count) if count > 1 else np.zeros(count)


def why_missing(study: StudyResults, variant: str) -> str:
    """The reasons that ``missing.csv`` gives, each once."""
    rows = study.missing[study.missing["variant"] == variant]
    reasons = sorted({f"{row.reason} ({row.stage})" for row in rows.itertuples()})
    return "; ".join(reasons) or "it was not run"
