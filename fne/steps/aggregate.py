"""``aggregate``: the metrics of all jobs of a study -> tidy tables; what is missing is a row too."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fne.results.collect import SPLIT, Collected, collect
from fne.results.kept import tell_left_out
from fne.results.records import read_run
from fne.results.schema import header, read_part, write_table
from fne.study import paths
from fne.study.api import Study
from fne.utils.files import write_json


def run(study: Study, root: Path) -> None:
    """Write ``{runs,missing,curves,audit,cost}.csv`` and ``protocols.json`` of a study; name the runs it leaves out.

    Raises:
        UserError: As :func:`fne.results.collect.collect`; or a run's part of a table is
            damaged or has other columns.
    """
    tell_left_out(study, root)
    collected = collect(study, root)
    folder = root / paths.results_folder(study)
    write_table(folder, "runs", _runs(study, collected))
    write_table(folder, "missing", collected.missing)
    for name in ("curves", "audit"):
        write_table(folder, name, _parts(study.name, collected, name))
    write_table(folder, "cost", _cost(study, collected))
    write_json(folder / "protocols.json", dict(collected.fingerprints))
    if collected.missing:
        requested = len(study.variants) * len(study.seeds)
        problem = f"{len(collected.missing)} of {requested} runs have no result: see {folder / 'missing.csv'}"
        print(problem, file=sys.stderr)


def _runs(study: Study, collected: Collected) -> Iterator[dict[str, Any]]:
    for job in collected.jobs:
        metrics = job.metrics
        for row in metrics["rows"]:
            if row["seed"] not in job.seeds:  # told in missing.csv
                continue
            yield {
                "study": study.name, "dataset": metrics["dataset"], "regime": metrics["regime"],
                "variant": job.variant, "title": metrics["title"], "split": SPLIT, **row,
                "fingerprint": metrics["fingerprint"][row["protocol"]]["id"], "ensemble": False,
                "selected_epoch": metrics["selected_epoch"][str(row["seed"])], "digest": metrics["digest"],
            }  # fmt: skip


def _parts(study: str, collected: Collected, name: str) -> Iterator[dict[str, Any]]:
    """The rows of all runs' parts of a table, the variant in front."""
    for job in collected.jobs:
        hint = f"train it again: fne train --study {study} --variant {job.variant} --block {job.block}"
        for row in read_part(job.folder / f"{name}.parquet", hint).to_pylist():
            yield {"variant": job.variant, **row}


def _cost(study: Study, collected: Collected) -> Iterator[dict[str, Any]]:
    for job in collected.jobs:
        trained = read_run(job.folder / "run.json")
        summary = trained["record"] | trained["cost"]
        named = {"study": study.name, "variant": job.variant, "block": job.block}
        yield {**named, "n_seeds": len(trained["seeds"]), **{key: summary.get(key) for key in header("cost")[4:]}}
