"""What the files of a study say about its runs at one moment."""

from __future__ import annotations

import copy
import csv
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fne.results.bundle import read_csv as read_table
from fne.results.current import trained_alike
from fne.results.records import peek
from fne.results.schema import TABLES
from fne.study import paths
from fne.study.api import Study, blocks, parse_block, resolve
from fne.utils.errors import UserError
from fne.utils.fields import flatten
from fne.utils.files import read_csv
from fne.utils.shape import check

PROGRESS = "progress.json"
"""What a training job tells about itself, beside its checkpoint in ``scratch/``."""
SILENT = 180.0
"""Seconds without a word after which a job that has not ended counts as stopped."""
CURVES = [{"seed": int, "epoch": int, "step": int, "seconds": float}]
"""What is read of training curves, at the least."""
PROGRESS_SHAPE = {"step": int, "total": int, "seconds": float, "time": float, "seeds": [int], "curves": CURVES}
DONE, RUNNING, STOPPED, STALE, WAITING = "done", "running", "stopped", "stale", "waiting"


@dataclass(frozen=True)
class Run:
    """One variant with one seed.

    Args:
        variant: Its id.
        seed: Its seed.
        state: ``done``; ``running``; ``stopped``: it began and has been silent since; ``stale``: done under another
            config; ``waiting``.
        step, total: Steps done and steps of the whole run; 0 where it has not begun.
        seconds: Of training so far.
        curve: Rows of its training curves: ``epoch``, ``phase``, ``loss``, ``val_rsum`` (a fraction), ``collapsed``.
    """

    variant: str
    seed: int
    state: str
    step: int = 0
    total: int = 0
    seconds: float = 0.0
    curve: tuple[dict[str, Any], ...] = field(default=(), repr=False)

    @property
    def collapsed(self) -> bool:
        """Does the last epoch's alarm ring: a loss as if all embeddings were equal?"""
        return bool(self.curve and self.curve[-1].get("collapsed"))

    @property
    def diverged(self) -> bool:
        """Is the last validation score no number?"""
        return bool(self.curve) and not _finite(self.curve[-1].get("val_rsum"))

    @property
    def scores(self) -> list[float]:
        """Validation rsum by epoch, as far as it is a number."""
        return [row["val_rsum"] for row in self.curve if _finite(row.get("val_rsum"))]


def look(study: Study, root: Path, now: float | None = None) -> list[Run]:
    """Every run that a study asks for, in its order, as its files show it now.

    Files that are missing, half-written or of another shape count as absent: whoever watches must not stumble over
    what a job is just writing.

    Args:
        study: The study.
        root: The project's folder.
        now: Seconds since 1970; the present.
    """
    now = time.time() if now is None else now
    jobs = [(variant, block) for variant in study.variants for block in blocks(study)]
    return [run for variant, block in jobs for run in _runs(study, variant, block, root, now)]


def seconds_left(runs: list[Run]) -> float | None:
    """Seconds until the last run ends, if as many go on side by side as run now; None while nothing tells how fast.

    A run that has not begun counts as long as those that have ended (or, before any has, as those that run) took on
    average per step.
    """
    running = [run for run in runs if run.state == RUNNING and run.step]
    known = [run for run in runs if run.total and run.step and run.seconds]
    if not known:
        return None
    per_run = sum(run.seconds / run.step * run.total for run in known) / len(known)
    left = sum(run.seconds / run.step * (run.total - run.step) for run in running)
    left += per_run * sum(run.state in (WAITING, STOPPED, STALE) for run in runs)
    return left / max(1, len(running))


def _runs(study: Study, variant: str, block: str, root: Path, now: float) -> Iterator[Run]:
    seeds = parse_block(block)
    folder = root / paths.run_folder(study, variant, block)
    record = peek(folder / "run.json")
    if _fits(record, {"config": dict}):
        fresh = _same(record["config"], resolve(study, variant))
        rows = _rows(folder / "curves.csv")
        total = record["cost"]["steps"] if _fits(record, {"cost": {"steps": int}}) else 0
        for seed in seeds:
            curve = tuple(row for row in rows if row["seed"] == seed)
            seconds = curve[-1]["seconds"] if curve else 0.0
            yield Run(variant, seed, DONE if fresh else STALE, total, total, seconds, curve)
        return
    summary = [
        peek(file) for file in sorted((root / paths.scratch_folder(study, variant, block)).glob(f"*/{PROGRESS}"))
    ]
    by_seed = {seed: progress for progress in summary if _fits(progress, PROGRESS_SHAPE) for seed in progress["seeds"]}
    lately = max((progress["time"] for progress in by_seed.values()), default=0.0)
    for seed in seeds:
        progress = by_seed.get(seed)
        if progress is None:
            yield Run(variant, seed, WAITING)
            continue
        step, total = progress["step"], progress["total"]
        curve = tuple(row for row in progress["curves"] if row["seed"] == seed)
        # The seeds of a block may train one after the other: a finished one is silent while its sister runs.
        state = DONE if step >= total else RUNNING if now - lately < SILENT else STOPPED
        yield Run(variant, seed, state, step, total, progress["seconds"], curve)


def _same(trained: dict[str, Any], requested: dict[str, Any]) -> bool:
    """Was it trained under this config? Checkpoints that only the user knows need not be given again to watch."""
    requested = copy.deepcopy(requested)
    for side in paths.MODALITIES:
        section = requested["encoders"][side]
        if section["checkpoint"] is None:
            section["checkpoint"] = flatten(trained).get(f"encoders.{side}.checkpoint")
    return trained_alike(trained, requested)


def _fits(value: Any, shape: Any) -> bool:
    """Is it what a job of this version writes?"""
    try:
        check(value, shape, "", more=True)
    except UserError:
        return False
    return True


def _rows(file: Path) -> list[dict[str, Any]]:
    """Rows of a ``curves.csv``; none where they cannot be read."""
    try:
        table = read_table(read_csv(file, ""), TABLES["curves"][1])
    except (UserError, ValueError, csv.Error):
        return []
    rows = [dict(zip(table.columns, row, strict=True)) for row in zip(*table.data.values(), strict=True)]
    return rows if _fits(rows, CURVES) else []


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
