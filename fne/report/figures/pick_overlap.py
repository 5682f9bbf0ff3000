"""How far two strategies pick the same negatives: a matrix of all pairs of variants."""

from __future__ import annotations

import numpy as np

from fne.analysis.pick_overlap import MOST
from fne.report.figures.false_negatives import logged, seeds
from fne.report.figures.figure import Picture, canvas, notice
from fne.report.figures.style import INK, PAPER, WIDTH
from fne.report.figures.variant_styles import looks_of
from fne.report.text.summary import NO_SHARED_EPOCH, shared_phrase
from fne.report.text.wording import number, short
from fne.results.study import StudyResults

ID, TITLE = "agreement", "Agreement of the strategies"
QUESTION = "Which strategies pick the same negatives, and which differ in name only?"


def draw(study: StudyResults) -> Picture:
    """Draw the matrix: below the diagonal the share of identical picks, above it kappa."""
    rows = study.audited("agreement")
    rows = rows[rows["direction"] == "both"] if len(rows) else rows
    if rows.empty:
        why = "no two variants have kept picks of the same steps" if study.shared_epochs else NO_SHARED_EPOCH
        return notice(ID, TITLE, QUESTION, why)
    from matplotlib.colors import LinearSegmentedColormap

    names = [variant for variant in study.variants if variant.id in {*rows["variant"], *rows["other"]}]
    place = {variant.id: at for at, variant in enumerate(names)}
    table = np.full((len(names), len(names)), np.nan)
    for row in rows.to_dict("records"):
        first, second = sorted((place[row["variant"]], place[row["other"]]))
        table[second, first], table[first, second] = row["agreement"], row["kappa"]
    cell = min(0.5, (WIDTH - 2.6) / len(names))
    side = cell * len(names)
    height = side + 1.85
    figure = canvas(WIDTH, height)
    axes = figure.add_axes((1.85 / WIDTH, 0.1 / height, side / WIDTH, side / height))
    shades = LinearSegmentedColormap.from_list("agreement", [PAPER, "#9CC3E0", "#0B4F8A"])
    axes.imshow(np.clip(np.ma.masked_invalid(table), 0, 1), cmap=shades, vmin=0, vmax=1, aspect="equal")
    size = min(8.5, 26 * cell)
    for first in range(len(names)):
        for second in range(len(names)):
            value = table[first, second]
            if np.isfinite(value):
                ink = PAPER if value > 0.55 else INK
                text = f"{round(value, 2) + 0.0:.2f}".replace("0.", ".", 1).replace("-", "−") if value < 0.995 else "1"
                axes.text(second, first, text, ha="center", va="center", fontsize=size, color=ink)
    labels = [short(variant.title, 26) for variant in names]
    letters = min(9.0, 0.9 * cell * 72)
    axes.set_yticks(range(len(names)), labels, fontsize=letters)
    axes.set_xticks(range(len(names)), labels, rotation=55, ha="left", fontsize=letters, rotation_mode="anchor")
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    caption = (
        f"Picks of {shared_phrase(study)}, for the same seed, step, direction and anchor ({seeds(study)}). Below the "
        "diagonal: share of anchors for which both variants picked the same negative. Above it: the same corrected for "
        "chance (kappa: 1 where all picks are the same, 0 where no more are than if each variant's picks of a step "
        "were dealt to its anchors anew). Variants with a memory may also pick what is not in the batch."
        f"{logged(study)}"
    )
    if len(looks_of(study)) > MOST and 2 * len(rows) < len(names) * (len(names) - 1):
        caption += (
            f" Empty cells: in a study of more than {MOST} variants only pairs of its first {MOST}, and of the "
            "baseline with every other, are counted."
        )
    most = rows.loc[rows["kappa"].fillna(-2).idxmax()]
    least = rows.loc[rows["kappa"].fillna(2).idxmin()]
    summary = [
        f"{item['variant']} and {item['other']} ({item['agreement']:.2f}, kappa {number(float(item['kappa']), 2)})"
        for item in (most, least)
    ]
    alt = f"Matrix of {len(names)} variants. The most alike: {summary[0]}; the least: {summary[1]}."
    return Picture(ID, TITLE, QUESTION, caption, alt, figure)
