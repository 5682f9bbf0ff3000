"""The tuning protocol: the same ranges, trials and rounds for every variant, compared on validation alone."""

from __future__ import annotations

import copy
import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import yaml

from fne.analysis import search
from fne.results.code import Code
from fne.results.configs import oracle_bases
from fne.results.trials import FINAL, OTHER, Trial, inputs_of, read_trials, write_trials
from fne.study import paths
from fne.study.api import Study, resolve, training_digest
from fne.study.study_file import STUDY_LEVEL
from fne.study.tuned import SECTIONS
from fne.study.tuning import ROUNDS, Axis, check_seeds
from fne.training.engine import Engine
from fne.training.pairs import for_engine, open_corpus, torch_device
from fne.utils.errors import bad_input
from fne.utils.fields import flatten, unflatten
from fne.utils.files import write_text
from fne.utils.progress import Progress
from fne.utils.yaml_file import read_mapping

HEADER = """# yaml-language-server: $schema=../schema/tuned.json
# Written by `fne tune`: what the search that the study of this name declares found, on validation alone; every trial is
# in the .csv beside it. `declared` is a copy of that declaration; `where` says where on its range each best value lies.
"""
OVERRIDABLE = (*STUDY_LEVEL, "data", "encoders")
"""What the command line may say of a study that is searched: no value that a trial takes from its config."""
METRIC = "selected validation rsum: on the first seed it chooses finalists, its mean over the further seeds among them"


@dataclass
class Hunt:
    """The search of one variant, as far as it is.

    Args:
        variant: Its id.
        config: Its config before it was tuned, flat.
        axes: Its ranges, as far as they are extended.
        points: Of all its trials.
        rounds: Of each trial, the round.
        trials: Of each trial, its training from the first seed.
        finals: By place of a finalist, its trainings from the further seeds.
    """

    variant: str
    config: Mapping[str, Any]
    axes: Mapping[str, Axis]
    points: list[dict[str, Any]] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)
    finals: dict[int, list[Trial]] = field(default_factory=dict)

    def add(self, points: Sequence[dict[str, Any]], number: int) -> None:
        """Add the points of a round."""
        self.points += points
        self.rounds += [number] * len(points)

    @property
    def scores(self) -> list[float]:
        """Of each trial, on the first seed."""
        return [item.val_rsum for item in self.trials]

    @property
    def runs(self) -> list[Trial]:
        """All trainings, each once: ranges of few values repeat points."""
        return [*{item.key: item for row in ([*self.trials], *self.finals.values()) for item in row}.values()]

    @property
    def ranked(self) -> list[int]:
        """Places of the trials that differ, the best first; of equals the first."""
        differ = {item.key: place for place, item in reversed([*enumerate(self.trials)])}
        return sorted(differ.values(), key=lambda place: (-self.trials[place].val_rsum, place))


def run(study: Study, root: Path, threads: int, device: str, draw: int = 0) -> None:
    """Search the ranges that a study declares for each of its variants; write ``ablations/tuned/<study>.yaml``.

    The protocol, equal for all variants: a first round of scrambled quasi-random trials over the declared ranges of the
    axes that a variant reads; two further rounds around its best, in which a range is extended where one of the best
    (as many as there are finalists) lies at its end, unless that is a natural bound. The best trials on the first
    tuning seed are finalists: the mean over the further seeds chooses among them.

    A variant that differs from another one by its oracle alone takes over the latter's values: what the two differ in
    is then what the truth is worth.

    Every trial that ends is kept in ``ablations/tuned/<study>.csv`` at once. One whose config, seed, data, features and
    code are those of a trial in it is not run again, so a search that was interrupted goes on where it was, and a
    variant that is added runs its own trials and no others.

    Args:
        study: Loaded without tuned values (``load_study(..., tuned=False)``).
        root: The project's folder.
        threads: Trials run side by side on a CPU, one thread each.
        device: ``auto``, ``cpu`` or ``cuda``.
        draw: Of the search: points and tuning seeds of its own, kept in ``<study>.<draw>.yaml`` and ``.csv``.

    Raises:
        UserError: The study declares no search; or the command line changed what it is about.
    """
    if study.tune is None:
        raise bad_input("declares no search", file=study.name, key="tune", hint="see docs/how-to/tune.md")
    allowed = [key for key in OVERRIDABLE if draw or key != "variants"]
    if others := [key for key in study.overrides if key.partition(".")[0] not in allowed]:
        hint = "a search is of the study as its file declares it; a further --draw may be of some --set variants=..."
        raise bad_input("cannot be set for this search", file="command line", key=", ".join(others), hint=hint)
    tune, bases = study.tune, oracle_bases(study)
    first, *further = tune.of_draw(draw)
    check_seeds([first, *further], study.seeds, "command line", "--draw")
    hunts = [
        Hunt(variant, flatten(resolve(study, variant)), study.axes[variant])
        for variant in study.trained
        if variant not in bases
    ]
    file, count = root / paths.tuned_file(study.name, draw), (tune.budget - tune.trials) // ROUNDS
    before = read_mapping(file) if file.is_file() else {}
    trainer = Trainer(study, root, paths.trials_file(file), threads, device)
    with trainer.opened():
        for hunt in hunts:
            hunt.add(search.first_round(hunt.axes, tune.trials, draw), 1)
        trainer.train(hunts, first, "round 1")
        for number in range(2, 2 + ROUNDS) if count else ():
            for hunt in (item for item in hunts if item.axes):
                so_far = (hunt.axes, hunt.points, hunt.scores, tune.finalists)
                hunt.axes, points = search.further_round(*so_far, number, count=count, draw=draw)
                hunt.add(points, number)
            trainer.train(hunts, first, f"round {number}")
        trainer.finals(hunts, tune.finalists, further)
        outcome = _outcome(study, draw, hunts, bases)
        if {**before, "protocol": None} != {**outcome, "protocol": None}:
            write_text(file, HEADER + yaml.safe_dump(outcome, sort_keys=False, width=120, default_flow_style=None))
        trainer.keep(hunts)
    print("\n".join(report_lines(outcome)))


def report_lines(outcome: Mapping[str, Any]) -> list[str]:
    """What the command says in the end: each variant's reason, and which best values lie at an open end."""
    lines = [f"{variant}: {text}" for variant, text in outcome["reasons"].items()]
    opened = {
        variant: keys
        for variant, places in outcome["where"].items()
        if (keys := [key for key, place in places.items() if place == search.OPEN])
    }
    if opened:
        shown = "; ".join(f"{variant} ({', '.join(keys)})" for variant, keys in opened.items())
        lines.append(f"at an open end, beyond which better values may lie: {shown}; declare wider ranges")
    return lines


def _outcome(study: Study, draw: int, hunts: Sequence[Hunt], bases: Mapping[str, str]) -> dict[str, Any]:
    """What the file of tuned values holds."""
    assert study.tune is not None
    command = f"fne tune {study.name}" + (f" --draw {draw}" if draw else "")
    protocol = {"metric": METRIC, "date": datetime.now(UTC).date().isoformat(), "command": command, "draw": draw}
    by_variant = {hunt.variant: _summary(hunt) for hunt in hunts}
    for variant, base in bases.items():
        its = {section: by_variant[base][section] for section in ("values", "where", "ranges")}
        by_variant[variant] = copy.deepcopy(its) | {"reasons": f"those of {base}: only the oracle differs"}
    return {"declared": study.tune.plain(), "protocol": protocol} | {
        section: {item: by_variant[item][section] for item in study.variants if section in by_variant[item]}
        for section in SECTIONS
    }


def _summary(hunt: Hunt) -> dict[str, Any]:
    """The outcome of one variant's search, by section."""
    means = {place: sum(item.val_rsum for item in row) / len(row) for place, row in hunt.finals.items()}
    best, *others = sorted(means, key=lambda place: -means[place])
    spread = search.spread_over_seeds([[item.val_rsum for item in row] for row in hunt.finals.values()])
    tried = len({item.key for item in hunt.trials})
    reason = (
        f"mean validation rsum {means[best]:.1f} over {len(hunt.finals[best])} further seeds, the best of "
        f"{len(means)} finalists of {tried} trials"
    )
    return {
        "values": hunt.points[best],
        "reasons": reason + (f" (next {means[others[0]]:.1f})" if others else ""),
        "where": search.where(hunt.axes, hunt.points, hunt.scores, means, best, spread),
        "ranges": {key: axis.shown for key, axis in hunt.axes.items()},
        "cost": {"trials": tried, "rounds": max(hunt.rounds), "runs": len(hunt.runs),
                 "seconds": round(sum(item.seconds for item in hunt.runs)), "seed_sd": round(spread, 2)},
    }  # fmt: skip


class Trainer:
    """Trains trials side by side, each with all its seeds along the replicate axis, and keeps every one that ends.

    Args:
        study: Whose trials they are.
        root: The project's folder.
        file: Where they are kept.
        threads: Processes on a CPU, one thread each; on a GPU there is one.
        device: ``auto``, ``cpu`` or ``cuda``.
    """

    def __init__(self, study: Study, root: Path, file: Path, threads: int, device: str) -> None:
        self.study, self.file, self.start = study, file, (study, root, device)
        self.workers = 1 if device == "cuda" else threads
        self.made_from, self.code = inputs_of(open_corpus(study, root).fingerprints), Code(root)
        self.known: dict[tuple[str, int, str], Trial] = {}

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Start the processes; after Ctrl-C or a failed trial no other trial goes on.

        Raises:
            UserError: A process was killed.
        """
        self.known = {item.key: item for item in read_trials(self.file)}
        context = multiprocessing.get_context("spawn")
        self.pool = ProcessPoolExecutor(self.workers, context, _open, self.start)
        try:
            yield
            self.pool.shutdown()
        except BrokenProcessPool:
            problem = "a process that ran a trial was killed, most often because memory ran out"
            hint = "use fewer --threads; trials that have ended are kept: run the same command again"
            raise bad_input(problem, file=f"tune {self.study.name}", hint=hint) from None
        except BaseException:
            for process in multiprocessing.active_children():  # else the command ends when their trials have ended
                process.terminate()
            raise
        finally:
            self.pool.shutdown(wait=False, cancel_futures=True)

    def train(self, hunts: Sequence[Hunt], seed: int, label: str) -> None:
        """Train all trials of all variants from one seed."""
        jobs = [(hunt, place, str(number)) for hunt in hunts for place, number in enumerate(hunt.rounds)]
        trained = iter(self._run(jobs, [seed], label))
        for hunt in hunts:
            hunt.trials = [next(trained)[0] for _ in hunt.points]

    def finals(self, hunts: Sequence[Hunt], count: int, seeds: Sequence[int]) -> None:
        """Train the best trials of every variant from further seeds."""
        jobs = [(hunt, place, FINAL) for hunt in hunts for place in hunt.ranked[:count]]
        for (hunt, place, _), row in zip(jobs, self._run(jobs, seeds, "finalists"), strict=True):
            hunt.finals[place] = row

    def keep(self, hunts: Sequence[Hunt]) -> None:
        """Write the trials of these searches; then the others, of no round any more."""
        kept: dict[tuple[str, int], Trial] = {}
        searched = [item for hunt in hunts for item in hunt.runs]
        for item in (*searched, *(replace(item, round=OTHER) for item in self.known.values())):
            kept.setdefault((item.digest, item.seed), item)
        write_trials(self.file, kept.values())

    def _run(self, jobs: Sequence[tuple[Hunt, int, str]], seeds: Sequence[int], label: str) -> list[list[Trial]]:
        """The trials of some points, one for each seed; those that are not known yet are run, and kept."""
        configs = [unflatten({**hunt.config, **hunt.points[place]}) for hunt, place, _ in jobs]
        rows = []
        for (hunt, place, number), config in zip(jobs, configs, strict=True):
            made_from = {**self.made_from, "code": self.code.training(config)}
            about = (training_digest(config), made_from, hunt.points[place])
            rows.append([Trial(hunt.variant, number, seed, 0.0, 0.0, *about) for seed in seeds])
        missing = {row[0].key: at for at, row in enumerate(rows) if any(item.key not in self.known for item in row)}
        have = {(digest, seed) for digest, seed, _ in self.known}
        if other := sum((item.digest, item.seed) in have for at in missing.values() for item in rows[at]):
            print(f"note: {self.file}: {other} trials were made from other data, features or code; they are made again",
                  file=sys.stderr)  # fmt: skip
        done = len(jobs) - len(missing)
        with Progress(f"tune {self.study.name}, {label}", len(jobs), "trials", done=done) as progress:
            futures = {self.pool.submit(_trial, configs[at], list(seeds)): rows[at] for at in missing.values()}
            for future in as_completed(futures):
                row, (scores, seconds) = futures[future], future.result()
                for item, score in zip(row, scores, strict=True):
                    self.known[item.key] = replace(
                        item, val_rsum=round(100 * score, 2), seconds=round(seconds / len(row), 1)
                    )
                write_trials(self.file, self.known.values())
                progress.add(1, f"{row[0].variant} {100 * sum(scores) / len(scores):.1f}")
        return [[replace(self.known[item.key], variant=item.variant, round=item.round) for item in row] for row in rows]


_STATE: dict[str, Any] = {}


def _open(study: Study, root: Path, device: str) -> None:
    """Start a worker: one thread, the data once; it ends with the process that started it, however that ends."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _STATE.update(corpus=open_corpus(study, root), device=torch_device(device))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _trial(config: dict[str, Any], seeds: list[int]) -> tuple[list[float], float]:
    """Selected validation rsum (0 to 6) of each tuning seed, 0 of one that diverged; and the seconds that it took."""
    device, model = _STATE["device"], config.get("model", {})
    clock = time.process_time if device.type == "cpu" else time.perf_counter
    begun = clock()
    inputs = {key: value for key, value in model.items() if key.startswith("rescale_") or key == "head"}
    if _STATE.get("inputs") != inputs:
        train, val, _ = _STATE["corpus"].training(config, device)
        _STATE.update(inputs=inputs, train=train, val=val)
    engine = Engine(for_engine(config, _STATE["train"]), seeds, _STATE["train"], _STATE["val"], device)
    engine.run(lambda score: None)
    return [max(0.0, score) for score in engine.best_score.tolist()], clock() - begun
