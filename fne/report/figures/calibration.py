"""Reliability diagrams: what a posterior says against how often it is so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fne.report.figures.figure import Picture, notice
from fne.report.figures.panels import mark, small_multiples
from fne.report.figures.style import DASHED, FALSE, HARD, INK, MUTED, PAPER, letters
from fne.report.text.wording import NO_POSITIVE, listing, number, short
from fne.results.study import StudyResults

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

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
    keys = [
        (variant, posterior, direction)
        for variant in titles
        for (posterior, direction), _ in own[own["variant"] == variant].groupby(["posterior", "direction"])
    ]
    handles = [
        mark(words, color=colour, marker=shape, ms=4, ls="")
        for kind, (colour, shape, words) in MAPS.items()
        if kind in set(own["recalibration"])
    ]
    labels = ("probability", "share of false negatives")
    figure, axes = small_multiples([titles[key[0]] for key in keys], 2.1, labels, handles, sharey=True)
    summary = []
    for panel, key in zip(axes, keys, strict=True):
        _panel(panel, _of(own, key))
        raw = _of(study.calibration, key)
        values = raw[raw["recalibration"] == "none"].set_index("metric")["value"]
        way = "" if key[2] == "both" else f"{key[2]}: "
        words = f"{way}ECE {values['ece']:.3g}\nAUROC {number(float(values['auroc']), 2)}"
        panel.text(0.03, 0.97, words, transform=panel.transAxes, va="top", color=MUTED, fontsize=letters(8.5))
        summary.append(f"{titles[key[0]]}, {words.replace(chr(10), ', ')}")
    axes[0].set(xscale="log", yscale="log", xlim=(FLOOR / 1.6, 1.6), ylim=(FLOOR / 1.6, 1.6))
    for axis, ticks in ((axes[0].xaxis, (1e-4, 1e-1)), (axes[0].yaxis, (1e-6, 1e-4, 1e-2, 1.0))):
        axis.set_ticks(ticks, labels=[f"{100 * tick:g} %" for tick in ticks])
    axes[0].minorticks_off()
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


def _of(rows: pd.DataFrame, key: tuple[str, str, str]) -> pd.DataFrame:
    """The rows of a variant's posterior in a direction."""
    return rows[(rows[["variant", "posterior", "direction"]] == key).all(axis=1)]


def _panel(panel: Axes, rows: pd.DataFrame) -> None:
    """Draw one posterior under its maps."""
    panel.grid(alpha=0.6)
    panel.plot([FLOOR, 1], [FLOOR, 1], color=MUTED, lw=1, ls=DASHED, zorder=1)
    for kind, (colour, shape, _) in MAPS.items():
        some = rows[rows["recalibration"] == kind].sort_values("probability")
        x, y, low, high = (some[name].clip(FLOOR, 1) for name in ("probability", "observed", "low", "high"))
        panel.vlines(x, low, high, color=colour, lw=0.9, alpha=0.7)
        panel.plot(x, y, color=colour, marker=shape, ms=3.8, mec=PAPER, mew=0.5, ls="", zorder=3)
