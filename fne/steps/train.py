"""One training job: one variant, one block of seeds, from features to weights, curves, picks and records."""

from __future__ import annotations

import contextlib
import io
import json
import math
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from fne.negatives.strategy import LANES
from fne.results.code import Code
from fne.results.current import take_back
from fne.results.schema import write_part
from fne.study import paths
from fne.study.api import Study, digest, parse_block, resolve
from fne.training import checkpoint, distributions, picks
from fne.training.distributed import World
from fne.training.engine import Engine
from fne.training.pairs import Corpus, for_engine, open_corpus, torch_device
from fne.utils import provenance
from fne.utils.errors import UserError, bad_input
from fne.utils.files import SCHEMAS, atomic_files, write_json
from fne.utils.progress import Progress
from fne.utils.signals import NOTHING, STOP, TERMINATED, Requests

if TYPE_CHECKING:
    from fne.training.data import Pairs
    from fne.training.finetune.dataset import PixelCorpus

FIRST_CHECKPOINT, CHECKPOINT_SECONDS = 3.0, 30.0
"""Seconds of training until the first checkpoint, so that a job that is often killed early gets on, and between all."""
PAIRS_TOGETHER = 1_000_000
"""Pairs of anchor and candidate, over all replicates, that one engine on a CPU compares in a step and direction. On a
Xeon with 300 MB of cache five replicates below it take 0.6 to 0.8 of the time of five alone, and 0.8 to 1.0 with a
million pairs each (docs/performance.md); on a machine with less cache such large ones took 1.4."""
TRIED = 2
"""Steps of the warm-up and of the main phase in which seeds together have to give the weights of seeds alone."""
CHECKPOINT_SHARE = 50
"""A checkpoint that takes a second to write waits for the next one 50: writing takes at most 2 % of the time."""


def run(
    study: Study,
    variant: str,
    block: str,
    root: Path,
    threads: int,
    device: str,
    checkpoint_every: int | None = None,
    corpus: Corpus | PixelCorpus | None = None,
    keep_state: bool = False,
) -> None:
    """Train a block of seeds of a variant and write ``results/<study>/<variant>/<block>/``.

    On a GPU, which such small heads leave waiting for launches, the whole block trains as one engine along the
    replicate axis; on a CPU as many seeds as :data:`PAIRS_TOGETHER` allows where they are bit-equal to seeds alone, and
    one after the other elsewhere, for a seed's weights must not depend on its block. In the regime ``finetune`` one
    seed trains at a time, in all processes of the world. A killed run continues from its last
    checkpoint in ``scratch/`` and gives bit-equal weights on the same machine. SIGUSR1 saves a checkpoint after the
    current step; SIGTERM saves one and ends the job with status 143.

    Args:
        study, variant, block: What to train.
        root: The project's folder.
        threads: CPU threads of torch.
        device: ``auto``, ``cpu`` or ``cuda``.
        checkpoint_every: Steps between checkpoints; by default one after 3 seconds and then every 30, fewer where they
            are large.
        corpus: The data, where it is open.
        keep_state: Leave the last checkpoint in ``scratch/``, so that a job that has more to do is not trained again.

    Raises:
        UserError: The inputs do not fit, or every replicate diverged.
    """
    torch.set_num_threads(threads)
    started = provenance.now()
    config, seeds, where = resolve(study, variant), parse_block(block), torch_device(device)
    code = Code(root).training(config)
    corpus = corpus or open_corpus(study, root, workers=threads if where.type == "cuda" else 0)
    scratch, target = root / paths.scratch_folder(study, variant, block), root / paths.run_folder(study, variant, block)
    world = World.here()
    made = world.rank == 0 and take_back(scratch, target, config, code, corpus.fingerprints, keep_state=keep_state)
    if world.largest(int(made)):
        return
    train, val, fitted = corpus.training(config, where)
    if world.size > 1 and study.regime == "head":
        raise bad_input(
            "heads on frozen features train in one process", key="WORLD_SIZE", value=world.size, allowed=[1]
        )
    identity = {
        "regime": study.regime,
        "processes": world.size,
        "digest": digest(config),
        "audit": config["audit"],
        "code": code,
        **corpus.fingerprints,
    }
    engines = []
    for group in together(seeds, config, train, val, where):
        engine = Engine(for_engine(config, train), group, train, val, where)
        name = "-".join(str(seed) for seed in group)
        _train(engine, scratch / name, {**identity, "seeds": group}, f"{variant} seed {name}", checkpoint_every)
        engine.release()
        engines.append(engine)
    if world.rank > 0:
        return
    if all((engine.best_epoch < 0).all() for engine in engines):
        raise UserError(
            f"{study.name}/{variant}/{block}: every replicate diverged (its validation score was never a "
            "number); lower train.learning_rate"
        )
    steps = engines[0].total_steps
    seconds = sum(engine.curves[-1]["seconds"] for engine in engines)
    with atomic_files(target, last="run.json") as folder:
        kept = _write(folder, engines, fitted)
        write_json(
            folder / "run.json",
            {
                "schema": SCHEMAS["run"],
                "study": study.name,
                "variant": variant,
                "title": study.library[variant].title,
                "seeds": seeds,
                "config": config,
                "digest": digest(config),
                "code": code,
                "selection": {
                    "rule": config["train"]["selection"],
                    "per_seed": [s for e in engines for s in _selected(e)],
                },
                "picks": kept,
                "fingerprints": corpus.fingerprints,
                "processes": world.size,
                "record": provenance.record(started, device=where.type, inputs=corpus.fingerprints),
                "cost": {
                    "seconds_total": round(seconds, 3),
                    "steps": steps,
                    "seeds": len(seeds),
                    "seconds_per_step": round(seconds / (steps * len(seeds)), 6),
                },
            },
        )
    if not keep_state:
        shutil.rmtree(scratch, ignore_errors=True)


def together(
    seeds: list[int], config: dict[str, Any], train: Pairs, val: Pairs, device: torch.device
) -> list[list[int]]:
    """The seeds of a block in the groups that train as one engine; see :func:`run`."""
    if config["regime"] == "finetune":
        return [[seed] for seed in seeds]
    if device.type == "cuda":
        return [seeds]
    batch, memory = config["train"]["batch_size"], config["memory"]
    candidates = math.inf if memory["kind"] == "bank" else batch + (memory.get("size") or 0)
    count = min(len(seeds), int(PAIRS_TOGETHER // (batch * candidates)))
    even = not batch % LANES and torch.get_num_threads() == 1
    if count < 2 or not even or not equal_together(seeds[:count], config, train, val):
        return [[seed] for seed in seeds]
    return [seeds[at : at + count] for at in range(0, len(seeds), count)]


def equal_together(seeds: list[int], config: dict[str, Any], train: Pairs, val: Pairs) -> bool:
    """Whether the first and the last of some seeds get the same weights, bit by bit, in one engine as alone.

    Sizes that are no multiple of :data:`LANES` are refused, strategies with tables of others (``Strategy.even``), and
    guides, which hold the whole split for each seed. Whether batched products round as single ones do depends on the
    processor too, and is tried.
    """
    settings = for_engine(config, train)

    def engine(group: list[int]) -> Engine:
        return Engine(settings, group, train, val, torch.device("cpu"))

    def weights(engine: Engine) -> dict[str, Tensor]:
        for begin in sorted({0, min(config["warmup"]["epochs"], engine.epochs - 1) * engine.steps}):
            engine.step, end = begin, begin + min(TRIED, engine.steps)

            def after(_: float | None, end: int = end) -> None:
                if engine.step >= end:
                    raise StopIteration

            with contextlib.suppress(StopIteration):
                engine.run(after)
        return engine.model.state_dict()

    whole = engine(seeds)
    odd = any(parameter[0].numel() % LANES for parameter in whole.model.parameters())
    if odd or not whole.rule.strategy.even or "guide" in whole.needs:
        return False
    both, ends = weights(whole), ((0, weights(engine(seeds[:1]))), (-1, weights(engine(seeds[-1:]))))
    return all(torch.equal(both[name][[row]], value) for row, alone in ends for name, value in alone.items())


def _train(engine: Engine, scratch: Path, identity: dict[str, Any], label: str, checkpoint_every: int | None) -> None:
    """Train an engine to its end, from its last checkpoint if there is one."""
    checkpoint.load(engine, scratch, identity)
    world = World.here()
    first = world.rank == 0  # all ranks hold the same state: one of them tells and saves
    spent = engine.curves[-1]["seconds"] if engine.curves else 0.0
    clock = saved = time.monotonic()
    wait = FIRST_CHECKPOINT
    stream = None if first else io.StringIO()
    progress = Progress(label, engine.total_steps, "steps", done=engine.step, stream=stream)

    def after_step(score: float | None) -> None:
        nonlocal saved, wait
        if score is not None and engine.curves and engine.curves[-1]["step"] == engine.step:
            for row in engine.curves[-len(engine.seeds) :]:
                row["seconds"] = round(spent + time.monotonic() - clock, 3)
        progress.add(1, "" if score is None else f"validation rsum {100 * score:.1f}")
        due = engine.step % checkpoint_every == 0 if checkpoint_every else time.monotonic() - saved > wait
        wish = world.largest(requests.take())
        if first and (due or wish != NOTHING or engine.step == engine.total_steps):
            began = time.monotonic()
            checkpoint.save(engine, scratch, identity)
            saved = time.monotonic()
            wait = max(CHECKPOINT_SECONDS, CHECKPOINT_SHARE * (saved - began))
        if wish == STOP:
            if first:
                print(f"{label}: stopped by SIGTERM after step {engine.step} of {engine.total_steps}; the same command "
                      f"continues from {scratch / checkpoint.NAME}", file=sys.stderr, flush=True)  # fmt: skip
            raise SystemExit(TERMINATED)

    with Requests() as requests, progress:
        engine.run(after_step)
        progress.outcome = _outcome(engine)


def _outcome(engine: Engine) -> str:
    scores = [f"{100 * score:.1f}" for score in engine.best_score.tolist()]
    return f"selected validation rsum {' '.join(scores)}"


def _selected(engine: Engine) -> list[dict[str, Any]]:
    chosen = zip(engine.seeds, engine.best_epoch.tolist(), engine.best_score.tolist(), strict=True)
    return [{"seed": seed, "epoch": epoch, "val_rsum": score if epoch >= 0 else None} for seed, epoch, score in chosen]


def _write(folder: Path, engines: list[Engine], fitted: dict[str, Tensor]) -> dict[str, Any]:
    """Everything that a block leaves behind except its record; replicates in the order of the seeds.

    Returns:
        What the record says about the picks.
    """
    seeds = [seed for engine in engines for seed in engine.seeds]
    best = [engine.learner.stacked(engine.best) for engine in engines]
    tensors = {name: torch.cat([weights[name] for weights in best]).cpu() for name in best[0]}
    save_file(tensors | fitted, folder / "weights.safetensors", metadata={"seeds": json.dumps(seeds)})
    curves = [row for engine in engines for row in engine.curves]
    write_part(folder / "curves.parquet", sorted(curves, key=lambda row: seeds.index(row["seed"])))
    audit = [{"seed": seed, **row} for engine in engines for r, seed in enumerate(engine.seeds)
             for row in engine.diagnostics.audit_rows(r)]  # fmt: skip
    write_part(folder / "audit.parquet", audit)
    parts = [engine.picks.columns() for engine in engines]
    joined = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    order = joined["seed"].argsort(stable=True)  # seed by seed, whichever trained together
    columns = {name: column[order].numpy() for name, column in joined.items()}
    size = picks.write(folder / "picks.npz", columns)
    measured = []
    for engine in engines:
        engine.model.load_state_dict(engine.best, strict=True)
        prior = engine.config["negatives"].get("prior")
        measured += distributions.measure(engine.learner, engine.train, engine.seeds, engine.batch_size, prior)
    write_json(folder / "distributions.json", measured, indent=None)
    return engines[0].picks.plan.told(len(columns["seed"]), size, len(seeds))
