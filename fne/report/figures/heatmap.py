"""Two settings swept together: the primary metric and the rate of false-negative picks over both of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fne.report.figures.figure import Picture, notice
from fne.report.figures.panels import coloured_cells, panels
from fne.report.figures.sensitivity import picked, score
from fne.report.figures.style import wrapped
from fne.report.text.summary import NO_SHARED_EPOCH, false_picks_phrase, truth_is_known
from fne.report.text.wording import metric_name, number, protocol_phrase, seeds_phrase
from fne.results.study import StudyResults
from fne.utils.names import show
from fne.utils.text import clean

ID, TITLE = "heatmap", "Two settings at once"
QUESTION = "How do the score and the rate of false-negative picks depend on two settings together?"


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
        members = [[self.members.get((row, column)) for column in columns] for row in rows]
        return np.array([[math.nan if item is None else value(item) for item in line] for line in members], float)


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
    quantities = [(f"test {metric_name(study)}", score, 1, "YlGnBu")]
    if truth_is_known(study):
        quantities.append(("false negatives among the picks (%)", picked, 2, "YlOrRd"))
    heights = [len(plane.levels[0]) for plane in swept for _ in quantities]
    figure, axes = panels(len(heights), 1, sum(1.04 + 0.34 * rows for rows in heights), height_ratios=heights)
    summary, place = [], iter(axes[:, 0])
    for plane in swept:
        bold = plane.table(lambda name: bool((item := study.contrast(name)) and item.separated)) == 1
        for heading, quantity, digits, colours in quantities:
            values = plane.table(lambda name, of=quantity: (of(study, name) or (math.nan,))[0])  # type: ignore[misc]
            words = np.vectorize(lambda value, to=digits: number(value, to))(values)
            panel, (rows, columns) = next(place), ([show(item) for item in side] for side in plane.levels)
            coloured_cells(panel, values, words, rows, columns, colours)
            for text, strong in zip(panel.texts, bold.flat, strict=True):
                text.set_fontweight("bold" if strong and quantity is score else "normal")
            panel.set_title(wrapped(f"{plane.stem}: {heading}"))
            panel.set_ylabel(plane.keys[0])
            panel.set_xlabel(plane.keys[1])
            summary.append(_in_words(plane, values, heading))
    base = score(study, study.baseline)
    caption = (
        f"Score: {protocol_phrase(study)}; {seeds_phrase(study)}. Upper panel: mean over the seeds; darker is higher. "
        f"Bold: the interval of the paired difference to the baseline, {clean(study[study.baseline].title)} "
        f"({number(base[0] if base else math.nan)}), excludes zero, for each point alone. "
    )
    if len(quantities) > 1:
        caption += f"Lower panel: {false_picks_phrase(study) if study.shared_epochs else NO_SHARED_EPOCH}. "
    else:
        caption += "No false negative of the train split is known for this data set, so their rate is not drawn. "
    caption += "A dash is a point without a result. Every panel has its own scale of colours."
    return Picture(ID, TITLE, QUESTION, caption, f"Heat maps. {' '.join(summary)}", figure)


def _in_words(plane: Plane, values: np.ndarray, heading: str) -> str:
    """Where a table is highest and lowest."""
    if np.isnan(values).all():
        return f"{plane.stem}, {heading}: no result."
    ends = []
    for word, find in (("highest", np.nanargmax), ("lowest", np.nanargmin)):
        row, column = np.unravel_index(find(values), values.shape)
        at = f"{plane.keys[0]} {show(plane.levels[0][row])} and {plane.keys[1]} {show(plane.levels[1][column])}"
        ends.append(f"{word} {number(float(values[row, column]), 2)} at {at}")
    return f"{plane.stem}, {heading}: {' and '.join(ends)}."
