"""Which lines a figure draws in full where all of them would hide each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fne.report.figures.style import MUTED
from fne.report.figures.variant_styles import Look
from fne.report.text.summary import ranked
from fne.report.text.wording import count, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fne.results.study import StudyResults

LINES, LOWEST = 7, 2
"""Lines that are drawn in full and labelled, and how many of them are the lowest where there are more."""


def featured(study: StudyResults, scores: Mapping[str, float] | None = None) -> frozenset[str]:
    """The variants drawn in full: all, or of more than :data:`LINES` the baseline, ``fne``, the highest and the lowest.

    Args:
        study: A finished study.
        scores: What highest and lowest are by; the primary metric unless given.
    """
    names = [variant.id for variant in study.variants]
    if len(names) <= LINES:
        return frozenset(names)
    order = [name for name, _ in ranked(study)] if scores is None else sorted(scores, key=lambda item: -scores[item])
    always = [name for name in (study.baseline, study.method) if name in names]
    rest = [name for name in order if name not in always]
    low = rest[-LOWEST:]
    return frozenset([*always, *low, *[name for name in rest if name not in low][: LINES - LOWEST - len(always)]])


def line(axes: Axes, x: Sequence[float], middle: Sequence[float], low: Sequence[float], high: Sequence[float],
         look: Look, *, full: bool, band: bool = True) -> None:  # fmt: skip
    """Draw a line, with its band unless that would hide others, in the variant's look; or thin and grey."""
    if not full:
        axes.plot(x, middle, color=MUTED, lw=0.8, alpha=0.4, zorder=2)
        return
    axes.plot(x, middle, lw=1.6, zorder=3, **look.line(len(x)))
    if band:
        axes.fill_between(x, low, high, color=look.colour, alpha=0.15, lw=0)


def banded(study: StudyResults, full: frozenset[str]) -> frozenset[str]:
    """The variants whose bands are drawn: of more than three lines the baseline's and the method's alone."""
    return full if len(full) <= 3 else full & {study.baseline, study.method}


def bands_of(study: StudyResults, full: frozenset[str]) -> str:
    """Whose bands are drawn, for a caption; empty where all lines have one."""
    few = banded(study, full)
    return "" if few == full else f", of {' and '.join(short(study[name].title, 40) for name in sorted(few))} alone"


def others(axes: Axes, left: int) -> None:
    """Say below the names of the lines how many more are drawn in grey."""
    if left:
        words = f"thin and grey: {count(left)} more"
        axes.annotate(words, (1.04, 0), (0, -17), "axes fraction", "offset points", color=MUTED, fontsize=8.5)


def sentence(study: StudyResults, shown: frozenset[str], what: str) -> str:
    """Which lines are drawn in full, for a caption; empty where all are."""
    if len(shown) == len(study.variants):
        return ""
    method = f", {study[study.method].title}" if study.method in shown and study.baseline != study.method else ""
    return (
        f" {len(shown)} of {count(len(study.variants))} variants are drawn in full: the baseline{method}, the highest "
        f"and the {LOWEST} lowest by {what}; the others thin and grey."
    )
