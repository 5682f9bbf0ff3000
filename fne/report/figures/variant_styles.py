"""How each variant looks: a colour, and beyond ten variants a line style, the same in every figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fne.report.figures.style import BASELINE, PALETTE
from fne.results.study import StudyResults

DASHES = ("-", (0, (6, 2)), (0, (2, 1.5)))


@dataclass(frozen=True)
class Look:
    """How a variant looks in every figure, on the page and in the notebook.

    Args:
        colour: Of its lines and marks.
        dash: Line style where several variants share axes.
    """

    colour: str
    dash: Any = "-"


def looks(variants: Sequence[str], baseline: str, method: str | None = None) -> dict[str, Look]:
    """A look for every variant: grey for the baseline, blue for the method, the others in the study's order.

    Beyond ten variants colours come again, each time with another line style; names stand beside all marks.
    """
    result, rest = {baseline: Look(BASELINE)}, list(PALETTE)
    if method is not None and method in variants and baseline != method:
        result[method] = Look(rest.pop(0))
    others = [variant for variant in variants if variant not in result]
    for place, variant in enumerate(others):
        turn, at = divmod(place, len(rest))
        result[variant] = Look(rest[at], DASHES[turn % len(DASHES)])
    return result


def looks_of(study: StudyResults) -> dict[str, Look]:
    """How each variant looks, in a part of a study (:meth:`~fne.results.study.StudyResults.only`) as in the whole."""
    return looks(study.every_variant, study.baseline, study.method)
