"""The tuning protocol: the same number of trials for every variant over declared ranges, judged on validation only."""

from __future__ import annotations

import math
import multiprocessing
import sys
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from fne.results.code import Code
from fne.results.configs import oracle_bases
from fne.study import paths
from fne.study.api import Study, resolve, training_digest
from fne.study.tuning import Tuning
from fne.training.data import Split
from fne.training.engine import Engine
from fne.training.pairs import open_corpus, torch_device
from fne.utils.errors import bad_input
from fne.utils.fields import flatten, unflatten
from fne.utils.files import read_record, sha256_text, write_json, write_text
from fne.utils.progress import Progress
from fne.utils.seeding import numpy_stream
from fne.utils.shape import check
from fne.utils.yaml_file import read_mapping

HEADER = """# yaml-language-server: $schema=../schema/tuned.json
# Written by `fne tune`: what the search that the study of this name declares found, on validation alone.
# `declared` is a copy of that declaration; `border` lists best values that lie at the border of their range.
"""
Key = tuple[str, int]
"""A trial: variant, and its number."""
MADE_FROM = ("data", "features", "code")
"""What a trial is known by, beside its config."""
TUNED = {"declared?": ({"seeds": list},), "trials?": ([{"variant": str, "digest": str, "val_rsum": float}],)}
"""What is read of the file of an earlier search."""
METRIC = "mean over the tuning seeds of the selected validation rsum"


def run(study: Study, root: Path, threads: int, device: str) -> None:
    """Search the ranges that a study declares for each of its variants; write ``ablations/tuned/<study>.yaml``.

    A variant that differs from another one by its oracle alone takes over the latter's values: what the two differ in
    is then what the truth is worth.

    A trial whose config, tuning seeds, data, features and code are those of one that the file records, or that was
    finished before a kill, is not run again: a variant that is added runs its own trials and no others. Trials of other
    data, features or code are named and made again.

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
    made_from, sources = _made_from(open_corpus(study, root).fingerprints), Code(root)
    marks = {key: {"digest": training_digest(config), **made_from, "code": sources.training(config)}
             for key, config in jobs.items()}  # fmt: skip
    before = read_mapping(file) if file.is_file() else {}
    check(before, TUNED, file, more=True, hint="remove it, or mend it by hand: `fne tune` wrote it")
    known, foreign = recorded(before, tune, marks)
    for note in foreign:
        print(f"note: {file}: {note}; they are made again", file=sys.stderr)
    scores = _scores(jobs, marks, known, study, root, threads, device)
    values, reasons, border, rows = {}, {}, {}, []
    for variant, plan in plans.items():
        found = [scores[variant, number] for number in range(len(plan))]
        best = max(range(len(plan)), key=found.__getitem__)
        values[variant], border[variant] = plan[best], at_border(plan[best], tune.search)
        reasons[variant] = reason(found, border[variant])
        rows += [
            {"variant": variant, "val_rsum": score, **marks[variant, number], **plan[number]}
            for number, score in enumerate(found)
        ]
    for variant, base in bases.items():
        values[variant], border[variant] = dict(values[base]), list(border[base])
        reasons[variant] = f"those of {base}: only the oracle differs"
    outcome = {
        "declared": tune.plain(),
        "protocol": {
            "metric": METRIC,
            "date": datetime.now(UTC).date().isoformat(),
            "command": f"fne tune {study.name}",
        },
        "values": {variant: values[variant] for variant in study.variants},
        "reasons": {variant: reasons[variant] for variant in study.variants},
        "border": {variant: border[variant] for variant in study.variants if border[variant]},
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


def recorded(
    before: Mapping[str, Any], tune: Tuning, marks: Mapping[Key, Mapping[str, str]]
) -> tuple[dict[Key, float], list[str]]:
    """Scores of an earlier outcome that still hold, by trial; and what is said of trials that do not.

    They hold under the same tuning seeds, config, data, features and code.

    Args:
        before: What the file holds.
        tune: The declaration.
        marks: Per trial what it is known by: ``digest`` of its config, ``data``, ``features``, ``code``.
    """
    if (before.get("declared") or {}).get("seeds") != list(tune.seeds):
        return {}, []
    rows = {(row.get("variant"), row.get("digest")): row for row in before.get("trials") or []}
    known, others = {}, dict.fromkeys(MADE_FROM, 0)
    for key, mark in marks.items():
        row = rows.get((key[0], mark["digest"]))
        differs = [name for name in MADE_FROM if row is not None and row.get(name) != mark[name]]
        if row is not None and not differs:
            known[key] = row["val_rsum"]
        for name in differs:
            others[name] += 1
    return known, [f"{number} trials are of other {name} than are here" for name, number in others.items() if number]


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
    shape = [len(values) for values in axes.values()]
    places: Iterable[int] = range(count := math.prod(shape))
    if count > budget:
        places = sorted(numpy_stream(0, "tune", *sorted(axes)).choice(count, size=budget, replace=False))
    points = [zip(axes.items(), np.unravel_index(place, shape), strict=True) for place in places]
    return [{key: values[int(at)] for (key, values), at in point} for point in points]


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


def _made_from(fingerprints: Mapping[str, str]) -> dict[str, str]:
    """Digests of the data, and of the features (or encoders), that trials are made from."""
    sides: dict[str, list[tuple[str, str]]] = {"data": [], "features": []}
    for name, value in sorted(fingerprints.items()):
        sides["data" if name.startswith("data.") else "features"].append((name, value))
    return {side: sha256_text(str(found))[:12] for side, found in sides.items()}


def _scores(
    jobs: Mapping[Key, dict[str, Any]],
    marks: Mapping[Key, Mapping[str, str]],
    known: Mapping[Key, float],
    study: Study,
    root: Path,
    threads: int,
    device: str,
) -> dict[Key, float]:
    """rsum (of 600, two decimals, as it is recorded) of every trial: known, in the cache, or run now."""
    assert study.tune is not None
    seeds = list(study.tune.seeds)
    cache = root / "scratch" / "tune" / study.name
    scores: dict[Key, float] = {}
    waiting = {}
    for key, config in jobs.items():
        path = cache / f"{sha256_text(f'{marks[key]} {seeds}')[:24]}.json"
        if (score := known.get(key)) is not None:
            scores[key] = score
        elif path.exists():
            scores[key] = _percent(
                read_record(path, None, {"score": float}, "remove it: the trial is run again")["score"]
            )
        else:
            waiting[key] = (config, path)
    with Progress(f"tune {study.name}", len(jobs), "trials", done=len(scores)) as progress:
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
        except BrokenProcessPool:
            problem = "a process that ran a trial was killed, most often because memory ran out"
            hint = "use fewer --threads; trials that have ended are kept: run the same command again"
            raise bad_input(problem, file=f"tune {study.name}", hint=hint) from None
        finally:
            # after Ctrl-C or a failed trial the trials that have not begun must not run
            pool.shutdown(wait=False, cancel_futures=True)
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
