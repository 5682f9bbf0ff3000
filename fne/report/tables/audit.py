"""What people judged of the nearest negatives."""

from __future__ import annotations

import math

from fne.protocols import DIRECTION_NAMES
from fne.report.tables.cells import ABSENT, Cell, Column, Table, in_order, records_of, title, whole
from fne.report.text.wording import count, percent, span
from fne.results.study import StudyResults

COLUMNS = (
    Column("Variant", numeric=False),
    Column("Direction", numeric=False),
    Column("Nearest", help="how many first items of a query are looked at"),
    Column("Negatives", help="of them, those that are not of the query's own image; all seeds"),
    Column("Judged", help="of the negatives, those that people judged"),
    Column("Matches", help="of the judged, those that people call a match: false negatives"),
    Column("Rate", help="matches among the judged"),
    Column("Seeds"),
)


def annotated_table(study: StudyResults) -> Table:
    """A row per variant, direction and depth: how many of the nearest negatives that people judged are matches."""
    audited = (study.folder / "audit_judged.csv").is_file()
    records = in_order(study, study.audited("judged")) if audited else []
    rows = []
    for row in records:
        rate = row["rate"]
        rows.append(
            (
                title(study[row["variant"]]),
                Cell(DIRECTION_NAMES[row["direction"]]),
                whole(row["depth"]),
                whole(row["negatives"]),
                Cell(count(row["judged"]), float(row["judged"]), note=f"{percent(row['judged_share'])} %"),
                whole(row["true"]),
                ABSENT if math.isnan(rate) else Cell(f"{percent(rate)} %", rate, note=span(row["low"], row["high"])),
                whole(row["seeds"]),
            )
        )
    caption = (
        "False negatives among what a trained model ranks highest: of the first items of each test query, those that "
        "are not of its own image and that people judged. They were chosen for judgement because they looked alike, so "
        "the rate is conditional on being judged, and no prevalence."
    )
    if not rows:
        caption = "Nobody judged pairs of this study's test split."
    made = sorted({str(row["method"]) for row in records if math.isfinite(row["low"])})
    notes = tuple(f"95 % intervals: {method}." for method in made)
    return Table("judged", "Judged pairs among the nearest negatives", caption, COLUMNS, tuple(rows), notes,
                 records_of(records), sortable=True)  # fmt: skip
