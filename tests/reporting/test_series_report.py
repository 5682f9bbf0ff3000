"""What a series says as a whole: the answer, tables in which every row names its world, figure, page."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from fne.config import Series
from fne.errors import UserError
from fne.reporting.series import answer, figures, report, tables
from fne.reporting.series.names import FIGURE, TABLES
from fne.reporting.series.results import SeriesResults, open_series
from tests.reporting.synthetic import HOSTILE
from tests.reporting.synthetic_series import write_series

STEPS = (tables, figures, report)


def made(root: Path, **changes: object) -> tuple[Series, SeriesResults]:
    series = write_series(root, **changes)
    for step in STEPS:
        step.run(series, root)
    return series, open_series(series, root)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SeriesResults]:
    root = tmp_path_factory.mktemp("series")
    return root, made(root)[1]


def effects(root: Path) -> list[dict[str, str]]:
    with open(root / "results/prevalence/effects.csv", newline="") as handle:
        return list(csv.DictReader(handle))


def test_the_first_to_lose_is_the_one_of_the_numbers(told: tuple[Path, SeriesResults]) -> None:
    """Worked out anew from the file: the lowest value, then the largest loss, whose whole interval is below zero."""
    root, series = told
    lost: dict[str, tuple[float, float, str]] = {}
    for row in effects(root):
        if row["since"] and row["reference"] == "hardest_in_batch_oracle_remove" and row["metric"] == "rsum":
            found = (float(row["value"]), float(row["estimate"]), row["variant"])
            if float(row["high"]) < 0 and "oracle" not in row["variant"]:
                lost[row["variant"]] = min(lost.get(row["variant"], found), found)
    order = sorted(lost.values())
    assert len(order) >= 3 and [loss.variant for loss in answer.losses(series)] == [one[2] for one in order]
    first, *rest = answer.answer(series)
    value, change, variant = order[0]
    start = f"{series.title_of(variant)} is the first to lose against the oracle, Hardest, oracle removes"
    assert first.startswith(start)
    assert f"at prevalence {100 * value:g} %" in first and f"fallen by {-100 * change:.1f} rsum [" in first
    assert first.count(". ") == 0, "one sentence"
    said = " ".join(rest)
    assert all(series.title_of(one[2]) in said for one in order[1:])
    held = said.split("Not shown to lose")[1].split(".  ")[0]
    assert "InfoNCE" in held and series.title_of(variant) not in held.split("At prevalence")[0]
    assert "false negatives, the most of all" in said
    looked = (len(series.strategies) - (series.reference in series.strategies)) * (len(series.values) - 1)
    assert f"These are {looked} changes, each judged by its own 95 % interval" in said
    assert f"if no strategy lost, about {0.025 * looked:.1f} would look like a loss" in said


def test_nothing_lost_and_nothing_known(tmp_path: Path) -> None:
    def first(name: str, **changes: object) -> str:
        return answer.answer(made(tmp_path / name, **changes)[1])[0]

    assert first("wide", wide=10.0).startswith("No strategy is shown to lose against the oracle")
    assert "3 seeds are too few" in first("none", wide=float("nan"))
    alone = first("alone", keep=lambda row: row["value"] == 0)
    assert "cannot be said: no two worlds have results of both" in alone


def test_without_an_oracle_losses_are_told_against_the_baseline(tmp_path: Path) -> None:
    series, results = made(tmp_path)
    names = ("hardest_in_batch", "hardest_buffer", "fne")
    members = tuple(replace(member, variants=names) for member in series.members)
    results = open_series(replace(series, members=members), tmp_path)
    assert results.ceiling is None and results.reference == "hardest_in_batch"
    assert answer.answer(results)[0].startswith("Hardest in batch and buffer is the first to lose against the baseline")
    assert "Δ oracle" not in {column.name for column in tables.build(results, "main").columns}
    figures.draw(results)


def test_every_row_of_every_table_says_its_world(told: tuple[Path, SeriesResults]) -> None:
    root, series = told
    for name in TABLES:
        for kind in ("html", "md", "tex", "csv"):
            assert (root / f"reports/prevalence/tables/{name}.{kind}").stat().st_size > 100
        with open(root / f"reports/prevalence/tables/{name}.csv", newline="") as handle:
            rows = list(csv.DictReader(handle))
        assert rows and all(float(row["data.prevalence"]) in series.values for row in rows)
    main = tables.build(series, "main")
    assert len(main.rows) == len(series.values) * len(series.variants)
    assert [column.name for column in main.columns][:2] == ["Prevalence", "Variant"]
    assert {row[0].text for row in main.rows} == {"0 %", "0.1 %", "0.3 %", "1 %", "3 %"}


def test_numbers_of_the_tables_are_those_of_the_comparison(told: tuple[Path, SeriesResults]) -> None:
    root, series = told
    wanted = {
        (float(row["value"]), row["variant"]): row
        for row in effects(root)
        if (row["reference"], row["since"], row["metric"]) == ("hardest_in_batch", "", "rsum")
    }
    with open(root / "reports/prevalence/tables/main.csv", newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["variant"] != "hardest_in_batch"]
    assert len(rows) == len(wanted) == 5 * (len(series.variants) - 1)
    for row in rows:
        found = wanted[float(row["data.prevalence"]), row["variant"]]
        assert float(row["to_baseline"]) == pytest.approx(float(found["estimate"]))
        assert float(row["to_baseline_high"]) == pytest.approx(float(found["high"]))


def test_figure_draws_every_variant_and_keeps_the_oracles_apart(told: tuple[Path, SeriesResults]) -> None:
    _, series = told
    picture = figures.draw(series)
    assert len(picture.drawing.axes) == 4
    for panel in picture.drawing.axes:
        assert len([line for line in panel.lines if len(line.get_xdata()) == 5]) == len(series.variants)
        assert len(panel.collections) == len(series.variants), "a band each"
    last = picture.drawing.axes[-1]
    assert [label.get_text() for label in last.get_xticklabels()] == ["0 %", "0.1 %", "0.3 %", "1 %", "3 %"]
    lines = [line for line in last.lines if len(line.get_xdata()) == 5]
    widths = {name: line.get_linewidth() for name, line in zip(series.variants, lines, strict=True)}
    thick = {name for name, width in widths.items() if width > 2}
    assert thick == {"hardest_in_batch_oracle_remove", "hardest_in_batch_oracle_only"}
    assert "Test queries differ between worlds" in picture.caption and "ceiling" in picture.caption
    colour = {name: line.get_color() for name, line in zip(series.variants, lines, strict=True)}
    assert len({colour[name] for name in series.strategies}) == len(series.strategies)


def test_page_holds_answer_figure_tables_and_the_way_to_each_world(told: tuple[Path, SeriesResults]) -> None:
    root, series = told
    page = (root / "reports/prevalence/report.html").read_text(encoding="utf-8")
    assert answer.answer(series)[0].split("rsum")[0] in page and "<svg" in page
    for member in series.definition.members:
        assert f'href="../{member.name}/report.html"' in page
    assert page.count('<table id="table-') == len(TABLES) and 'src="http' not in page and "url(http" not in page
    record = json.loads((root / "reports/prevalence/record.json").read_text())
    assert record["members"] == {member.name: member.data["prevalence"] for member in series.definition.members}
    assert set(record["inputs"]) == {f"results/prevalence/{name}.csv" for name in ("worlds", "effects", "picks")}
    assert {"report.html", f"figures/{FIGURE}.png", "tables/main.csv"} <= set(record["outputs"])


def test_made_again_all_files_are_the_same(told: tuple[Path, SeriesResults], tmp_path: Path) -> None:
    root, _ = told
    made(tmp_path)
    names = [path.relative_to(root) for path in (root / "reports").rglob("*") if path.is_file()]
    assert len(names) == 5 + 4 * len(TABLES)
    for name in names:
        assert (root / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_hostile_titles_pass_harmlessly(tmp_path: Path) -> None:
    made(tmp_path, title=HOSTILE)
    page = (tmp_path / "reports/prevalence/report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page


def test_missing_runs_are_told(tmp_path: Path) -> None:
    _, series = made(tmp_path, keep=lambda row: (row["variant"], row["value"]) != ("fne", 0.01))
    main = tables.build(series, "main")
    assert any("fne at 1 %: 0 of 3" in note for note in main.notes)
    (row,) = [row for row in main.rows if (row[0].text, row[1].note) == ("1 %", "fne")]
    assert row[3].absent and row[4].absent


def test_steps_in_the_wrong_order_and_wrong_names(tmp_path: Path) -> None:
    series = write_series(tmp_path)
    with pytest.raises(UserError, match="figure was not drawn yet"):
        report.run(series, tmp_path)
    (tmp_path / "results/prevalence/effects.csv").unlink()
    with pytest.raises(UserError, match="not compared yet"):
        tables.run("prevalence", tmp_path)
    with pytest.raises(UserError, match="is a study, not a series"):
        tables.run("smoke", tmp_path)
    with pytest.raises(UserError, match="no such table"):
        tables.build(open_series(write_series(tmp_path), tmp_path), "mian")
