"""Rate of false negatives among picked negatives, against how hard the picks are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fne.report.figures.figure import Picture, notice
from fne.report.figures.panels import fill, in_words, nothing, rate_panels
from fne.report.figures.style import PLATE, letters
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
BINS = ["bin_low", "bin_high"]


def draw(study: StudyResults) -> Picture:
    """Draw one panel per variant: picks by similarity, and the share of them that are false negatives."""
    if study.audit.empty:
        return notice(ID, TITLE, QUESTION, "no run has a result")
    if not truth_is_known(study):
        return notice(ID, TITLE, QUESTION, "no false negative of the train split is known for this data set")
    if not study.shared_epochs:
        return notice(ID, TITLE, QUESTION, NO_SHARED_EPOCH)
    marks = ("among picks", "among all candidates")
    figure, axes = rate_panels(study.variants, "similarity of the picked negative", "false negatives", marks)
    counts = {variant.id: by_hardness(study, variant.id) for variant in study.variants}
    curves = {name: rates(rows, "false_negatives", "picks") for name, rows in counts.items()}
    shares = {variant.id: result for variant in study.variants if (result := pick_share(study, variant.id))}
    for panel, variant in zip(axes, study.variants, strict=True):
        rows = counts[variant.id]
        if rows.empty:
            nothing(panel)
            continue
        totals = rows.groupby(BINS)["picks"].sum()
        base, own = (
            [(x, item.value, item.low, item.high) for x, item in curve]
            for curve in (rates(rows, "candidate_false_negatives", "candidates"), curves[variant.id])
        )
        fill(panel, np.array([*totals.index]), totals.to_numpy(), base, own, looks_of(study)[variant.id])
        if variant.id in shares:
            words = f"{percent_of(shares[variant.id].value)} of all picks"
            panel.text(0.03, 0.93, words, transform=panel.transAxes, va="top", fontsize=letters(8.5), bbox=PLATE)
    drawn = [item for curve in curves.values() for item in curve]
    if drawn:
        places = [x for x, _ in drawn]
        axes[0].set_xlim(min(places) - 0.045, max(places) + 0.045)
    axes[0].set_ylim(0, min(1.0, max(1.12 * max((item.value for _, item in drawn), default=0.0), 0.01)))
    bars = ""
    if any(math.isfinite(item.low) for _, item in drawn):
        bars = " Bars: 95 % intervals, the wider of Wilson's and one that takes the seeds as clusters."
    caption = (
        f"Every negative picked in {shared_phrase(study)}, by its similarity to the anchor (bins of 0.05, both "
        f"directions pooled, {seeds_phrase(study)}). Line: share of the picks in a bin that is {relevant_words(study)} "
        f"to its anchor; bins with fewer than {FEW} picks are left out.{bars} Dashed: the same share among all "
        "candidates of that similarity, which is what a draw by similarity alone would give. Grey area: where the "
        f"picks lie. Number in a panel: the share of all its picks.{truth_sentence(study)}"
    )
    summary = {name: f"{percent_of(item.value)} of {count(item.total)} picks" for name, item in shares.items()}
    alt = f"Share of false negatives among the picks: {in_words(study, summary)}."
    return Picture(ID, TITLE, QUESTION, caption, alt, figure)


def rates(counts: pd.DataFrame, hits: str, totals: str) -> list[tuple[float, Share]]:
    """The middle of every bin with enough picks, and the share in it."""
    return [
        ((low + high) / 2, share(rows[hits].to_numpy(), rows[totals].to_numpy()))
        for (low, high), rows in counts.groupby(BINS)
        if rows[totals].sum() >= FEW
    ]


def percent_of(value: float) -> str:
    """A share in percent with two digits that matter."""
    return f"{100 * value:.1f} %" if value >= 0.01 or value == 0 else f"{100 * value:.2g} %"


def truth_sentence(study: StudyResults) -> str:
    """How false negatives of the train split are known, after a space."""
    kind = truth_kind(study, "train")
    return f" In the train split {TRUTH_WORDS[kind]}." if kind else ""
