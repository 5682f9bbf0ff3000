"""What a report tells of tuning: who is best at which budget, how values were found, which are of an old protocol."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest

from fne.report.figures import registry as figures
from fne.report.tables import registry as tables
from fne.report.tables.render import to_html_document, to_latex, to_markdown
from fne.report.tuning import budgets, first_round
from fne.results.study import StudyResults
from fne.results.trials import FINAL, read_trials, write_trials
from fne.study.tuned import OLD_PROTOCOL
from fne.utils.text import clean
from tests.report.conftest import Made
from tests.report.synthetic import HOSTILE

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
    assert table.notes == ("Without a row, for they have no search of their own: Random negative.",)


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
        (old, "ablations/tuned/searched.csv holds no trial of these variants"),
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


def test_of_an_old_protocol_the_table_shows_values_and_reasons(old: StudyResults) -> None:
    table = tables.build(old, "tuning")
    (_, *cells), (_, *taken_over) = table.rows
    assert [cell.text for cell in cells][:5] == ["—"] * 5 and cells[6].text.startswith("loss.margin = 0.1 of")
    assert taken_over[5].note == "those of fne" and "2026-11-25" in table.caption


def test_every_table_says_that_values_are_of_an_old_protocol(old: StudyResults, searched: Made) -> None:
    old = elsewhere(searched, old.root, notes=(OLD_PROTOCOL,))
    for name in tables.TABLES:
        table = tables.build(old, name)
        assert table.notes[-1] == f"Tuned values are of an {OLD_PROTOCOL}.", name
        for text in (to_html_document(table), to_markdown(table), to_latex(table)):
            assert "values tuned on one seed" in text, name
        assert not any(OLD_PROTOCOL in note for note in tables.build(searched.results, name).notes)


def test_the_page_shows_the_search_and_no_note_of_borders(searched: Made, lonely: Made, old: StudyResults) -> None:
    page = searched.page()
    section = page[page.index('id="tuning"') :]
    assert '<table id="table-tuning"' in section and "1 at a natural bound" in section
    assert page.count('id="table-tuning"') == page.count('id="table-budget"') == page.count('id="figure-budget"') == 1
    assert "it must be below 1 <script>" not in page
    assert 'id="tuning"' not in lonely.page()
