"""Cost against score: training time of one run, and what it buys."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fne.protocols import METRICS
from fne.report.figures.figure import Picture, canvas, notice
from fne.report.figures.style import INK, PAPER, WIDTH, spread
from fne.report.figures.variant_styles import Look, looks_of
from fne.report.text.summary import seconds_per_run, seconds_per_step
from fne.report.text.wording import (
    duration,
    interval_phrase,
    listing,
    metric_name,
    protocol_phrase,
    seeds_phrase,
    short,
)
from fne.results.study import StudyResults

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ID, TITLE, QUESTION = "cost", "Cost and score", "What does a better score cost in training time?"


def draw(study: StudyResults) -> Picture:
    """Draw the primary metric of every variant over the training time of one of its runs."""
    shown = []
    for variant in study.variants:
        values, seconds = study.values(variant.id), seconds_per_run(variant)
        if values and math.isfinite(seconds):
            shown.append((variant, seconds, 100 * float(np.mean(list(values.values()))), study.estimate(variant.id)))
    if not shown:
        return notice(ID, TITLE, QUESTION, "no run has both a score and a measured time")
    height = max(3.9, 0.8 + 0.17 * len(shown))  # room for every label
    figure = canvas(WIDTH, height)
    axes = figure.add_axes((0.12, 0.5 / height, 0.5, 1 - 0.65 / height))
    for variant, seconds, mean, estimate in shown:
        look = looks_of(study)[variant.id]
        if estimate is not None and math.isfinite(estimate.low):
            axes.plot(
                [seconds] * 2,
                [100 * estimate.low, 100 * estimate.high],
                color=look.colour,
                lw=1.6,
                alpha=0.7,
                zorder=2,
            )
        mark = {"s": 64, "marker": look.mark("D"), "color": look.colour, "edgecolor": PAPER, "linewidth": 1.1}
        axes.scatter([seconds], [mean], **mark, zorder=3)
    axes.set_xlim(0, 1.08 * max(seconds for _, seconds, _, _ in shown))
    axes.set_ylim(axes.get_ylim())
    labels(axes, shown, looks_of(study))
    axes.grid()
    what = metric_name(study)
    axes.set_xlabel("training time of one run (s)")
    axes.set_ylabel(f"test {what}" + (" (%)" if METRICS[study.metric].top == 1 else ""))
    machines = sorted(
        {str(run["record"].get("device") or "unknown device") for variant in study.variants for run in variant.runs}
    )
    blocks = sorted({len(run["seeds"]) for variant in study.variants for run in variant.runs})
    intervals = interval_phrase(study)
    caption = (
        "Up and to the left is better. Time of one run: the wall-clock time of a training job (of "
        f"{' or '.join(map(str, blocks))} seed{'s' if blocks != [1] else ''}) divided by its seeds, on "
        f"{listing(machines)}; features were extracted before and are not counted. Other work on the machine moves "
        f"these times: small differences mean nothing. Score: {protocol_phrase(study)}; {seeds_phrase(study)}."
        + (f" Bars: {intervals}." if intervals else "")
    )
    told = [
        f"{variant.title} {mean:.1f} in {duration(seconds)} ({duration(seconds_per_step(variant))} a step)"
        for variant, seconds, mean, _ in shown
    ]
    return Picture(ID, TITLE, QUESTION, caption, f"Scatter plot: {'; '.join(told)}.", figure)


def labels(axes: Axes, shown: list, looks: dict[str, Look]) -> None:
    """Name the points in a column on the right, each tied to its point by a thin line."""
    low, high = axes.get_ylim()
    heights = [(mean - low) / (high - low) for _, _, mean, _ in shown]
    places = spread(heights, min(0.066, 0.96 / len(shown)), 0.02, 0.98)
    for (variant, seconds, mean, _), y in zip(shown, places, strict=True):
        axes.annotate(
            short(variant.title, 28),
            (seconds, mean),
            (1.03, y),
            textcoords="axes fraction",
            va="center",
            ha="left",
            fontsize=9,
            color=INK,
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": looks[variant.id].colour,
                "linewidth": 0.8,
                "shrinkA": 2,
                "shrinkB": 5,
                "alpha": 0.8,
                "relpos": (0, 0.5),
            },
        )
