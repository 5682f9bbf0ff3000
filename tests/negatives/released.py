"""The strategy as released, and with any of its options changed."""

from __future__ import annotations

from typing import Any

from fne.negatives.catalog import STRATEGIES
from fne.negatives.fne import FalseNegativeElimination

RELEASE = dict(
    tau=0.5,
    prior=1e-4,
    prior_rule="fixed",
    prior_rate=0.05,
    prior_floor=1e-6,
    prior_ceiling=0.5,
    density="normal",
    population="hardest",
    posterior_threshold=1e-3,
    min_positives=200,
    elimination="released",
    elimination_power=1.0,
    elimination_threshold=0.5,
    cut_down="global",
    statistics_mask="diagonal",
    statistics_reset="epoch",
    statistics_decay=0.99,
    recalibration="none",
    recalibration_images=60,
)


def fne(margin: float = 0.2, **changed: Any) -> FalseNegativeElimination:
    """Built as a run builds it: an option that nothing reads is None."""
    options = RELEASE | changed
    read = STRATEGIES["fne"].reads(options)
    return FalseNegativeElimination(
        margin=margin, **{key: value if key in read else None for key, value in options.items()}
    )
