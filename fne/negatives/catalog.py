"""The list of selection strategies: class, and options of ``negatives`` that each one reads (torch-free)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from fne.negatives.registry import Entry, Idle

if TYPE_CHECKING:
    from fne.negatives.densities.density import Density

ORACLES = ("none", "remove", "relabel", "only")
"""What a strategy may be told of the truth; see :mod:`fne.negatives.oracle`."""

DENSITIES: dict[str, str] = {
    "normal": "fne.negatives.densities.normal:Normal",
    "tied": "fne.negatives.densities.tied:Tied",
    "beta": "fne.negatives.densities.beta:Beta",
    "kde": "fne.negatives.densities.kde:KernelDensity",
    "logistic": "fne.negatives.densities.logistic:Logistic",
    "isotonic": "fne.negatives.densities.isotonic:Isotonic",
}
"""Families of densities of positives and negatives, by name."""

_POSTERIOR = (
    "prior",
    "prior_rule",
    "prior_rate",
    "prior_floor",
    "prior_ceiling",
    "density",
    "population",
    "posterior_threshold",
    "min_positives",
    "elimination_power",
    "elimination_threshold",
    "statistics_mask",
    "recalibration",
    "recalibration_images",
)
"""Options of fne that only its posterior reads."""

STRATEGIES: dict[str, Entry] = {
    "fne": Entry(
        target="fne.negatives.fne:FalseNegativeElimination",
        options=(
            "tau",
            "prior",
            "prior_rule",
            "prior_rate",
            "prior_floor",
            "prior_ceiling",
            "density",
            "population",
            "posterior_threshold",
            "min_positives",
            "elimination",
            "elimination_power",
            "elimination_threshold",
            "cut_down",
            "statistics_mask",
            "statistics_reset",
            "statistics_decay",
            "recalibration",
            "recalibration_images",
        ),
        summary="draws one negative from weights lowered by the posterior of being a false negative",
        shares=("loss.margin",),
        idle=(
            Idle({"elimination": ("none",)}, _POSTERIOR),
            Idle({"elimination": ("none",), "cut_down": ("none", "anchor")}, ("statistics_reset", "statistics_decay")),
            Idle({"elimination": ("released", "power")}, ("elimination_threshold",)),
            Idle({"elimination": ("released", "threshold")}, ("elimination_power",)),
            Idle({"elimination": ("threshold",)}, ("posterior_threshold",)),
            Idle({"prior_rule": ("fixed",)}, ("prior_rate", "prior_floor", "prior_ceiling")),
            Idle({"population": ("queue",)}, ("statistics_mask",)),
            Idle({"statistics_reset": ("epoch", "never")}, ("statistics_decay",)),
            Idle({"recalibration": ("none",)}, ("recalibration_images",)),
        ),
        estimates="probability",
    ),
    "hardest": Entry(
        target="fne.negatives.hardest:HardestNegative",
        options=(),
        summary="takes the most similar negative",
    ),
    "random": Entry(
        target="fne.negatives.random:RandomNegative",
        options=(),
        summary="draws one negative uniformly",
    ),
    "all": Entry(
        target="fne.negatives.all:AllNegatives",
        options=(),
        summary="keeps every negative",
        negatives=("all",),
    ),
    "semi_hard": Entry(
        target="fne.negatives.semi_hard:SemiHardNegative",
        options=(),
        summary="takes the most similar negative that is less similar than the positive",
        estimates="threshold",
    ),
    "distance_weighted": Entry(
        target="fne.negatives.distance_weighted:DistanceWeightedSampling",
        options=("min_distance", "max_distance"),
        summary="draws one negative so that all distances are met equally often",
        shares=("model.dim",),
    ),
    "simans": Entry(
        target="fne.negatives.simans:SimANS",
        options=("sharpness", "offset"),
        summary="draws one negative, preferring those about as similar as the positive",
    ),
    "topk_perc": Entry(
        target="fne.negatives.topk_perc:TopKPercPos",
        options=("relative_margin",),
        summary="takes the most similar negative that stays a share of the positive's similarity below it",
        estimates="threshold",
    ),
    "topk_margin": Entry(
        target="fne.negatives.topk_margin:TopKMarginPos",
        options=("absolute_margin",),
        summary="takes the most similar negative that stays a fixed distance below the positive",
        estimates="threshold",
    ),
    "gist": Entry(
        target="fne.negatives.gist:GISTEmbed",
        options=("guide_margin",),
        summary="keeps every negative that a frozen guide does not find nearer than the own pair",
        negatives=("all",),
        needs=("guide",),
        estimates="threshold",
    ),
    "fnc_eliminate": Entry(
        target="fne.negatives.fnc:FalseNegativeCancellation",
        options=("top_k", "score_threshold"),
        summary="keeps every negative but those that the momentum encoder scores high",
        negatives=("all",),
        needs=("teacher",),
    ),
    "fnc_attract": Entry(
        target="fne.negatives.fnc:FalseNegativeAttraction",
        options=("top_k", "score_threshold"),
        summary="makes positives of the negatives that the momentum encoder scores high",
        negatives=("attracted",),
        needs=("teacher",),
    ),
    "glofnd": Entry(
        target="fne.negatives.glofnd:GloFND",
        options=("filtered_share", "threshold_rate", "threshold_beta1", "threshold_beta2"),
        summary="keeps every negative below a similarity that each anchor learns",
        negatives=("all",),
        needs=("anchor", "direction"),
    ),
}

MEMORIES: dict[str, Entry] = {
    "none": Entry(
        target="fne.negatives.memory.kind:Memory",
        options=(),
        summary="the batch alone",
    ),
    "momentum": Entry(
        target="fne.negatives.memory.momentum:MomentumMemory",
        options=("size", "momentum", "initial", "fill"),
        summary="a queue of embeddings of the momentum encoder",
    ),
    "xbm": Entry(
        target="fne.negatives.memory.xbm:CrossBatchMemory",
        options=("size", "initial", "fill"),
        summary="a queue of embeddings of the online encoder",
    ),
    "bank": Entry(
        target="fne.negatives.memory.bank:MemoryBank",
        options=("refresh",),
        summary="every pair of the epoch, embedded anew from time to time",
    ),
}
"""Kinds of memory: what an anchor is set against beyond its batch."""

MEMORY_OPTIONS: dict[str, tuple[str, ...]] = {kind: entry.options for kind, entry in MEMORIES.items()}
"""Kinds of memory and the options of ``memory`` that each one reads."""


def load_density(name: str) -> Density:
    """Import a family of densities by its name."""
    module, _, attribute = DENSITIES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)()
