"""The table of calibration: scores of the posteriors in use with their intervals; honest where there are none."""

from __future__ import annotations

import math
from pathlib import Path

from fne.report.tables import registry as tables
from fne.results.schema import write_table
from fne.results.study import load
from tests.report.conftest import SMALL
from tests.report.synthetic import write_study


def row(metric: str, value: float, own: bool = True, kind: str = "none") -> dict:
    return {"variant": "fne", "posterior": "fne:normal" if own else "fne:kde", "own": own, "recalibration": kind,
            "source": "exact", "direction": "both", "metric": metric, "value": value, "low": value - 0.01,
            "high": value + 0.01 if own else math.nan, "seeds": 3, "pairs": 9900, "positives": 31,
            "method": "percentiles of 200 bootstrap draws"}  # fmt: skip


def test_own_posteriors_stand_with_intervals_raw_first_and_what_is_undefined_is_a_dash(tmp_path: Path) -> None:
    study = write_study(tmp_path, fakes=SMALL)
    results = load(study, tmp_path)
    empty = tables.build(results, "calibration")
    assert not empty.rows and "fne audit" in empty.caption
    write_table(results.folder, "calibration", [])
    assert "No variant" in tables.build(load(study, tmp_path), "calibration").caption
    rows = [row("ece", 0.0312, kind="platt"), row("ece", 0.25), row("brier", 0.125), row("auroc", math.nan),
            row("ece", 0.5, own=False)]  # fmt: skip
    write_table(results.folder, "calibration", rows)
    table = tables.build(load(study, tmp_path), "calibration")
    assert [(cells[1].text, cells[4].text) for cells in table.rows] == [("fne:normal", "raw"), ("fne:normal", "Platt")]
    raw = dict(zip((column.name for column in table.columns), table.rows[0], strict=True))
    assert (raw["ECE"].text, raw["ECE"].note) == ("0.2500", "[0.2400, 0.2600]") and raw["Brier"].sort == 0.125
    assert raw["AUROC"].absent and raw["AP"].absent and raw["Positive pairs"].text == "31 of 9,900"
    assert {record["metric"] for record in table.records} == {"ece", "brier", "auroc"}
    assert table.notes == ("Intervals: percentiles of 200 bootstrap draws.",)


def test_it_says_what_pairs_chosen_by_their_likeness_or_half_known_cannot_show(tmp_path: Path) -> None:
    study = write_study(tmp_path, fakes=SMALL)
    folder = load(study, tmp_path).folder
    for source, words in (("judged", "no prevalence"), ("equal_captions", "true shares are higher"), ("exact", None)):
        write_table(folder, "calibration", [row("ece", 0.25) | {"source": source}])
        notes = tables.build(load(study, tmp_path), "calibration").notes[1:]
        assert [words in note for note in notes] == ([True] if words else [])
