"""The tuning protocol: the same number of trials for every variant over declared ranges, judged on validation only."""

from __future__ import annotations

import itertools
import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import yaml

from fne import paths
from fne.config import Study, digest, resolve
from fne.configuration.schema import RUN_FIELDS, check_key, check_value, flatten, unflatten
from fne.configuration.yaml_file import read_mapping
from fne.errors import bad_input
from fne.files import read_json, sha256_text, write_json, write_text
from fne.progress import Progress
from fne.seeding import numpy_stream
from fne.training.corpus import open_corpus, torch_device
from fne.training.data import Split
from fne.training.engine import Engine

HEADER = """# How the values of this file were found: `protocol` and `search` are declared by hand before the search;
# what follows is written by the command, from validation scores alone. A value at the border of its range is flagged.
"""


def run(study: Study, root: Path, threads: int, device: str) -> None:
    """Search the declared ranges for every variant and write the outcome into ``ablations/tuned/<name>.yaml``.

    Trials that were finished before a kill are not run again.

    Args:
        study: Its ``tuned`` name (or its own) says which file declares protocol and search.
        root: The project's folder.
        threads: Trials run side by side on a CPU, one thread each.
        device: ``auto``, ``cpu`` or ``cuda``.

    Raises:
        UserError: The file declares no valid protocol or search.
    """
    file = root / paths.tuned(study)
    declared = read_mapping(file)
    budget, seeds, search = read_protocol(declared, file, study)
    plans = {variant: trials(flatten(resolve(study, variant)), search, budget) for variant in study.variants}
    jobs = {
        (variant, number): unflatten({**flatten(resolve(study, variant)), **values})
        for variant, plan in plans.items()
        for number, values in enumerate(plan)
    }
    cache = root / "scratch" / "tune" / study.name
    scores = _scores(jobs, seeds, study, root, threads, device, cache)
    values, reasons, rows = {}, {}, []
    for variant, plan in plans.items():
        found = [scores[variant, number] for number in range(len(plan))]
        best = max(range(len(plan)), key=lambda number, found=found: found[number])
        values[variant] = plan[best]
        reasons[variant] = reason(plan, found, best, search)
        rows += [
            {"variant": variant, "val_rsum": round(100 * score, 2), **point}
            for point, score in zip(plan, found, strict=True)
        ]
    protocol = {
        **declared["protocol"],
        "date": datetime.now(UTC).date().isoformat(),
        "command": f"fne tune --study {study.name}",
    }
    text = yaml.safe_dump(
        {"protocol": protocol, "search": declared["search"], "values": values, "reasons": reasons, "trials": rows},
        sort_keys=False,
        width=120,
        default_flow_style=None,
    )
    write_text(file, HEADER + text)


def read_protocol(declared: dict[str, Any], file: Path, study: Study) -> tuple[int, list[int], dict[str, list[Any]]]:
    """Budget, tuning seeds and search ranges of a file, checked.

    Raises:
        UserError: A missing or mistyped entry, an unknown key, a value that the key cannot take, or tuning seeds that
            are the study's own.
    """
    protocol, search = declared.get("protocol"), declared.get("search")
    for key, value in (("protocol", protocol), ("search", search)):
        if not isinstance(value, dict) or not value:
            raise bad_input("must be a mapping", file=file, key=key, value=value)
    budget, seeds = protocol.get("budget"), protocol.get("seeds")
    if not isinstance(budget, int) or budget < 1:
        raise bad_input("must be a number of trials", file=file, key="protocol.budget", value=budget, allowed=">= 1")
    if not isinstance(seeds, list) or not seeds or not all(isinstance(s, int) and s >= 0 for s in seeds):
        raise bad_input("must be a list of seeds", file=file, key="protocol.seeds", value=seeds)
    if shared := sorted(set(seeds) & set(study.seeds)):
        raise bad_input(
            "are seeds of the study too",
            file=file,
            key="protocol.seeds",
            value=shared,
            hint="tune on other seeds than those that are reported",
        )
    ranges = {}
    for key, values in flatten(search).items():
        field = check_key(key, RUN_FIELDS, file, f"search.{key}")
        if not isinstance(values, list) or len(values) < 2:
            raise bad_input("must be a list of at least two values", file=file, key=f"search.{key}", value=values)
        ranges[key] = [check_value(value, field, file, f"search.{key}") for value in values]
    return budget, seeds, ranges


def trials(config: dict[str, Any], search: dict[str, list[Any]], budget: int) -> list[dict[str, Any]]:
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


def reason(plan: list[dict[str, Any]], scores: Sequence[float], best: int, search: dict[str, list[Any]]) -> str:
    """Why the best point was chosen, and which of its values lie at the border of their range."""
    border = [key for key, value in plan[best].items() if value in (min(search[key]), max(search[key]))]
    ranked = sorted((100 * score for score in scores), reverse=True)
    text = f"best of {len(plan)} trials: validation rsum {ranked[0]:.1f}"
    if len(ranked) > 1:
        text += f" (next {ranked[1]:.1f}, worst {ranked[-1]:.1f})"
    return text + (f"; at the border: {', '.join(border)}" if border else "")


_STATE: dict[str, Any] = {}


def _scores(
    jobs: dict[tuple[str, int], dict[str, Any]],
    seeds: list[int],
    study: Study,
    root: Path,
    threads: int,
    device: str,
    cache: Path,
) -> dict[tuple[str, int], float]:
    corpus = open_corpus(study, root)
    scores: dict[tuple[str, int], float] = {}
    waiting = {}
    for key, config in jobs.items():
        name = sha256_text(f"{digest(config)} {seeds} {sorted(corpus.fingerprints.items())}")[:24]
        path = cache / f"{name}.json"
        if path.exists():
            scores[key] = read_json(path)["score"]
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
            scores[key] = future.result()
            write_json(path, {"variant": key[0], "score": scores[key]})
            progress.add(1, f"{key[0]} {100 * scores[key]:.1f}")
    finally:
        # after Ctrl-C or a failed trial the trials that have not begun must not run
        pool.shutdown(wait=False, cancel_futures=True)
    progress.close()
    return scores


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
