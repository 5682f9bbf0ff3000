"""What a run costs, measured: a few real steps of every phase, a validation, a checkpoint, on a throw-away engine."""

from __future__ import annotations

import gc
import io
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fne.data.manifest import Manifest, count_splits
from fne.data.ranked_captions import first_captions
from fne.steps.rank import rank_replicates, relevant_items
from fne.steps.train import together
from fne.study import paths
from fne.study.api import Study, blocks, parse_block, resolve
from fne.training import checkpoint, distributions, picks
from fne.training.data import Pairs
from fne.training.engine import Engine
from fne.training.pairs import open_corpus, torch_device
from fne.utils.provenance import peak_memory_mb

Clock = Callable[[], float]
SECONDS = 3.0
"""A phase is measured for at least this long, where its epoch is."""
STEPS = 4
"""And for at least so many steps."""
SKIPPED = 1
"""First steps of an epoch that are not measured: what runs ahead of the encoders is not yet ahead."""
SAMPLED = 4
"""Batches of the measurements at a run's end that are timed, of :data:`fne.training.distributions.BATCHES`."""


@dataclass(frozen=True)
class Phase:
    """Epochs that cost the same.

    Args:
        epochs: How many.
        first: Seconds of an epoch's first step, with all that comes before it.
        step: Seconds of any other step.
    """

    epochs: int
    first: float
    step: float


@dataclass(frozen=True)
class Measured:
    """What one variant costs: seconds and bytes; ``together`` seeds train as one engine.

    Args:
        together: R.
        start: Launching a process, ending it, and reading its data.
        once: What the first engine of a process takes longer to build, and to make its first step, than another.
        build: Of an engine, with what happens in its very first step only.
        steps: Of an epoch.
        phases: In order.
        validations: Of a whole run.
        validation: (the first, any later one): frozen encoders read a split once.
        checkpoint: Writing one.
        end: The measurements on the selected weights.
        rank: Embedding and ranking the test split with one seed, as far as validation tells.
        host, device: Greatest memory in bytes; ``device`` is 0 on a CPU.
        resident: Memory that an engine which has finished keeps until its job ends.
        weights, picks, ranks: Bytes on disk for one seed.
        scratch: Bytes of a checkpoint.
    """

    together: int
    start: float
    once: float
    build: float
    steps: int
    phases: tuple[Phase, ...]
    validations: int
    validation: tuple[float, float]
    checkpoint: float
    end: float
    rank: float
    host: int
    device: int
    resident: int
    weights: int
    picks: int
    ranks: int
    scratch: int


class _Enough(Exception):
    """Ends the run of a throw-away engine."""


class _Rehearsal(Engine):
    """An engine that can be stopped and times its validations."""

    clock: Clock
    validation: list[float]

    @classmethod
    def begin(
        cls, config: dict[str, Any], seeds: list[int], train: Pairs, val: Pairs, device: torch.device, clock: Clock
    ) -> tuple[_Rehearsal, float, float]:
        """An engine, the seconds that it took to build, and those of its very first step."""
        began = clock()
        engine = cls(config, seeds, train, val, device)
        engine.clock = clock
        built = engine.now() - began
        return engine, built, engine.stretch(0, 1, 0, 0.0)[0]

    def now(self) -> float:
        """The clock, once everything that was begun is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return self.clock()

    def _validate(self, epoch: int, main: bool, last: bool) -> float:
        began = self.now()
        score = super()._validate(epoch, main, last)
        self.validation.append(self.now() - began)
        return score

    def go(self, first: int, after_step: Callable[[float | None], None]) -> None:
        """Train from any step, as if all steps before it had been done, until ``after_step`` has had enough."""
        self.step = first
        try:
            self.run(after_step)
        except _Enough:
            pass

    def stretch(self, epoch: int, steps: int, skipped: int, seconds: float) -> tuple[float, float]:
        """Seconds of the first step of an epoch, with its beginning, and mean seconds of a later one.

        Args:
            epoch: Where.
            steps: Least number of steps to measure.
            skipped: Steps after the first that are not measured.
            seconds: Least time to measure for; the end of the epoch ends it in any case.
        """
        skipped = max(0, min(skipped, self.steps - 2))
        stamps = [self.now()]

        def after(score: float | None) -> None:
            done = self.step - epoch * self.steps
            if done in (1, 1 + skipped):
                stamps.append(self.now())
            measured = done - 1 - skipped
            if done == self.steps or (measured >= steps and self.clock() - stamps[0] >= seconds):
                stamps.extend((self.now(), measured))
                raise _Enough

        self.validations = 0
        self.go(epoch * self.steps, after)
        first = stamps[1] - stamps[0]
        return first, (stamps[-2] - stamps[-3]) / stamps[-1] if stamps[-1] else first

    def validated(self) -> float:
        """Seconds of one validation, after the last step of the last epoch."""

        def after(score: float | None) -> None:
            raise _Enough

        self.validation, self.validations = [], 1
        self.go(self.total_steps - 1, after)
        return self.validation[0]

    def kinds(self) -> dict[tuple[bool, int], list[int]]:
        """Epochs by what makes their steps cost the same: the phase, and how many parameters are trained."""
        result: dict[tuple[bool, int], list[int]] = {}
        for epoch in range(self.epochs):
            self.learner.start_epoch(epoch)
            trained = sum(p.numel() for p in self.model.parameters() if p.requires_grad)
            result.setdefault((epoch >= self.config["warmup"]["epochs"], trained), []).append(epoch)
        return result


def measure(study: Study, variant: str, root: Path, threads: int, device: str, clock: Clock, launch: float) -> Measured:
    """Measure one variant; reads training and validation data only and leaves nothing behind.

    Args:
        study, variant: What.
        root: The project's folder.
        threads: CPU threads of torch.
        device: ``cpu`` or ``cuda``.
        clock: Gives seconds.
        launch: Seconds that it takes to launch such a process and to end it.

    Raises:
        UserError: The data, the features or the encoders are missing.
    """
    began = clock()
    torch.set_num_threads(threads)
    where, config = torch_device(device), resolve(study, variant)
    on_gpu = where.type == "cuda"
    seeds = together(parse_block(blocks(study)[0]), study.regime, where)[0]
    corpus = open_corpus(study, root, workers=threads if on_gpu else 0)
    train, val, fitted = corpus.training(config, where)
    loaded = clock()
    engine, built, cold = _Rehearsal.begin(config, seeds, train, val, where, clock)
    once = built + cold
    del engine
    gc.collect()
    engine, built, cold = _Rehearsal.begin(config, seeds, train, val, where, clock)
    kinds = engine.kinds()
    skipped = SKIPPED + (threads if on_gpu else 0)
    stretches = [engine.stretch(epochs[0], STEPS, skipped, SECONDS) for epochs in kinds.values()]
    phases = tuple(Phase(len(epochs), *seconds) for epochs, seconds in zip(kinds.values(), stretches, strict=True))
    validation = (engine.validated(), engine.validated())
    saved, scratch = _checkpoint(engine, root / paths.scratch_folder(study, variant, "0").parents[2])
    ending, prior = engine.now(), config["negatives"].get("prior")
    distributions.measure(engine.learner, train, seeds, engine.batch_size, prior, batches=SAMPLED)
    end = (engine.now() - ending) * distributions.BATCHES / SAMPLED
    host = int((peak_memory_mb() or 0) * 2**20)
    on_device = torch.cuda.max_memory_allocated() if on_gpu else 0
    rank, ranks = _rank(engine, Manifest.open(root / paths.data_folder(study)), validation[0] / len(seeds))
    held = [*engine.state().values(), *(p.grad for p in engine.model.parameters() if p.grad is not None)]
    return Measured(
        together=len(seeds),
        start=launch + loaded - began,
        once=max(0.0, once - built - cold),
        build=built + max(0.0, cold - phases[0].first),
        steps=engine.steps,
        phases=phases,
        validations=engine.epochs * config["train"]["validations"],
        validation=validation,
        checkpoint=saved,
        end=end,
        rank=rank,
        host=host,
        device=on_device,
        resident=sum(value.nbytes for value in held),
        weights=sum(value.nbytes for value in engine.best.values()) // len(seeds),
        picks=_picked(engine) // len(seeds),
        ranks=ranks,
        scratch=scratch,
    )


def _picked(engine: _Rehearsal) -> int:
    """Bytes of the picks that a run keeps, as well compressed as those kept so far."""
    columns, requested = engine.picks.columns(), engine.picks.plan.rows * len(engine.seeds)
    if not (result := len(columns["seed"])):
        return requested * picks.ROW_BYTES
    file = io.BytesIO()
    picks.dump(file, columns)
    return len(file.getvalue()) * requested // result


def _checkpoint(engine: _Rehearsal, scratch: Path) -> tuple[float, int]:
    """Seconds and bytes of a checkpoint, on the disk where checkpoints go."""
    place = scratch if scratch.is_dir() else scratch.parent
    with tempfile.TemporaryDirectory(dir=place, prefix=".estimate-") as folder:
        began = engine.now()
        checkpoint.save(engine, Path(folder), {})
        return engine.now() - began, (Path(folder) / checkpoint.NAME).stat().st_size


def _rank(engine: _Rehearsal, manifest: Manifest, embedding: float) -> tuple[float, int]:
    """Seconds and bytes of ranking the test split with one seed, from ranking the validation split.

    Args:
        engine: Of any weights.
        manifest: Its counts say how large both splits are.
        embedding: Seconds of embedding the validation split.
    """
    view, truth, kept = first_captions(manifest.dataset, manifest.split("val"), manifest.truth("val"))
    arrays, _ = relevant_items(manifest, view, truth)
    image, text = engine.learner.embed_split(engine.val)
    began = engine.now()
    ranked, _ = rank_replicates([(engine.seeds[0], image[0], text[0][torch.as_tensor(kept)])], arrays)
    seconds = engine.now() - began
    file = io.BytesIO()
    stored: dict[str, Any] = {**arrays, **ranked}
    np.savez_compressed(file, **stored)
    counts = count_splits(manifest.image_splits, manifest.caption_image)
    images, captions = (counts["test"][side] / counts["val"][side] for side in ("images", "captions"))
    return embedding * max(images, captions) + seconds * images * captions, int(len(file.getvalue()) * captions)
