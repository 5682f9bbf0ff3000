"""Forest plot: paired difference of every variant to the baseline, with its interval."""

from __future__ import annotations

import math

from fne.reporting.figure import Picture, canvas, notice
from fne.reporting.plots.scores import why_missing
from fne.reporting.style import BASELINE, INK, MUTED, PAPER, colours
from fne.reporting.wording import METRICS, name, p_value, protocol_phrase, seeds_phrase, short, signed, span
from fne.study_results import StudyResults

ID, TITLE = "contrasts", "Differences to the baseline"
QUESTION = "Which variants are better or worse than the baseline, and by how much?"


def draw(study: StudyResults) -> Picture:
    """Draw the paired differences of the primary metric in the order of the study."""
    others = [variant for variant in study.variants if variant.id != study.baseline]
    if not others:
        return notice(ID, TITLE, QUESTION, "the study has one variant, so there is nothing to compare it with")
    found = {variant.id: study.contrast(variant.id) for variant in others}
    if not any(found.values()):
        return notice(ID, TITLE, QUESTION, "no variant shares a finished seed with the baseline")
    colour = colours([variant.id for variant in study.variants], study.baseline)
    rows, height = len(others), 1.45 + 0.4 * len(others)
    figure = canvas(7.6, height)
    axes = figure.add_axes((0.305, 0.62 / height, 0.36, 1 - 1.15 / height))
    for row, variant in enumerate(others):
        contrast = found[variant.id]
        if contrast is None:
            axes.text(0.5, row, f"no result: {short(why_missing(study, variant.id), 40)}", transform=axes.get_yaxis_transform(),
                      ha="center", va="center", color=MUTED, style="italic", fontsize=9)  # fmt: skip
            continue
        ink = colour[variant.id]
        if math.isfinite(contrast.low):
            axes.plot([100 * contrast.low, 100 * contrast.high], [row, row], color=ink, lw=2.4, solid_capstyle="butt", zorder=2)
        full = contrast.separated
        axes.scatter([100 * contrast.difference], [row], s=58, marker="D", color=ink if full else PAPER, edgecolor=ink,
                     linewidth=1.6, zorder=3)  # fmt: skip
        text = f"{signed(contrast.difference)}  {span(contrast.low, contrast.high, sign=True)}"
        axes.text(1.04, row, text, transform=axes.get_yaxis_transform(), va="center", fontsize=9, color=INK)
        axes.text(1.62, row, p_value(contrast.p_holm), transform=axes.get_yaxis_transform(), va="center", fontsize=9, color=INK)
    for x, head in ((1.04, "difference"), (1.62, "p (Holm)")):
        axes.text(x, -0.85, head, transform=axes.get_yaxis_transform(), va="bottom", fontsize=8.5, color=MUTED)
    axes.axvline(0, color=BASELINE, lw=1.2, zorder=1)
    low, high = axes.get_xlim()
    reach = max(abs(low), abs(high))
    pad = 0.06 * reach
    axes.set_xlim(min(low, -pad), max(high, pad))
    axes.text(0, -0.85, "← worse | better →", ha="center", va="bottom", fontsize=8.5, color=MUTED)
    axes.set_yticks(range(rows), [name(variant) for variant in others])
    axes.set_ylim(rows - 0.45, -0.7)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    what = METRICS.get(study.metric, study.metric)
    base = study[study.baseline].title
    axes.set_xlabel(f"difference in test {what} to the baseline")
    caption = (
        f"Variant minus baseline ({base}), paired by seed and query. {protocol_phrase(study)}; {seeds_phrase(study)}. Bar: "
        f"{level(study)} interval of the paired difference. Filled diamond: the interval excludes zero; hollow: it does "
        "not, and nothing is shown either way. p: query-level test, corrected by Holm over the variants of this figure."
    )
    told = [f"{variant.title} {signed(contrast.difference)} {span(contrast.low, contrast.high, sign=True)}"
            for variant in others if (contrast := found[variant.id])]  # fmt: skip
    return Picture(ID, TITLE, QUESTION, caption, f"Forest plot of differences to {base}: {'; '.join(told)}.", figure)


def level(study: StudyResults) -> str:
    """The level of the study's intervals, in words."""
    levels = sorted(set(study.intervals["level"].dropna())) if len(study.intervals) else []
    return " / ".join(f"{100 * value:g} %" for value in levels) or "no"
