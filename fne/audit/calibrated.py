"""Which variants estimate false negatives, and where their calibration lies (torch-free)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fne import paths
from fne.config import Study, blocks, resolve

THRESHOLDS = ("semi_hard", "topk_perc", "topk_margin", "gist")
"""Strategies that drop candidates as too similar: classifiers of false negatives without a probability."""
CALIBRATION = ["variant", "posterior", "own", "recalibration", "source", "direction", "metric", "value", "low", "high",
               "seeds", "pairs", "positives", "method"]  # fmt: skip
RELIABILITY = ["variant", "posterior", "own", "recalibration", "source", "direction", "bin", "probability", "observed",
               "low", "high", "pairs", "positives"]  # fmt: skip


def estimates(config: Mapping[str, Any]) -> bool:
    """Does a variant estimate which candidates are false negatives?"""
    negatives = config["negatives"]
    eliminates = negatives["strategy"] == "fne" and negatives.get("elimination") != "none"
    return eliminates or negatives["strategy"] in THRESHOLDS or config["loss"]["kind"] == "bcl"


def calibration_files(study: Study) -> list[Path]:
    """``calibration.npz`` of every job whose variant estimates false negatives."""
    return [
        paths.run_folder(study, variant, block) / "calibration.npz"
        for variant in study.variants
        if estimates(resolve(study, variant))
        for block in blocks(study)
    ]
