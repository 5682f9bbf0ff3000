"""Which variants estimate false negatives, and where their calibration lies (torch-free)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fne.study import paths
from fne.study.api import Study, blocks, resolve
from fne.study.plugins import find

CALIBRATION = ["variant", "posterior", "own", "recalibration", "source", "direction", "metric", "value", "low", "high",
               "seeds", "pairs", "positives", "method"]  # fmt: skip
RELIABILITY = ["variant", "posterior", "own", "recalibration", "source", "direction", "bin", "probability", "observed",
               "low", "high", "pairs", "positives"]  # fmt: skip


def estimates(config: Mapping[str, Any]) -> bool:
    """Does a variant estimate which candidates are false negatives?"""
    strategy, loss = find("negatives", config["negatives"]["strategy"]), find("loss", config["loss"]["kind"])
    used = config["negatives"].get("elimination") != "none"
    return bool((strategy.estimates and used) or loss.estimates)


def calibration_files(study: Study) -> list[Path]:
    """``calibration.npz`` of every job whose variant estimates false negatives."""
    return [
        paths.run_folder(study, variant, block) / "calibration.npz"
        for variant in study.variants
        if estimates(resolve(study, variant))
        for block in blocks(study)
    ]
