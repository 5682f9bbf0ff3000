"""Forest plot: paired difference of every variant to the baseline, with its interval."""

from __future__ import annotations

import math
from collections.abc import Iterable

from fne.report.figures.figure import Picture, notice
from fne.report.figures.scores import name_row, no_result, rows_of_names, why_missing
from fne.report.figures.style import BASELINE, MUTED, PAPER
from fne.report.figures.variant_styles import diamond, looks_of
from fne.report.text.wording import (
    given,
    metric_name,
    p_equals,
    protocol_phrase,
    seeds_phrase,
    signed,
    span,
    tested,
    varied,
)
from fne.results.records import Contrast
from fne.results.study import StudyResults

ID, TITLE = "contrasts", "Differences to the baseline"
BOTH = "← worse | better →"
QUESTION = "Which variants are better or worse than the baseline, and by how much?"


def draw(study: StudyResults) -> Picture:
    """Draw the paired differences of the primary metric in the order of the study."""
    others = [variant for variant in study.variants if variant.id != study.baseline]
    if not others:
        return notice(ID, TITLE, QUESTION, "the study has one variant, so there is nothing to compare it with")
    found = {variant.id: study.contrast(variant.id) for variant in others}
    if not any(found.values()):
        return notice(ID, TITLE, QUESTION, "no variant shares a finished seed with the baseline")
    figure, axes = rows_of_names(others)
    for row, variant in enumerate(others):
        contrast = found[variant.id]
        if contrast is None:
            name_row(axes, row, variant, "")
            no_result(axes, row, why_missing(study, variant.id))
            continue
        look = looks_of(study)[variant.id]
        if math.isfinite(contrast.low):
            ends = [100 * contrast.low, 100 * contrast.high]
            axes.plot(ends, [row + 0.1] * 2, color=look.colour, lw=2.4, solid_capstyle="butt", zorder=2)
        if math.isfinite(contrast.low_elsewhere):
            ends = [100 * contrast.low_elsewhere, 100 * contrast.high_elsewhere]
            axes.plot(ends, [row + 0.1] * 2, color=look.colour, lw=0.9, solid_capstyle="butt", zorder=2)
        fill = look.colour if contrast.separated else PAPER
        mark = {"marker": look.mark("D"), "color": fill, "edgecolor": look.colour, "linewidth": 1.6, "zorder": 3}
        axes.scatter([100 * contrast.difference], [row + 0.1], s=50, **mark)
        shown = [signed(contrast.difference), span(contrast.low, contrast.high, sign=True)]
        p = p_equals(contrast.p_holm, contrast.p_holm_floor)
        name_row(axes, row, variant, "  ".join(filter(None, shown)) + (f"   {p}" if p else ""))
    axes.axvline(0, color=BASELINE, lw=1.2, zorder=1)
    low, high = axes.get_xlim()
    pad = 0.06 * max(abs(low), abs(high))
    axes.set_xlim(min(low, -pad), max(high, pad))
    left, right = axes.get_xlim()
    middle = -left / (right - left)
    words, side = BOTH, "center"
    if not 0.2 <= middle <= 0.8:
        words, side = ("better →", "left") if middle < 0.2 else ("← worse", "right")
    axes.text(0, -0.62, words, ha=side, va="bottom", fontsize=8.5, color=MUTED)
    what = metric_name(study)
    base = study[study.baseline].title
    axes.set_xlabel(f"difference in test {what} to the baseline")
    caption = (
        f"Variant minus baseline ({base}), paired by seed and image. Score: {protocol_phrase(study)}; "
        f"{seeds_phrase(study)}. {intervals_sentence(study, found.values())} p: {tested(study)}, after Holm's "
        "correction over the variants of the study."
    )
    told = [
        f"{variant.title} {signed(contrast.difference)} {span(contrast.low, contrast.high, sign=True)}".rstrip()
        for variant in others
        if (contrast := found[variant.id])
    ]
    return Picture(ID, TITLE, QUESTION, caption, f"Forest plot of differences to {base}: {'; '.join(told)}.", figure)


def intervals_sentence(study: StudyResults, contrasts: Iterable[Contrast | None]) -> str:
    """What bars and diamonds mean, or why there are no bars."""
    made = [one for one in contrasts if one is not None]
    if not any(math.isfinite(one.low) for one in made):
        seeds = min(one.n_seeds for one in made)
        return f"No bars: {seeds} seed{'s' if seeds != 1 else ''} in common cannot show whether a difference is chance."
    thin = ""
    if any(math.isfinite(one.low_elsewhere) for one in made):
        thin = f" Thin line: interval for another {varied(study)}."
    return (
        f"Bar: {level(study)} interval of the paired difference, {given(study)}.{thin} "
        f"Filled {diamond(looks_of(study))}: the bar "
        "excludes zero; hollow: it does not, and nothing is shown either way."
    )


def level(study: StudyResults) -> str:
    """The level of the study's intervals, in words."""
    levels = sorted(set(study.intervals["level"].dropna())) if len(study.intervals) else []
    return " / ".join(f"{100 * value:g} %" for value in levels) or "no"
