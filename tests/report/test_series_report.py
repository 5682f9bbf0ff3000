"""What a series says as a whole: the answer, tables in which every row names its world, figure, page."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from fne.report.series import answer, cells, components, figures, names, report, tables
from fne.report.series.results import SeriesResults, Value, open_series
from fne.study.api import Series
from fne.utils.errors import UserError
from tests.report.synthetic import HOSTILE
from tests.report.synthetic_series import SD, write_cells, write_series

STEPS = (tables, figures, report)
VALUES = (0.0, 0.001, 0.003, 0.01, 0.03)
TABLES = ("main", "differences", "losses", "worlds")


def made(root: Path, write: object = write_series, **changes: object) -> tuple[Series, SeriesResults]:
    series = write(root, **changes)
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
            result = (float(row["data.prevalence"]), float(row["estimate"]), row["variant"])
            if float(row["high"]) < 0 and "oracle" not in row["variant"]:
                lost[row["variant"]] = min(lost.get(row["variant"], result), result)
    order = sorted(lost.values())
    assert len(order) >= 3 and [loss.variant for loss in answer.losses(series)] == [item[2] for item in order]
    first, *rest = answer.answer(series)
    value, change, variant = order[0]
    assert first.startswith("The first to lose against the oracle, Hardest, oracle removes, since prevalence 0 %: ")
    assert f"{series.title_of(variant)} at {100 * value:g} % (by {-100 * change:.1f} rsum [" in first
    assert all(series.title_of(item[2]) in rest[0] for item in order[1:]) and "InfoNCE" not in rest[0]
    looked = (len(series.strategies) - (series.reference in series.strategies)) * (len(series.members) - 1)
    assert rest[1] == (f"These are {looked} changes, each by its own 95 % interval: if no strategy lost, about "
                       f"{0.025 * looked:.1f} would look like a loss.")  # fmt: skip
    assert "false negatives, the most of all" in rest[2]


@pytest.mark.parametrize(("changes", "words"), [
    ({"wide": 10.0}, "No strategy is shown to lose against the oracle"),
    ({"wide": float("nan")}, "cannot be said: no two worlds have results of enough seeds"),
    ({"keep": lambda row: row["data.prevalence"] == 0}, "cannot be said: no two worlds"),
])  # fmt: skip
def test_nothing_lost_and_nothing_known(tmp_path: Path, changes: dict, words: str) -> None:
    assert words in answer.answer(open_series(write_series(tmp_path, **changes), tmp_path))[0]


def test_an_oracle_that_is_behind_the_baseline_itself_is_said_to_be(
    told: tuple[Path, SeriesResults], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, series = told
    assert not any("The oracle itself" in sentence for sentence in answer.answer(series))
    last, own = series.members[-1], series.effect

    def effect(member: str, variant: str, *rest: object, **options: object) -> Value | None:
        fell = (member, variant, rest[1:]) == (last, series.ceiling, (series.baseline,))
        return Value(-0.617, -0.686, -0.549) if fell else own(member, variant, *rest, **options)

    monkeypatch.setattr(series, "effect", effect)
    (said,) = [sentence for sentence in answer.answer(series) if "The oracle itself" in sentence]
    assert "behind the baseline at prevalence 3 %, by 61.7 rsum [54.9, 68.6]; own captions alone are right" in said


def test_without_an_oracle_losses_are_told_against_the_baseline(tmp_path: Path) -> None:
    series, results = made(tmp_path)
    few = ("hardest_in_batch", "hardest_buffer", "fne")
    members = tuple(replace(member, variants=few) for member in series.members)
    results = open_series(replace(series, members=members), tmp_path)
    assert results.ceiling is None and results.reference == "hardest_in_batch"
    assert answer.answer(results)[0].startswith("The first to lose against the baseline, Hardest in batch")
    assert "Δ oracle" not in {column.name for column in tables.build(results, "main").columns}
    figures.draw(results)


def test_every_row_of_every_table_says_its_world(told: tuple[Path, SeriesResults]) -> None:
    root, series = told
    for name in TABLES:
        for kind in ("html", "md", "tex", "csv"):
            assert (root / f"reports/prevalence/tables/{name}.{kind}").stat().st_size > 100
        with open(root / f"reports/prevalence/tables/{name}.csv", newline="") as handle:
            rows = list(csv.DictReader(handle))
        assert rows and all(float(row["data.prevalence"]) in VALUES for row in rows)
    main = tables.build(series, "main")
    assert len(main.rows) == len(VALUES) * len(series.variants)
    assert [column.name for column in main.columns][:2] == ["Prevalence", "Variant"]
    assert {row[0].text for row in main.rows} == {"0 %", "0.1 %", "0.3 %", "1 %", "3 %"}


def test_numbers_of_the_tables_are_those_of_the_comparison(told: tuple[Path, SeriesResults]) -> None:
    root, series = told
    requested = {
        (float(row["data.prevalence"]), row["variant"]): row
        for row in effects(root)
        if (row["reference"], row["since"], row["metric"]) == ("hardest_in_batch", "", "rsum")
    }
    with open(root / "reports/prevalence/tables/main.csv", newline="") as handle:
        rows = [row for row in csv.DictReader(handle) if row["variant"] != "hardest_in_batch"]
    assert len(rows) == len(requested) == 5 * (len(series.variants) - 1)
    for row in rows:
        result = requested[float(row["data.prevalence"]), row["variant"]]
        assert float(row["to_baseline"]) == pytest.approx(float(result["estimate"]))
        assert float(row["to_baseline_high"]) == pytest.approx(float(result["high"]))


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
    points = {member.name: {"data.prevalence": member.data["prevalence"]} for member in series.definition.members}
    assert record["members"] == points and record["factors"] == {"data.prevalence": list(VALUES)}
    assert set(record["inputs"]) == {f"results/prevalence/{name}.csv" for name in ("worlds", "effects", "picks")}
    assert {"report.html", "figures/series.png", "tables/main.csv"} <= set(record["outputs"])


def test_made_again_all_files_are_the_same(told: tuple[Path, SeriesResults], tmp_path: Path) -> None:
    root, _ = told
    made(tmp_path)
    made_files = [path.relative_to(root) for path in (root / "reports").rglob("*") if path.is_file()]
    assert len(made_files) == 5 + 4 * len(TABLES)
    for name in made_files:
        assert (root / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_hostile_titles_pass_harmlessly(tmp_path: Path) -> None:
    made(tmp_path, title=HOSTILE)
    page = (tmp_path / "reports/prevalence/report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page


def test_steps_in_the_wrong_order_and_wrong_names(tmp_path: Path) -> None:
    series = write_series(tmp_path)
    with pytest.raises(UserError, match="run `fne figures --study prevalence` again"):
        report.run(series, tmp_path)
    (tmp_path / "results/prevalence/effects.csv").unlink()
    with pytest.raises(UserError, match="not compared yet"):
        tables.run("prevalence", tmp_path)
    with pytest.raises(UserError, match="is a study, not a series"):
        tables.run("smoke", tmp_path)
    with pytest.raises(UserError, match="no such table"):
        tables.build(open_series(write_series(tmp_path), tmp_path), "mian")


DRAW, SEED = "encoders.draw", "data.seed"
SIX = [0, 1, 2, 3, 4, 5]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SeriesResults]:
    """The study ``variance``: 16 cells of encoder draws and worlds."""
    root = tmp_path_factory.mktemp("cells")
    return root, made(root, write_cells)[1]


def read(file: Path) -> list[dict[str, str]]:
    with open(file, newline="") as handle:
        return list(csv.DictReader(handle))


def test_where_the_variance_comes_from_is_said_first(drawn: tuple[Path, SeriesResults]) -> None:
    """Worked out anew from the standard deviations that were made up."""
    _, series = drawn
    said = answer.answer(series)
    names_of = {"seed": "training seed", "images": "test images", DRAW: "encoder draw", SEED: "world",
                "interaction": "interaction"}  # fmt: skip
    for sentence, of in zip(said, ("level", "difference"), strict=False):
        total = sum(sd**2 for sd in SD[of].values()) ** 0.5
        assert f"has a standard deviation of {total:.1f} points, of its variance " in sentence
        for source, name in names_of.items():
            assert f"{100 * SD[of][source] ** 2 / total**2:.0f} % {name}" in sentence
    moved = {of: sum(SD[of][source] ** 2 for source in (DRAW, SEED, "interaction")) ** 0.5 for of in SD}
    assert f"a score moves by {moved['level']:.1f} points (standard deviation, known from 6 values" in said[2]
    assert said[2].endswith(f"a difference by {moved['difference']:.1f}.")


def test_in_how_many_cells_variants_differ(drawn: tuple[Path, SeriesResults]) -> None:
    root, series = drawn
    rows = [row for row in read(root / "results/variance/effects.csv") if row["reference"]]
    said = answer.answer(series)[-1]
    assert said.startswith("Against the baseline, Hardest in batch (VSE++), by the 95 % interval of each cell: ")
    for variant in series.variants[1:]:
        behind = sum(float(row["high"]) < 0 for row in rows if row["variant"] == variant)
        assert f"{series.title_of(variant)} behind in {behind} and ahead in 0 of 16" in said


def test_table_of_components(drawn: tuple[Path, SeriesResults]) -> None:
    """A row for each variant's score and difference and one for all; sd in points is the root of the variance."""
    root, series = drawn
    built = tables.build(series, "components")
    assert [row[0].text for row in built.rows].count("all variants") == 2 and len(built.rows) == 6 + 5
    assert [words for _, words in built.sections] == ["Of the score", "Of the difference to the baseline"]
    groups = list(dict.fromkeys(column.group for column in built.columns[1:]))
    assert groups == ["Training seed", "Test images", "Encoder draw", "World", "Interaction",
                      "Another encoder draw and world"]  # fmt: skip
    kept = read(root / "results/variance/components.csv")
    recorded = {(row["of"], row["variant"], row["source"]): row for row in kept}
    rows = read(root / "reports/variance/tables/components.csv")
    assert len(rows) == len(recorded) == 11 * 6
    for row in rows:
        result = recorded[row["of"], row["variant"], row["source"]]
        assert float(row["sd"]) ** 2 == pytest.approx(float(result["variance"]))
        assert bool(result["high"]) == bool(row["sd_high"]) == (row["source"] != "another")
        assert not result["high"] or float(row["sd_high"]) ** 2 == pytest.approx(float(result["high"]))
    for of in SD:
        shares = [float(row["share"]) for row in rows if row["of"] == of and not row["variant"] and row["share"]]
        assert len(shares) == 5 and sum(shares) == pytest.approx(1)
    seed = built.rows[5][1]
    assert (seed.text, seed.note) == ("1.0", "[0.7, 1.4]") and built.rows[5][2].text == "1 %"


def test_figures_of_cells(drawn: tuple[Path, SeriesResults]) -> None:
    """A panel for each variant but the baseline, a row for each cell; panels of components share a scale."""
    _, series = drawn
    assert cells.labels(series) == ["centre", *(f"encoder draw {k}" for k in SIX[1:]), *(f"world {k}" for k in SIX[1:]),
                                    *(f"all {k}" for k in SIX[1:])]  # fmt: skip
    picture = cells.draw(series)
    others = [variant for variant in series.variants if variant != series.baseline]
    for panel, variant in zip(picture.drawing.axes, others, strict=True):
        marks = [line for line in panel.lines if line.get_marker() == "D"]
        result = [series.effect(member, variant, series.primary, series.baseline) for member in series.members]
        assert [line.get_xdata()[0] for line in marks] == pytest.approx([100 * item.estimate for item in result])
        hollow = [line.get_markerfacecolor() == "#FFFFFF" for line in marks]
        assert hollow == [item.low <= 0 <= item.high for item in result]
    left, right = components.draw(series).drawing.axes
    assert left.get_xlim() == right.get_xlim()
    diamonds = [line.get_xdata()[0] for line in left.lines if line.get_marker() == "D"]
    assert diamonds == pytest.approx([SD["level"][source] for source in ("seed", "images", DRAW, SEED, "interaction")])


def test_page_of_cells(drawn: tuple[Path, SeriesResults]) -> None:
    root, series = drawn
    page = (root / "reports/variance/report.html").read_text(encoding="utf-8")
    assert page.count("<svg") >= 2 and 'id="figure-cells"' in page and 'id="figure-components"' in page
    assert "16 cells that differ in encoders.draw and data.seed alone" in page
    assert "results with them hold for the machine that made them" in page
    assert 'href="../variance--encoders_draw-5--data_seed-5/report.html">encoders.draw 5, data.seed 5<' in page
    record = json.loads((root / "reports/variance/record.json").read_text())
    assert record["factors"] == {DRAW: SIX, SEED: SIX} and len(record["members"]) == 16
    assert {"results/variance/components.csv", "results/variance/variance.yaml"} <= set(record["inputs"])


@pytest.mark.parametrize(
    ("factors", "last"),
    [
        ({DRAW: SIX[:3]}, "all 2"),
        ({"data.prevalence": [0.0, 0.01], DRAW: [0, 1]}, "prevalence 1 %, encoder draw 1"),
        ({"data.prevalence": [0.0, 0.01], "data.train": [600, 900]}, "prevalence 1 %, train 900"),
    ],
)
def test_other_designs(tmp_path: Path, factors: dict, last: str) -> None:
    """One draw alone, crossed draws, draws beside chosen values, chosen values alone."""
    series = write_cells(tmp_path, factors=factors, design="crossed")
    results = open_series(series, tmp_path)
    assert cells.labels(results)[-1] == last and len({*cells.labels(results)}) == len(results.members)
    cells.draw(results)
    said = " ".join(answer.answer(results))
    assert ("of its variance" in said) == bool(series.random) and "by the 95 % interval of each cell" in said
    assert ("components" in names.figures(series)) == ("components" in names.tables(series)) == bool(series.random)
    assert ("variance.yaml" in names.compared(series)) == (bool(series.random) and not series.fixed)
    assert len(tables.build(results, "main").columns) == len(factors) + 5
    if series.fixed and series.random:
        built = tables.build(results, "components")
        assert len(built.rows) == 2 + (5 + 4) * 2 and built.columns[0].name == "Prevalence"


def test_cells_without_a_result_and_without_intervals(tmp_path: Path) -> None:
    missing = {"variant": "fne", DRAW: 2, SEED: 2}
    _, series = made(tmp_path, write_cells, keep=lambda row: any(row[key] != value for key, value in missing.items()))
    main = tables.build(series, "main")
    assert any("fne at encoder draw 2, world 2: 0 of 5" in note for note in main.notes)
    assert "FNE (released rule) behind in" in answer.answer(series)[-1] and "of 15" in answer.answer(series)[-1]
    for row in series.effects.values():
        row["low"] = row["high"] = float("nan")
    assert answer.answer(series)[-1].endswith("cannot be said: too few seeds have a result.")
    series.parts.clear()
    assert "cannot be said: too few results" in answer.answer(series)[0]
