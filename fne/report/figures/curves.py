"""Training curves: validation score, loss, share of false negatives; selected epochs and collapses."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fne.report.figures.figure import Picture, notice
from fne.report.figures.highlight import Line, draw_lines, highlight, name_lines
from fne.report.figures.panels import in_words, panels
from fne.report.figures.style import GRID, INK, MUTED, PAPER, letters
from fne.report.figures.variant_styles import looks_of
from fne.report.text.summary import collapses, outcome, relevant_words, truth_is_known
from fne.report.text.wording import listing, metric_name, seed_list, seeds_phrase
from fne.results.study import StudyResults
from fne.utils.text import clean

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

ID, TITLE = "curves", "Training curves"
RULES = {"best_val_rsum": "the best rsum on the validation split", "last": "the last epoch"}
"""How a checkpoint is selected, in words."""
QUESTION = "Does every variant learn steadily to its selected epoch, or does one stall or collapse?"
SCORE, LOSS, SHARE = "val_rsum", "loss", "fn_share"
PANELS = {
    SCORE: ("validation rsum", 100.0),
    LOSS: ("loss (logarithmic)", 1.0),
    SHARE: ("false negatives\namong picks (%)", 100.0),
}


def draw(study: StudyResults) -> Picture:
    """Draw three panels over one axis of epochs: the mean over seeds with the range of the seeds."""
    if study.curves.empty:
        return notice(ID, TITLE, QUESTION, "no run has a result")
    curves = per_epoch(study.curves)
    columns = [column for column in PANELS if column != SHARE or truth_is_known(study)]
    shown = highlight(study, metric_name(study))
    figure, axes = panels(len(columns), 1, 0.65 + 2.2 * len(columns), sharex=True)
    shade_warmup(axes[:, 0], curves)
    for panel, column in zip(axes[:, 0], columns, strict=True):
        words, scale = PANELS[column]
        lines = _lines(study, curves, column, scale)
        draw_lines(panel, study, shown, lines)
        panel.set_ylabel(words)
        panel.grid(axis="y")
        if column == LOSS and min((middle[-1] for _, middle, *_ in lines.values()), default=0) > 0:
            _logarithmic(panel)
        if column == SHARE:
            panel.set_ylim(bottom=0)
        if column == SCORE:
            panel.set_ylim(window(curves, scale))
            collapsed = _events(panel, study, shown.full, curves, scale)
        name_lines(panel, study, shown, lines)
    epochs(axes[-1, 0], curves)
    rules = sorted({run["selection"]["rule"] for variant in study.variants for run in variant.runs})
    crosses = f"Crosses: {listing(collapsed)}." if collapsed else "No seed did."
    alarm = f" Collapse alarm of a seed: a loss within 5 % of what equal similarities give. {crosses}"
    caption = (
        f"Lines: mean over seeds ({seeds_phrase(study)}); bands: lowest to highest seed.{shaded(curves)} Circles: the "
        f"epoch that each seed's checkpoint was taken from ({listing(RULES.get(item, item) for item in rules)}; the "
        f"test split plays no part). The axis of the score begins at the lowest score after a warm-up.{alarm} Losses "
        "of different kinds (one negative, sum, softmax) are not on one scale: compare their shapes, not their heights."
    )
    if SHARE in columns:
        caption += f" Bottom: share of the picks that is {relevant_words(study)} to its anchor, both directions."
    finals = curves[curves["epoch"] == curves["epoch"].max()].groupby("variant")[SCORE].mean() * 100
    scores = in_words(study, {str(variant): f"{score:.0f}" for variant, score in finals.items()})
    alt = f"Line plots over {int(curves['epoch'].max()) + 1} epochs. Validation rsum at the last: {scores}.{alarm}"
    return Picture(ID, TITLE, QUESTION, caption + shown.caption, alt, figure)


def per_epoch(curves: pd.DataFrame) -> pd.DataFrame:
    """The last row of every epoch of every seed, with the two directions' false-negative shares averaged."""
    keys = ["variant", "seed", "epoch"]
    rows = curves.sort_values([*keys, "step"]).groupby(keys, sort=False).last().reset_index()
    rows[SHARE] = rows[["fn_share_i2t", "fn_share_t2i"]].mean(axis=1)
    return rows


def _lines(study: StudyResults, curves: pd.DataFrame, column: str, scale: float) -> dict[str, Line]:
    """The mean over seeds with their range, of every variant that has values."""
    lines = {}
    for variant in study.variants:
        rows = curves[(curves["variant"] == variant.id) & curves[column].notna()]
        if len(rows):
            values = scale * rows.groupby("epoch")[column].agg(["mean", "min", "max"])
            lines[variant.id] = (values.index.to_numpy() + 1, *values.to_numpy().T)
    return lines


def epochs(panel: Axes, rows: pd.DataFrame) -> None:
    """Let the axis show the epochs of a table, counted from one."""
    panel.set_xlim(0.6, int(rows["epoch"].max()) + 1.15)
    panel.set_xlabel("epoch")
    panel.locator_params(axis="x", integer=True)


def _warm_ends(curves: pd.DataFrame) -> pd.Series:
    """The last epoch of warm-up of every variant that has one, counted from one."""
    return curves[curves["phase"] == "warmup"].groupby("variant")["epoch"].max() + 1


def shade_warmup(panels: np.ndarray, curves: pd.DataFrame) -> None:
    """Shade the warm-up of all panels, and name it in the first."""
    ends = _warm_ends(curves)
    for panel in panels if len(ends) else ():
        panel.axvspan(0, ends.max() + 0.5, color=GRID, alpha=0.4, lw=0, zorder=0)
    if len(ends):
        where = {"transform": panels[0].get_xaxis_transform(), "va": "top", "fontsize": letters(8.5)}
        panels[0].text(0.75, 0.97, "warm-up", color=MUTED, **where)


def shaded(curves: pd.DataFrame) -> str:
    """What the shading means, for a caption; empty without a warm-up."""
    ends, variants = _warm_ends(curves), curves["variant"].nunique()
    if ends.empty:
        return ""
    longest = f"at most {ends.max()} epoch{'s' if ends.max() != 1 else ''}"
    return f" Shaded: warm-up of {len(ends)} of {variants} variants ({longest}), before their own rule."


def window(curves: pd.DataFrame, scale: float) -> tuple[float, float]:
    """The heights that matter: from the end of the warm-up on, seeds that collapsed left out."""
    valid = curves[(curves["collapsed"] != 1) & curves[SCORE].notna()]
    last = valid[valid["phase"] == "warmup"].groupby(["variant", "seed"])["epoch"].transform("max")
    late = valid[(valid["phase"] != "warmup") | (valid["epoch"] == last.reindex(valid.index))]
    rows = late if len(late) else curves[curves[SCORE].notna()]
    low, high = (rows[SCORE].min(), rows[SCORE].max()) if len(rows) else (0.0, 1.0)
    pad = 0.06 * (high - low) + 1e-3
    return scale * (low - pad), scale * (high + pad)


def _events(panel: Axes, study: StudyResults, full: frozenset[str], curves: pd.DataFrame, scale: float) -> list[str]:
    """Circle the selected epochs of the full lines, cross out the first collapse of each seed; say who collapsed."""
    words, floor = [], panel.get_ylim()[0]
    for variant in study.variants:
        rows = curves[curves["variant"] == variant.id].set_index(["seed", "epoch"])[SCORE] * scale
        colour = looks_of(study)[variant.id].colour if variant.id in full else MUTED
        for entry in (entry for run in variant.runs for entry in run["selection"]["per_seed"]):
            score = rows.get((entry["seed"], entry["epoch"]))
            if score is not None and variant.id in full:
                panel.plot([entry["epoch"] + 1], [score], "o", ms=4.5, mfc=PAPER, mec=colour, mew=1.2, zorder=4)
        fallen = collapses(curves[curves["variant"] == variant.id])
        for item in fallen:
            score = rows[item.seed, item.epochs[0] - 1]
            height = max(score, floor) if math.isfinite(score) else floor
            panel.plot([item.epochs[0]], [height], "X", clip_on=False, ms=7, color=colour, mec=INK, mew=0.8, zorder=5)
        if fallen:
            several, first = "s" if len(fallen) > 1 else "", min(item.epochs[0] for item in fallen)
            seeds = f"seed{several} {seed_list([item.seed for item in fallen])}"
            words.append(f"{clean(variant.title)} ({seeds}, first in epoch {first}, {outcome(fallen)})")
    return words


def _logarithmic(panel: Axes) -> None:
    """A logarithmic axis with plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    panel.set_yscale("log")
    panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.yaxis.set_minor_formatter(NullFormatter())
