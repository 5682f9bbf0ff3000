"""``estimate``: what a study will cost, from a few measured steps of each of its variants, before anyone spends it."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch

from fne.steps.forecast import makespan
from fne.steps.resources import Need, write
from fne.steps.train import together
from fne.study import paths
from fne.study.api import Study, arguments, blocks, parse_block, resolve
from fne.training.engine import Engine
from fne.training.pairs import for_engine, open_corpus, torch_device
from fne.utils.errors import UserError, bad_input
from fne.utils.progress import Progress
from fne.utils.provenance import peak_memory_mb
from fne.utils.text import columns, size

STEPS, SECONDS = 4, 3.0
"""Of a phase at least so many steps are measured, and for so long, where its epoch has them."""


@dataclass(frozen=True)
class Measured:
    """What one engine of a variant costs.

    Args:
        seeds: That train together as one engine.
        begin: Seconds until it trains: reading the data and building the model.
        steps: Of an epoch.
        phases: (epochs, seconds per step) of the epochs that cost the same.
        validations: Of a whole run.
        validation: Seconds of one.
        memory: Greatest memory in bytes, of the GPU where there is one.
    """

    seeds: int
    begin: float
    steps: int
    phases: tuple[tuple[int, float], ...]
    validations: int
    validation: float
    memory: int

    @property
    def seconds(self) -> float:
        """``begin + steps sum_phases epochs step + validations validation``."""
        training = self.steps * sum(epochs * step for epochs, step in self.phases)
        return self.begin + training + self.validations * self.validation


class _Enough(Exception):
    """Ends the run of a throw-away engine."""


class _TrialEngine(Engine):
    """An engine that trains from any step on, as if those before it had been done, until enough was measured."""

    validation = 0.0

    def now(self) -> float:
        """Seconds, once everything that was begun is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.monotonic()

    def phases(self) -> list[list[int]]:
        """Epochs whose steps cost the same: of one phase, with as many parameters trained."""
        alike: dict[tuple[bool, int], list[int]] = {}
        for epoch in range(self.epochs):
            self.learner.start_epoch(epoch)
            trained = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
            alike.setdefault((epoch >= self.config["warmup"]["epochs"], trained), []).append(epoch)
        return [*alike.values()]

    def go(self, step: int, after_step: Callable[[float | None], None]) -> None:
        """Train from a step on, until ``after_step`` has had enough."""
        self.step = step
        try:
            self.run(after_step)
        except _Enough:
            pass

    def step_seconds(self, epoch: int) -> float:
        """Mean seconds of the steps of an epoch, its first one apart, which also begins the epoch."""
        stamps: list[float] = []

        def after(score: float | None) -> None:
            stamps.append(self.now())
            if len(stamps) == self.steps or (len(stamps) > STEPS and stamps[-1] - stamps[0] >= SECONDS):
                raise _Enough

        began, self.validations = self.now(), 0
        self.go(epoch * self.steps, after)
        return (stamps[-1] - stamps[0]) / (len(stamps) - 1) if len(stamps) > 1 else stamps[0] - began

    def validation_seconds(self) -> float:
        """Seconds of a validation, after the last step of a run."""

        def after(score: float | None) -> None:
            raise _Enough

        self.validations = 1
        self.go(self.total_steps - 1, after)
        return self.validation

    def _validate(self, epoch: int, main: bool, last: bool) -> float:
        began = self.now()
        score = super()._validate(epoch, main, last)
        self.validation = self.now() - began
        return score


def measure(study: Study, variant: str, root: Path, threads: int, device: str) -> Measured:
    """Measure one variant; reads training and validation data only and leaves nothing behind.

    Raises:
        UserError: The data, the features or the encoders are missing.
    """
    began = time.monotonic()
    torch.set_num_threads(threads)
    where, config = torch_device(device), resolve(study, variant)
    on_gpu = where.type == "cuda"
    train, val, _ = open_corpus(study, root, workers=threads if on_gpu else 0).training(config, where)
    seeds = together(parse_block(blocks(study)[0]), config, train, val, where)[0]
    engine = _TrialEngine(for_engine(config, train), seeds, train, val, where)
    begin = engine.now() - began
    phases = tuple((len(epochs), engine.step_seconds(epochs[0])) for epochs in engine.phases())
    validation = engine.validation_seconds()
    memory = torch.cuda.max_memory_allocated() if on_gpu else int((peak_memory_mb() or 0) * 2**20)
    validations = engine.epochs * config["train"]["validations"]
    return Measured(len(seeds), begin, engine.steps, phases, validations, validation, memory)


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
        problem, hint = "is missing, and training reads it", f"run first: {commands}"
        raise bad_input(problem, file=root / missing[0][0], hint=hint)


def run(
    study: Study, root: Path, threads: int, device: str, jobs: int = 1, resources: bool = False
) -> dict[str, Measured]:
    """Measure every variant of a study, each in a process of its own, and print what the study will cost.

    Args:
        study, root: What is measured.
        threads, device: Of a job.
        jobs: Side by side, for the wall time.
        resources: Also write the profile of the study.

    Raises:
        UserError: Something is missing, or a variant needs more memory than there is.
    """
    check_ready(study, root)
    result: dict[str, Measured] = {}
    with Progress(f"estimate {study.name}", len(study.variants), "variants") as progress:
        for variant in study.variants:
            with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
                try:
                    result[variant] = pool.submit(measure, study, variant, root, threads, device).result()
                except BrokenProcessPool:
                    raise UserError(
                        f"{study.name}/{variant}: the process that measured it was killed, most likely because "
                        "the machine's memory does not suffice; see train.batch_size, memory.size"
                    ) from None
            progress.add(1, variant)
    seeds = [len(parse_block(block)) for block in blocks(study)]
    print(table(result, seeds, device, threads, jobs))
    if resources:
        seconds = max(_jobs(m, seeds)[0] for m in result.values())
        memory = 4000.0 if device == "cuda" else max(m.memory for m in result.values()) / 1e6
        whole = study.regime == "finetune"
        need = Need(seconds, memory, int(device == "cuda"), threads if whole else 1)
        print(f"written: {write(study, root, need, f'measured on {device} of this machine')}")
    return result


def _jobs(m: Measured, seeds: Sequence[int]) -> list[float]:
    """Seconds of each job of a variant, the longest first."""
    return sorted((-(-count // m.seeds) * m.seconds for count in seeds), reverse=True)


def table(result: dict[str, Measured], seeds: Sequence[int], device: str, threads: int, at_once: int = 1) -> str:
    """The estimates as aligned plain text, one line a variant, and what the whole study costs.

    Args:
        result: By variant.
        seeds: Number of seeds of each job.
        device, threads: As in :func:`run`.
        at_once: Jobs side by side.
    """
    rows = [["variant", "s/step", "s/validation", "one job", "jobs", "hours", "memory"]]
    every: list[float] = []
    for variant, m in result.items():
        jobs = _jobs(m, seeds)
        every += jobs
        rows.append([variant, f"{m.phases[-1][1]:.3g}", f"{m.validation:.3g}", str(timedelta(seconds=round(jobs[0]))),
                     str(len(jobs)), f"{sum(jobs) / 3600:.3g}", size(m.memory)])  # fmt: skip
    rows.append(["all", "", "", "", str(len(every)), f"{sum(every) / 3600:.3g}", ""])
    return "\n".join([
        *columns(rows, numbers=True),
        "",
        f"Training on {device} with {threads} CPU thread{'s' * (threads > 1)} a job; wall time with {at_once} at a "
        f"time: {timedelta(seconds=round(makespan(every, at_once)))}. Ranking and scoring come on top. Other work on "
        "this machine makes the numbers larger.",
    ])  # fmt: skip
