"""Every sentence of a report is true of its numbers: intervals, p values, phases, collapses, truth, and plain words."""

from __future__ import annotations

import csv
import html
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from fne.report.figures import registry as figures
from fne.report.tables import registry as tables
from fne.report.text import summary
from fne.report.text.headline import headline
from fne.report.text.released import released
from fne.report.text.summary import LOWER_BOUNDS, collapses, pick_share
from fne.results.schema import write_table
from fne.results.study import StudyResults, load
from fne.utils.files import read_json
from tests.report.conftest import SMALL, Made, build
from tests.report.synthetic import EPOCHS, PAPER, write_study

GARBLED = re.compile(
    r"  |\s[;,.)]|\(\s|\.\.|;\.|;;|: ?\.|, ,|\bnan\b|\bNone\b|none: |\b1 (?:seeds|epochs|comparisons)\b|"
    r"seeds \d+ pooled|\(here (\d+) to \1\)|True|False(?! picks| negatives)"
)
"""Traces of words that were put together without a look at what they are about."""


def sentences(made: Made) -> dict[str, str]:
    """Everything that a report says in words, by where it stands."""
    result = {f"headline {place}": text for place, text in enumerate(headline(made.results))}
    for words in read_json(made.reports / "figures" / "captions.json"):
        result |= {f"figure {words['id']} {part}": words[part] for part in ("title", "question", "caption", "alt")}
    assert tables.TABLES == tuple(tables._BUILDERS)
    for name in tables.TABLES:
        table = tables.build(made.results, name)
        result |= {f"{name} caption": table.caption}
        result |= {f"{name} note {place}": note for place, note in enumerate(table.notes)}
        result |= {f"{name} column {column.name}": column.help for column in table.columns if column.help}
    return result


def page_text(made: Made) -> str:
    """The page without its scripts, styles and drawings."""
    bare = re.sub(r"(?s)<(script|style|svg)\b.*?</\1>", " ", made.page())
    titles = " ".join(re.findall(r' title="([^"]*)"', bare))
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", f"{bare} {titles}").split()))


@pytest.fixture(scope="module", params=[1, 2])
def few(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Three variants with one seed, or with two."""
    folder = tmp_path_factory.mktemp("few")
    seeds = tuple(range(request.param))
    return build(write_study(folder, fakes=SMALL, seeds=seeds, name="few"), folder)


@pytest.fixture(scope="module")
def phases(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Variants whose warm-ups last 0, 4 and 9 epochs."""
    folder = tmp_path_factory.mktemp("phases")
    fakes = tuple(replace(fake, warmup=epochs) for fake, epochs in zip(SMALL, (0, 9, 4), strict=True))
    return build(write_study(folder, fakes=fakes, seeds=(0, 1, 2), name="phases"), folder)


def test_with_one_or_two_seeds_no_sentence_speaks_of_an_interval(few: Made) -> None:
    words = {place: text for place, text in sentences(few).items() if re.search("interval|95 %", text, re.I)}
    assert words == {}
    assert "interval" not in page_text(few).lower()


def test_with_five_seeds_they_do(paper: Made) -> None:
    result = sentences(paper)
    for place in ("main caption", "main column rsum", "methods caption", "ablation caption"):
        assert "interval" in result[place], place
    for name in ("scores", "contrasts", "distributions", "picks", "false_negatives", "risk_hardness"):
        assert "interval" in result[f"figure {name} caption"], name


@pytest.mark.parametrize("which", ["paper", "lonely", "phases", "searched"])
def test_no_sentence_is_garbled(which: str, request: pytest.FixtureRequest) -> None:
    well_formed(request.getfixturevalue(which))


def test_nor_is_one_of_few_seeds(few: Made) -> None:
    well_formed(few)


def well_formed(made: Made) -> None:
    """Whole sentences, no traces of what is missing, brackets in pairs."""
    for place, text in sentences(made).items():
        assert not (hit := GARBLED.search(text)), (place, hit and text[max(hit.start() - 60, 0) : hit.end() + 60])
        if place.endswith(("caption", "alt")) or " note " in place or place.startswith("headline"):
            assert re.match(r"[A-Z0-9†]|p:|p \(", text) and text.endswith((".", "?")), (place, text)
        for opening, closing in ("()", "[]", "“”"):
            assert text.count(opening) == text.count(closing), (place, text)


def test_every_p_says_what_it_is_over_and_none_is_below_what_can_be_shown(paper: Made) -> None:
    result = sentences(paper)
    over = "over test images, given these seeds"
    for place in ("main column p (Holm)", "contrasts column p (images)", "contrasts column p (Holm)",
                  "contrasts note 0", "figure contrasts caption"):  # fmt: skip
        assert over in result[place], place
    assert any(text.startswith(f"p: {over}, after Holm's correction for 9 comparisons.") for text in result.values())
    assert any(f"{over}, after Holm" in text for place, text in result.items() if place.startswith("headline"))
    everything = [*result.values(), page_text(paper)]
    for name in ("main", "contrasts"):
        everything += [cell.text for row in tables.build(paper.results, name).rows for cell in row]
    assert not any(re.search(r"p? ?< ?0\.\d", text) for text in everything)
    shown = {cell.text.rstrip("*") for row in tables.build(paper.results, "main").rows for cell in row[10:11]}
    assert "≤ 0.0009" in shown  # nine comparisons of 10,000 flips
    table = tables.build(paper.results, "contrasts")
    place = [column.name for column in table.columns].index("p (images)")
    raw = {row[place].text for row in table.rows}
    assert "≤ 0.0001" in raw and "≤ 0.0009" not in raw


def test_a_study_that_tests_over_seeds_says_so(paper: Made) -> None:
    study = StudyResults(replace(paper.study, test="seeds"), paper.root)
    rows = study.contrasts.assign(p_seed_holm=study.contrasts["p_seed"].where(study.contrasts["family"].notna()))
    study.__dict__["contrasts"] = rows
    words = "over seeds, given these test images"
    table = tables.build(study, "main")
    assert words in next(column.help for column in table.columns if column.name == "p (Holm)")
    assert any(note.startswith(f"p: {words}, ") for note in table.notes)
    assert words in figures.draw(study, "contrasts").caption and words in headline(study)[0]
    assert not any("≤" in cell.text for row in table.rows for cell in row)  # with five seeds every sign is counted


def test_false_picks_are_compared_over_the_epochs_after_the_warm_up_of_every_variant(phases: Made) -> None:
    shared = range(9, EPOCHS)
    assert phases.results.shared_epochs == shared
    with open(phases.root / "results/phases/audit.csv", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    assert {int(row["epoch"]) for row in rows if row["variant"] == "hardest_in_batch"} == {*range(EPOCHS)}
    phrase = "epochs 10 to 16, after the warm-up of every variant"
    main = tables.build(phases.results, "main")
    assert any(phrase in note for note in main.notes if note.startswith("False picks: "))
    for variant in phases.study.variants:
        mine = [row for row in rows if row["variant"] == variant and int(row["epoch"]) in shared]
        hits, total = (sum(int(row[key]) for row in mine) for key in ("false_negatives", "picks"))
        result = pick_share(phases.results, variant)
        assert (result.hits, result.total) == (hits, total)
        assert sum(summary.by_hardness(phases.results, variant)["picks"]) == total
        cell = next(row[-1] for row in main.rows if row[0].note == variant)
        assert cell.sort == pytest.approx(100 * hits / total)
        kept = phases.results.picks(variant)
        counted = kept["epoch"].isin(shared).sum()
        epochs = phases.results.audited("epochs")
        whole = epochs[epochs["epoch"].isna() & (epochs["direction"] == "both") & (epochs["variant"] == variant)]
        assert whole["picks"].item() == counted < len(kept)
        table = phases.results.audited("risk")
        table = table[(table["direction"] == "both") & (table["variant"] == variant)]
        assert table["picks"].sum() == counted
    for name in ("picks", "risk_hardness", "agreement"):
        assert phrase in figures.draw(phases.results, name).caption, name
    assert any(phrase in sentence for sentence in headline(phases.results))
    few = phases.results.only(("hardest_in_batch", "infonce"))
    assert few.shared_epochs == shared  # a part of a study is compared over what the whole one is


def curve(*collapsed: tuple[int, ...], last: int = 8) -> pd.DataFrame:
    """A variant's curves: per seed the epochs, from 1, in which it set off the alarm."""
    rows = [{"seed": seed, "epoch": epoch, "collapsed": int(epoch + 1 in fallen)}
            for seed, fallen in enumerate(collapsed) for epoch in range(last)]  # fmt: skip
    return pd.DataFrame(rows)


def test_a_collapse_says_when_it_was_and_whether_the_run_recovered() -> None:
    result = collapses(curve((), (2, 3, 4), (5,), (3, 6, 7, 8), (8,)))
    assert [(item.seed, item.epochs, item.recovered, item.lasting) for item in result] == [
        (1, (2, 3, 4), True, True), (2, (5,), True, False), (3, (3, 6, 7, 8), False, True), (4, (8,), False, True)
    ]  # fmt: skip
    assert collapses(curve((), ())) == [] == collapses(pd.DataFrame())


def test_a_variant_that_collapsed_for_several_epochs_is_marked_in_the_main_table(paper: Made) -> None:
    study = StudyResults(paper.study, paper.root)
    falls = {"fne": {0: (2, 3), 4: (5,)}, "random": {1: (7,)}, "infonce": {2: (15, 16), 3: (4, 5)}}
    rows = study.curves.copy()
    rows["collapsed"] = [
        int(epoch + 1 in falls.get(variant, {}).get(seed, ()))
        for variant, seed, epoch in zip(rows["variant"], rows["seed"], rows["epoch"], strict=True)
    ]
    study.__dict__["curves"] = rows
    table = tables.build(study, "main")
    assert {row[0].note for row in table.rows if row[0].mark == "†"} == {"fne", "infonce"}
    note = next(note for note in table.notes if note.startswith("† Collapse alarm"))
    assert "FNE (released rule) (seed 0; recovered) and InfoNCE (seeds 2, 3; 1 of 2 recovered)" in note
    study.__dict__["curves"] = rows.assign(collapsed=0)
    table = tables.build(study, "main")
    assert not any(row[0].mark for row in table.rows) and not any("†" in note for note in table.notes)


def calibrated(folder: Path, positives: dict[str, int], source: str = "exact") -> StudyResults:
    """A study with scores and bins of the posterior of ``fne`` and of another variant."""
    study = write_study(folder, fakes=(*SMALL, PAPER[1]), seeds=(0, 1, 2), name="calibrated")
    scores, bins = [], []
    for variant, known in positives.items():
        shared = {"variant": variant, "posterior": "fne:normal", "own": True, "recalibration": "none", "source": source,
                  "direction": "both"}  # fmt: skip
        for metric in ("ece", "auroc"):
            scores.append({**shared, "metric": metric, "value": 0.25, "low": 0.2, "high": 0.3, "seeds": 3,
                           "pairs": 9900, "positives": known, "method": "draws"})  # fmt: skip
        for place in range(15):
            hits = known // 15
            bins.append({**shared, "bin": place, "probability": 0.001 * (place + 1), "observed": hits / 660,
                         "low": 0.0, "high": 0.1, "pairs": 660, "positives": hits})  # fmt: skip
    write_table(folder / "results/calibrated", "calibration", scores)
    write_table(folder / "results/calibrated", "calibration_bins", bins)
    return load(study, folder)


@pytest.mark.parametrize("source", ["exact", "judged", "equal_captions"])
def test_calibration_is_neither_drawn_nor_told_where_no_positive_is_known(tmp_path: Path, source: str) -> None:
    why = "no false negative is known among the scored pairs"
    nothing = calibrated(tmp_path / "a", {"fne": 0, "fne_abstract": 0}, source)
    picture, table = figures.draw(nothing, "calibration"), tables.build(nothing, "calibration")
    assert picture.empty and why in picture.caption
    assert not table.rows and not table.records and why in table.caption
    some = calibrated(tmp_path / "b", {"fne": 45, "fne_abstract": 0}, source)
    picture, table = figures.draw(some, "calibration"), tables.build(some, "calibration")
    drawn = [axes for axes in picture.drawing.axes if axes.get_visible()]
    assert len(drawn) == 1 and f"Not drawn: FNE (as in the abstract), for {why}" in picture.caption
    assert {row[0].note for row in table.rows} == {"fne"} == {record["variant"] for record in table.records}
    assert any(note.startswith("Without a row: FNE (as") and why in note for note in table.notes)


@pytest.mark.parametrize(("relevance", "said"), [("exact", False), ("judged", True)])
def test_what_unknown_matches_do_to_each_score_is_said_where_there_are_some(
    paper: Made, relevance: str, said: bool
) -> None:
    study = StudyResults(paper.study, paper.root)
    truth = {**study.protocols["truth"], "relevance": relevance}
    study.__dict__["protocols"] = {**study.protocols, "truth": truth}
    notes = [note for note in tables.build(study, "main").notes if LOWER_BOUNDS in note]
    assert bool(notes) == said
    assert not said or notes[0].startswith("All true matches: ")


def test_what_is_released_stands_in_the_main_table_and_in_that_of_the_configs(paper: Made) -> None:
    words = released(paper.study)
    assert words.startswith("FNE (released rule): the rule of the authors' release; its other values are this study's")
    assert "; tuned on validation: train.learning_rate = " in words
    for name in ("main", "configs"):
        assert words in tables.build(paper.results, name).notes
    assert "as released" not in page_text(paper).lower()
