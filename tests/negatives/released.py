"""The strategy as released, and with any of its options changed."""

from __future__ import annotations

from typing import Any

from fne.negatives.fne import FalseNegativeElimination


def fne(margin: float = 0.2, **changed: Any) -> FalseNegativeElimination:
    """Built as a run builds it."""
    return FalseNegativeElimination(**{"margin": margin, "recalibration_images": 60, **changed})
