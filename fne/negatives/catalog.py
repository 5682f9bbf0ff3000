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
}

MEMORY_OPTIONS: dict[str, tuple[str, ...]] = {
    "none": (),
    "momentum": ("size", "momentum", "initial", "fill"),
}
"""Kinds of memory and the options of ``memory`` that each one reads."""
