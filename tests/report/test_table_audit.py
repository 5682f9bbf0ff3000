"""Tables of what was audited: every cell is that of the audit's files, and what is not there is told."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from fne.protocols import DIRECTION_NAMES
from fne.report.tables.cells import Table
from fne.report.tables.registry import build
from fne.results.schema import write_table
from fne.results.study import load
from fne.utils.text import clean
from tests.report.conftest import SMALL, Made
from tests.report.synthetic import HOSTILE_NAME, write_study


def rows_of(made: Made, table: str) -> list[dict[str, str]]:
    with open(made.results.folder / f"audit_{table}.csv", newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def cells(table: Table) -> dict[tuple[str, str], list]:
    return {(row[0].note, row[1].text): list(row) for row in table.rows}


def test_the_most_picked_items_are_named_with_their_picks(paper: Made) -> None:
    table, told = build(paper.results, "popular"), rows_of(paper, "concentration")
    assert len(table.rows) == len(told) == len(table.records) > 10
    for row in told:
        found = cells(table)[row["variant"], DIRECTION_NAMES[row["direction"]]]
        assert [found[place].sort for place in (2, 3)] == [float(row["picks"]), float(row["items_picked"])]
        assert [found[place].sort for place in (4, 5)] == [float(row["gini"]), float(row["top_share"])]
        mine = [one for one in rows_of(paper, "popular")
                if (one["variant"], one["direction"]) == (row["variant"], row["direction"])]  # fmt: skip
        assert found[6].text == ", ".join(f"{one['id']} ({one['picks']})" for one in mine[:3])


def test_a_variant_without_a_memory_has_no_ages(tmp_path: Path) -> None:
    study = write_study(tmp_path, fakes=SMALL)
    row = {"direction": "i2t", "picks": 10, "share_of_picks": 1.0, "rate": 0.5, "low": 0.2, "high": 0.8, "method": "so"}
    ages = [("infonce", -1, -1), ("fne", -1, -1), ("fne", 4, 7)]
    rows = [row | {"variant": name, "age_low": low, "age_high": high} for name, low, high in ages]
    write_table(load(study, tmp_path).folder, "audit_ages", rows)
    table = build(load(study, tmp_path), "ages")
    assert [(one[0].note, one[2].text) for one in table.rows] == [("fne", "batch"), ("fne", "4 to 7")]


def test_ages_are_those_of_the_audit(paper: Made) -> None:
    table = build(paper.results, "ages")
    told = [row for row in rows_of(paper, "ages") if row["direction"] != "both"]
    assert 0 < len(table.rows) == len(told) == len(table.records)
    for row, shown in zip(told, table.rows, strict=True):
        assert shown[0].note == row["variant"] and shown[2].sort == float(row["age_low"])
        assert [shown[3].sort, shown[4].sort] == [float(row["picks"]), float(row["share_of_picks"])]
        assert shown[5].absent if row["rate"] == "" else shown[5].sort == float(row["rate"])


def test_rates_of_judged_pairs_stand_with_their_intervals(tmp_path: Path) -> None:
    study = write_study(tmp_path, fakes=SMALL)
    results = load(study, tmp_path)
    assert not build(results, "judged").rows
    row = {"variant": "fne", "direction": "i2t", "depth": 5, "seeds": 3, "negatives": 4321, "judged": 400}
    row |= {"judged_share": 400 / 4321, "true": 100, "rate": 0.25, "low": 0.2, "high": 0.3125, "method": "so"}
    none = row | {"depth": 1, "judged": 0, "true": 0, "rate": math.nan, "low": math.nan, "high": math.nan}
    write_table(results.folder, "audit_judged", [none, row])
    table = build(load(study, tmp_path), "judged")
    assert [cell.text for cell in table.rows[1][1:]] == [
        "image → text", "5", "4\u202f321", "400", "100", "25.0 %", "3",
    ]  # fmt: skip
    assert (table.rows[1][4].note, table.rows[1][6].note) == ("9.3 %", "[20.0, 31.2]")
    assert table.rows[0][6].absent and table.records[0]["rate"] is None
    assert "no prevalence" in table.caption and table.notes == ("95 % intervals: so.",)


@pytest.mark.parametrize("name", ["popular", "ages", "judged"])
def test_the_page_has_them_where_there_is_anything_to_say(paper: Made, hostile: Made, lonely: Made, name: str) -> None:
    for made in (paper, hostile, lonely):
        rows = build(made.results, name).rows
        assert (f'<table id="table-{name}"' in made.page()) == bool(rows)
    assert build(paper.results, "popular").rows and build(paper.results, "ages").rows


def test_hostile_ids_stay_words(hostile: Made) -> None:
    words = [row[6].text for row in build(hostile.results, "popular").rows]
    assert any(clean(HOSTILE_NAME) in text for text in words)
