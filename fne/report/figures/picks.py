"""Rate of false negatives among picked negatives, against how hard the picks are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fne.report.figures.figure import Picture, notice
from fne.report.figures.panels import fill, grid, nothing
from fne.report.figures.style import PLATE
from fne.report.figures.variant_styles import looks_of
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
from fne.report.text.wording import count, seeds_phrase
from fne.results.study import StudyResults

if TYPE_CHECKING:
    import pandas as pd

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
    marks = ("among picks", "among all candidates", "where the picks lie")
    figure, axes = grid(study.variants, "similarity of the picked negative", "false negatives", marks)
    counts = {variant.id: by_hardness(study, variant.id) for variant in study.variants}
    curves = {variant.id: rates(counts[variant.id], "false_negatives", "picks") for variant in study.variants}
    top = max([item.value for curve in curves.values() for _, item in curve], default=0.0)
    for panel, variant in zip(axes, study.variants, strict=True):
        rows = counts[variant.id]
        if rows.empty:
            nothing(panel, "no result")
            continue
        totals = rows.groupby(["bin_low", "bin_high"], sort=True)["picks"].sum()
        base, own = (
            [(x, item.value, item.low, item.high) for x, item in curve]
            for curve in (rates(rows, "candidate_false_negatives", "candidates"), curves[variant.id])
        )
        fill(panel, np.array([*totals.index]), totals.to_numpy(), base, own, looks_of(study)[variant.id])
        whole = pick_share(study, variant.id)
        if whole is not None:
            words = f"{percent_of(whole.value)} of all picks"
            panel.text(0.03, 0.93, words, transform=panel.transAxes, va="top", fontsize=9, bbox=PLATE)
    axes[0].set_ylim(0, min(1.0, max(1.12 * top, 0.01)))
    axes[0].set_xlim(*window(counts))
    kind = truth_kind(study, "train")
    known = f" In the train split {TRUTH_WORDS[kind]}." if kind else ""
    bars = ""
    if any(math.isfinite(item.low) for curve in curves.values() for _, item in curve):
        bars = " Bars: 95 % intervals, the wider of Wilson's and one that takes the seeds as clusters."
    caption = (
        f"Every negative picked in {shared_phrase(study)}, by its similarity to the anchor (bins of 0.05, both "
        f"directions pooled, {seeds_phrase(study)}). Line: share of the picks in a bin that is {relevant_words(study)} "
        f"to its anchor; bins with fewer than {FEW} picks are left out.{bars} Dashed: the same share among all "
        "candidates of that similarity, which is what a draw by similarity alone would give. Grey area: where the "
        "picks lie. Number in "
        "a panel: the share of all its picks." + known
    )
    summary = [
        f"{variant.title} {percent_of(whole.value)} of {count(whole.total)} picks"
        for variant in study.variants
        if (whole := pick_share(study, variant.id)) is not None
    ]
    return Picture(
        ID, TITLE, QUESTION, caption, f"Share of false negatives among the picks: {'; '.join(summary)}.", figure
    )


def rates(counts: pd.DataFrame, hits: str, totals: str) -> list[tuple[float, Share]]:
    """The middle of every bin with enough picks, and the share in it."""
    result = []
    for (low, high), rows in counts.groupby(["bin_low", "bin_high"], sort=True):
        if rows[totals].sum() >= FEW:
            result.append(((low + high) / 2, share(rows[hits].to_numpy(), rows[totals].to_numpy())))
    return result


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
