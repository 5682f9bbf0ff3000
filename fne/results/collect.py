"""What a study has and what it lacks: the metrics of every job it asks for, checked to be comparable."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fne import protocols
from fne.results.code import Code
from fne.results.current import stale
from fne.results.records import CONFIG, read_run
from fne.study import paths
from fne.study.api import Study, blocks, parse_block, resolve
from fne.utils.errors import bad_input
from fne.utils.files import read_record
from fne.utils.shape import ANY

SPLIT = "test"
METRICS = {
    "seeds": [int],
    "failed": {ANY: str},
    "config": CONFIG,
    "code": str,
    "digest": str,
    "fingerprint": {ANY: {"id": str}},
    "rows": [{"seed": int, "protocol": str, "direction": str, "metric": str, "value": {float, None}}],
    "selected_epoch": {ANY: int},
    "title": str,
    "dataset": str,
    "regime": str,
}
"""What is read of a ``metrics.<split>.json``."""
AGAIN = "evaluate the run again"


@dataclass(frozen=True)
class Job:
    """One block of seeds of one variant that has results under the study's present config.

    Attributes:
        variant, block: The job.
        folder: Where its files lie.
        metrics: The content of ``metrics.test.json``.
        seeds: The seeds that have numbers (those that diverged, or have a number that is not finite, have none).
    """

    variant: str
    block: str
    folder: Path
    metrics: Mapping[str, Any]
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Collected:
    """Jobs with results in the study's order, a row per run without, and every protocol's fingerprint."""

    jobs: tuple[Job, ...]
    missing: tuple[dict[str, Any], ...]
    fingerprints: Mapping[str, Mapping[str, Any]]

    def of(self, variant: str) -> list[Job]:
        """The jobs of one variant."""
        return [job for job in self.jobs if job.variant == variant]


def collect(study: Study, root: Path) -> Collected:
    """Read the metrics of every variant and block of a study.

    A job that is missing, or was trained or evaluated under another config than the present one (stale),
    becomes one row (study, variant, seed, stage, reason) per seed.

    Raises:
        UserError: A file is damaged or of another schema, two fingerprints of one protocol differ, a job lacks
            a protocol that another has, or there is no result at all.
    """
    sources = Code(root)
    jobs: list[Job] = []
    missing: list[dict[str, Any]] = []
    result: dict[str, dict[str, Mapping[str, Any]]] = {}
    for variant in study.variants:
        config = resolve(study, variant)
        code = sources.training(config)
        for block in blocks(study):
            folder = root / paths.run_folder(study, variant, block)
            file = root / paths.metrics(study, variant, block, SPLIT)
            absent = _missing_file(folder, file)
            metrics: dict[str, Any] = {}
            if absent is None:
                metrics = read_metrics(file, parse_block(block))
                absent = stale(metrics, read_run(folder / "run.json"), config, code)
            reasons = dict.fromkeys(parse_block(block), absent)
            if absent is None:
                reasons |= _not_finite(metrics["rows"])
                reasons |= {int(seed): ("train", why) for seed, why in metrics["failed"].items()}
                seeds = tuple(seed for seed, reason in reasons.items() if reason is None)
                jobs.append(Job(variant, block, folder, metrics, seeds))
                for protocol, fingerprint in metrics["fingerprint"].items():
                    result.setdefault(protocol, {})[str(file)] = fingerprint
            missing += [
                {"study": study.name, "variant": variant, "seed": seed, "stage": why[0], "reason": why[1]}
                for seed, why in reasons.items()
                if why is not None
            ]
    if not any(job.seeds for job in jobs):
        reason = f"{missing[0]['variant']}, seed {missing[0]['seed']}: {missing[0]['reason']}"
        raise bad_input("no run of this study has a result", file=root / paths.results_folder(study), hint=reason)
    for protocol, fingerprints in result.items():
        protocols.require_same(fingerprints)
        without = [name for job in jobs if (name := str(job.folder / f"metrics.{SPLIT}.json")) not in fingerprints]
        if without:
            problem = f"lacks protocol {protocol!r}, which {next(iter(fingerprints))} has"
            hint = "the runs were ranked with other data or truth: rank and evaluate it again"
            raise bad_input(problem, file=without[0], key="fingerprint", hint=hint)
    return Collected(tuple(jobs), tuple(missing), {name: next(iter(by.values())) for name, by in result.items()})


def read_metrics(file: Path, seeds: list[int]) -> dict[str, Any]:
    """Read a ``metrics.<split>.json``.

    Raises:
        UserError: It is damaged, of another schema, or of other seeds than its folder says.
    """
    metrics = read_record(file, "metrics", METRICS, AGAIN)
    if metrics["seeds"] != seeds:
        raise bad_input("other seeds than its folder says", file=file, key="seeds", value=metrics["seeds"],
                        allowed=[seeds])  # fmt: skip
    return metrics


def _missing_file(folder: Path, file: Path) -> tuple[str, str] | None:
    """The first stage of a job that left no file, and its reason."""
    stages = {"train": folder / "run.json", "rank": folder / f"rankings.{SPLIT}.npz", "evaluate": file}
    if file.is_file():
        del stages["rank"]  # whoever has the metrics needs no rankings
    for stage, path in stages.items():
        if not path.is_file():
            return stage, f"{path.name} was not written: the run failed or was not started"
    return None


def _not_finite(rows: Iterable[Mapping[str, Any]]) -> dict[int, tuple[str, str]]:
    """Stage and reason of every seed that has a number that is none: it would stand in every mean it enters."""
    result: dict[int, tuple[str, str]] = {}
    for row in rows:
        value = row["value"]
        if not isinstance(value, int | float) or not math.isfinite(value):
            which = f"{row['protocol']} {row['direction']} {row['metric']} is {value}"
            result.setdefault(int(row["seed"]), ("evaluate", f"no finite number: {which}"))
    return result
