"""Which variants estimate false negatives, and the scores of all posteriors of a study as tidy rows (torch-free)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fne.analysis.proportion import share
from fne.analysis.scores import METRICS
from fne.results.current import require_current
from fne.study import paths
from fne.study.api import Study, blocks, resolve
from fne.study.plugins import find
from fne.utils.arrays import read_meta, read_npz
from fne.utils.errors import bad_input
from fne.utils.min_seeds import MIN_SEEDS

KEY = ("posterior", "own", "recalibration", "source", "direction")
HINT = "run `fne calibrate` again"
META = {
    "config": {},
    "rows": [
        {
            **dict.fromkeys(("posterior", "recalibration", "source", "direction"), str),
            "own": bool,
            "pairs": int,
            "positives": int,
            "scores": dict.fromkeys(METRICS, {float, None}),
            "bins": [{"bin": int, "pairs": int, "positives": int, "probability": float}],
        }
    ],
}
"""What is read of what a ``calibration.npz`` says about itself."""


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


def read(path: Path, trained: str | None = None) -> tuple[list[dict[str, Any]], np.ndarray]:
    """The rows of a ``calibration.npz``, and of each the scores of every bootstrap draw (rows, draws, metrics).

    Args:
        path: The file.
        trained: The digest of what training reads, of the runs that it must be of; None: of any.

    Raises:
        UserError: It is damaged or cut short, of another schema, or of other runs.
    """
    meta = read_meta(path, "calibration", META, HINT)
    rows, draws = meta["rows"], read_npz(path, {"draws": ("f", 3)}, HINT)["draws"].astype(np.float64)
    if draws.shape[::2] != (len(rows), len(METRICS)):
        raise bad_input("other draws than rows", file=path, key="draws", value=draws.shape, hint=HINT)
    if trained is not None:
        require_current(path, meta["config"], trained, HINT)
    return rows, draws


def rows_of(
    variant: str, files: list[Path], trained: str | None = None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of ``calibration.csv`` and of ``calibration_bins.csv`` of one variant.

    Values are means over seeds, their 95 % intervals those of :func:`intervals`; the intervals of a bin's share are as
    :func:`fne.analysis.proportion.share` makes them from seeds.

    Args:
        variant: Its id.
        files: ``calibration.npz`` of its blocks.
        trained: As of :func:`read`.
    """
    groups: dict[tuple, list[tuple[dict[str, Any], np.ndarray]]] = {}
    for file in files:
        for row, drawn in zip(*read(file, trained), strict=True):
            groups.setdefault(tuple(row[name] for name in KEY), []).append((row, drawn))
    scores, bins = [], []
    for key, result in groups.items():
        named = {"variant": variant, **dict(zip(KEY, key, strict=True))}
        summary = [row for row, _ in result]
        drawn = np.stack([item for _, item in result])
        values = np.array([[row["scores"][metric] for metric in METRICS] for row in summary], np.float64)  # None: NaN
        low, high, method = intervals(values, drawn)
        for at, metric in enumerate(METRICS):
            scores.append(
                {**named, "metric": metric, "value": float(values[:, at].mean()),
                 "low": float(low[at]), "high": float(high[at]), "seeds": len(summary),
                 "pairs": summary[0]["pairs"], "positives": summary[0]["positives"], "method": method}
            )  # fmt: skip
        for place in sorted({item["bin"] for row in summary for item in row["bins"]}):
            mine = [item for row in summary for item in row["bins"] if item["bin"] == place]
            pairs = np.array([item["pairs"] for item in mine])
            item = share(np.array([item["positives"] for item in mine]), pairs)
            probability = sum(item["probability"] * item["pairs"] for item in mine) / pairs.sum()
            bins.append(
                {**named, "bin": place, "probability": float(probability), "observed": item.value, "low": item.low,
                 "high": item.high, "pairs": item.total, "positives": item.hits}
            )  # fmt: skip
    return scores, bins


def intervals(values: np.ndarray, drawn: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    """95 % intervals of mean scores over seeds and images.

    Of the images: the hull of the bootstrap's percentile interval and of its basic one (the percentiles reflected about
    the mean), because an ECE is biased upwards, its draws are so once more, and percentiles alone lie above the truth.
    Of the seeds: ``t_{n-1} sd / sqrt(n)``; with fewer than three there is no interval. The distances of both from the
    mean add in quadrature, and scores between 0 and 1 stay there. The bootstrap itself is somewhat too wide (see
    :func:`fne.analysis.scores.bootstrap`): in the simulations of the tests 95 % intervals cover at least 93.5 %, and
    90 % where seeds differ by far more than images.

    Args:
        values: (seeds, metrics), NaN where a score is not defined.
        drawn: (seeds, draws, metrics).

    Returns:
        Ends, (metrics,) each, NaN where there are none, and how they were made.

    *Source*: Davison and Hinkley, Bootstrap Methods and their Application, 1997, chapter 5.
    """
    from scipy.special import stdtrit

    seeds, draws, metrics = drawn.shape
    low, high = np.full(metrics, math.nan), np.full(metrics, math.nan)
    if np.isnan(drawn).all():
        return low, high, "none: a density that the variant does not use"
    if seeds < MIN_SEEDS:
        return low, high, f"none: {seeds} seed{'s are' if seeds != 1 else ' is'} too few"
    method = (
        f"percentile and basic intervals of {draws} bootstrap draws of images with their captions and Student's t "
        "over seeds"
    )
    means = drawn.mean(axis=0)
    for at in np.flatnonzero(np.isfinite(values).all(axis=0) & (np.isfinite(means).sum(axis=0) >= draws // 2)):
        mean, (first, last) = values[:, at].mean(), np.nanquantile(means[:, at], [0.025, 0.975])
        over_images = max(mean - first, last - mean)  # the hull reaches equally far either way
        over_seeds = stdtrit(seeds - 1, 0.975) * values[:, at].std(ddof=1) / math.sqrt(seeds)
        reach, top = math.hypot(over_images, over_seeds), math.inf if METRICS[at] == "log_loss" else 1.0
        low[at], high[at] = max(mean - reach, 0.0), min(mean + reach, top)
    return low, high, method
