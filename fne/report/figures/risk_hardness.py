"""The risk-hardness curve: how often a pick is a false negative, by how it compares with the anchor's own pair."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fne.report.figures.false_negatives import intervals_of, logged, seeds
from fne.report.figures.figure import Picture, canvas, notice
from fne.report.figures.picks import FEW, percent_of
from fne.report.figures.style import GRID, MUTED, PAPER, WIDTH, panel_legend
from fne.report.figures.variant_styles import Look, looks_of
from fne.report.text.summary import NO_SHARED_EPOCH, TRUTH_WORDS, relevant_words, shared_phrase, truth_kind
from fne.report.text.wording import name, number
from fne.results.study import StudyResults

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

ID, TITLE = "risk_hardness", "Risk against hardness"
QUESTION = "How much risk of a false negative does a method take for negatives as hard as the positive?"


def draw(study: StudyResults) -> Picture:
    """Draw one panel per variant: the rate by gap, over where its picks lie."""
    rows = study.audited("risk")
    if rows.empty:
        why = "no run has kept any pick" if study.shared_epochs else NO_SHARED_EPOCH
        return notice(ID, TITLE, QUESTION, why)
    rows = rows[(rows["direction"] == "both") & rows["rate"].notna()]
    if not rows["false_negatives"].sum():
        return notice(ID, TITLE, QUESTION, "no false negative of the train split is known for this data set")
    columns = min(2, len(study.variants))
    lines = -(-len(study.variants) // columns)
    height = 1.0 + 1.3 * lines
    figure = canvas(WIDTH, height)
    axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    figure.subplots_adjust(
        left=0.125, right=0.985, bottom=0.55 / height, top=1 - 0.62 / height, wspace=0.06, hspace=0.42
    )
    drawn = rows[rows["picks"] >= FEW]
    everyone = pooled(rows)
    for panel, variant in zip(axes.flat, study.variants, strict=False):
        panel.set_title(name(variant, 29))
        one_panel(panel, rows[rows["variant"] == variant.id], everyone, looks_of(study)[variant.id])
    axes.flat[0].set_ylim(0, min(1.0, max(1.1 * float(drawn["rate"].max()), 0.01)) if len(drawn) else 1.0)
    if len(drawn):
        axes.flat[0].set_xlim(drawn["gap_low"].min() - 0.02, drawn["gap_high"].max() + 0.02)
    axes.flat[0].yaxis.set_major_formatter(lambda value, _: f"{100 * value:g} %")
    for panel in axes.flat[len(study.variants) :]:
        panel.set_visible(False)
    for panel in axes[-1]:
        panel.set_xlabel("similarity of pick − of own pair")
    figure.supylabel("false negatives among picks", fontsize=9.5, x=0.005)
    panel_legend(figure, "this variant", "all variants together", "where the picks lie")
    kind = truth_kind(study, "train")
    caption = (
        f"Logged picks of {shared_phrase(study)}, by the similarity of the picked negative minus that of the anchor's "
        f"own pair (bins of 0.05, both directions, {seeds(study)}; right of 0 the negative is more similar than the "
        f"positive). Line: share of the picks that is {relevant_words(study)} to its anchor; bins with fewer than "
        f"{FEW} picks are left out.{intervals_of(drawn, 'Bars')} Dashed: the picks of all variants together, the same "
        f"in every panel. Grey area: where the picks lie.{logged(study)}"
        + (f" In the train split {TRUTH_WORDS[kind]}." if kind else "")
    )
    told = []
    for variant in study.variants:
        own = drawn[drawn["variant"] == variant.id]
        if len(own):
            top = own.loc[own["rate"].idxmax()]
            told.append(f"{variant.title} at most {percent_of(top['rate'])}, at a gap of {number(top['gap_low'], 2)}")
    return Picture(ID, TITLE, QUESTION, caption, f"Share of false negatives by gap: {'; '.join(told)}.", figure)


def pooled(rows: pd.DataFrame) -> pd.DataFrame:
    """The rate by gap over the picks of all variants; bins with enough picks."""
    sums = rows.groupby(["gap_low", "gap_high"], sort=True)[["picks", "false_negatives"]].sum().reset_index()
    sums = sums[sums["picks"] >= FEW]
    return sums.assign(rate=sums["false_negatives"] / sums["picks"])


def one_panel(panel: Axes, rows: pd.DataFrame, everyone: pd.DataFrame, look: Look) -> None:
    """Draw one variant."""
    panel.grid(axis="y")
    panel.axvline(0, color=MUTED, lw=0.8)
    if rows.empty:
        panel.text(0.5, 0.5, "no picks", transform=panel.transAxes, ha="center", va="center", color=MUTED)
        return
    # The area's height is relative, whatever the scale of the rates is.
    heights = 0.55 * rows["picks"].to_numpy() / rows["picks"].max()
    edges = np.stack([rows["gap_low"], rows["gap_high"]], axis=1).reshape(-1)
    where = panel.get_xaxis_transform()
    panel.fill_between(edges, np.repeat(heights, 2), color=GRID, alpha=0.75, lw=0, zorder=0, transform=where)
    panel.plot(middle(everyone), everyone["rate"], color=MUTED, lw=1.1, ls=(0, (4, 2)), zorder=2)
    shown = rows[rows["picks"] >= FEW]
    panel.vlines(middle(shown), shown["low"], shown["high"], color=look.colour, lw=1.1, zorder=3)
    mark = {"marker": look.mark("o"), "ms": 3.8, "mec": PAPER, "mew": 0.6}
    panel.plot(middle(shown), shown["rate"], color=look.colour, **mark, zorder=4)


def middle(rows: pd.DataFrame) -> np.ndarray:
    """The middle of every bin."""
    return (rows["gap_low"].to_numpy() + rows["gap_high"].to_numpy()) / 2
