"""The list of selection strategies: class, and options of ``negatives`` that each one reads (torch-free)."""

from __future__ import annotations

from fne.catalog import Entry

ORACLES = ("none", "remove", "only")
"""What a strategy may be told of the truth; see :mod:`fne.negatives.oracle`."""

STRATEGIES: dict[str, Entry] = {
    "fne": Entry(
        target="fne.negatives.fne:Fne",
        options=(
            "tau",
            "prior",
            "posterior_threshold",
            "min_positives",
            "elimination",
            "cut_down",
            "statistics_mask",
            "statistics_reset",
        ),
        summary="draws one negative from weights lowered by the posterior of being a false negative",
        shares=("loss.margin",),
        idle=(("elimination", "none", ("prior", "posterior_threshold", "min_positives")),),
    ),
    "hardest": Entry(
        target="fne.negatives.hardest:Hardest",
        options=(),
        summary="takes the most similar negative",
    ),
    "random": Entry(
        target="fne.negatives.random:Random",
        options=(),
        summary="draws one negative uniformly",
    ),
    "all": Entry(
        target="fne.negatives.all:All",
        options=(),
        summary="keeps every negative",
        negatives=("all",),
    ),
    "semi_hard": Entry(
        target="fne.negatives.semi_hard:SemiHard",
        options=(),
        summary="takes the most similar negative that is less similar than the positive",
    ),
    "distance_weighted": Entry(
        target="fne.negatives.distance_weighted:DistanceWeighted",
        options=("min_distance", "max_distance"),
        summary="draws one negative so that all distances are met equally often",
        shares=("model.dim",),
    ),
    "simans": Entry(
        target="fne.negatives.simans:SimAns",
        options=("sharpness", "offset"),
        summary="draws one negative, preferring those about as similar as the positive",
    ),
    "topk_perc": Entry(
        target="fne.negatives.topk_perc:TopkPerc",
        options=("relative_margin",),
        summary="takes the most similar negative that stays a share of the positive's similarity below it",
    ),
    "topk_margin": Entry(
        target="fne.negatives.topk_margin:TopkMargin",
        options=("absolute_margin",),
        summary="takes the most similar negative that stays a fixed distance below the positive",
    ),
}

MEMORY_OPTIONS: dict[str, tuple[str, ...]] = {
    "none": (),
    "momentum": ("size", "momentum", "initial", "fill"),
}
"""Kinds of memory and the options of ``memory`` that each one reads."""
