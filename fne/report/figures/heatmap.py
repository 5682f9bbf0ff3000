"""Two settings swept together: the primary metric and the rate of false-negative picks over both of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fne.report.figures.figure import Picture, canvas, notice
from fne.report.figures.style import MUTED, PAPER, WIDTH
from fne.report.text.summary import NO_SHARED_EPOCH, false_picks_phrase, pick_share, truth_is_known
from fne.report.text.wording import listing, metric_name, number, protocol_phrase, seeds_phrase
from fne.results.study import StudyResults
from fne.utils.names import show
from fne.utils.text import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ID, TITLE = "heatmap", "Two settings at once"
QUESTION = "How do the score and the rate of false-negative picks depend on two settings together?"
LIGHT, DARK = "#FEFEFE", "#020304"
"""Inks of numbers within cells, whose colours stay the same in the dark: no ink of the page."""
ROW, HEAD, FOOT = 0.34, 0.42, 0.62
"""Inches of a row of cells, of what stands above the cells and of what stands below them."""


@dataclass(frozen=True)
class Plane:
    """A sweep of two settings.

    Args:
        stem: The file of variants.
        keys: The swept settings, rows first.
        levels: Their values, in the order of the file.
        members: The variant at each point of both.
    """

    stem: str
    keys: tuple[str, str]
    levels: tuple[tuple[object, ...], ...]
    members: dict[tuple[object, ...], str]

    def table(self, value: Callable[[str], float]) -> np.ndarray:
        """A number of every member, NaN where a point has no variant: (rows, columns)."""
        rows, columns = self.levels
        result = [[self.members.get((row, column)) for column in columns] for row in rows]
        return np.array([[math.nan if item is None else value(item) for item in line] for line in result], float)

    def point(self, place: tuple[int, ...]) -> str:
        """Where a cell lies, in words."""
        pairs = zip(self.keys, self.levels, place, strict=True)
        return " and ".join(f"{key} {show(levels[at])}" for key, levels, at in pairs)


def planes(study: StudyResults) -> list[Plane]:
    """The sweeps of exactly two settings among a study's variants, in its order."""
    result: dict[tuple[str, ...], dict[tuple[object, ...], str]] = {}
    for identity in study.definition.variants:
        declared = study.definition.library[identity]
        if len(declared.swept) == 2:
            stem = identity.partition("--")[0]
            result.setdefault((stem, *declared.swept), {})[tuple(declared.swept.values())] = identity
    return [
        Plane(stem, (first, second), tuple(tuple(dict.fromkeys(side)) for side in zip(*members, strict=True)), members)
        for (stem, first, second), members in result.items()
    ]


def draw(study: StudyResults) -> Picture:
    """Draw two panels for every sweep of two settings: score above, rate of false negatives among the picks below."""
    swept = planes(study)
    if not swept:
        return notice(ID, TITLE, QUESTION, "no two settings are swept together in this study")
    if not any(study.values(variant) for plane in swept for variant in plane.members.values()):
        return notice(ID, TITLE, QUESTION, "no run of the sweep has a result")
    known = truth_is_known(study)
    panels = [(plane, kind) for plane in swept for kind in (("score", "rate") if known else ("score",))]
    heights = [HEAD + ROW * len(plane.levels[0]) + FOOT for plane, _ in panels]
    figure = canvas(WIDTH, sum(heights))
    top, summary = sum(heights), []
    for (plane, kind), height in zip(panels, heights, strict=True):
        box = (0.2, (top - height + FOOT) / sum(heights), 0.78, (height - HEAD - FOOT) / sum(heights))
        top -= height
        values = plane.table(
            (lambda item: _score(study, item)) if kind == "score" else (lambda item: _rate(study, item))
        )
        heading = f"test {metric_name(study)}" if kind == "score" else "false negatives among the picks (%)"
        bold = (
            plane.table(lambda item: _separated(study, item)) > 0 if kind == "score" else np.zeros(values.shape, bool)
        )
        _panel(figure.add_axes(box), plane, values, bold, f"{plane.stem}: {heading}", kind)
        summary.append(_in_words(plane, values, heading))
    base = _score(study, study.baseline)
    caption = (
        f"Score: {protocol_phrase(study)}; {seeds_phrase(study)}. Upper panel: mean over the seeds; darker is higher. "
    )
    against = f"the baseline, {clean(study[study.baseline].title)} ({number(base)})"
    if any((result := study.contrast(variant.id)) and math.isfinite(result.low) for variant in study.variants):
        caption += f"Bold: the interval of the paired difference to {against}, excludes zero, for each point alone. "
    else:
        caption += f"It is set against {against}. "
    if known:
        caption += f"Lower panel: {false_picks_phrase(study) if study.shared_epochs else NO_SHARED_EPOCH}. "
    else:
        caption += "No false negative of the train split is known for this data set, so their rate is not drawn. "
    caption += "A dash is a point without a result. Every panel has its own scale of colours."
    return Picture(ID, TITLE, QUESTION, caption, f"Heat maps. {' '.join(summary)}", figure)


def _score(study: StudyResults, variant: str) -> float:
    result = study.values(variant)
    return 100 * float(np.mean(list(result.values()))) if result else math.nan


def _rate(study: StudyResults, variant: str) -> float:
    result = pick_share(study, variant)
    return math.nan if result is None else 100 * result.value


def _separated(study: StudyResults, variant: str) -> float:
    result = study.contrast(variant)
    return float(result is not None and result.separated)


def _panel(axes: Axes, plane: Plane, values: np.ndarray, bold: np.ndarray, heading: str, kind: str) -> None:
    """Draw one table of numbers as coloured cells."""
    import seaborn

    shown = np.vectorize(lambda value: number(value, 1 if kind == "score" else 2))(values)
    rows, columns = ([show(value) for value in side] for side in plane.levels)
    seaborn.heatmap(
        values,
        ax=axes,
        mask=np.isnan(values),
        annot=shown,
        fmt="",
        annot_kws={"fontsize": 9},
        cmap="crest" if kind == "score" else "flare",
        cbar=False,
        linewidths=1,
        linecolor=PAPER,
        xticklabels=columns,
        yticklabels=rows,
    )
    cells = np.asarray(axes.collections[0].get_facecolor())[:, :3].reshape(*values.shape, 3)
    for text in axes.texts:
        column, row = (int(place) for place in text.get_position())
        text.set_color(_ink(cells[row, column]))
        text.set_fontweight("bold" if bold[row, column] else "normal")
    for row, column in np.argwhere(np.isnan(values)):
        axes.text(column + 0.5, row + 0.5, "—", ha="center", va="center", color=MUTED)
    axes.set_title(heading)
    axes.set_ylabel(plane.keys[0])
    axes.set_xlabel(plane.keys[1])
    axes.tick_params(length=0, labelrotation=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _ink(cell: np.ndarray) -> str:
    """The ink that stands out more from a cell's sRGB colour, by the contrast ratio of WCAG 2."""
    linear = np.where(cell <= 0.04045, cell / 12.92, ((cell + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))
    return DARK if luminance + 0.05 > math.sqrt(1.05 * 0.05) else LIGHT


def _in_words(plane: Plane, values: np.ndarray, heading: str) -> str:
    """The ends of a table in words."""
    if np.isnan(values).all():
        return f"{plane.stem}, {heading}: no result."
    ends = []
    for word, find in (("highest", np.nanargmax), ("lowest", np.nanargmin)):
        place = np.unravel_index(find(values), values.shape)
        ends.append(f"{word} {number(float(values[place]), 2)} at {plane.point(tuple(map(int, place)))}")
    return f"{plane.stem}, {heading} over {' and '.join(plane.keys)}: {listing(ends)}."
