"""The tables say what the files say, call missing what is missing, and boast of nothing."""

from __future__ import annotations

import csv
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from fne.report.tables import registry as tables
from fne.report.tables.contrasts import primary_contrasts
from fne.report.tables.main import main_table
from fne.results.study import StudyResults, load
from fne.utils.errors import UserError
from tests.report import synthetic
from tests.report.conftest import SMALL, Made
from tests.report.synthetic import HOSTILE, Fake, study_of, write_study
from tests.tables import edit


def file_rows(made: Made, name: str) -> list[dict[str, str]]:
    with open(made.root / "results" / made.study.name / name, encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def test_every_recall_is_the_mean_of_the_file(paper: Made) -> None:
    table = main_table(paper.results)
    names = [(column.group, column.name) for column in table.columns]
    rows = [row for row in file_rows(paper, "runs.csv") if row["split"] == "test"]
    assert [row[0].note for row in table.rows] == list(paper.study.variants)
    for line in table.rows:
        for group, direction in (("Image → text", "i2t"), ("Text → image", "t2i")):
            for label, metric in (("R@1", "r1"), ("R@5", "r5"), ("R@10", "r10")):
                requested = fmean(
                    float(row["value"])
                    for row in rows
                    if (row["variant"], row["direction"], row["metric"], row["protocol"])
                    == (line[0].note, direction, metric, "own")
                )
                shown = line[names.index((group, label))].text
                assert len(shown.split(".")[1]) == 1 and abs(float(shown) - 100 * requested) < 0.0501


def test_primary_metric_and_contrast_come_with_their_intervals(paper: Made) -> None:
    table = main_table(paper.results)
    names = [column.name for column in table.columns]
    line = next(row for row in table.rows if row[0].note == "fne_no_cutdown")
    estimate = next(row for row in file_rows(paper, "intervals.csv")
                    if row["variant"] == "fne_no_cutdown" and row["metric"] == "rsum")  # fmt: skip
    contrast = next(row for row in file_rows(paper, "contrasts.csv")
                    if row["variant"] == "fne_no_cutdown" and row["metric"] == "rsum")  # fmt: skip
    cell = line[names.index("rsum")]
    assert cell.text == f"{100 * float(estimate['mean']):.1f}"
    assert cell.note == f"[{100 * float(estimate['low']):.1f}, {100 * float(estimate['high']):.1f}]"
    cell = line[names.index("Δ baseline")]
    assert cell.text == f"−{abs(100 * float(contrast['difference'])):.1f}"
    assert line[names.index("p (Holm)")].text == "≤ 0.0009"  # nine comparisons of 10,000 flips
    base = next(row for row in table.rows if row[0].note == paper.study.baseline)
    assert base[names.index("Δ baseline")].text == "baseline"


def test_truth_and_false_picks_are_shown_where_known(paper: Made, lonely: Made) -> None:
    names = [column.name for column in main_table(paper.results).columns]
    assert {"mAP@R", "R-Precision", "P@1", "False picks"} <= set(names)
    line = main_table(paper.results).rows[2]
    values = [
        fmean(paper.results.values(line[0].note, "p1", direction, "truth").values()) for direction in ("i2t", "t2i")
    ]
    assert line[names.index("P@1")].text == " / ".join(f"{100 * value:.1f}" for value in values)
    assert "False picks" not in [column.name for column in main_table(lonely.results).columns]


FURTHER = {
    "coco_1k_5fold": ("COCO 1K, five folds (i2t / t2i)", {"r1": "R@1", "r5": "R@5", "r10": "R@10", "rsum": "rsum"}),
    "eccv": ("ECCV Caption (i2t / t2i)", {"map_at_r": "mAP@R", "r_precision": "R-Precision", "r1": "R@1"}),
    "cxc": ("CxC (i2t / t2i)", {"r1": "R@1", "r5": "R@5", "r10": "R@10"}),
}


@pytest.fixture
def coco(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyResults:
    """A study with a result under every protocol of COCO, no two numbers equal."""

    def more(fake: Fake, seed: int) -> dict[tuple[str, str, str], float]:
        result, draw = metrics(fake, seed), np.random.default_rng(seed)
        for protocol, (_, names) in FURTHER.items():
            for metric in names:
                for direction in ("both",) if metric == "rsum" else ("i2t", "t2i"):
                    result[protocol, direction, metric] = float(draw.uniform(0.1, 0.9))
            if protocol == "coco_1k_5fold":  # as the statistics have it
                recalls = [result[protocol, d, r] for d in ("i2t", "t2i") for r in ("r1", "r5", "r10")]
                result[protocol, "both", "rsum"] = sum(recalls)
        return result

    metrics = synthetic._metrics
    monkeypatch.setattr(synthetic, "_metrics", more)
    return load(write_study(tmp_path, fakes=SMALL, seeds=(0, 1, 2)), tmp_path)


def test_every_protocol_has_a_block_of_its_own(coco: StudyResults, paper: Made) -> None:
    table = main_table(coco)
    names = [(column.group, column.name) for column in table.columns]
    assert len(set(names)) == len(names)
    for protocol, (group, metrics) in FURTHER.items():
        assert [name for block, name in names if block == group] == list(metrics.values())
        for row in table.rows:
            for metric, label in metrics.items():
                sides = ("both",) if metric == "rsum" else ("i2t", "t2i")
                requested = [fmean(coco.values(row[0].note, metric, side, protocol).values()) for side in sides]
                assert row[names.index((group, label))].text == " / ".join(f"{100 * value:.1f}" for value in requested)
                for side, value in zip(sides, requested, strict=True):
                    record = next(item for item in table.records if item["variant"] == row[0].note)
                    assert record[f"{protocol}_{side}_{metric}"] == pytest.approx(value, abs=1e-12)
    summary = " ".join(table.notes)
    assert "five consecutive blocks" in summary and "ECCV Caption:" in summary and "CxC:" in summary
    assert not {group for group, _ in FURTHER.values()} & {column.group for column in main_table(paper.results).columns}


def test_a_missing_run_is_a_cell_that_says_so(paper: Made, hostile: Made) -> None:
    row = next(row for row in main_table(paper.results).rows if row[0].note == "hardest_buffer")
    assert row[1].text == "4 of 5" and row[1].absent
    assert row[1].note == "missing seed 3: out of memory (train)"
    words = "Hardest in batch and buffer, seed 3: out of memory (train)"
    assert any(words in note for note in main_table(paper.results).notes)
    row = next(row for row in main_table(hostile.results).rows if row[0].note == "infonce")
    assert row[1].text == "0 of 2" and all(cell.absent for cell in row[1:])
    assert row[1].note == f"missing seed 0, 1: {HOSTILE} (train)"


def test_bold_needs_support(paper: Made, hostile: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any(cell.strong for row in main_table(hostile.results).rows for cell in row)
    import fne.report.tables.main as module

    monkeypatch.setattr(module, "supported_best", lambda study, metric=None, *rest: "fne" if metric == "r5" else None)
    table = main_table(paper.results)
    strong = [
        (row[0].note, table.columns[place].name) for row in table.rows for place, cell in enumerate(row) if cell.strong
    ]
    assert strong == [("fne", "R@5"), ("fne", "R@5")]


@pytest.mark.parametrize(
    ("column", "value"), [("fingerprint", "own-test-ffffffff"), ("digest", "0" * 16), ("regime", "finetune")]
)
def test_numbers_that_cannot_be_compared_are_refused(tmp_path: Path, column: str, value: str) -> None:
    study = write_study(tmp_path, fakes=SMALL[:2], seeds=(0, 1), resources=False)
    key = {"split": "test", "protocol": "own", "metric": "r1", "direction": "i2t", "variant": "fne", "seed": "0"}
    change = {column: value}
    edit(tmp_path / "results/paper/runs.csv", lambda row: row.update(change) if key.items() <= row.items() else None)
    with pytest.raises(UserError, match=f"several {column}s.*{value}"):
        tables.run(study, tmp_path)


def test_contrasts_hold_every_row_of_the_file_the_primary_ones_first(paper: Made) -> None:
    table = tables.build(paper.results, "contrasts")
    assert len(table.rows) == len(file_rows(paper, "contrasts.csv")) == len(table.records)
    assert [row[0].note for row in table.rows[:9]] == [v for v in paper.study.variants if v != paper.study.baseline]
    assert all(row[1].strong for row in table.rows[:9]) and not any(row[1].strong for row in table.rows[9:])
    primary = primary_contrasts(paper.results)
    shown = [column.name for column in primary.columns if not column.detail]
    assert shown == ["Variant", "Verdict", "Δ baseline", "Interval", "p (Holm)"]
    for row, whole in zip(primary.rows, table.rows[:9], strict=True):
        assert (row[0], *row[2:]) == (whole[0], *whole[4:])
        contrast = paper.results.contrast(row[0].note)
        better = "better" if contrast.difference > 0 else "worse"
        assert row[1].text == (better if contrast.separated and contrast.p_holm < 0.05 else row[1].text)
        assert (row[1].text == "not shown") == (not contrast.separated)


def test_configs_name_the_one_change_of_each_variant(paper: Made) -> None:
    rows = {row[0].note: row for row in tables.build(paper.results, "configs").rows}
    assert (rows["fne_abstract"][1].text, rows["fne_abstract"][2].text) == (
        "FNE (released rule)",
        "negatives.elimination: released → power",
    )
    assert rows["fne"][1].text == "base" and rows["fne"][2].text == "nothing"
    records = tables.build(paper.results, "configs").records
    infonce = {row["key"]: (row["baseline"], row["value"]) for row in records if row["variant"] == "infonce"}
    assert infonce["loss.kind"] == ("triplet", "infonce")
    temperature = paper.results["infonce"].config["loss"]["temperature"]
    assert infonce["loss.temperature"] == ("not read", f"{temperature:g}")
    assert not [row for row in records if row["variant"] == paper.study.baseline]


def test_tuned_values_stand_with_their_reason(searched: Made) -> None:
    table = tables.build(searched.results, "configs")
    row = next(row for row in table.rows if row[0].note == "hardest_in_batch")
    assert row[3].text == "train.learning_rate = 0.002; loss.margin = 0.07"
    assert row[3].note == "the best of 2 finalists of 10 trials"


def test_the_record_counts_test_readings_and_epochs_from_one(paper: Made) -> None:
    table = tables.build(paper.results, "record")
    row = next(row for row in table.records if row["variant"] == "fne")
    assert row["test_readings"] == 1 and row["seeds"] == "0 to 4"
    chosen = [entry["epoch"] for run in paper.results["fne"].runs for entry in run["selection"]["per_seed"]]
    assert row["selected_epochs"] == ", ".join(str(epoch + 1) for epoch in chosen)


def test_all_files_are_written(paper: Made) -> None:
    names = {path.name for path in (paper.reports / "tables").iterdir()}
    assert names == {f"{table}.{suffix}" for table in tables.TABLES for suffix in ("html", "md", "tex", "csv")}


def test_unknown_table(paper: Made) -> None:
    with pytest.raises(UserError, match="did you mean 'main'"):
        tables.build(paper.results, "mian")


def test_a_study_with_one_variant_has_empty_contrasts(lonely: Made) -> None:
    assert tables.build(lonely.results, "contrasts").rows == ()
    assert study_of("x", SMALL, (0,), "fne").baseline == "fne"
