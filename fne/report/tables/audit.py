"""What was audited: people's judgements of the nearest negatives, the most-picked items, the age of picks."""

from __future__ import annotations

import math
from typing import Any

from fne.protocols import DIRECTION_NAMES
from fne.report.tables.cells import ABSENT, Cell, Column, Table
from fne.report.text.summary import NO_SHARED_EPOCH, shared_phrase
from fne.report.text.wording import count, number, percent, span
from fne.results.study import StudyResults
from fne.utils.text import clean

PLACES = 3
"""Most-picked items of each variant and direction that the table names."""


def judged_table(study: StudyResults) -> Table:
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


def popular_table(study: StudyResults) -> Table:
    """A row per variant and direction: how unevenly its picks fall on the items, and which are picked most."""
    columns = (
        Column("Variant", numeric=False),
        Column("Direction", numeric=False),
        Column("Picks", help="logged picks, all seeds"),
        Column("Items picked", help="of the items of the training split"),
        Column("Gini", help="0: every item is picked alike; 1: one item gets all picks; below: of uniform picks"),
        Column("Top 1 %", help="share of the picks that fall on the most-picked hundredth of the items"),
        Column("Picked most", help="id and number of picks", numeric=False),
    )
    most: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in _records(study, "popular"):
        most.setdefault((row["variant"], row["direction"]), []).append(row)
    rows, records = [], _records(study, "concentration")
    for row in records:
        first = most.get((row["variant"], row["direction"]), [])[:PLACES]
        told = ", ".join(f"{_name(one)} ({count(one['picks'])})" for one in first)
        of = "" if math.isnan(row["items"]) else f"of {count(row['items'])}"
        chance = "" if math.isnan(row["gini"]) else f"{number(row['gini_by_chance'], 2)} by chance"
        rows.append(
            (
                _variant(study, row),
                Cell(DIRECTION_NAMES[row["direction"]]),
                _count(row["picks"]),
                Cell(count(row["items_picked"]), float(row["items_picked"]), note=of),
                ABSENT if math.isnan(row["gini"]) else Cell(number(row["gini"], 2), row["gini"], note=chance),
                ABSENT if math.isnan(row["top_share"]) else Cell(f"{percent(row['top_share'])} %", row["top_share"]),
                Cell(told or "—", absent=not told),
            )
        )
    caption = (
        "Which items a strategy picks as negatives, and how unevenly: captions where images ask, images where captions "
        f"do. {_logged(study)}"
    )
    if not rows:
        caption = _no_picks(study, "No run kept any picks.")
    return Table("popular", "Most-picked items", caption, columns, tuple(rows), (), _plain(records), sortable=True)


def ages_table(study: StudyResults) -> Table:
    """A row per variant, direction and range of ages: how old picks out of the memory are, and how often false."""
    columns = (
        Column("Variant", numeric=False),
        Column("Direction", numeric=False),
        Column("Age", help="steps since the candidate entered the memory"),
        Column("Picks"),
        Column("Share", help="of the picks of the variant and direction"),
        Column("False negatives", help="known ones among the picks"),
    )
    every = [row for row in _records(study, "ages") if row["direction"] != "both"]
    with_memory = {row["variant"] for row in every if row["age_low"] >= 0}
    rows, records = [], [row for row in every if row["variant"] in with_memory]
    for row in records:
        low, high = int(row["age_low"]), int(row["age_high"])
        age = "batch" if low < 0 else str(low) if low == high else f"{low} to {high}"
        rate = row["rate"]
        rows.append(
            (
                _variant(study, row),
                Cell(DIRECTION_NAMES[row["direction"]]),
                Cell(age, float(low)),
                _count(row["picks"]),
                Cell(f"{percent(row['share_of_picks'])} %", row["share_of_picks"]),
                ABSENT if math.isnan(rate) else Cell(f"{percent(rate, digits=2)} %", rate,
                                                     note=span(row["low"], row["high"])),
            )
        )  # fmt: skip
    caption = f"Picks of variants with a memory by the candidate's age. {_logged(study)}"
    if not rows:
        caption = _no_picks(study, "No variant of this study picked out of a memory.")
    notes = _methods(records)
    return Table("ages", "Age of picks out of the memory", caption, columns, tuple(rows), notes, _plain(records),
                 sortable=True)  # fmt: skip


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


def _logged(study: StudyResults) -> str:
    return f"Logged picks of {shared_phrase(study)}; seeds pooled." if study.shared_epochs else ""


def _no_picks(study: StudyResults, why: str) -> str:
    return why if study.shared_epochs else f"Picks are not compared: {NO_SHARED_EPOCH}."


def _plain(records: list[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    return tuple(
        {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}
        for row in records
    )


def _variant(study: StudyResults, row: dict[str, Any]) -> Cell:
    return Cell(clean(study[row["variant"]].title), note=row["variant"], code=True)


def _count(value: float) -> Cell:
    return Cell(count(value), float(value))


def _name(row: dict[str, Any]) -> str:
    """The id of an item; its position where the prepared data are not at hand."""
    return clean(row["id"]) if isinstance(row["id"], str) else str(int(row["candidate"]))
