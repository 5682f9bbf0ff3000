"""Rate of false negatives among picked negatives, against how hard the picks are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fne.report.figures.figure import Picture, canvas, notice
from fne.report.figures.style import GRID, MUTED, PAPER, PLATE, WIDTH, panel_legend
from fne.report.figures.variant_styles import Look, looks_of
from fne.report.text.summary import (
    NO_SHARED_EPOCH,
    TRUTH_WORDS,
    Share,
    by_hardness,
    pick_share,
    relevant_words,
    share,
    shared_phrase,
    truth_is_known,
    truth_kind,
)
from fne.report.text.wording import count, name, seeds_phrase
from fne.results.study import StudyResults, Variant

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

ID, TITLE = "picks", "False negatives among the picks"
QUESTION = "How often is a picked negative in truth a match, and does that happen where picks are hardest?"
FEW = 30
"""A bin with fewer picks than this is not drawn: its rate would be noise."""


def draw(study: StudyResults) -> Picture:
    """Draw one panel per variant: picks by similarity, and the share of them that are false negatives."""
    if study.audit.empty:
        return notice(ID, TITLE, QUESTION, "no run has a result")
    if not truth_is_known(study):
        return notice(ID, TITLE, QUESTION, "no false negative of the train split is known for this data set")
    if not study.shared_epochs:
        return notice(ID, TITLE, QUESTION, NO_SHARED_EPOCH)
    columns = min(2, len(study.variants))
    rows = -(-len(study.variants) // columns)
    height = 1.0 + 1.3 * rows
    figure = canvas(WIDTH, height)
    axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    figure.subplots_adjust(
        left=0.125, right=0.985, bottom=0.55 / height, top=1 - 0.62 / height, wspace=0.06, hspace=0.42
    )
    counts = {variant.id: by_hardness(study, variant.id) for variant in study.variants}
    curves = {variant.id: rates(counts[variant.id], "false_negatives", "picks") for variant in study.variants}
    top = max([one.value for curve in curves.values() for _, one in curve], default=0.0)
    for panel, variant in zip(axes.flat, study.variants, strict=False):
        one_panel(panel, variant, counts[variant.id], curves[variant.id], looks_of(study)[variant.id])
        whole = pick_share(study, variant.id)
        panel.set_title(name(variant, 29))
        if whole is not None:
            panel.text(
                0.03,
                0.93,
                f"{percent_of(whole.value)} of all picks",
                transform=panel.transAxes,
                va="top",
                fontsize=9,
                bbox=PLATE,
            )
    axes.flat[0].set_ylim(0, min(1.0, max(1.12 * top, 0.01)))
    axes.flat[0].set_xlim(*window(counts))
    axes.flat[0].yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    for panel in axes.flat[len(study.variants) :]:
        panel.set_visible(False)
    for panel in axes[-1]:
        panel.set_xlabel("similarity of the picked negative")
    figure.supylabel("false negatives", fontsize=9.5, x=0.005)
    panel_legend(figure, "among picks", "among all candidates", "where the picks lie")
    kind = truth_kind(study, "train")
    known = f" In the train split {TRUTH_WORDS[kind]}." if kind else ""
    bars = ""
    if any(math.isfinite(one.low) for curve in curves.values() for _, one in curve):
        bars = " Bars: 95 % intervals, the wider of Wilson's and one that takes the seeds as clusters."
    caption = (
        f"Every negative picked in {shared_phrase(study)}, by its similarity to the anchor (bins of 0.05, both "
        f"directions pooled, {seeds_phrase(study)}). Line: share of the picks in a bin that is {relevant_words(study)} "
        f"to its anchor; bins with fewer than {FEW} picks are left out.{bars} Dashed: the same share among all "
        "candidates of that similarity, which is what a draw by similarity alone would give. Grey area: where the "
        "picks lie. Number in "
        "a panel: the share of all its picks." + known
    )
    told = [
        f"{variant.title} {percent_of(whole.value)} of {count(whole.total)} picks"
        for variant in study.variants
        if (whole := pick_share(study, variant.id)) is not None
    ]
    return Picture(
        ID, TITLE, QUESTION, caption, f"Share of false negatives among the picks: {'; '.join(told)}.", figure
    )


def one_panel(
    panel: Axes, variant: Variant, counts: pd.DataFrame, curve: list[tuple[float, Share]], look: Look
) -> None:
    """Draw one variant: where its picks lie, the candidates' rate, its own rate."""
    panel.grid(axis="y")
    if counts.empty:
        panel.text(
            0.5,
            0.5,
            "no result",
            transform=panel.transAxes,
            ha="center",
            va="center",
            color=MUTED,
            style="italic",
        )
        return
    totals = counts.groupby("bin_low", sort=True)["picks"].sum()
    edges = np.append(totals.index.to_numpy(), counts["bin_high"].max())
    # The area's height is relative: it takes the upper 55 % of the panel whatever the scale of the rates is.
    heights = 0.55 * totals.to_numpy() / max(totals.max(), 1)
    panel.fill_between(
        np.repeat(edges, 2)[1:-1],
        np.repeat(heights, 2),
        color=GRID,
        alpha=0.75,
        lw=0,
        zorder=0,
        transform=panel.get_xaxis_transform(),
    )
    base = rates(counts, "candidate_false_negatives", "candidates")
    panel.plot([x for x, _ in base], [one.value for _, one in base], color=MUTED, lw=1.1, ls=(0, (4, 2)), zorder=2)
    for x, one in curve:
        panel.plot([x, x], [one.low, one.high], color=look.colour, lw=1.1, zorder=3)
    panel.plot(
        [x for x, _ in curve],
        [one.value for _, one in curve],
        color=look.colour,
        marker=look.mark("o"),
        ms=3.8,
        mec=PAPER,
        mew=0.6,
        zorder=4,
    )


def rates(counts: pd.DataFrame, hits: str, totals: str) -> list[tuple[float, Share]]:
    """The middle of every bin with enough picks, and the share in it."""
    found = []
    for (low, high), rows in counts.groupby(["bin_low", "bin_high"], sort=True):
        if rows[totals].sum() >= FEW:
            found.append(((low + high) / 2, share(rows[hits].to_numpy(), rows[totals].to_numpy())))
    return found


def window(counts: dict[str, pd.DataFrame]) -> tuple[float, float]:
    """The bins that hold any variant's drawn picks, with a margin."""
    lows, highs = [], []
    for frame in counts.values():
        sums = frame.groupby(["bin_low", "bin_high"], sort=True)["picks"].sum().to_dict() if len(frame) else {}
        kept = [bins for bins, picks in sums.items() if picks >= FEW]
        lows += [low for low, _ in kept]
        highs += [high for _, high in kept]
    return (min(lows) - 0.02, max(highs) + 0.02) if lows else (-1.0, 1.0)


def percent_of(value: float) -> str:
    """A share in percent with two digits that matter."""
    return f"{100 * value:.1f} %" if value >= 0.01 or value == 0 else f"{100 * value:.2g} %"
