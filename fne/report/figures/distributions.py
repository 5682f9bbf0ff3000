"""Where positives, hard negatives and false negatives lie; the fitted normals and their posterior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fne.report.figures.figure import Picture, canvas, notice
from fne.report.figures.populations import (
    KINDS,
    Populations,
    centre,
    drawn,
    normal,
    populations,
    posterior,
    too_few,
    visible,
)
from fne.report.figures.style import FALSE, HARD, INK, MUTED, POSITIVE, WIDTH, spread
from fne.report.text.summary import TRUTH_WORDS, share, truth_kind
from fne.report.text.wording import name, number, seed_list
from fne.results.study import StudyResults, Variant
from fne.utils.min_seeds import MIN_SEEDS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ID, TITLE = "distributions", "What the posterior sees"
QUESTION = "Can similarity alone tell a false negative from a hard negative, as FNE assumes?"
ALL_ID, ALL_TITLE = "distributions_all", "Similarities under every variant"
ALL_QUESTION = "How far apart does each variant keep positives, hard negatives and false negatives?"
AS_DRAWN = {"density": "normal", "population": "hardest", "prior_rule": "fixed", "recalibration": "none"}
"""What the recorded fit is of; other densities are not drawn."""
LEAST = 1e-6
"""Probabilities below this are drawn at the floor of the lower panel."""


def chosen(study: StudyResults) -> Variant | None:
    """The variant whose posterior is shown: the method, else the first that has a prior and a fit.

    Only variants that fit what the figure draws: two normals on the hardest negatives, with a prior that is given.
    """
    order = sorted(study.variants, key=lambda variant: variant.id != study.method)
    for variant in order:
        result = populations(study, variant.id)
        as_drawn = all(variant.config["negatives"].get(key, value) == value for key, value in AS_DRAWN.items())
        if result is not None and result.prior is not None and result.fits and as_drawn:
            return variant
    return None


def draw(study: StudyResults) -> Picture:
    """Draw one variant: densities above, posterior against the true share below."""
    variant = chosen(study)
    if variant is None:
        return notice(ID, TITLE, QUESTION, "no variant of this study with a finished run fits a posterior")
    result = populations(study, variant.id)
    assert result is not None and result.prior is not None
    figure = canvas(WIDTH, 5.6)
    top = figure.add_axes((0.165, 0.545, 0.815, 0.44))
    low = figure.add_axes((0.165, 0.09, 0.815, 0.35), sharex=top)
    window = visible(result)
    densities(top, result, window)
    top.set_ylabel("density")
    top.set_ylim(0, 1.16 * top.get_ylim()[1])
    name_peaks(top, result)
    top.tick_params(labelbottom=False)
    x = np.linspace(*window, 500)
    curves = np.array([posterior(x, fit, result.prior) for fit in result.fits])
    mean = curves.mean(axis=0)
    low.plot(x, np.where(mean >= LEAST, mean, np.nan), color=INK, lw=2, label="posterior that FNE computes")
    if len(curves) > 1:
        low.fill_between(
            x, np.clip(curves.min(axis=0), LEAST, 1), np.clip(curves.max(axis=0), LEAST, 1), color=INK, alpha=0.12, lw=0
        )
    known = true_share(low, result, share_word(study))
    bars = ", with 95 % intervals" if len(result.counts["false_negatives"]) >= MIN_SEEDS else ""
    threshold = variant.config["negatives"].get("posterior_threshold")
    if threshold and variant.config["negatives"].get("elimination") == "released":
        label = f"threshold: FNE uses it above {100 * threshold:g} %"
        low.axhline(threshold, color=MUTED, lw=1, ls=(0, (4, 3)), label=label)
    low.set_yscale("log")
    low.set_ylim(LEAST, 1.6)
    low.set_yticks([10.0**power for power in range(-6, 1)], [f"{100 * 10.0**power:g} %" for power in range(-6, 1)])
    low.minorticks_off()
    low.set_ylabel("chance of a false negative")
    low.set_xlabel("similarity of an anchor and a negative (cosine)")
    low.grid(axis="y")
    low.legend(
        loc="lower left", bbox_to_anchor=(-0.17, 1.0), ncols=2, handlelength=1.6, columnspacing=1.2, fontsize=8.5
    )
    where = x[np.argmax(curves.mean(axis=0))]
    caption = (
        "Above: similarities of pairs of random training batches under the selected weights of "
        f"{variant.title}, {pooled(variant.seeds)}: each anchor's own positive, the hardest other item of its row or "
        "column (hard negative, true or not), and pairs of different images that are relevant all the same (false "
        f"negative); each filled area is 1.{too_few([result])} Dashed: the two normals that FNE fits, one pair per "
        f"seed. Below, on a logarithmic axis: the posterior they imply with the prior {result.prior:g} (line: mean of "
        "the seeds; band: their range)"
        + (
            f", and the {share_word(study)} share of false negatives among the pairs of that similarity (points{bars}; "
            "bins of 0.02)."
            if known
            else ". The true share cannot be shown: no false negative of this split is known."
        )
        + truth_sentence(study)
    )
    alt = (
        f"Upper panel: densities of similarity for {variant.title}, by their medians: {medians(result)}. Lower panel: "
        "the posterior reaches at most "
        f"{curves.mean(axis=0).max():.2g} at similarity {number(float(where), 2)}."
    )
    return Picture(ID, TITLE, QUESTION, caption, alt, figure)


def draw_all(study: StudyResults) -> Picture:
    """Draw the densities of every variant, one small panel each, on one axis of similarity."""
    result = {variant.id: populations(study, variant.id) for variant in study.variants}
    if not any(result.values()):
        return notice(ALL_ID, ALL_TITLE, ALL_QUESTION, "no run has a result")
    columns = min(2, len(result))
    rows = -(-len(result) // columns)
    height = 0.95 + 1.2 * rows
    figure = canvas(WIDTH, height)
    axes = figure.subplots(rows, columns, sharex=True, squeeze=False)
    figure.subplots_adjust(left=0.03, right=0.975, bottom=0.5 / height, top=1 - 0.52 / height, wspace=0.06, hspace=0.42)
    windows = [visible(item) for item in result.values() if item is not None]
    for panel, variant in zip(axes.flat, study.variants, strict=False):
        item = result[variant.id]
        panel.set_title(name(variant, 29))
        panel.set_yticks([])
        panel.spines["left"].set_visible(False)
        if item is None:
            panel.text(
                0.5, 0.5, "no result", transform=panel.transAxes, ha="center", va="center", color=MUTED, style="italic"
            )
            continue
        densities(panel, item, (min(low for low, _ in windows), max(high for _, high in windows)))
    for panel in axes.flat[len(study.variants) :]:
        panel.set_visible(False)
    for panel in axes[-1]:
        panel.set_xlabel("similarity (cosine)")
    legend(figure)
    seeds = sorted({seed for variant in study.variants for seed in variant.seeds})
    caption = (
        "Similarities of pairs of random training batches under each variant's selected weights, "
        f"{pooled(seeds)}: positives, hard negatives (the hardest other item of a row or column) "
        "and false negatives (relevant pairs of different images). Each area is 1."
        f"{too_few([item for item in result.values() if item is not None])} Dashed: the two normals that FNE's "
        "released rule fits, or would fit, to them, one pair per seed. The further the filled areas lie apart, the "
        "easier the elimination." + truth_sentence(study)
    )
    summary = [f"{variant.title}: {medians(item)}" for variant in study.variants if (item := result[variant.id])]
    return Picture(
        ALL_ID, ALL_TITLE, ALL_QUESTION, caption, "Medians of similarity. " + "; ".join(summary) + ".", figure
    )


def densities(axes: Axes, result: Populations, window: tuple[float, float]) -> None:
    """Fill the three histograms and draw the fitted normals over them."""
    for kind, colour, _ in drawn(result):
        axes.stairs(result.density(kind), result.edges, fill=True, color=colour, alpha=0.28, lw=0)
        axes.stairs(result.density(kind), result.edges, color=colour, lw=1.3)
    x = np.linspace(*window, 160)
    for fit in result.fits:
        for side, colour in (("pos", POSITIVE), ("neg", HARD)):
            axes.plot(x, normal(x, fit[f"{side}_mean"], fit[f"{side}_var"]), color=colour, lw=1, ls=(0, (4, 2)))
    axes.set_xlim(*window)
    axes.set_ylim(bottom=0)


def name_peaks(axes: Axes, result: Populations) -> None:
    """Write each population's name above its peak."""
    middles = (result.edges[:-1] + result.edges[1:]) / 2
    low, high = axes.get_xlim()
    shown = drawn(result)
    requested = [(float(middles[result.density(kind).argmax()]) - low) / (high - low) for kind, _, _ in shown]
    for (_, colour, label), x in zip(shown, spread(requested, 0.33, 0.14, 0.9), strict=True):
        axes.text(x, 0.985, label, transform=axes.transAxes, ha="center", va="top", color=colour, fontweight="bold")


def pooled(seeds: Sequence[int]) -> str:
    """Whose pairs are drawn."""
    return f"seeds {seed_list(seeds)} pooled" if len(seeds) > 1 else f"seed {seed_list(seeds)}"


def medians(result: Populations) -> str:
    """Where each population lies, in words."""
    names = {"positives": "positives", "hard_negatives": "hard negatives", "false_negatives": "false negatives"}
    return ", ".join(f"{words} {centre(result, kind)}" for kind, words in names.items())


def legend(figure: Any) -> None:
    """Name the three populations once, above all panels."""
    from matplotlib.patches import Patch

    handles = [Patch(color=colour, alpha=0.6, label=label) for _, colour, label in KINDS]
    figure.legend(handles=handles, loc="upper left", ncols=3, bbox_to_anchor=(0.02, 1.0), borderaxespad=0.3)


def share_word(study: StudyResults) -> str:
    """``true`` where every false negative of the train split is known, else ``known``."""
    return "true" if truth_kind(study, "train") == "exact" else "known"


def true_share(axes: Axes, result: Populations, word: str) -> bool:
    """Draw the share of false negatives among all negatives per bin; return whether any is known."""
    false, others = result.counts["false_negatives"], result.counts["all_negatives"]
    if not false.sum():
        return False
    middles, named = (result.edges[:-1] + result.edges[1:]) / 2, False
    for place in np.flatnonzero((false + others).sum(axis=0) > 0):
        item = share(false[:, place], (false + others)[:, place])
        if item.hits == 0:
            continue
        axes.plot([middles[place]] * 2, [max(item.low, LEAST), item.high], color=FALSE, lw=1, alpha=0.6)
        axes.plot(
            [middles[place]],
            [item.value],
            "o",
            color=FALSE,
            ms=3.6,
            label=None if named else f"{word} share of false negatives",
        )
        named = True
    return True


def truth_sentence(study: StudyResults) -> str:
    """How false negatives of the train split are known."""
    kind = truth_kind(study, "train")
    return f" In the train split {TRUTH_WORDS[kind]}." if kind else ""
