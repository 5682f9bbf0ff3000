"""Where positives, hard negatives and false negatives lie; the fitted normals and their posterior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fne.report.figures.figure import Picture, notice
from fne.report.figures.panels import area, in_words, legend, nothing, panels, small_multiples
from fne.report.figures.picks import truth_sentence
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
from fne.report.figures.style import DASHED, FALSE, HARD, INK, MUTED, POSITIVE
from fne.report.text.summary import share, truth_kind
from fne.report.text.wording import number, seed_list
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
        if result is None or result.prior is None or not result.fits:
            continue
        if all(variant.config["negatives"].get(key, value) == value for key, value in AS_DRAWN.items()):
            return variant
    return None


def draw(study: StudyResults) -> Picture:
    """Draw one variant: densities above, posterior against the true share below."""
    variant = chosen(study)
    if variant is None:
        return notice(ID, TITLE, QUESTION, "no variant of this study with a finished run fits a posterior")
    result = populations(study, variant.id)
    assert result is not None and result.prior is not None
    figure, axes = panels(2, 1, 5.6, sharex=True, height_ratios=[0.55, 0.45])
    top, low = axes[:, 0]
    window = visible(result)
    legend(figure, _handles())
    densities(top, result, window)
    top.set_ylabel("density")
    x = np.linspace(*window, 500)
    curves = np.array([posterior(x, fit, result.prior) for fit in result.fits])
    mean = curves.mean(axis=0)
    low.plot(x, np.where(mean >= LEAST, mean, np.nan), color=INK, lw=2, label="posterior that FNE computes")
    low.fill_between(x, *np.clip([curves.min(axis=0), curves.max(axis=0)], LEAST, 1), color=INK, alpha=0.12, lw=0)
    word = "true" if truth_kind(study, "train") == "exact" else "known"
    known = true_share(low, result, f"{word} share of false negatives")
    config = variant.config["negatives"]
    if config.get("posterior_threshold") and config.get("elimination") == "released":
        words = f"threshold: FNE uses it above {100 * config['posterior_threshold']:g} %"
        low.axhline(config["posterior_threshold"], color=MUTED, lw=1, ls=DASHED, label=words)
    low.set_yscale("log")
    low.set_ylim(LEAST, 1.6)
    low.set_yticks([10.0**power for power in range(-6, 1)], [f"{100 * 10.0**power:g} %" for power in range(-6, 1)])
    low.minorticks_off()
    low.set_ylabel("chance of a false negative")
    low.set_xlabel("similarity of an anchor and a negative")
    low.grid(axis="y")
    low.legend(loc="lower left", bbox_to_anchor=(0, 1.0), handlelength=1.6)
    caption = (
        "Above: similarities of pairs of random training batches under the selected weights of "
        f"{variant.title}, {pooled(variant.seeds)}: each anchor's own positive, the hardest other item of its row or "
        "column (hard negative, true or not), and pairs of different images that are relevant all the same (false "
        f"negative); each filled area is 1.{too_few([result])} Dashed: the two normals that FNE fits, one pair per "
        f"seed. Below, on a logarithmic axis: the posterior they imply with the prior {result.prior:g} (line: mean of "
        "the seeds; band: their range)"
    )
    if known:
        bars = ", with 95 % intervals" if len(result.counts["false_negatives"]) >= MIN_SEEDS else ""
        caption += f", and the {word} share of false negatives among pairs of that similarity{bars} (bins of 0.02)."
    else:
        caption += ". The true share cannot be shown: no false negative of this split is known."
    alt = (
        f"Upper panel: densities of similarity for {variant.title}, by their medians: {medians(result)}. Lower panel: "
        f"the posterior reaches at most {mean.max():.2g} at similarity {number(float(x[np.argmax(mean)]), 2)}."
    )
    return Picture(ID, TITLE, QUESTION, caption + truth_sentence(study), alt, figure)


def draw_all(study: StudyResults) -> Picture:
    """Draw the densities of every variant, one small panel each, on one axis of similarity."""
    result = {variant.id: populations(study, variant.id) for variant in study.variants}
    if not any(result.values()):
        return notice(ALL_ID, ALL_TITLE, ALL_QUESTION, "no run has a result")
    labels, titles = ("similarity (cosine)", ""), [variant.title for variant in study.variants]
    figure, axes = small_multiples(titles, 1.2, labels, _handles())
    windows = np.array([visible(item) for item in result.values() if item is not None])
    for panel, item in zip(axes, result.values(), strict=True):
        panel.set_yticks([])
        panel.spines["left"].set_visible(False)
        if item is None:
            nothing(panel)
        else:
            densities(panel, item, (windows[:, 0].min(), windows[:, 1].max()))
    seeds = sorted({seed for variant in study.variants for seed in variant.seeds})
    caption = (
        "Similarities of pairs of random training batches under each variant's selected weights, "
        f"{pooled(seeds)}: positives, hard negatives (the hardest other item of a row or column) "
        "and false negatives (relevant pairs of different images). Each area is 1."
        f"{too_few([item for item in result.values() if item is not None])} Dashed: the two normals that FNE's "
        "released rule fits, or would fit, to them, one pair per seed. The further the filled areas lie apart, the "
        "easier the elimination." + truth_sentence(study)
    )
    words = in_words(study, {name: medians(item) for name, item in result.items() if item is not None})
    return Picture(ALL_ID, ALL_TITLE, ALL_QUESTION, caption, f"Medians of similarity. {words}.", figure)


def densities(axes: Axes, result: Populations, window: tuple[float, float]) -> None:
    """Fill the three histograms and draw the fitted normals over them."""
    for kind, colour, _ in drawn(result):
        axes.stairs(result.density(kind), result.edges, fill=True, color=colour, alpha=0.28, lw=0)
        axes.stairs(result.density(kind), result.edges, color=colour, lw=1.3)
    x = np.linspace(*window, 160)
    for fit in result.fits:
        for side, colour in (("pos", POSITIVE), ("neg", HARD)):
            axes.plot(x, normal(x, fit[f"{side}_mean"], fit[f"{side}_var"]), color=colour, lw=1, ls=DASHED)
    axes.set_xlim(*window)
    axes.set_ylim(bottom=0)


def pooled(seeds: Sequence[int]) -> str:
    """Whose pairs are drawn."""
    return f"seeds {seed_list(seeds)} pooled" if len(seeds) > 1 else f"seed {seed_list(seeds)}"


def medians(result: Populations) -> str:
    """Where each population lies, in words."""
    return ", ".join(f"{words} {centre(result, kind)}" for kind, _, words in KINDS)


def _handles() -> list[Any]:
    return [area(words, colour, 0.6) for _, colour, words in KINDS]


def true_share(axes: Axes, result: Populations, words: str) -> bool:
    """Draw the share of false negatives among all negatives per bin; return whether any is known."""
    false, others = result.counts["false_negatives"], result.counts["all_negatives"]
    middles = (result.edges[:-1] + result.edges[1:]) / 2
    for place in np.flatnonzero(false.sum(axis=0) > 0):
        item = share(false[:, place], (false + others)[:, place])
        axes.plot([middles[place]] * 2, [max(item.low, LEAST), item.high], color=FALSE, lw=1, alpha=0.6)
        axes.plot([middles[place]], [item.value], "o", color=FALSE, ms=3.6, label=words)
        words = ""
    return bool(false.any())
