"""What the files of a study say about its runs at one moment."""

from __future__ import annotations

import copy
import csv
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fne.results.current import trained_alike
from fne.study import paths
from fne.study.api import Study, blocks, parse_block, resolve
from fne.utils.errors import UserError
from fne.utils.fields import flatten
from fne.utils.files import MOST_RECORD, read_csv, read_json

PROGRESS = "progress.json"
"""What a training job tells about itself, beside its checkpoint in ``scratch/``."""
SILENT = 180.0
"""Seconds without a word after which a job that has not ended counts as stopped."""
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
        heard: When it last told something, seconds since 1970.
    """

    variant: str
    seed: int
    state: str
    step: int = 0
    total: int = 0
    seconds: float = 0.0
    curve: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    heard: float | None = None

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
    record = _json(folder / "run.json")
    if record is not None and isinstance(record.get("config"), dict):
        fresh = _same(record["config"], resolve(study, variant))
        rows, total = _rows(folder / "curves.csv"), _steps(record)
        for seed in seeds:
            curve = tuple(row for row in rows if row["seed"] == seed)
            seconds = curve[-1]["seconds"] if curve else 0.0
            yield Run(variant, seed, DONE if fresh else STALE, total, total, seconds, curve)
        return
    told = [_json(file) for file in sorted((root / paths.scratch_folder(study, variant, block)).glob(f"*/{PROGRESS}"))]
    by_seed = {seed: progress for progress in told if progress and _tells(progress) for seed in progress["seeds"]}
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
        yield Run(variant, seed, state, step, total, progress["seconds"], curve, progress["time"])


def _same(trained: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Was it trained under this config? Checkpoints that only the user knows need not be given again to watch."""
    wanted = copy.deepcopy(wanted)
    for side in paths.MODALITIES:
        section = wanted["encoders"][side]
        if section["checkpoint"] is None:
            section["checkpoint"] = flatten(trained).get(f"encoders.{side}.checkpoint")
    return trained_alike(trained, wanted)


def _tells(progress: dict[str, Any]) -> bool:
    """Is it what a job of this version tells?"""
    numbers = all(_finite(progress.get(name)) for name in ("step", "total", "seconds", "time"))
    return (
        numbers
        and isinstance(progress.get("seeds"), list)
        and all(map(_finite, progress["seeds"]))
        and _are_rows(progress.get("curves"))
    )


def _are_rows(rows: Any) -> bool:
    """Are they rows of curves with what every row is asked for?"""
    wanted = ("seed", "epoch", "step", "seconds")
    return isinstance(rows, list) and all(
        isinstance(row, dict) and all(_finite(row.get(name)) for name in wanted) for row in rows
    )


def _steps(record: dict[str, Any]) -> int:
    cost = record.get("cost")
    steps: Any = cost.get("steps") if isinstance(cost, dict) else None
    return int(steps) if _finite(steps) else 0


def _json(file: Path) -> dict[str, Any] | None:
    try:
        content = read_json(file, most=MOST_RECORD)
    except UserError:
        return None
    return content if isinstance(content, dict) else None


def _rows(file: Path) -> list[dict[str, Any]]:
    """Rows of a ``curves.csv`` with the columns that are looked at, as numbers."""
    try:
        header, *cells = csv.reader(io.StringIO(read_csv(file, "").decode(), newline=""))
        found = [zip(header, row, strict=True) for row in cells]
        rows = [{key: value if key == "phase" else _number(value) for key, value in row} for row in found]
    except (UserError, ValueError, csv.Error):
        return []
    return rows if _are_rows(rows) else []


def _number(text: str) -> float | int | None:
    if not text:
        return None
    try:
        return int(text)
    except ValueError:
        return float(text)


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < float("inf")
