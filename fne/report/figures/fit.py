"""A figure made for the report, laid out anew for a column of a paper: exactly as wide, with letters of 7 to 9 points.

What does not fit is wrapped, slanted or listed below each other; then the figure grows taller, and never smaller.
"""

from __future__ import annotations

import itertools
import re
import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from fne.report.figures.style import letters, shrink
from fne.report.text.wording import short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

TALLEST = 7.0
"""Inches; a caption stands below, on the same page."""
PAD = 0.03
"""Inches around axes with their words."""
NAMES = 0.36
"""The share of the width that names at the left of rows may take."""
LONGEST = 24
"""A word of more letters may be divided."""
_SEAM = re.compile(r"(?<=[._/])(?=\w)")


def fit(figure: Figure) -> float:
    """Lay a figure out for the present look; it is never made taller than a page.

    Args:
        figure: As the report draws it, of the look's width.

    Returns:
        The height in inches that it needs.
    """
    figure.set_figheight(min(figure.get_figheight(), TALLEST))
    intended = [(axes, axes.get_position().height * figure.get_figheight()) for axes in _shown(figure)]
    for axes in figure.axes:
        if axes.get_aspect() != "auto":
            axes.set_anchor("NW")  # its words above and at the left then stand where the layout expects them
    _shrink_letters(figure)
    for axes in _shown(figure):
        _into_title(axes)
    _into_grid(figure)
    figure.set_layout_engine("constrained", w_pad=PAD, h_pad=PAD, wspace=0.02, hspace=0.02)
    for legend in [*figure.legends, *(item for axes in figure.axes if (item := axes.get_legend()))]:
        _narrow(figure, legend)
    figure.draw_without_rendering()
    for axes in _shown(figure):
        _wrap_words(axes)
        _separate_ticks(axes)
    figure.draw_without_rendering()
    for axes in _shown(figure):
        _separate_words(axes)
    needed = 0.0
    for _ in range(3):
        lack = max([1.0, *map(_crowded, _shown(figure)), *(_flattened(axes, height) for axes, height in intended)])
        spare = _spare(figure)
        if lack <= 1.02 and spare < 0.1:
            break
        needed = figure.get_figheight() * lack if lack > 1.02 else figure.get_figheight() - spare
        figure.set_figheight(min(needed, TALLEST))
        figure.draw_without_rendering()
        if needed > TALLEST:
            break
    figure.set_layout_engine("none")
    return max(needed, figure.get_figheight())


def _shown(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_visible()]


def _shrink_letters(figure: Figure) -> None:
    from matplotlib.text import Text

    ticks = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            labels = axis.get_ticklabels()
            ticks |= {id(label) for label in labels}
            if labels:
                axis.set_tick_params(labelsize=letters(float(labels[0].get_fontsize())))
    for text in figure.findobj(Text):
        if id(text) not in ticks:
            text.set_fontsize(letters(float(text.get_fontsize())))
    if (label := getattr(figure, "_supylabel", None)) is not None:
        figure.supylabel(label.get_text(), fontsize=label.get_fontsize())  # placed by the layout, not by hand


def _into_grid(figure: Figure) -> None:
    """Let axes that were placed by hand stand below each other, so that the layout moves them."""
    from matplotlib.gridspec import GridSpec

    free = sorted((axes for axes in figure.axes if axes.get_subplotspec() is None),
                  key=lambda axes: -axes.get_position().y0)  # fmt: skip
    if free:
        grid = GridSpec(len(free), 1, figure, height_ratios=[axes.get_position().height for axes in free])
        for place, axes in enumerate(free):
            axes.set_subplotspec(grid[place])
            axes.set_in_layout(True)


def _into_title(axes: Axes) -> None:
    """Let words above axes that are too long for a panel of half a figure be part of the title, which is wrapped."""
    for text in [*axes.texts]:
        above = text.get_transform() == axes.transAxes and text.get_position()[1] > 1
        if above and text.get_window_extent().width > 0.33 * axes.figure.figure.bbox.width:
            title = axes.get_title(loc="left")
            axes.set_title(f"{title}\n{text.get_text()}", fontsize=text.get_fontsize(), pad=4)
            text.remove()


def _narrow(figure: Figure, legend: Any) -> None:
    """Set a legend in as many columns as the figure is wide, that of a figure above its axes."""
    handles, words = legend.legend_handles, [text.get_text() for text in legend.get_texts()]
    size, own = legend.get_texts()[0].get_fontsize(), legend in figure.legends
    where: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}
    if own:
        where = {"loc": "outside upper left", "borderaxespad": 0.2}
    place = figure if own else legend.axes
    for columns in range(legend._ncols, 0, -1):
        legend.remove()
        legend = place.legend(
            handles, words, fontsize=size, ncols=columns, handlelength=1.6, columnspacing=1.0, **where
        )
        if legend.get_window_extent().width <= 0.97 * figure.bbox.width:
            break


def _wrap_words(axes: Any) -> None:
    """Wrap what stands above and beside axes into their width and height, names of rows into part of the figure's."""
    box, figure = axes.get_window_extent(), axes.figure.figure
    for title in (axes.title, axes._left_title, axes._right_title):
        _wrap(title, box.width)
    _wrap(axes.xaxis.label, box.width)
    _wrap(axes.yaxis.label, box.height, upright=True)
    names = axes.get_yticklabels()
    if any(re.search(r"[^\W\d]{3}", name.get_text()) for name in names):
        for name in names:
            _wrap(name, NAMES * figure.bbox.width, shorten=axes.get_aspect() != "auto")
        axes.set_yticks(axes.get_yticks(), [name.get_text() for name in names])


def _wrap(text: Text, room: float, *, upright: bool = False, shorten: bool = False) -> None:
    """Begin new lines where a text is wider than ``room`` pixels, in keys behind their dots; or shorten it."""
    extent = text.get_window_extent()
    width, words = (extent.height if upright else extent.width), text.get_text()
    if not words.strip() or width <= room:
        return
    fits = max(int(0.9 * max(map(len, words.split("\n"))) * room / width), 6)  # letters differ in width
    if shorten:
        text.set_text(short(words, fits))
        return
    torn = max(map(len, words.split())) > LONGEST
    lines = (textwrap.wrap(_SEAM.sub("\u200b ", line), fits, break_long_words=torn) for line in words.split("\n"))
    text.set_text("\n".join(line.replace("\u200b ", "").rstrip("\u200b") for line in itertools.chain(*lines)))


def _separate_ticks(axes: Axes) -> None:
    """Leave out every other number of an axis that has too many, and slant words that run into each other."""
    from matplotlib.ticker import FixedLocator, MaxNLocator

    labels = [label for label in axes.get_xticklabels() if label.get_visible() and label.get_text()]
    boxes = [label.get_window_extent() for label in labels]
    if labels and labels[0].get_rotation() == 0 and any(a.x1 + 1 > b.x0 for a, b in itertools.pairwise(boxes)):
        locator = axes.xaxis.get_major_locator()
        if isinstance(locator, MaxNLocator):
            locator.set_params(nbins=3)
        elif isinstance(locator, FixedLocator):
            for label in labels:
                label.set(rotation=40, ha="right", rotation_mode="anchor")


def _separate_words(axes: Axes) -> None:
    """Wrap words within axes that run into each other."""
    from matplotlib.text import Annotation

    words = [text for text in axes.texts if " " in text.get_text() and not isinstance(text, Annotation)]
    for text, other in itertools.combinations(words, 2):
        if _overlap(text, other):
            for item in (text, other):
                _wrap(item, 0.6 * item.get_window_extent().width)


def _overlap(text: Text, other: Text) -> bool:
    item, two = text.get_window_extent(), other.get_window_extent()
    return min(item.x1, two.x1) - max(item.x0, two.x0) > 1 and min(item.y1, two.y1) - max(item.y0, two.y0) > 1


def _crowded(axes: Axes) -> float:
    """How many times higher axes must be for names of rows or lines to stand clear of each other."""
    from matplotlib.text import Annotation

    if axes.get_aspect() != "auto":
        return 1.0
    lines = [text for text in axes.texts if isinstance(text, Annotation) and text.get_text()]
    return max(_stretch(axes.get_yticklabels()), _stretch(lines))


def _stretch(texts: Iterable[Text]) -> float:
    """How many times farther apart texts below each other must be."""
    from matplotlib.text import Text

    boxes = [Text.get_window_extent(text) for text in texts if text.get_text()]  # without the line to an annotation
    boxes.sort(key=lambda box: box.y0 + box.y1)
    lack = 1.0
    for place, low in enumerate(boxes):
        above = (box for box in boxes[place + 1 :] if box.x0 < low.x1 and low.x0 < box.x1)  # not those beside it
        if (high := next(above, None)) is not None:
            lack = max(lack, (low.height + high.height) / max(high.y0 + high.y1 - low.y0 - low.y1, 1))
    return min(lack, 2.0)


def _flattened(axes: Axes, intended: float) -> float:
    """How many times higher axes must be to be as high as in the report, letters being smaller."""
    if axes.get_aspect() != "auto":
        return 1.0
    height = axes.get_position().height * axes.figure.figure.get_figheight()
    return 1.0 + max(0.9 * intended - height, 0) / axes.figure.figure.get_figheight() * len(_rows(axes))


def _rows(axes: Axes) -> set[float]:
    return {round(item.get_position().y0, 3) for item in _shown(axes.figure.figure)}


def _spare(figure: Figure) -> float:
    """Inches above and below all that is drawn."""
    box = figure.get_tightbbox()
    return float(figure.get_figheight() - box.height - 4 * PAD) if shrink() != 1 else 0.0
