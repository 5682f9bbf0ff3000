"""How every number was made: config, seeds, fingerprints, versions, machine, cost, test readings."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from fne.report.tables.cells import ABSENT, Cell, Column, Table
from fne.report.text.summary import seconds_per_run, seconds_per_step
from fne.report.text.wording import duration, seed_list
from fne.results.made_from import fingerprints
from fne.results.study import StudyResults, Variant
from fne.utils.text import clean


def record_table(study: StudyResults) -> Table:
    """Build one row per variant: what identifies its runs, and what they cost."""
    columns = (
        Column("Variant", numeric=False),
        Column("Seeds", numeric=False),
        Column("Config", help="digest", numeric=False),
        Column("Selected epochs", numeric=False),
        Column("Commit", numeric=False),
        Column("Source", help="digest of the package", numeric=False),
        Column("Device", numeric=False),
        Column("Peak memory"),
        Column("One run"),
        Column("One step"),
        Column("Test readings"),
    )
    rows, records = [], []
    for variant in study.variants:
        first = Cell(clean(variant.title), note=variant.id, code=True)
        if not variant.runs:
            rows.append((first, Cell("none", absent=True), *[ABSENT] * 9))
            records.append({"variant": variant.id, "seeds": ""})
            continue
        entry = facts(study, variant)
        memory = entry["peak_memory_mb"]
        rows.append(
            (
                first,
                Cell(entry["seeds"]),
                Cell(entry["digest"]),
                Cell(entry["selected_epochs"]),
                Cell(entry["commit"]),
                Cell(entry["source"]),
                Cell(entry["device"]),
                Cell(f"{memory:.0f} MB" if memory is not None else "—", memory),
                Cell(duration(entry["seconds_per_run"]), entry["seconds_per_run"]),
                Cell(duration(entry["seconds_per_step"]), entry["seconds_per_step"]),
                Cell(str(entry["test_readings"]), float(entry["test_readings"])),
            )
        )
        records.append({"variant": variant.id, **entry})
    caption = (
        "What identifies the runs behind every number. Selected epochs: in the order of the seeds, counted "
        "from 1. One run: training time of one seed. Test readings: how often the test split was read for "
        "this variant."
    )
    return Table("record", "Record of the runs", caption, columns, tuple(rows), tuple(_notes(study)), tuple(records))


def facts(study: StudyResults, variant: Variant) -> dict[str, Any]:
    """The record of one variant over its blocks."""
    records = [run["record"] for run in variant.runs]
    chosen = {entry["seed"]: entry["epoch"] for run in variant.runs for entry in run["selection"]["per_seed"]}
    peaks = [entry.get("peak_memory_mb") for entry in records]
    peaks = [float(peak) for peak in peaks if peak is not None]
    return {
        "seeds": seed_list(variant.seeds),
        "digest": _each(run["digest"] for run in variant.runs),
        "selected_epochs": ", ".join(
            str(epoch + 1) if epoch >= 0 else "diverged" for _, epoch in sorted(chosen.items())
        ),
        "commit": _each(
            str(entry.get("commit") or "not in git")[:10] + ("+" if entry.get("dirty") else "") for entry in records
        ),
        "source": _each(str(entry.get("source") or "unknown")[:10] for entry in records),
        "device": _each(str(entry.get("device") or "unknown") for entry in records),
        "peak_memory_mb": max(peaks) if peaks else None,
        "seconds_per_run": round(seconds_per_run(variant), 3),
        "seconds_per_step": round(seconds_per_step(variant), 6),
        "test_readings": sum(entry.get("variant") == variant.id for entry in study.test_readings),
    }


def protocols(study: StudyResults) -> list[dict[str, str]]:
    """The fingerprint of every protocol and split in ``runs.csv``."""
    rows = (
        study.runs[["split", "protocol", "fingerprint"]]
        .drop_duplicates()
        .sort_values(["split", "protocol", "fingerprint"])
    )
    return [{key: str(value) for key, value in row.items()} for row in rows.to_dict("records")]


def _notes(study: StudyResults) -> Iterable[str]:
    several = [name for name, value in fingerprints(study).items() if "," in value]
    if several:
        yield f"Runs of this study did not all read the same {', '.join(several)}: compare them with care."
    if any(not math.isfinite(seconds_per_run(variant)) for variant in study.variants):
        yield "Variants without a finished run have no record."


def _each(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))
