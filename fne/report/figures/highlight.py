"""Lines of many variants over one axis: which are drawn in full where all of them would hide each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fne.report.figures.style import MUTED, end_labels, letters
from fne.report.figures.variant_styles import looks_of
from fne.report.text.summary import ranked
from fne.report.text.wording import count, titles

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fne.results.study import StudyResults

LINES, LOWEST, BANDS = 7, 2, 3
"""Lines that are drawn in full and labelled, how many of them are the lowest, and how many may have a band each."""
Line = tuple[Sequence[float], Sequence[float], Sequence[float], Sequence[float]]
"""Places, heights, and the lower and the upper end of the band."""


@dataclass(frozen=True)
class Highlight:
    """Which variants are drawn in full, and which of them with their bands.

    Args:
        full: Drawn in colour and labelled; the others are thin and grey.
        banded: Of these, those with a band: of more than three lines the baseline and the method.
        caption: Both in words, after a space; empty where all is drawn.
    """

    full: frozenset[str]
    banded: frozenset[str]
    caption: str


def highlight(study: StudyResults, what: str, scores: Mapping[str, float] | None = None) -> Highlight:
    """Highlight all, or of more than :data:`LINES` the baseline, the method, the highest and the lowest.

    Args:
        study: A finished study.
        what: What highest and lowest are by, in words.
        scores: The same as numbers; the primary metric unless given.
    """
    names, caption = [variant.id for variant in study.variants], ""
    full = always = [name for name in dict.fromkeys((study.baseline, study.method)) if name in names]
    if len(names) <= LINES:
        full = names
    else:
        order = (
            [name for name, _ in ranked(study)] if scores is None else sorted(scores, key=lambda name: -scores[name])
        )
        rest = [name for name in order if name not in always]
        middle = rest[:-LOWEST][: LINES - LOWEST - len(always)]
        full = [*always, *middle, *rest[-LOWEST:]]
        caption = (
            f" {len(full)} of {count(len(names))} variants are drawn in full: {titles(study, always)}, the highest and "
            f"the {LOWEST} lowest by {what}; the others thin and grey."
        )
    banded = full if len(full) <= BANDS else always
    if len(banded) < len(full):
        caption += f" Bands are drawn of {titles(study, banded)} alone."
    return Highlight(frozenset(full), frozenset(banded), caption)


def draw_lines(axes: Axes, study: StudyResults, shown: Highlight, lines: Mapping[str, Line]) -> None:
    """Draw the lines by variant, each in its look, or thin and grey."""
    for variant, (x, middle, low, high) in lines.items():
        look = looks_of(study)[variant]
        if variant not in shown.full:
            axes.plot(x, middle, color=MUTED, lw=0.8, alpha=0.4, zorder=2)
            continue
        axes.plot(x, middle, lw=1.6, zorder=3, color=look.colour, ls=look.dash)
        if variant in shown.banded:
            axes.fill_between(x, low, high, color=look.colour, alpha=0.15, lw=0)


def name_lines(axes: Axes, study: StudyResults, shown: Highlight, lines: Mapping[str, Line]) -> None:
    """Name the full lines at their ends, once the axes have their limits, and count the others."""
    named = [name for name in lines if name in shown.full]
    end_labels(axes, [(float([*lines[name][1]][-1]), study[name].title, looks_of(study)[name]) for name in named])
    if left := len(lines) - len(named):
        words = f"thin and grey: {count(left)} more"
        axes.annotate(words, (1.04, 0), (0, -17), "axes fraction", "offset points", color=MUTED, fontsize=letters(8.5))
