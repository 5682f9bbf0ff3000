"""How far two strategies pick the same negatives: a matrix of all pairs of variants."""

from __future__ import annotations

import numpy as np

from fne.analysis.pick_overlap import MOST
from fne.report.figures.false_negatives import logged, seeds
from fne.report.figures.figure import Picture, notice
from fne.report.figures.panels import coloured_cells, panels
from fne.report.figures.style import room
from fne.report.text.summary import NO_SHARED_EPOCH, shared_phrase
from fne.report.text.wording import number, short
from fne.results.study import StudyResults

WRITTEN = 12
"""Variants of which every cell has its number; of more, columns have the numbers of the rows."""
ID, TITLE = "agreement", "Agreement of the strategies"
QUESTION = "Which strategies pick the same negatives, and which differ in name only?"


def draw(study: StudyResults) -> Picture:
    """Draw the matrix: below the diagonal the share of identical picks, above it kappa."""
    rows = study.audited("agreement")
    rows = rows[rows["direction"] == "both"] if len(rows) else rows
    if rows.empty:
        why = "no two variants have kept picks of the same steps" if study.shared_epochs else NO_SHARED_EPOCH
        return notice(ID, TITLE, QUESTION, why)
    names = [variant for variant in study.variants if variant.id in {*rows["variant"], *rows["other"]}]
    position = {variant.id: at for at, variant in enumerate(names)}
    table = np.full((len(names), len(names)), np.nan)
    for row in rows.to_dict("records"):
        first, second = sorted((position[row["variant"]], position[row["other"]]))
        table[second, first], table[first, second] = row["agreement"], row["kappa"]
    figure, axes = panels(1, 1, 1.7 + min(0.35 * len(names), 5.0))
    titles = columns = [short(variant.title, 26) for variant in names]
    words = np.vectorize(_cell)(table)
    if many := len(names) > room(WRITTEN):
        titles = [f"{title}  {place}" for place, title in enumerate(titles, 1)]
        columns = [str(place) if place == 1 or place % 5 == 0 else "" for place in range(1, len(names) + 1)]
        words = np.full_like(words, "")
    coloured_cells(axes[0, 0], table, words, titles, columns, "Blues", (0, 1))
    axes[0, 0].tick_params(top=True, labeltop=True, bottom=False, labelbottom=False)
    for text in axes[0, 0].get_xticklabels() if not many else ():
        text.set(rotation=55, ha="left", rotation_mode="anchor")
    caption = (
        f"Picks of {shared_phrase(study)}, for the same seed, step, direction and anchor ({seeds(study)}). Below the "
        "diagonal: share of anchors for which both variants picked the same negative. Above it: the same corrected for "
        "chance (kappa: 1 where all picks are the same, 0 where no more are than if each variant's picks of a step "
        "were dealt to its anchors anew). Variants with a memory may also pick what is not in the batch."
        f"{logged(study)}"
    )
    if many:
        caption += " Columns in the order of the rows; darker is more; the values are in `audit_agreement.csv`."
    if len(names) > MOST:
        caption += f" Of more than {MOST} variants, only pairs with the baseline or among the first {MOST} are counted."
    ends = (rows.loc[rows["kappa"].fillna(-2).idxmax()], rows.loc[rows["kappa"].fillna(2).idxmin()])
    most, least = (
        f"{study[item['variant']].title} and {study[item['other']].title} ({item['agreement']:.2f}, kappa "
        f"{number(float(item['kappa']), 2)})"
        for item in ends
    )
    alt = f"Matrix of {len(names)} variants. The most alike: {most}; the least: {least}."
    return Picture(ID, TITLE, QUESTION, caption, alt, figure)


def _cell(value: float) -> str:
    """Two digits without the zero before the point, for there is little room."""
    return "" if np.isnan(value) else number(value, 2).replace("0.", ".", 1).replace("1.00", "1")
