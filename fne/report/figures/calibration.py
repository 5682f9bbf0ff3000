"""Reliability diagrams: what a posterior says against how often it is so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fne.report.figures.figure import Picture, canvas, notice
from fne.report.figures.style import FALSE, HARD, INK, MUTED, PAPER, WIDTH
from fne.report.text.wording import NO_POSITIVE, listing, number, short
from fne.results.study import StudyResults

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ID, TITLE = "calibration", "Calibration of the posteriors"
QUESTION = "Does a false-negative probability mean what it says, and does recalibration on validation mend it?"
SOURCES = {
    "exact": "Every relevant pair of the test split is known exactly",
    "judged": "Only pairs that people judged are counted; they were chosen because they looked alike, so shares are no "
    "prevalences",
    "equal_captions": "Only pairs provable by equal captions count as false negatives, so true shares are higher",
}
MAPS = {"none": (INK, "o", "as it is"), "isotonic": (FALSE, "s", "isotonic"), "platt": (HARD, "^", "Platt")}
FLOOR = 1e-6
"""Shares and probabilities below this are drawn at the edge of the logarithmic axes."""


def draw(study: StudyResults) -> Picture:
    """Draw one panel per posterior that a variant itself uses and that can be judged, both axes logarithmic."""
    bins = study.reliability
    if bins.empty:
        return notice(ID, TITLE, QUESTION, "no variant of this study with a finished run estimates false negatives")
    own = bins[bins["own"].astype(str) == "True"]
    known = own.groupby(["variant", "source"], sort=False)["positives"].transform("sum") > 0
    unknown = list(dict.fromkeys(own.loc[~known, "variant"]))
    own = own[known]
    if own.empty:
        return notice(ID, TITLE, QUESTION, NO_POSITIVE)
    titles = {variant.id: variant.title for variant in study.variants}
    panels = [
        (variant, posterior, direction)
        for variant in titles
        for (posterior, direction), _ in own[own["variant"] == variant].groupby(["posterior", "direction"], sort=True)
    ]
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    height = 1.05 + 2.1 * lines
    figure = canvas(WIDTH, height)
    axes = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    figure.subplots_adjust(left=0.175, right=0.97, bottom=0.55 / height, top=1 - 0.8 / height, wspace=0.08, hspace=0.42)
    scores = study.calibration
    summary = []
    for panel, (variant, posterior, direction) in zip(axes.flat, panels, strict=False):
        mine = own[(own["variant"] == variant) & (own["posterior"] == posterior) & (own["direction"] == direction)]
        one_panel(panel, mine)
        way = "" if direction == "both" else f"{direction}: "
        panel.set_title(short(titles[variant], 29), pad=18)
        raw = scores[(scores["variant"] == variant) & (scores["posterior"] == posterior)]
        raw = raw[(raw["direction"] == direction) & (raw["recalibration"] == "none")].set_index("metric")
        words = f"{way}ECE {raw.loc['ece', 'value']:.3g}, AUROC {number(float(raw.loc['auroc', 'value']), 2)}"
        panel.text(0, 1.03, words, transform=panel.transAxes, color=MUTED, fontsize=8.5)
        summary.append(f"{titles[variant]}, {words}")
    ticks = [10.0**power for power in (-6, -4, -2, 0)]
    axes.flat[0].set(xscale="log", yscale="log", xlim=(FLOOR / 1.6, 1.6), ylim=(FLOOR / 1.6, 1.6))
    few = [1e-6, 1e-3, 1.0]
    axes.flat[0].set_xticks(few, [f"{100 * tick:g} %" for tick in few])
    axes.flat[0].set_yticks(ticks, [f"{100 * tick:g} %" for tick in ticks])
    axes.flat[0].minorticks_off()
    for panel in axes.flat[len(panels) :]:
        panel.set_visible(False)
    for panel in axes[-1]:
        panel.set_xlabel("probability")
        panel.get_xticklabels()[0].set_ha("left")  # centred, the ends of neighbouring panels touch
        panel.get_xticklabels()[-1].set_ha("right")
    figure.supylabel("share of false negatives", fontsize=9.5, x=0.005)
    legend(figure, set(own["recalibration"]))
    bars = ", with 95 % intervals over seeds" if own["low"].notna().any() else ""
    truths = " ".join(f"{SOURCES[source]}." for source in dict.fromkeys(own["source"]))
    caption = (
        "Pairs of the test split in 15 bins of equal mass, by their probability of being a false negative: the mean "
        f"probability of a bin against its share of false negatives{bars}; on the dashed line the two are equal. "
        f"{truths} "
        "The statistics behind a probability are fitted on validation batches; isotonic and Platt's maps, where drawn, "
        f"on the known pairs of the validation split. Shares and probabilities below {100 * FLOOR:g} % are drawn at "
        "the edge."
    )
    if unknown:
        caption += f" Not drawn: {listing(short(titles[item], 40) for item in unknown)}, for {NO_POSITIVE}."
    return Picture(ID, TITLE, QUESTION, caption, f"Reliability diagrams. {'; '.join(summary)}.", figure)


def one_panel(panel: Axes, rows: pd.DataFrame) -> None:
    """Draw one posterior under its maps."""
    panel.grid(alpha=0.6)
    panel.plot([FLOOR, 1], [FLOOR, 1], color=MUTED, lw=1, ls=(0, (4, 2)), zorder=1)
    for kind, (colour, mark, _) in MAPS.items():
        some = rows[rows["recalibration"] == kind].sort_values("probability")
        if some.empty:
            continue
        x, y, low, high = (
            np.clip(some[name].to_numpy(), FLOOR, 1) for name in ("probability", "observed", "low", "high")
        )
        panel.vlines(x, low, high, color=colour, lw=0.9, alpha=0.7)
        panel.plot(x, y, color=colour, marker=mark, ms=3.8, mec=PAPER, mew=0.5, ls="", zorder=3)


def legend(figure: Figure, kinds: set[str]) -> None:
    """Name the maps once."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, marker=mark, ms=4, ls="", label=label)
        for kind, (colour, mark, label) in MAPS.items()
        if kind in kinds
    ]
    figure.legend(handles=handles, loc="upper left", ncols=3, bbox_to_anchor=(0.01, 1.0), borderaxespad=0.3)
