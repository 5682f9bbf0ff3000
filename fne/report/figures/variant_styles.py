"""How each variant looks: a colour, and beyond ten variants a shape and a line style, the same in every figure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fne.report.figures.style import BASELINE, PALETTE, PAPER
from fne.results.study import StudyResults

DASHES = ("-", (0, (6, 2)), (0, (2, 1.5)))
_ARM = 0.36
SHAPES: dict[str, tuple[tuple[float, float], ...]] = {
    "square": ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),
    "triangle": ((-1, -0.85), (1, -0.85), (0, 0.95)),
    "plus": tuple(
        (round(x * math.cos(turn) - y * math.sin(turn), 3), round(x * math.sin(turn) + y * math.cos(turn), 3))
        for turn in (0, math.pi / 2, math.pi, 3 * math.pi / 2)
        for x, y in ((1, -_ARM), (1, _ARM), (_ARM, _ARM))
    ),
    "wedge": ((-1, 0.85), (0, -0.95), (1, 0.85)),
    "star": tuple(
        (round(far * math.sin(k * math.pi / 5), 3), round(far * math.cos(k * math.pi / 5), 3))
        for k, far in enumerate((1, 0.42) * 5)
    ),
    "hourglass": ((-0.9, -1), (0.9, -1), (0.15, 0), (0.9, 1), (-0.9, 1), (-0.15, 0)),
    "bar": ((-1, -0.4), (1, -0.4), (1, 0.4), (-1, 0.4)),
}
"""Corners of the marks of variants whose colour was used before, upwards, in a box from -1 to 1."""
_TURNS = (None, *SHAPES)


@dataclass(frozen=True)
class Look:
    """How a variant looks in every figure, on the page and in the notebook.

    Args:
        colour: Of its lines and marks.
        dash: Line style where several variants share axes.
        shape: Of :data:`SHAPES`; ``None``: the figure's own mark.
    """

    colour: str
    dash: Any = "-"
    shape: str | None = None

    def mark(self, usual: str) -> Any:
        """The marker of matplotlib: the shape, or the figure's own."""
        if self.shape is None:
            return usual
        from matplotlib.path import Path

        corners = SHAPES[self.shape]
        return Path([*corners, corners[0]], closed=True)

    def line(self, points: int) -> dict[str, Any]:
        """Colour, line style and, where it has a shape, about six marks of a line of so many points."""
        style: dict[str, Any] = {"color": self.colour, "ls": self.dash}
        if self.shape is not None:
            style |= {"marker": self.mark(""), "ms": 5, "mec": PAPER, "mew": 0.5, "markevery": max(points // 6, 1)}
        return style

    @property
    def corners(self) -> list[tuple[float, float]]:
        """Corners of the shape in percent of a box, downwards as on a page; none for a round dot."""
        return [(round(50 + 50 * x, 1), round(50 - 50 * y, 1)) for x, y in SHAPES[self.shape]] if self.shape else []

    @property
    def clip(self) -> str:
        """The shape as a value of CSS ``clip-path``; empty for a round dot."""
        return f"polygon({', '.join(f'{x:g}% {y:g}%' for x, y in self.corners)})" if self.shape else ""


def looks(variants: Sequence[str], baseline: str, method: str | None = None) -> dict[str, Look]:
    """A look for every variant: grey for the baseline, blue for the method, the others in the study's order.

    Beyond ten variants colours come again, each time with another shape and line style: 66 variants differ by colour
    and shape, three times as many by colour, shape and line style; then looks repeat.
    """
    result = {baseline: Look(BASELINE)}
    rest = list(PALETTE)
    if method is not None and method in variants and baseline != method:
        result[method] = Look(rest.pop(0))
    place = 0
    for variant in variants:
        if variant not in result:
            turn, at = divmod(place, len(rest))
            result[variant] = Look(rest[at], DASHES[turn % len(DASHES)], _TURNS[turn % len(_TURNS)])
            place += 1
    return result


def diamond(looks: Mapping[str, Look]) -> str:
    """What a caption calls the mark that is a diamond unless a variant has a shape of its own."""
    return "large mark" if any(look.shape for look in looks.values()) else "diamond"


def looks_of(study: StudyResults) -> dict[str, Look]:
    """How each variant looks, in a part of a study (:meth:`~fne.results.study.StudyResults.only`) as in the whole."""
    return looks(study.every_variant, study.baseline, study.method)
