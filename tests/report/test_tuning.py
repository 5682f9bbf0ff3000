"""What a report tells of tuning: who is best at which budget, how values were found, which are of an old protocol."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import yaml

from fne.report.figures import registry as figures
from fne.report.series import names as series_names
from fne.report.series import tables as series_tables
from fne.report.series.results import open_series
from fne.report.tables import registry as tables
from fne.report.tables.render import to_html_document, to_latex, to_markdown
from fne.report.tuning import budgets, first_round
from fne.results.study import StudyResults
from fne.results.trials import FINAL, read_trials, write_trials
from fne.study.tuned import OLD_PROTOCOL
from fne.utils.text import clean
from tests.report.conftest import Made
from tests.report.synthetic import HOSTILE
from tests.report.synthetic_series import write_series

OLD = """
declared: {budget: 9, seeds: [1000], search: {loss.margin: [0.1, 0.2], train.learning_rate: [0.001, 0.002, 0.004]}}
protocol: {metric: m, date: '2026-11-25', command: fne tune searched, version: 1}
values: {fne: {loss.margin: 0.1, train.learning_rate: 0.002}, random: {loss.margin: 0.1}}
reasons: {fne: best of 2 trials, random: those of fne}
border: {fne: [loss.margin]}
trials: [{variant: fne, val_rsum: 440.0}, {variant: fne, val_rsum: 430.0}, {variant: infonce, val_rsum: 420.0}]
"""


@pytest.fixture
def old(searched: Made, tmp_path: Path) -> StudyResults:
    """The study with values of an earlier protocol."""
    (tmp_path / "ablations/tuned").mkdir(parents=True)
    (tmp_path / "ablations/tuned/searched.yaml").write_text(OLD, "utf-8")
    return elsewhere(searched, tmp_path, notes=(OLD_PROTOCOL,))


def scores_of(study: StudyResults) -> dict[str, list[float]]:
    return first_round(study.definition, study.root)[0]


def elsewhere(made: Made, root: Path, **changes: object) -> StudyResults:
    """The results of a study, with another file of tuned values."""
    study = StudyResults(replace(made.study, **changes), root)
    study.folder = made.results.folder
    study.__dict__["variants"] = made.results.variants
    return study


def copied(made: Made, root: Path) -> tuple[Path, StudyResults]:
    """The study with a file of tuned values that a test may change; its trials are beside it."""
    for name in ("searched.yaml", "searched.csv"):
        (root / "ablations/tuned").mkdir(parents=True, exist_ok=True)
        (root / "ablations/tuned" / name).write_bytes((made.root / "ablations/tuned" / name).read_bytes())
    return root / "ablations/tuned/searched.yaml", elsewhere(made, root)


@pytest.mark.parametrize(("trials", "wanted"), [(1, [1]), (2, [1, 2]), (8, [1, 2, 4, 8]), (24, [1, 2, 4, 8, 16, 24])])
def test_budgets_double_up_to_all_trials(trials: int, wanted: list[int]) -> None:
    assert budgets(trials) == wanted


def test_the_best_after_n_is_that_of_all_draws_of_n_trials_of_the_first_round(searched: Made) -> None:
    table = tables.build(searched.results, "budget")
    assert [column.name for column in table.columns] == ["Variant", "1", "2", "4", "8"]
    assert [row[0].note for row in table.rows] == ["hardest_in_batch", "fne", "infonce"]
    file = searched.root / "ablations/tuned/searched.csv"
    for row in table.rows:
        own = [item.val_rsum for item in read_trials(file) if item.round == "1" and item.variant == row[0].note]
        assert len(own) == 8 and row[1].sort == pytest.approx(fmean(own))
        pairs = sorted(max(pair) for pair in itertools.product(own, repeat=2))
        assert row[2].sort == pytest.approx(fmean(pairs))
        record = next(item for item in table.records if (item["variant"], item["n"]) == (row[0].note, 2))
        assert record["expected"] == row[2].sort
        assert (record["low"], record["high"]) == (pairs[int(0.025 * 64)], pairs[int(0.975 * 64)])
        assert row[2].note == f"[{record['low']:.1f}, {record['high']:.1f}]"
    assert table.notes == ("Without a row, for they take over the values of another variant: Random negative.",)


def test_a_variant_without_trials_of_its_own_is_named(searched: Made, tmp_path: Path) -> None:
    file, study = copied(searched, tmp_path)
    trials = read_trials(file.with_suffix(".csv"))
    earlier = replace(trials[0], val_rsum=500.0, made_from=trials[0].made_from | {"code": "of then"})
    kept = [earlier, *(item for item in trials if item.digest not in ("fne0", "fne1"))]
    write_trials(file.with_suffix(".csv"), kept)
    assert scores_of(study)["hardest_in_batch"] == scores_of(searched.results)["hardest_in_batch"]
    result = yaml.safe_load(file.read_text("utf-8"))
    for section in ("values", "reasons", "where", "ranges"):
        del result[section]["random"]
    file.write_text(yaml.safe_dump(result), "utf-8")
    table = tables.build(study, "budget")
    assert [cell.absent for cell in table.rows[1]] == [False, False, False, False, True]
    assert {item["n"] for item in table.records if item["variant"] == "fne"} == {1, 2, 4, 6}
    assert table.notes[0].startswith("Fewer than 8 trials of their own: FNE (released rule) (6); trials of equal")
    assert table.notes[1] == "Without a row, for they were not searched: Random negative."
    assert len(tables.build(study, "tuning").rows) == 3


def test_the_figure_draws_the_expected_best_with_bands_of_a_few(searched: Made) -> None:
    picture = figures.draw(searched.results, "budget")
    (panel,) = picture.drawing.axes
    scores = scores_of(searched.results)
    for own in scores.values():
        assert any(np.isclose(line.get_ydata()[[0, 1]], [fmean(own), fmean(
            max(pair) for pair in itertools.product(own, repeat=2))]).all() for line in panel.lines
            if len(line.get_xdata()) == 8)  # fmt: skip
    assert "Bands" in picture.caption and "Random negative" in picture.caption and "8 trials" in picture.alt
    low, high = panel.get_ylim()
    assert low < min(fmean(own) for own in scores.values()) and high > max(map(max, scores.values()))


def test_without_trials_it_is_said_why(searched: Made, lonely: Made, old: StudyResults, tmp_path: Path) -> None:
    _, study = copied(searched, tmp_path / "copy")
    trials = tmp_path / "copy/ablations/tuned/searched.csv"
    write_trials(trials, [item for item in read_trials(trials) if item.round == FINAL])
    for results, words in (
        (lonely.results, "no value was tuned for single variants in this study"),
        (old, "the trials are of an old protocol"),
        (study, "ablations/tuned/searched.csv holds no trial of these variants"),
    ):
        picture, table = figures.draw(results, "budget"), tables.build(results, "budget")
        assert picture.empty and picture.caption.startswith(f"Nothing to draw: {words}")
        assert not table.rows and table.caption.startswith(f"Nothing to show: {words}")


def test_the_search_of_every_variant_is_told(searched: Made) -> None:
    table = tables.build(searched.results, "tuning")
    rows = {row[0].note: [cell.text for cell in row[1:]] for row in table.rows}
    assert rows["fne"] == [
        "10", "2", "16", "8.0", "1.2", "inside: train.learning_rate; flat: loss.margin; natural bound: memory.momentum",
        "train.learning_rate = 0.002 of 0.0005 to 0.032; loss.margin = 0.07 of 0.05 to 0.4; "
        "memory.momentum = 0.99 of 0.5 to 0.995",
    ]  # fmt: skip
    assert rows["random"][:5] == ["—"] * 5 and table.rows[-1][6].note == (
        "those of hardest_in_batch: only the oracle differs"
    )
    caption = table.caption
    assert "a first round of 8 quasi-random trials" in caption and "12 trials in all" in caption
    assert "of tuning seed 1000; of the best 2 the mean validation rsum over seeds 1001 to 1003 decides" in caption
    assert "Draw 0 of the search, 2026-11-29: 48 runs, 24 min of CPU time" in caption
    assert "2 inside the range, 2 flat, 1 at a natural bound and 1 at an open end" in caption, "random counts once"
    reason = f"it must be below 1 {clean(HOSTILE)}"
    assert table.notes[0] == f"Natural bound of memory.momentum: {reason} (FNE (released rule))."
    assert table.notes[1].endswith("take over the values of another variant: Random negative.")
    record = next(item for item in table.records if item["key"] == "memory.momentum")
    assert (record["variant"], record["where"], record["seconds"]) == ("fne", "natural bound", 480)


def test_of_a_search_that_a_study_names_its_own_variants_are_told(searched: Made) -> None:
    few = ("fne", "random")
    study = elsewhere(searched, searched.root, variants=few)
    study.__dict__["variants"] = tuple(item for item in searched.results.variants if item.id in few)
    table = tables.build(study, "tuning")
    assert [row[0].note for row in table.rows] == ["fne", "random"]
    assert "16 runs, 8 min of CPU time" in table.caption
    assert "1 inside the range, 1 flat, 1 at a natural bound and 0 at an open end" in table.caption
    assert [row[0].note for row in tables.build(study, "budget").rows] == ["fne"]


@pytest.mark.parametrize("side", ["data", "features"])
def test_a_search_on_other_data_or_features_is_named(searched: Made, tmp_path: Path, side: str) -> None:
    file, study = copied(searched, tmp_path)
    trials = read_trials(file.with_suffix(".csv"))
    assert not [note for note in tables.build(study, "tuning").notes if "made on other" in note]
    other = [replace(item, made_from={**item.made_from, side: "0123456789ab"}) for item in trials]
    write_trials(file.with_suffix(".csv"), [*other, *(replace(item, round="other") for item in trials)])
    note = f"The search was made on other {side} than this study's, which takes over its values."
    assert note in tables.build(study, "tuning").notes, "trials of no round do not count"
    write_trials(file.with_suffix(".csv"), [*other, *trials])
    assert note not in tables.build(study, "tuning").notes


def test_a_bound_without_a_declared_reason_is_one_of_the_key(searched: Made, tmp_path: Path) -> None:
    file, study = copied(searched, tmp_path)
    result = yaml.safe_load(file.read_text("utf-8"))
    result["declared"]["search"]["warmup.epochs"] = {"integer": [0, 6]}
    for variant, value in (("infonce", 0), ("fne", 1)):
        for section, said in (("values", value), ("where", "natural bound"), ("ranges", "0 to 6")):
            result[section][variant]["warmup.epochs"] = said
    file.write_text(yaml.safe_dump(result), "utf-8")
    notes = tables.build(study, "tuning").notes
    assert "Natural bound of warmup.epochs: the least that the key may be (FNE (released rule) and InfoNCE)." in notes


def test_where_nothing_was_tuned_the_table_says_so(lonely: Made) -> None:
    table = tables.build(lonely.results, "tuning")
    assert table.rows == () and table.caption.startswith("Nothing was tuned for single variants")


def test_of_an_old_protocol_the_table_shows_what_there_is(old: StudyResults) -> None:
    table = tables.build(old, "tuning")
    (_, *cells), (_, *taken_over) = table.rows
    assert [cell.text for cell in cells] == [
        "2", "—", "—", "—", "—", "at the border: loss.margin; within: train.learning_rate",
        "loss.margin = 0.1 of 0.1, 0.2; train.learning_rate = 0.002 of 0.001, 0.002, 0.004",
    ]  # fmt: skip
    assert taken_over[0].absent and taken_over[5].note == "those of fne"
    assert table.caption.startswith("At most 9 trials of each variant") and "2026-11-25" in table.caption


def test_every_table_says_that_values_are_of_an_old_protocol(old: StudyResults, searched: Made) -> None:
    old = elsewhere(searched, old.root, notes=(OLD_PROTOCOL,))
    for name in tables.TABLES:
        table = tables.build(old, name)
        assert table.notes[-1] == f"Tuned values are of an {OLD_PROTOCOL}.", name
        for text in (to_html_document(table), to_markdown(table), to_latex(table)):
            assert "values tuned on one seed" in text, name
        assert not any(OLD_PROTOCOL in note for note in tables.build(searched.results, name).notes)


def test_so_do_those_of_a_series(tmp_path: Path) -> None:
    series = write_series(tmp_path)
    results = open_series(series, tmp_path)
    for notes in ((), (OLD_PROTOCOL,)):
        results.definition = replace(series, members=tuple(replace(item, notes=notes) for item in series.members))
        for name in series_names.tables(series):
            said = [note for note in series_tables.build(results, name).notes if OLD_PROTOCOL in note]
            assert len(said) == len(notes), name


def test_the_page_shows_the_search_and_no_note_of_borders(searched: Made, lonely: Made, old: StudyResults) -> None:
    page = searched.page()
    section = page[page.index('id="tuning"') :]
    assert '<table id="table-tuning"' in section and "1 at a natural bound" in section
    assert page.count('id="table-tuning"') == page.count('id="table-budget"') == page.count('id="figure-budget"') == 1
    assert "it must be below 1 <script>" not in page
    assert 'id="tuning"' not in lonely.page()


@pytest.mark.parametrize(("factors", "counted"), [({}, False), ({"tuned.draw": (0, 1, 2)}, True)])
def test_whether_another_search_is_counted(searched: Made, factors: dict[str, tuple[int, ...]], counted: bool) -> None:
    study = elsewhere(searched, searched.root)
    record = type("Record", (), {"factors": factors})()
    study.__dict__["known"] = (record, "")
    caption = tables.build(study, "configs").caption
    assert ("counted nowhere" not in caption) == counted and "chosen on the validation split" in caption
