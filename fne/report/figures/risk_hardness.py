"""The risk-hardness curve: how often a pick is a false negative, by how it compares with the anchor's own pair."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fne.report.figures.false_negatives import intervals_of, logged, seeds
from fne.report.figures.figure import Picture, notice
from fne.report.figures.panels import Points, fill, in_words, nothing, rate_panels
from fne.report.figures.picks import FEW, percent_of, truth_sentence
from fne.report.figures.style import MUTED
from fne.report.figures.variant_styles import looks_of
from fne.report.text.summary import NO_SHARED_EPOCH, relevant_words, shared_phrase
from fne.report.text.wording import number
from fne.results.study import StudyResults

if TYPE_CHECKING:
    import pandas as pd

ID, TITLE = "risk_hardness", "Risk against hardness"
QUESTION = "How much risk of a false negative does a method take for negatives as hard as the positive?"
BINS = ["gap_low", "gap_high"]


def draw(study: StudyResults) -> Picture:
    """Draw one panel per variant: the rate by gap, over where its picks lie."""
    rows = study.audited("risk")
    if rows.empty:
        why = "no run has kept any pick" if study.shared_epochs else NO_SHARED_EPOCH
        return notice(ID, TITLE, QUESTION, why)
    rows = rows[(rows["direction"] == "both") & rows["rate"].notna()]
    if not rows["false_negatives"].sum():
        return notice(ID, TITLE, QUESTION, "no false negative of the train split is known for this data set")
    marks = ("this variant", "all variants together")
    xlabel, ylabel = "similarity of pick − of own pair", "false negatives among picks"
    figure, axes = rate_panels(study.variants, xlabel, ylabel, marks)
    drawn, everyone = rows[rows["picks"] >= FEW], points(pooled(rows))
    for panel, variant in zip(axes, study.variants, strict=True):
        own = rows[rows["variant"] == variant.id]
        panel.axvline(0, color=MUTED, lw=0.8)
        if own.empty:
            nothing(panel, "no picks")
            continue
        mine, picks = points(own[own["picks"] >= FEW]), own["picks"].to_numpy()
        fill(panel, own[BINS].to_numpy(), picks, everyone, mine, looks_of(study)[variant.id])
    if len(drawn):
        axes[0].set_ylim(0, min(1.0, max(1.1 * float(drawn["rate"].max()), 0.01)))
        axes[0].set_xlim(drawn["gap_low"].min() - 0.02, drawn["gap_high"].max() + 0.02)
    caption = (
        f"Logged picks of {shared_phrase(study)}, by the similarity of the picked negative minus that of the anchor's "
        f"own pair (bins of 0.05, both directions, {seeds(study)}; right of 0 the negative is more similar than the "
        f"positive). Line: share of the picks that is {relevant_words(study)} to its anchor; bins with fewer than "
        f"{FEW} picks are left out.{intervals_of(drawn, 'Bars')} Dashed: the picks of all variants together, the same "
        f"in every panel. Grey area: where the picks lie.{logged(study)}{truth_sentence(study)}"
    )
    tops = drawn.loc[drawn.groupby("variant")["rate"].idxmax()].to_dict("records")
    words = {
        row["variant"]: f"at most {percent_of(row['rate'])}, at a gap of {number(row['gap_low'], 2)}" for row in tops
    }
    alt = f"Share of false negatives by gap: {in_words(study, words)}."
    return Picture(ID, TITLE, QUESTION, caption, alt, figure)


def pooled(rows: pd.DataFrame) -> pd.DataFrame:
    """The rate by gap over the picks of all variants; bins with enough picks."""
    sums = rows.groupby(BINS)[["picks", "false_negatives"]].sum().reset_index()
    sums = sums[sums["picks"] >= FEW]
    return sums.assign(rate=sums["false_negatives"] / sums["picks"])


def points(rows: pd.DataFrame) -> Points:
    """The middle of every bin, its rate and the ends of its interval."""
    middle = (rows["gap_low"] + rows["gap_high"]) / 2
    ends = (rows[name] if name in rows else rows["rate"] for name in ("low", "high"))
    return list(zip(middle, rows["rate"], *ends, strict=True))
