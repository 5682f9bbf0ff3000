"""Which lines a figure draws in full where all of them would hide each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fne.report.figures.style import MUTED
from fne.report.figures.variant_styles import Look
from fne.report.text.summary import ranked
from fne.report.text.wording import count

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fne.results.study import StudyResults

CROWD = 12
"""Up to so many lines are all drawn in full."""
LINES, LOWEST = 10, 2
"""Lines drawn in full of a crowd, and how many of them are the lowest."""


def featured(study: StudyResults, scores: Mapping[str, float] | None = None) -> frozenset[str]:
    """The variants drawn in full: all, or of more than :data:`CROWD` the baseline, ``fne``, the highest and the lowest.

    Args:
        study: A finished study.
        scores: What highest and lowest are by; the primary metric unless given.
    """
    names = [variant.id for variant in study.variants]
    if len(names) <= CROWD:
        return frozenset(names)
    order = [name for name, _ in ranked(study)] if scores is None else sorted(scores, key=lambda one: -scores[one])
    always = [name for name in (study.baseline, study.method) if name in names]
    rest = [name for name in order if name not in always]
    low = rest[-LOWEST:]
    return frozenset([*always, *low, *[name for name in rest if name not in low][: LINES - LOWEST - len(always)]])


def line(axes: Axes, x: Sequence[float], middle: Sequence[float], low: Sequence[float], high: Sequence[float],
         look: Look, *, full: bool) -> None:  # fmt: skip
    """Draw a line with its band in the variant's look, or thin and grey without one."""
    if not full:
        axes.plot(x, middle, color=MUTED, lw=0.8, alpha=0.4, zorder=2)
        return
    axes.plot(x, middle, lw=1.6, zorder=3, **look.line(len(x)))
    axes.fill_between(x, low, high, color=look.colour, alpha=0.13, lw=0)


def others(axes: Axes, left: int) -> None:
    """Say below the names of the lines how many more are drawn in grey."""
    if left:
        words = f"thin and grey: {count(left)} more"
        axes.annotate(words, (1.04, 0), (0, -12), "axes fraction", "offset points", color=MUTED, fontsize=8.5)


def sentence(study: StudyResults, shown: frozenset[str], what: str) -> str:
    """Which lines are drawn in full, for a caption; empty where all are."""
    if len(shown) == len(study.variants):
        return ""
    method = f", {study[study.method].title}" if study.method in shown and study.baseline != study.method else ""
    return (
        f" {len(shown)} of {count(len(study.variants))} variants are drawn in full: the baseline{method}, the highest "
        f"and the {LOWEST} lowest by {what}; the others thin and grey."
    )
