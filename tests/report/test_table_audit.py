"""The table of pairs that people judged."""

from __future__ import annotations

import math
from pathlib import Path

from fne.report.tables.registry import build
from fne.results.schema import write_table
from fne.results.study import load
from tests.report.conftest import SMALL
from tests.report.synthetic import write_study


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
