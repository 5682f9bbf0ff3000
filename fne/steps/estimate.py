"""``estimate``: what a study will cost, from a few measured steps of each of its variants, before anyone spends it."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from fne.steps.timing import Clock, Measured, measure
from fne.steps.train import CHECKPOINT_SECONDS, CHECKPOINT_SHARE
from fne.study import paths
from fne.study.api import Study, arguments, blocks, parse_block
from fne.utils.errors import UserError, bad_input
from fne.utils.files import write_json
from fne.utils.progress import Progress
from fne.utils.text import columns, size


@dataclass(frozen=True)
class Estimate:
    """What all jobs of one variant will cost.

    Args:
        variant: Its id.
        measured: What that was computed from.
        jobs: Seconds of each job, training and ranking, when it has the machine to itself.
        memory: Greatest main memory of a job, bytes.
        device_memory: Greatest memory of the GPU that torch holds during a job, bytes; 0 on a CPU.
        disk: Of all results, bytes.
        scratch: Greatest size of a job's checkpoints, bytes; they are deleted when it ends.
    """

    variant: str
    measured: Measured
    jobs: tuple[float, ...]
    memory: int
    device_memory: int
    disk: int
    scratch: int

    @classmethod
    def of(cls, variant: str, measured: Measured, seeds: Sequence[int]) -> Estimate:
        """Add up a variant.

        Args:
            variant: Its id.
            measured: What it costs.
            seeds: Number of seeds of each job.
        """
        m = measured
        engines = [-(-count // m.together) for count in seeds]
        spare = (max(engines) - 1) * m.resident
        files = m.weights + m.picks + m.ranks
        return cls(
            variant,
            m,
            tuple(job_seconds(m, number, count) for number, count in zip(engines, seeds, strict=True)),
            m.host + (0 if m.device else spare),
            m.device + spare if m.device else 0,
            sum(seeds) * files,
            max(engines) * m.scratch,
        )


def training_seconds(m: Measured) -> float:
    """Seconds that one engine trains for, checkpoints included.

    ``t = sum_phases epochs (first + (steps - 1) step) + first validation + (validations - 1) later validation``, and a
    checkpoint at the end and at each of the intervals of :mod:`fne.steps.train`.
    """
    first, later = m.validation
    seconds = sum(phase.epochs * (phase.first + (m.steps - 1) * phase.step) for phase in m.phases)
    seconds += first + (m.validations - 1) * later
    written = 1 + int(seconds // max(CHECKPOINT_SECONDS, CHECKPOINT_SHARE * m.checkpoint))
    return seconds + written * m.checkpoint


def job_seconds(m: Measured, engines: int, seeds: int) -> float:
    """Seconds of one job: start, its engines one after the other, and then start again to rank each seed."""
    return m.start + m.once + engines * (m.build + training_seconds(m) + m.end) + m.start + m.build + seeds * m.rank


def launch_seconds(clock: Clock) -> float:
    """Seconds, by a kind of clock, of a process that imports what training imports and ends."""
    before = os.times()
    subprocess.run([sys.executable, "-c", "import fne.steps.train"], check=True)
    after = os.times()
    if clock is time.process_time:
        return after.children_user + after.children_system - before.children_user - before.children_system
    return after.elapsed - before.elapsed


def wall_seconds(jobs: Sequence[float], side_by_side: int) -> float:
    """Seconds until all jobs are done, the longest first, each on the place that is free first."""
    places = [0.0] * side_by_side
    for seconds in sorted(jobs, reverse=True):
        places[places.index(min(places))] += seconds
    return max(places)


def check_ready(study: Study, root: Path) -> None:
    """Check that all is there that training reads.

    Raises:
        UserError: Names the steps to run first.
    """
    steps = [(paths.manifest(study), "prepare")]
    for side in paths.MODALITIES:
        features = paths.features_folder(study, side) / "manifest.json"
        encoder_is_read = study.regime == "finetune" or not (root / features).exists()
        if encoder_is_read and paths.is_pretrained_here(study, side):
            steps.append((paths.encoder_folder(study, side) / "model.safetensors", f"pretrain --modality {side}"))
        if study.regime == "head":
            steps.append((features, f"extract --modality {side}"))
    missing = [(file, verb) for file, verb in steps if not (root / file).exists()]
    if missing:
        commands = ", ".join(f"`fne {verb} {arguments(study)}`" for _, verb in missing)
        raise bad_input("is missing, and training reads it", file=root / missing[0][0],
                        hint=f"run first: {commands}")  # fmt: skip


def run(
    study: Study, root: Path, threads: int, device: str, side_by_side: int, out: Path | None = None
) -> list[Estimate]:
    """Measure every variant of a study, each in a process of its own, and print what the study will cost.

    On a CPU with one thread a job the time is that of the processor, which waiting for other work does not stretch
    (sharing caches with it does).

    Args:
        study: The study.
        root: The project's folder; nothing is left in it.
        threads: CPU threads of a job.
        device: ``cpu`` or ``cuda``.
        side_by_side: Jobs at a time, for the time until all are done.
        out: A JSON file for the estimates and what they were computed from.

    Raises:
        UserError: Something is missing, or a variant needs more memory than there is.
    """
    check_ready(study, root)
    load = os.getloadavg()[0]
    clock = time.process_time if device == "cpu" and threads == 1 else time.monotonic
    launch = launch_seconds(clock)
    seeds = [len(parse_block(block)) for block in blocks(study)]
    with Progress(f"estimate {study.name}", len(study.variants), "variants") as progress:
        result = []
        for variant in study.variants:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                job = pool.submit(measure, study, variant, root, threads, device, clock, launch)
                try:
                    result.append(Estimate.of(variant, job.result(), seeds))
                except BrokenProcessPool:
                    raise UserError(
                        f"{study.name}/{variant}: the process that measured it was killed, most likely because "
                        "the machine's memory does not suffice; see train.batch_size, memory.size"
                    ) from None
            progress.add(1, variant)
    print(table(study, result, threads, device, side_by_side, load), end="")
    if out is not None:
        write_json(out, as_record(study, result, threads, device, side_by_side))
    return result


def as_record(study: Study, result: Sequence[Estimate], threads: int, device: str, side_by_side: int) -> dict[str, Any]:
    """The estimates as JSON: seconds and bytes."""
    jobs = [seconds for estimate in result for seconds in estimate.jobs]
    return {
        "study": study.name,
        "device": device,
        "threads": threads,
        "seconds": sum(jobs),
        "side_by_side": side_by_side,
        "wall_seconds": wall_seconds(jobs, side_by_side),
        "variants": [asdict(estimate) for estimate in result],
    }


def table(
    study: Study, result: Sequence[Estimate], threads: int, device: str, side_by_side: int, load: float = 0.0
) -> str:
    """The estimates as aligned plain text, one line a variant, and what the whole study costs.

    Args:
        study, result, threads, device, side_by_side: As in :func:`run`.
        load: Of the machine before anything was measured; other work slows what is measured beside it.
    """
    on_gpu = device == "cuda"
    unit, share = ("GPU-hours", 1) if on_gpu else ("core-hours", threads)
    gpu = ["GPU memory"] if on_gpu else []
    rows = [["variant", "s/step", "validation", "one job", "jobs", unit, "memory", *gpu, "results", "checkpoints"]]

    def add(name: str, step: str, validation: str, jobs: Sequence[float], of: Sequence[Estimate], scratch: int) -> None:
        memory = [size(max(e.memory for e in of)), *([size(max(e.device_memory for e in of))] if on_gpu else [])]
        hours, disk = f"{sum(jobs) * share / 3600:.3g}", size(sum(e.disk for e in of))
        rows.append([name, step, validation, _time(max(jobs)), str(len(jobs)), hours, *memory, disk, size(scratch)])

    for e in result:
        add(e.variant, f"{e.measured.phases[-1].step:.3g}", f"{e.measured.validation[1]:.3g} s", e.jobs, [e], e.scratch)
    jobs = [seconds for e in result for seconds in e.jobs]
    scratch = sorted((e.scratch for e in result for _ in e.jobs), reverse=True)[:side_by_side]
    add(f"all {len(study.seeds)} seeds", "", "", jobs, result, sum(scratch))
    whole = f"wall time: {_time(sum(jobs))} one job at a time"
    if side_by_side > 1:
        whole += f", {_time(wall_seconds(jobs, side_by_side))} with {side_by_side} side by side"
    notes = [
        f"{whole}, on {device}, {threads} CPU thread{'s' * (threads > 1)} a job.",
        "Training and ranking, each job as if it had the machine to itself; jobs side by side share memory and disk.",
    ]
    cores = os.cpu_count() or 1
    if load > cores:
        notes.append(f"The machine was busy (load {load:.1f}, {cores} cores): on an idle one it takes less time.")
    return "\n".join([*columns(rows, numbers=True), "", *notes]) + "\n"


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
