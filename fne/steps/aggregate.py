"""``aggregate``: the metrics of all jobs of a study -> tidy tables; what is missing is a row too."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fne.results.collect import SPLIT, Collected, collect
from fne.results.kept import tell_left_out
from fne.results.records import read_run
from fne.results.schema import digests_file, header, write_table
from fne.study import paths
from fne.study.api import Study
from fne.utils.errors import bad_input
from fne.utils.files import read_csv, reading, write_csv, write_json


def run(study: Study, root: Path) -> None:
    """Write ``{runs,missing,curves,audit,cost}.csv`` and ``protocols.json`` of a study; name the runs it leaves out.

    Raises:
        UserError: As :func:`fne.results.collect.collect`; or a job's table is cut, or has other columns than others.
    """
    tell_left_out(study, root)
    collected = collect(study, root)
    folder = root / paths.results_folder(study)
    write_table(folder, "runs", _runs(study, collected))
    write_table(folder, "missing", collected.missing)
    for name in ("curves.csv", "audit.csv"):
        _concatenate(study.name, collected, name, folder / name)
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


def _concatenate(study: str, collected: Collected, name: str, target: Path) -> None:
    """One table of all jobs' tables of that name, the variant in front; cells stay as they were written."""
    columns: list[str] = []
    rows: list[dict[str, Any]] = []
    for job in collected.jobs:
        hint = f"train it again: fne train --study {study} --variant {job.variant} --block {job.block}"
        with reading(job.folder / name, hint):
            result, *cells = csv.reader(
                io.StringIO(read_csv(job.folder / name, hint).decode(), newline=""), strict=True
            )
        columns = columns or result
        if result != columns:
            raise bad_input("other columns than the other runs'", file=job.folder / name, value=", ".join(result)[:300],
                            allowed=", ".join(columns), hint="train all variants with one version")  # fmt: skip
        if odd := [place for place, row in enumerate(cells, 2) if len(row) != len(columns)]:
            raise bad_input("other cells than its header names", file=job.folder / name, key=f"row {odd[0]}", hint=hint)
        rows += [{"variant": job.variant, **dict(zip(columns, row, strict=True))} for row in cells]
    write_csv(target, rows, ["variant", *columns], raw=True, digests=digests_file("aggregate"))


def _cost(study: Study, collected: Collected) -> Iterator[dict[str, Any]]:
    for job in collected.jobs:
        trained = read_run(job.folder / "run.json")
        summary = trained["record"] | trained["cost"]
        named = {"study": study.name, "variant": job.variant, "block": job.block}
        yield {**named, "n_seeds": len(trained["seeds"]), **{key: summary.get(key) for key in header("cost")[4:]}}
