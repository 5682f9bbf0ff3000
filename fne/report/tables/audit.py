"""What people judged of the nearest negatives."""

from __future__ import annotations

import math
from typing import Any

from fne.protocols import DIRECTION_NAMES
from fne.report.tables.cells import ABSENT, Cell, Column, Table
from fne.report.text.wording import count, percent, span
from fne.results.study import StudyResults
from fne.utils.text import clean


def annotated_table(study: StudyResults) -> Table:
    """A row per variant, direction and depth: how many of the nearest negatives that people judged are matches."""
    columns = (
        Column("Variant", numeric=False),
        Column("Direction", numeric=False),
        Column("Nearest", help="how many first items of a query are looked at"),
        Column("Negatives", help="of them, those that are not of the query's own image; all seeds"),
        Column("Judged", help="of the negatives, those that people judged"),
        Column("Matches", help="of the judged, those that people call a match: false negatives"),
        Column("Rate", help="matches among the judged"),
        Column("Seeds"),
    )
    rows, records = [], _records(study, "judged")
    for row in records:
        rate = row["rate"]
        rows.append(
            (
                _variant(study, row),
                Cell(DIRECTION_NAMES[row["direction"]]),
                _count(row["depth"]),
                _count(row["negatives"]),
                Cell(count(row["judged"]), float(row["judged"]), note=f"{percent(row['judged_share'])} %"),
                _count(row["true"]),
                ABSENT if math.isnan(rate) else Cell(f"{percent(rate)} %", rate, note=span(row["low"], row["high"])),
                _count(row["seeds"]),
            )
        )
    caption = (
        "False negatives among what a trained model ranks highest: of the first items of each test query, those that "
        "are not of its own image and that people judged. They were chosen for judgement because they looked alike, so "
        "the rate is conditional on being judged, and no prevalence."
    )
    if not rows:
        caption = "Nobody judged pairs of this study's test split."
    notes = _methods(records)
    return Table("judged", "Judged pairs among the nearest negatives", caption, columns, tuple(rows), notes,
                 _plain(records), sortable=True)  # fmt: skip


def _records(study: StudyResults, table: str) -> list[dict[str, Any]]:
    """Rows of an audit's table in the order of the study; none where nothing was audited yet."""
    if not (study.folder / f"audit_{table}.csv").is_file():
        return []
    order = {variant.id: place for place, variant in enumerate(study.variants)}
    frame = study.audited(table)
    rows = frame[frame["variant"].isin(list(order))].to_dict("records")
    return sorted(rows, key=lambda row: order[row["variant"]])


def _methods(records: list[dict[str, Any]]) -> tuple[str, ...]:
    """How the 95 % intervals of a table were made, where it has some."""
    made = sorted({str(row["method"]) for row in records if math.isfinite(row["low"])})
    return tuple(f"95 % intervals: {method}." for method in made)


def _plain(records: list[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    return tuple(
        {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}
        for row in records
    )


def _variant(study: StudyResults, row: dict[str, Any]) -> Cell:
    return Cell(clean(study[row["variant"]].title), note=row["variant"], code=True)


def _count(value: float) -> Cell:
    return Cell(count(value), float(value))
