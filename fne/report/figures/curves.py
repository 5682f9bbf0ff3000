"""Training curves: validation score, loss, share of false negatives; selected epochs and collapses."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fne.report.figures.figure import Picture, canvas, notice
from fne.report.figures.highlight import banded, bands_of, featured, line, others, sentence
from fne.report.figures.style import GRID, INK, MUTED, PAPER, WIDTH, end_labels
from fne.report.figures.variant_styles import looks_of
from fne.report.text.summary import collapses, outcome, relevant_words, truth_is_known
from fne.report.text.wording import listing, metric_name, seed_list, seeds_phrase, short
from fne.results.study import StudyResults, Variant

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

ID, TITLE = "curves", "Training curves"
RULES = {"best_val_rsum": "the best rsum on the validation split", "last": "the last epoch"}
"""How a checkpoint is selected, in words."""
QUESTION = "Does every variant learn steadily to its selected epoch, or does one stall or collapse?"
PANELS = (
    ("val_rsum", "validation rsum", 100.0),
    ("loss", "loss (logarithmic)", 1.0),
    ("fn_share", "false negatives\namong picks (%)", 100.0),
)


def draw(study: StudyResults) -> Picture:
    """Draw three panels over one axis of epochs: the mean over seeds with the range of the seeds."""
    curves = study.curves
    if curves.empty:
        return notice(ID, TITLE, QUESTION, "no run has a result")
    curves = per_epoch(curves)
    panels = [panel for panel in PANELS if panel[0] != "fn_share" or truth_is_known(study)]
    full = featured(study)
    height = 0.65 + max(2.2, 0.3 + 0.16 * len(full)) * len(panels)  # room for every label
    figure = canvas(WIDTH, height)
    axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    figure.subplots_adjust(left=0.135, right=0.64, bottom=0.5 / height, top=1 - 0.2 / height, hspace=0.12)
    last = int(curves["epoch"].max()) + 1
    collapsed = []
    for place, (panel, (column, label, scale)) in enumerate(zip(axes, panels, strict=True)):
        warm(panel, curves, name_it=place == 0)
        ends, lowest = [], math.inf
        for variant in study.variants:
            rows = curves[(curves["variant"] == variant.id) & curves[column].notna()]
            if rows.empty:
                continue
            grouped = rows.groupby("epoch", sort=True)[column]
            epochs, mean = grouped.mean().index.to_numpy() + 1, scale * grouped.mean().to_numpy()
            look, band = looks_of(study)[variant.id], (scale * grouped.min(), scale * grouped.max())
            line(panel, epochs, mean, *band, look, full=variant.id in full, band=variant.id in banded(study, full))
            lowest = min(lowest, float(mean[-1]))
            if variant.id in full:
                ends.append((float(mean[-1]), short(variant.title, 28), look))
        panel.set_ylabel(label)
        panel.grid(axis="y")
        panel.set_xlim(0.6, last + 0.15)
        if column == "loss" and math.inf > lowest > 0:
            panel.set_yscale("log")
            plain_ticks(panel)
        if column == "fn_share":
            panel.set_ylim(bottom=0)
        panel.set_ylim(panel.get_ylim() if column != "val_rsum" else window(curves, scale))
        if column == "val_rsum":
            for variant in study.variants:
                rows = curves[curves["variant"] == variant.id]
                ink = looks_of(study)[variant.id].colour if variant.id in full else MUTED
                if variant.id in full:
                    selected(panel, variant, rows, scale, ink)
                collapsed += collapse(panel, variant, rows, scale, ink)
        end_labels(panel, ends, x=1.04, size=8.5)
    others(axes[-1], len({*curves["variant"]} - full))
    axes[-1].set_xlabel("epoch")
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    rules = sorted({run["selection"]["rule"] for variant in study.variants for run in variant.runs})
    caption = (
        f"Lines: mean over seeds ({seeds_phrase(study)}); bands{bands_of(study, full)}: lowest to "
        f"highest seed.{shaded(curves)} "
        "Circles: the epoch that each seed's checkpoint was taken from "
        f"({listing(RULES.get(item, item) for item in rules)}; "
        "the test split plays no part). The axis of the score begins at the lowest score after a warm-up. "
        + collapse_sentence(collapsed)
        + " Losses of different kinds (one negative, sum, softmax) are not on one scale: compare "
        "their shapes, not their heights."
        + (
            f" Bottom: share of the picks that is {relevant_words(study)} to its anchor, mean of both directions."
            if len(panels) > 2
            else ""
        )
        + sentence(study, full, metric_name(study))
    )
    finals = curves[curves["epoch"] == curves["epoch"].max()].groupby("variant", sort=True)["val_rsum"].mean() * 100
    summary = [f"{variant.title} {finals[variant.id]:.0f}" for variant in study.variants if variant.id in finals.index]
    alt = f"Line plots over {last} epochs. Validation rsum at the last epoch: {'; '.join(summary)}. "
    alt += collapse_sentence(collapsed)
    return Picture(ID, TITLE, QUESTION, caption, alt, figure)


def per_epoch(curves: pd.DataFrame) -> pd.DataFrame:
    """The last row of every epoch of every seed, with the two directions' false-negative shares averaged."""
    rows = (
        curves.sort_values(["variant", "seed", "epoch", "step"])
        .groupby(["variant", "seed", "epoch"], sort=False)
        .last()
        .reset_index()
    )
    rows["fn_share"] = rows[["fn_share_i2t", "fn_share_t2i"]].mean(axis=1)
    return rows


def warm_ends(curves: pd.DataFrame) -> pd.Series:
    """The last epoch of warm-up of every variant that has one, counted from one."""
    return curves[curves["phase"] == "warmup"].groupby("variant", sort=True)["epoch"].max() + 1


def warm(panel: Axes, curves: pd.DataFrame, *, name_it: bool) -> None:
    """Shade the warm-up: dark where every variant is in it, light where only some are."""
    ends = warm_ends(curves) + 0.5
    if ends.empty:
        return
    alike = set(curves["variant"]) == set(ends.index) and ends.min() == ends.max()
    for alpha in (0.35, 0.3) if alike else (0.35,):
        panel.axvspan(0, ends.max(), color=GRID, alpha=alpha, lw=0, zorder=0)
    if name_it:
        words = "warm-up" if alike else "warm-up of some"
        panel.text(0.75, 0.97, words, transform=panel.get_xaxis_transform(), va="top", color=MUTED, fontsize=9)


def shaded(curves: pd.DataFrame) -> str:
    """What the shading means, for a caption; empty without a warm-up."""
    ends, variants = warm_ends(curves), curves["variant"].nunique()
    if ends.empty:
        return ""
    whose = "all variants" if len(ends) == variants else f"{len(ends)} of {variants} variants"
    least, most = int(ends.min()), int(ends.max())
    length = f"{least} to {most} epochs" if least < most else f"{most} epoch{'s' if most != 1 else ''}"
    return f" Shaded: warm-up of {whose} ({length}), before their own rule."


def window(curves: pd.DataFrame, scale: float) -> tuple[float, float]:
    """The heights that matter: from the end of the warm-up on, seeds that collapsed left out."""
    valid = curves[(curves["collapsed"] != 1) & curves["val_rsum"].notna()]
    last = valid[valid["phase"] == "warmup"].groupby(["variant", "seed"])["epoch"].transform("max")
    late = valid[(valid["phase"] != "warmup") | (valid["epoch"] == last.reindex(valid.index))]
    rows = late if len(late) else curves[curves["val_rsum"].notna()]
    low, high = (rows["val_rsum"].min(), rows["val_rsum"].max()) if len(rows) else (0.0, 1.0)
    pad = 0.06 * (high - low) + 1e-3
    return scale * (low - pad), scale * (high + pad)


def selected(panel: Axes, variant: Variant, rows: pd.DataFrame, scale: float, colour: str) -> None:
    """Circle each seed's selected epoch."""
    for run in variant.runs:
        for entry in run["selection"]["per_seed"]:
            hit = rows[(rows["seed"] == entry["seed"]) & (rows["epoch"] == entry["epoch"])]
            if len(hit):
                panel.plot(
                    [entry["epoch"] + 1],
                    [scale * hit["val_rsum"].iloc[0]],
                    "o",
                    ms=4.5,
                    mfc=PAPER,
                    mec=colour,
                    mew=1.2,
                    zorder=4,
                )


def collapse(panel: Axes, variant: Variant, rows: pd.DataFrame, scale: float, colour: str) -> list[str]:
    """Cross out the first collapsed epoch of every seed that has one; say when, and whether it recovered."""
    result, floor = collapses(rows), panel.get_ylim()[0]
    for item in result:
        at = (rows["seed"] == item.seed) & (rows["epoch"] == item.epochs[0] - 1)
        score = scale * float(rows.loc[at, "val_rsum"].iloc[0])
        height = max(score, floor) if math.isfinite(score) else floor
        panel.plot([item.epochs[0]], [height], "X", clip_on=False, ms=7, color=colour, mec=INK, mew=0.8, zorder=5)
    if not result:
        return []
    seeds, epochs = seed_list([item.seed for item in result]), [item.epochs[0] for item in result]
    when = f"epoch {min(epochs)}" if min(epochs) == max(epochs) else f"epochs {min(epochs)} to {max(epochs)}"
    return [f"{variant.id} (seed{'s' if len(result) > 1 else ''} {seeds}, first in {when}, {outcome(result)})"]


def collapse_sentence(collapsed: list[str]) -> str:
    """Which seeds collapsed, or that none did."""
    if not collapsed:
        return "No seed set off the collapse alarm (a loss within 5 % of what equal similarities give)."
    return f"Crosses: collapse alarm (a loss within 5 % of what equal similarities give): {listing(collapsed)}."


def plain_ticks(panel: Axes) -> None:
    """Plain numbers on a logarithmic axis."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.yaxis.set_minor_formatter(NullFormatter())
