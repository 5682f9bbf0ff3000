"""The scores of all posteriors of a study as tidy rows, with intervals over seeds and images (torch-free)."""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from fne.audit.runs import require_current
from fne.audit.scores import METRICS
from fne.errors import bad_input
from fne.seeding import numpy_stream
from fne.stats.intervals import MIN_SEEDS
from fne.stats.proportion import share

SCHEMA = 1
"""Of ``calibration.npz``."""
KEY = ("posterior", "own", "recalibration", "source", "direction")


HINT = "run `fne calibrate` again"


def read(path: Path, trained: str | None = None) -> tuple[list[dict[str, Any]], np.ndarray]:
    """The rows of a ``calibration.npz``, and of each the scores of every bootstrap draw (rows, draws, metrics).

    Args:
        path: The file.
        trained: The digest of what training reads, of the runs that it must be of; None: of any.

    Raises:
        UserError: It is damaged or cut short, of another schema, or of other runs.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            meta, draws = json.loads(str(stored["meta"])), stored["draws"].astype(np.float64)
        found, rows, config = meta["schema"], meta["rows"], meta["config"]
    except (ValueError, TypeError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise bad_input(f"damaged or cut short ({error})", file=path, hint=HINT) from None
    if found != SCHEMA:
        raise bad_input("another schema", file=path, key="schema", value=found, allowed=[SCHEMA], hint=HINT)
    if trained is not None:
        require_current(path, config, trained, HINT)
    return rows, draws


def rows_of(
    variant: str, files: list[Path], trained: str | None = None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of ``calibration.csv`` and of ``calibration_bins.csv`` of one variant.

    Values are means over seeds. Their 95 % intervals are percentiles of means over drawn images, and with three seeds
    or more over drawn seeds too; those of a bin's share are as :func:`fne.stats.proportion.share` makes them from
    seeds.

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
    for key, found in groups.items():
        named = {"variant": variant, **dict(zip(KEY, key, strict=True))}
        told = [row for row, _ in found]
        drawn = np.stack([one for _, one in found])
        low, high, method = _interval(drawn)
        for at, metric in enumerate(METRICS):
            values = [row["scores"][metric] for row in told]
            sound = all(value is not None for value in values)
            scores.append(
                {**named, "metric": metric, "value": float(np.mean(values)) if sound else math.nan,
                 "low": low[at] if sound else math.nan, "high": high[at] if sound else math.nan, "seeds": len(told),
                 "pairs": told[0]["pairs"], "positives": told[0]["positives"], "method": method}
            )  # fmt: skip
        for place in sorted({one["bin"] for row in told for one in row["bins"]}):
            mine = [one for row in told for one in row["bins"] if one["bin"] == place]
            pairs = np.array([one["pairs"] for one in mine])
            one = share(np.array([one["positives"] for one in mine]), pairs)
            probability = sum(one["probability"] * one["pairs"] for one in mine) / pairs.sum()
            bins.append(
                {**named, "bin": place, "probability": float(probability), "observed": one.value, "low": one.low,
                 "high": one.high, "pairs": one.total, "positives": one.hits}
            )  # fmt: skip
    return scores, bins


def _interval(drawn: np.ndarray) -> tuple[list[float], list[float], str]:
    """Ends per metric of (seeds, draws, metrics), and how they were made."""
    seeds, draws, _ = drawn.shape
    if np.isnan(drawn).all():
        nothing = [math.nan] * drawn.shape[2]
        return nothing, nothing, "no interval: a density that the variant does not use"
    method = f"percentiles of {draws} bootstrap draws of images with their captions"
    if seeds >= MIN_SEEDS:
        chosen = numpy_stream(0, "calibration", "seeds").integers(0, seeds, (draws, seeds))
        means = drawn[chosen, np.arange(draws)[:, None]].mean(axis=1)
        method += " and of seeds"
    else:
        means = drawn.mean(axis=0)
        method += f" ({seeds} seed{'s' if seeds != 1 else ''}, as they are)"
    enough = np.isfinite(means).sum(axis=0) >= draws // 2
    ends = [
        np.nanquantile(means[:, at], [0.025, 0.975]).tolist() if enough[at] else [math.nan, math.nan]
        for at in range(means.shape[1])
    ]
    return [one[0] for one in ends], [one[1] for one in ends], method
