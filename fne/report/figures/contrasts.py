"""Forest plot: paired difference of every variant to the baseline, with its interval."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from fne.report.figures.figure import Picture, notice
from fne.report.figures.panels import in_words
from fne.report.figures.scores import no_result, number_of, rows_of_names
from fne.report.figures.style import BASELINE, MUTED, PAPER, letters, wrapped
from fne.report.figures.variant_styles import looks_of
from fne.report.text.wording import given, metric_name, protocol_phrase, seeds_phrase, signed, span, tested, varied
from fne.results.study import Contrast, StudyResults

ID, TITLE = "contrasts", "Differences to the baseline"
QUESTION = "Which variants are better or worse than the baseline, and by how much?"


def draw(study: StudyResults) -> Picture:
    """Draw the paired differences of the primary metric in the order of the study."""
    others = study.compared
    if not others:
        return notice(ID, TITLE, QUESTION, "the study has one variant, so there is nothing to compare it with")
    result = {variant.id: study.contrast(variant.id) for variant in others}
    if not any(result.values()):
        return notice(ID, TITLE, QUESTION, "no variant shares a finished seed with the baseline")
    figure, axes = rows_of_names(others)
    for row, variant in enumerate(others):
        contrast = result[variant.id]
        if contrast is None:
            no_result(axes, row, study, variant.id)
            continue
        look = looks_of(study)[variant.id]
        for low, high, thick in (
            (contrast.low, contrast.high, 2.4),
            (contrast.low_elsewhere, contrast.high_elsewhere, 0.9),
        ):
            if math.isfinite(low):
                axes.plot([100 * low, 100 * high], [row, row], color=look.colour, lw=thick, solid_capstyle="butt")
        fill = look.colour if contrast.separated else PAPER
        mark: dict[str, Any] = {"marker": "D", "color": fill, "edgecolor": look.colour, "linewidth": 1.4, "zorder": 3}
        axes.scatter([100 * contrast.difference], [row], s=38, **mark)
        number_of(axes, row, signed(contrast.difference))
    axes.axvline(0, color=BASELINE, lw=1.4, zorder=1)
    low, high = axes.get_xlim()
    pad = 0.06 * max(abs(low), abs(high))
    low, high = min(low, -pad), max(high, pad)
    axes.set_xlim(low, high)
    for words, side, share in (("← worse", "right", -low), (" better →", "left", high)):
        if share > 0.15 * (high - low):
            axes.annotate(words, (0, 1), (-5 if side == "right" else 1, 2), ("data", "axes fraction"), "offset points",
                          ha=side, va="bottom", fontsize=letters(8.5), color=MUTED)  # fmt: skip
    base = study[study.baseline].title
    axes.set_xlabel(wrapped(f"difference in test {metric_name(study)} to the baseline"))
    caption = (
        f"Variant minus baseline ({base}), paired by seed and image. Score: {protocol_phrase(study)}; "
        f"{seeds_phrase(study)}. {intervals_sentence(study, result.values())} p: {tested(study)}, after Holm's "
        "correction over the variants of the study."
    )
    differences = {
        name: f"{signed(item.difference)} {span(item.low, item.high, sign=True)}".rstrip()
        for name, item in result.items()
        if item is not None
    }
    alt = f"Forest plot of differences to {base}: {in_words(study, differences)}."
    return Picture(ID, TITLE, QUESTION, caption, alt, figure)


def intervals_sentence(study: StudyResults, contrasts: Iterable[Contrast | None]) -> str:
    """What bars and diamonds mean, or why there are no bars."""
    made = [item for item in contrasts if item is not None]
    if not any(math.isfinite(item.low) for item in made):
        seeds = min(item.n_seeds for item in made)
        return f"No bars: {seeds} seed{'s' if seeds != 1 else ''} in common cannot show whether a difference is chance."
    thin = ""
    if any(math.isfinite(item.low_elsewhere) for item in made):
        thin = f" Thin line: interval for another {varied(study)}."
    levels = sorted({f"{100 * value:g} %" for value in study.intervals["level"].dropna()})
    return (
        f"Bar: {' / '.join(levels)} interval of the paired difference, {given(study)}.{thin} Filled "
        f"diamond: the bar excludes zero; hollow: it does not, and nothing is shown either way."
    )
