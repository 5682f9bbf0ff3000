"""The second interval of a score or difference: where it would lie with another encoder, world and tuning.

An interval over seeds and test images is conditional on the encoders, on the world, a sample of whose images was
trained and tested on, and on the search that tuned values come from. How far scores lie apart between them no single
study can show; where a study of draws has measured it (``ablations/variance.yaml``), a second interval counts what it
varied.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from fne.analysis.components import Another, half_width_elsewhere
from fne.analysis.intervals import variance_of_mean
from fne.results.schema import ELSEWHERE
from fne.results.variance import NONE, Variance, read_variance
from fne.study.study import Study

Known = tuple[Variance | None, str]
"""Components that hold for a study, or why there are none."""


def variance_for(study: Study, root: Path) -> Known:
    """The recorded components that hold for a study; where there are none, why.

    Raises:
        UserError: The record is not sound.
    """
    record = read_variance(root)
    why = NONE if record is None else record.why_not(study)
    return (None, why) if why else (record, "")


def elsewhere(values: np.ndarray, low: float, high: float, another: Another) -> tuple[float, float]:
    """Ends of the second interval, which holds the first.

    ``mean -+ t_df sqrt(Var_c + 2 v)``; see :func:`fne.analysis.components.half_width_elsewhere`.

    Args:
        values: (n, N): influence values of a score or difference by seed and image.
        low, high: The interval over seeds and images; NaN, and so is the second, where there is none.
        another: What another encoder, world and tuning add.
    """
    if not math.isfinite(low):
        return math.nan, math.nan
    variance, freedom = variance_of_mean(values[:, :, None])
    half, mean = half_width_elsewhere(float(variance[0]), float(freedom[0]), another), float(values.mean())
    return min(low, mean - half), max(high, mean + half)


def row_elsewhere(
    known: Known, values: np.ndarray, low: float, high: float, variant: str, baseline: str | None = None
) -> dict[str, float | str]:
    """The second interval of a variant's primary score, or of its difference to a baseline, as :data:`ELSEWHERE`."""
    record, why = known
    if record is None:
        return {"method_elsewhere": f"none: {why}"}
    if not math.isfinite(low):
        return {"method_elsewhere": "none: there is no interval over seeds and images to widen"}
    another, whose = record.another(variant, baseline)
    ends = elsewhere(values, low, high, another)
    summary = f"components of variance of {whose}, study {record.study}, {record.date}"
    return dict(zip(ELSEWHERE, (*ends, summary), strict=True))
