"""The tuning protocol: the same number of trials for every variant over declared ranges, judged on validation only."""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import yaml

import fne
from fne.study import paths
from fne.study.api import Study, oracle_bases, resolve, training_digest
from fne.study.fields import flatten, unflatten
from fne.study.tuning import Tuning
from fne.study.yaml_file import read_mapping
from fne.training.data import Split
from fne.training.engine import Engine
from fne.training.pairs import open_corpus, torch_device
from fne.utils.errors import bad_input
from fne.utils.files import read_json, sha256_text, write_json, write_text
from fne.utils.progress import Progress
from fne.utils.seeding import numpy_stream

HEADER = """# Written by `fne tune`: what the search that the study of this name declares found, on validation alone.
# `declared` is a copy of that declaration; `border` lists best values that lie at the border of their range.
"""
METRIC = "mean over the tuning seeds of the selected validation rsum"


def run(study: Study, root: Path, threads: int, device: str) -> None:
    """Search the ranges that a study declares for each of its variants; write ``ablations/tuned/<study>.yaml``.

    A variant that differs from another one by its oracle alone takes over the latter's values: what the two differ in
    is then what the truth is worth.

    A trial whose resolved config, tuning seeds and data are those of one that the file records, or that was finished
    before a kill, is not run again: a variant that is added runs its own trials and no others.

    Args:
        study: Loaded without tuned values (``load_study(..., tuned=False)``).
        root: The project's folder.
        threads: Trials run side by side on a CPU, one thread each.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        UserError: The study declares no search, or the command line chose among its variants.
    """
    if study.tune is None:
        allowed = "tune: {budget: 6, seeds: [1000], search: {train.learning_rate: [0.001, 0.002]}}"
        raise bad_input("declares no search", file=study.name, key="tune", allowed=allowed)
    if "variants" in study.overrides:
        hint = "trials that were made are not made again"
        raise bad_input("tuning is of the whole study", file="command line", key="variants", hint=hint)
    file, tune = root / paths.tuned(study), study.tune
    bases = oracle_bases(study)
    searched = [variant for variant in study.variants if variant not in bases]
    plans = {v: trials(flatten(resolve(study, v)), tune.search, tune.budget) for v in searched}
    jobs = {
        (variant, number): unflatten({**flatten(resolve(study, variant)), **values})
        for variant, plan in plans.items()
        for number, values in enumerate(plan)
    }
    data = _data_fingerprint(study, root)
    before = read_mapping(file) if file.is_file() else {}
    scores = _scores(jobs, recorded(before, tune, data), study, root, threads, device)
    values, reasons, border, rows = {}, {}, {}, []
    for variant, plan in plans.items():
        found = [scores[variant, number] for number in range(len(plan))]
        best = max(range(len(plan)), key=lambda number, found=found: found[number])
        values[variant], border[variant] = plan[best], at_border(plan[best], tune.search)
        reasons[variant] = reason(found, border[variant])
        rows += [
            {"variant": variant, "val_rsum": score, "digest": training_digest(jobs[variant, number]), **plan[number]}
            for number, score in enumerate(found)
        ]
    for variant, base in bases.items():
        values[variant], border[variant] = dict(values[base]), list(border[base])
        reasons[variant] = f"those of {base}: only the oracle differs"
    values, reasons, border = ({v: part[v] for v in study.variants} for part in (values, reasons, border))
    outcome = {
        "declared": tune.plain(),
        "protocol": {
            "metric": METRIC,
            "date": datetime.now(UTC).date().isoformat(),
            "command": f"fne tune {study.name}",
            "version": fne.PROTOCOL,
            "data": data,
        },
        "values": values,
        "reasons": reasons,
        "border": {variant: keys for variant, keys in border.items() if keys},
        "trials": rows,
    }
    if {**before, "protocol": None} != {**outcome, "protocol": None}:
        write_text(file, HEADER + yaml.safe_dump(outcome, sort_keys=False, width=120, default_flow_style=None))
    print("\n".join(told(outcome)))


def told(outcome: Mapping[str, Any]) -> list[str]:
    """What the command says in the end: each variant's reason, and which ranges may be too narrow."""
    lines = [f"{variant}: {text}" for variant, text in outcome["reasons"].items()]
    if outcome["border"]:
        flagged = ", ".join(outcome["border"])
        lines.append(f"at the border of a range, where a wider one may hold better values: {flagged}")
    return lines


def recorded(before: Mapping[str, Any], tune: Tuning, data: str) -> dict[str, float]:
    """Scores of an earlier outcome that still hold, by the digest of the trial's config.

    They hold under the same tuning seeds, version of training and data (an outcome that does not say which version or
    data it was made with is taken at its word).
    """
    declared, protocol = before.get("declared") or {}, before.get("protocol") or {}
    same = declared.get("seeds") == list(tune.seeds)
    same &= protocol.get("version", fne.PROTOCOL) == fne.PROTOCOL and protocol.get("data", data) == data
    trials = before.get("trials") or [] if same else []
    return {row["digest"]: row["val_rsum"] for row in trials if {"digest", "val_rsum"} <= {*row}}


def trials(config: Mapping[str, Any], search: Mapping[str, Sequence[Any]], budget: int) -> list[dict[str, Any]]:
    """The points that are tried for one variant: its own axes of the search, ``budget`` points of their grid.

    A grid larger than the budget is sampled without replacement from a stream named by its axes, so that variants with
    the same axes try the same points; a smaller grid is tried whole.

    Args:
        config: The variant's flat config; axes that it does not read are left out.
        search: Key -> values.
        budget: Greatest number of points.
    """
    axes = {key: values for key, values in search.items() if key in config}
    grid = [dict(zip(axes, point, strict=True)) for point in itertools.product(*axes.values())]
    if len(grid) > budget:
        chosen = numpy_stream(0, "tune", *sorted(axes)).choice(len(grid), size=budget, replace=False)
        grid = [grid[i] for i in sorted(chosen)]
    return grid


def at_border(point: Mapping[str, Any], search: Mapping[str, Sequence[Any]]) -> list[str]:
    """The keys of a point whose value is the least or the greatest of its range of numbers."""
    numbers = {key: search[key] for key in point if all(isinstance(value, int | float) for value in search[key])}
    return [key for key, values in numbers.items() if point[key] in (min(values), max(values))]


def reason(scores: Sequence[float], border: Sequence[str]) -> str:
    """Why the best point was chosen, and which of its values lie at the border of their range.

    Args:
        scores: Of all trials, rsum of 600.
        border: Keys.
    """
    ranked = sorted(scores, reverse=True)
    text = f"best of {len(ranked)} trials: validation rsum {ranked[0]:.1f}"
    if len(ranked) > 1:
        text += f" (next {ranked[1]:.1f}, worst {ranked[-1]:.1f})"
    return text + (f"; at the border: {', '.join(border)}" if border else "")


_STATE: dict[str, Any] = {}


def _data_fingerprint(study: Study, root: Path) -> str:
    """Of pictures and captions; features are left out, because their last bits differ between machines."""
    found = open_corpus(study, root).fingerprints
    return sha256_text(str(sorted(item for item in found.items() if item[0].startswith("data."))))[:16]


def _scores(
    jobs: Mapping[tuple[str, int], dict[str, Any]],
    known: Mapping[str, float],
    study: Study,
    root: Path,
    threads: int,
    device: str,
) -> dict[tuple[str, int], float]:
    """rsum (of 600, two decimals, as it is recorded) of every trial: known, in the cache, or run now."""
    seeds, corpus = list(study.tune.seeds), open_corpus(study, root)
    cache = root / "scratch" / "tune" / study.name
    scores: dict[tuple[str, int], float] = {}
    waiting = {}
    for key, config in jobs.items():
        name = sha256_text(f"{training_digest(config)} {seeds} {sorted(corpus.fingerprints.items())}")[:24]
        path = cache / f"{name}.json"
        if (score := known.get(training_digest(config))) is not None:
            scores[key] = score
        elif path.exists():
            scores[key] = _percent(read_json(path)["score"])
        else:
            waiting[key] = (config, path)
    progress = Progress(f"tune {study.name}", len(jobs), "trials", done=len(scores))
    workers = 1 if device == "cuda" else threads
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _open, (study, root, device))
    try:
        futures = {pool.submit(_trial, config, seeds): (key, path) for key, (config, path) in waiting.items()}
        for future in as_completed(futures):
            key, path = futures[future]
            score = future.result()
            scores[key] = _percent(score)
            write_json(path, {"variant": key[0], "score": score})
            progress.add(1, f"{key[0]} {scores[key]:.1f}")
    finally:
        # after Ctrl-C or a failed trial the trials that have not begun must not run
        pool.shutdown(wait=False, cancel_futures=True)
    progress.close()
    return scores


def _percent(score: float) -> float:
    return round(100 * score, 2)


def _open(study: Study, root: Path, device: str) -> None:
    """Start a worker: one thread, the data once."""
    torch.set_num_threads(1)
    _STATE.update(corpus=open_corpus(study, root), device=torch_device(device))


def _trial(config: dict[str, Any], seeds: list[int]) -> float:
    """Mean selected validation rsum over the tuning seeds; a diverged seed counts 0."""
    where, model = _STATE["device"], config.get("model", {})
    inputs = {key: value for key, value in model.items() if key.startswith("rescale_")}
    if _STATE.get("inputs") != inputs:
        train, val, _ = _STATE["corpus"].training(config, where)
        _STATE.update(inputs=inputs, train=train, val=val)
    train, val = _STATE["train"], _STATE["val"]
    return sum(_score(config, [seed], train, val, where) for seed in seeds) / len(seeds)


def _score(config: dict[str, Any], seeds: list[int], train: Split, val: Split, device: torch.device) -> float:
    engine = Engine(config, seeds, train, val, device)
    engine.run(lambda score: None)
    return max(0.0, float(engine.best_score[0]))
