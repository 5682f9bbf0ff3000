"""How every number was made: config, seeds, fingerprints, versions, machine, cost, test readings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fne.report.tables.cells import ABSENT, Cell, Column, Table, title, whole
from fne.report.text.summary import seconds_per_run, seconds_per_step
from fne.report.text.wording import duration, seed_list
from fne.results.made_from import fingerprints
from fne.results.study import StudyResults, Variant

WORDS = {
    "seeds": Column("Seeds", numeric=False),
    "digest": Column("Config", help="digest", numeric=False),
    "selected_epochs": Column("Selected epochs", numeric=False),
    "commit": Column("Commit", numeric=False),
    "source": Column("Source", help="digest of the package", numeric=False),
    "device": Column("Device", numeric=False),
}


def record_table(study: StudyResults) -> Table:
    """Build one row per variant: what identifies its runs, and what they cost."""
    numbers = ("Peak memory", "One run", "One step", "Test readings")
    columns = (Column("Variant", numeric=False), *WORDS.values(), *map(Column, numbers))
    rows, records = [], []
    for variant in study.variants:
        if not variant.runs:
            rows.append((title(variant), Cell("none", absent=True), *[ABSENT] * (len(columns) - 2)))
            records.append({"variant": variant.id, "seeds": ""})
            continue
        entry = facts(study, variant)
        memory, run, step = (entry[key] for key in ("peak_memory_mb", "seconds_per_run", "seconds_per_step"))
        rows.append(
            (
                title(variant),
                *(Cell(entry[key]) for key in WORDS),
                ABSENT if memory is None else Cell(f"{memory:.0f} MB", memory),
                Cell(duration(run), run),
                Cell(duration(step), step),
                whole(entry["test_readings"]),
            )
        )
        records.append({"variant": variant.id, **entry})
    caption = (
        "What identifies the runs behind every number. Selected epochs: in the order of the seeds, counted "
        "from 1. One run: training time of one seed. Test readings: how often the test split was read for "
        "this variant."
    )
    several = [name for name, value in fingerprints(study).items() if "," in value]
    notes = (f"Runs of this study did not all read the same {', '.join(several)}: compare them with care.",)
    return Table(
        "record", "Record of the runs", caption, columns, tuple(rows), notes if several else (), tuple(records)
    )


def facts(study: StudyResults, variant: Variant) -> dict[str, Any]:
    """The record of one variant over its blocks."""
    records = [run["record"] for run in variant.runs]
    chosen = {entry["seed"]: entry["epoch"] for run in variant.runs for entry in run["selection"]["per_seed"]}
    peaks = [float(entry["peak_memory_mb"]) for entry in records if entry.get("peak_memory_mb") is not None]
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
        "peak_memory_mb": max(peaks, default=None),
        "seconds_per_run": round(seconds_per_run(variant), 3),
        "seconds_per_step": round(seconds_per_step(variant), 6),
        "test_readings": sum(entry.get("variant") == variant.id for entry in study.test_readings),
    }


def _each(values: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(values))
