"""Published against reproduced: verdicts only where the setting agrees, nothing invented, every source told."""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace

import numpy as np
import pytest

from fne.analysis.intervals import hierarchical_intervals
from fne.data.published import FILE, Encoders, Entry, read_published
from fne.report import published as room
from fne.report.published import Comparison, comparisons, estimate, sentence
from fne.report.tables import registry as tables
from fne.report.tables.paper import ablation_table, methods_table
from fne.report.tables.published import published_table
from fne.results.study import StudyResults
from fne.steps.published import add
from fne.study.published_comparison import Backbone, PublishedComparison
from fne.utils.files import read_json, sha256_file, write_json
from fne.utils.yaml_file import read_mapping
from tests.report.conftest import Made, build
from tests.report.synthetic import HOSTILE, PAPER, study_of, write_study
from tests.tables import edit

SIX = [(side, metric) for side in ("i2t", "t2i") for metric in ("r1", "r5", "r10")]
SEVEN = [*SIX, ("both", "rsum")]
VIT = Backbone(name="ViT-B/16-384", checkpoint="scenes")
CALLED = {"image": VIT, "text": Backbone(name="BERT-base", checkpoint="scenes")}
SMALL = tuple(fake for fake in PAPER if fake.id in ("fne", "hardest_in_batch", "infonce"))


def entry(name: str = "f30k-a", **changes: object) -> Entry:
    values = changes.pop("values", dict(zip(SEVEN, (55.0, 85.0, 94.0, 52.0, 82.0, 90.0, 458.0), strict=True)))
    backbone = Encoders.model_construct(**changes.pop("backbone", {"image": "ViT-B/16-384", "text": "BERT-base"}))
    whole = {"id": name, "method": "A method", "dataset": "flickr30k", "protocol": "1k_test", "ensemble": False,
             "source": "A source", "confidence": "A"} | changes  # fmt: skip
    return Entry.model_construct(**whole, backbone=backbone, metrics=SimpleNamespace(values=values))


def gone(name: str = "f30k-fne") -> Entry:
    return entry(name, method="FNE", values=dict.fromkeys(SEVEN), confidence=None, source="doi 10.1145/abc")


def against(
    *entries: Entry, variant: str = "fne", context: tuple[Entry, ...] = (), **tolerance: float
) -> PublishedComparison:
    return PublishedComparison(tolerance or {"rsum": 6.0}, CALLED, {variant: entries} if entries else {}, context)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    """Three variants trained end to end on Flickr30K, five seeds."""
    folder = tmp_path_factory.mktemp("published")
    study = study_of("paper", SMALL, (0, 1, 2, 3, 4), "hardest_in_batch")
    return results(write(folder, study), folder)


def write(folder: Path, study: object, **options: object) -> object:
    """The made-up results, as if they were on Flickr30K and from the regime ``finetune``."""
    configs = {name: {**flat, "finetune.trained": "both"} for name, flat in study.configs.items()}
    data, known = {**study.data, "dataset": "flickr30k"}, {"data": "flickr30k-00000000"}
    study = replace(study, regime="finetune", data=data, configs=configs, known=known)
    write_study(folder, fakes=options.pop("fakes", SMALL), study=study, **options)
    runs, protocols = (folder / "results" / study.name / name for name in ("runs.csv", "protocols.json"))
    edit(runs, lambda row: row.update(regime="finetune"))
    facts = read_json(protocols)
    facts["own"] |= {"name": "flickr30k_1k", "dataset": "flickr30k"}
    write_json(protocols, facts)
    return study


def results(study: object, folder: Path, **changes: object) -> StudyResults:
    return StudyResults(replace(study, **changes), folder)


def judged(made: StudyResults, wanted: PublishedComparison, **changes: object) -> list[Comparison]:
    definition = replace(made.definition, published=wanted, **changes)
    return comparisons(StudyResults(definition, made.root), wanted)


def rows_of(made: StudyResults, name: str) -> list[dict[str, str]]:
    with open(made.folder / name, encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def interval(made: StudyResults, variant: str, direction: str, metric: str) -> tuple[float, float, float]:
    """Plainly out of the file, in percent."""
    row = next(
        row for row in rows_of(made, "intervals.csv")
        if (row["variant"], row["direction"], row["metric"], row["protocol"]) == (variant, direction, metric, "own")
    )  # fmt: skip
    return tuple(100 * float(row[key]) for key in ("mean", "low", "high"))


@pytest.mark.parametrize(
    ("shift", "tolerance", "verdict", "reason"),
    [
        (0.0, 30.0, "reproduced", "interval_inside"),
        (60.0, 6.0, "not reproduced", "interval_outside_low"),
        (-60.0, 6.0, "not reproduced", "interval_outside_high"),
        (30.0, 30.0, "inconclusive", "interval_crosses"),
        (0.0, 1.0, "inconclusive", "interval_too_wide"),
    ],
)
def test_the_verdict_is_that_of_the_interval_in_the_file(
    made: StudyResults, shift: float, tolerance: float, verdict: str, reason: str
) -> None:
    mean, low, high = interval(made, "fne", "both", "rsum")
    values = {**dict.fromkeys(SIX), ("both", "rsum"): mean + shift}
    [item] = judged(made, against(entry(values=values), rsum=tolerance))
    assert (item.verdict, item.reason) == (verdict, reason)
    assert (item.mean, item.low, item.high, item.n_seeds) == pytest.approx((mean, low, high, 5))
    assert item.differs == () and item.setting == ()


def test_every_number_with_a_tolerance_is_judged_by_itself(made: StudyResults) -> None:
    result = judged(made, against(entry(), r1=1.0, r10=50.0, rsum=6.0))
    assert [(item.direction, item.metric) for item in result] == [
        ("i2t", "r1"), ("i2t", "r10"), ("t2i", "r1"), ("t2i", "r10"), ("both", "rsum")
    ]  # fmt: skip
    for item in result:
        mean, low, high = interval(made, "fne", item.direction, item.metric)
        bottom, top = item.published - item.tolerance, item.published + item.tolerance
        inside, outside = bottom <= low and high <= top, high < bottom or low > top
        assert item.verdict == ("reproduced" if inside else "not reproduced" if outside else "inconclusive")
        assert item.mean == pytest.approx(mean)
    assert {item.verdict for item in result if item.metric == "r10"} == {"reproduced"}


def test_what_was_not_published_has_no_verdict(made: StudyResults) -> None:
    [item] = judged(made, against(gone(), r1=1.0, rsum=6.0))
    assert (item.direction, item.verdict, item.reason, item.published) == (
        "all",
        "not available",
        "not_available",
        None,
    )
    partly = entry(values={**entry().values, ("i2t", "r10"): None, ("both", "rsum"): None})
    result = {(item.direction, item.metric): item for item in judged(made, against(partly, r10=50.0, rsum=6.0))}
    assert result["i2t", "r10"].reason == result["both", "rsum"].reason == "not_available"
    assert result["t2i", "r10"].verdict == "reproduced"


@pytest.mark.parametrize(
    ("changes", "reason", "words"),
    [
        ({"ensemble": True}, "ensemble", "single models"),
        ({"dataset": "coco", "protocol": "coco_5k"}, "other_dataset", "published on coco, here flickr30k"),
        ({"protocol": "coco_1k_5fold"}, "other_protocol", "published on coco_1k_5fold, here flickr30k_1k and"),
        ({"backbone": {"image": "ResNet-152", "text": "BERT-base"}}, "other_backbone",
         "image encoder published as ResNet-152, here ViT-B/16-384"),
        ({"backbone": {"image": None, "text": "GRU"}}, "other_backbone",
         "text encoder published as GRU, here BERT-base"),
        ({"backbone": {"image": None, "text": None}}, "backbone_not_stated", "does not state the encoders"),
        ({"ensemble": True, "backbone": {"image": "BUTD", "text": "GRU"}}, "ensemble", "published as BUTD"),
    ],
)  # fmt: skip
def test_another_setting_gets_no_verdict(made: StudyResults, changes: dict, reason: str, words: str) -> None:
    [item] = judged(made, against(entry(**changes), rsum=600.0))
    assert (item.verdict, item.reason) == ("not comparable", reason) and reason in item.differs
    assert words in "; ".join(item.setting) and item.setting[0].startswith("setting differs: ")


@pytest.mark.parametrize(("trained", "words"), [("none", "no encoder"), ("image", "only the image encoder")])
def test_nor_are_encoders_of_which_not_both_are_trained(made: StudyResults, trained: str, words: str) -> None:
    configs = {name: {**flat, "finetune.trained": trained} for name, flat in made.definition.configs.items()}
    [item] = judged(made, against(entry(), rsum=600.0), configs=configs)
    assert (item.reason, item.setting) == ("other_regime", (f"setting differs: {words} is trained here",))


def test_what_the_source_leaves_open_is_told_beside_the_verdict(made: StudyResults) -> None:
    [item] = judged(made, against(entry(ensemble=None, backbone={"image": "ViT-B/16-384", "text": None}), rsum=99.0))
    assert item.verdict == "reproduced" and item.differs == ()
    assert item.setting == ("the source does not state the text encoder and whether it is an ensemble",)


@pytest.mark.parametrize(
    ("called", "saying"),
    [
        ({}, "image encoder published as ViT-B/16-384, here the checkpoint scenes; text encoder"),
        ({**CALLED, "image": VIT.model_copy(update={"checkpoint": "vit-base"})}, "here the checkpoint scenes"),
        ({**CALLED, "image": VIT.model_copy(update={"image_size": 384})}, "here ViT-B/16-384 at 224 pixels"),
    ],
)
def test_what_an_encoder_is_called_holds_for_its_checkpoint_and_size_only(
    made: StudyResults, called: dict, saying: str
) -> None:
    configs = {name: {**flat, "finetune.image_size": 224} for name, flat in made.definition.configs.items()}
    requested = replace(against(entry(), rsum=600.0), backbone=called)
    [item] = judged(made, requested, configs=configs)
    assert item.reason == "other_backbone" and saying in item.setting[0]


def test_few_seeds_and_no_seeds_decide_nothing(tmp_path: Path) -> None:
    study = write(tmp_path, study_of("paper", SMALL, (0, 1), "hardest_in_batch"))

    def change(row: dict[str, str]) -> bool:
        row.update(low="", high="")
        return row["variant"] != "infonce"

    edit(tmp_path / "results/paper/intervals.csv", change)
    requested = replace(against(entry(), rsum=600.0), entries={"fne": (entry(),), "infonce": (entry(),)})
    made = results(study, tmp_path, published=requested)
    few, none = comparisons(made, requested)
    assert (few.verdict, few.reason, few.n_seeds) == ("inconclusive", "too_few_seeds", 2)
    assert (none.verdict, none.reason, none.n_seeds) == ("inconclusive", "no_result", 0)
    rows = published_table(made).rows
    assert rows[0][4].note == "" and rows[1][4].absent


def test_a_mean_of_directions_is_set_against_the_mean_here(made: StudyResults, monkeypatch: pytest.MonkeyPatch) -> None:
    """ECCV Caption and CxC are mostly published as the mean of both directions; it has an interval of its own."""
    shape = {(side, metric): None for side in ("i2t", "t2i", "mean") for metric in ("map_at_r", "r1")}
    on = {"dataset": "flickr30k", "protocol": "eccv"}
    whole = entry("eccv-a", values=shape | {("mean", "r1"): 55.0}, **on)
    monkeypatch.setattr(room, "protocol_of", lambda *given: "own")
    [item] = judged(made, against(whole, r1=1.0))
    layout = made.layout("fne")
    columns = [layout.keys.index(("own", side, "r1")) for side in ("i2t", "t2i")]
    both = 100 * sum(layout.influence[:, :, [column]] for column in columns) / 2
    requested = hierarchical_intervals(both)
    assert (item.direction, item.n_seeds) == ("mean", 5)
    assert (item.mean, item.low, item.high) == pytest.approx((requested.mean[0], requested.low[0], requested.high[0]))
    recalls = [fmean(made.values("fne", "r1", side, "own").values()) for side in ("i2t", "t2i")]
    assert item.mean == pytest.approx(100 * fmean(recalls))
    # Both directions say more than their mean.
    known = {("i2t", "r1"): 50.0, ("t2i", "r1"): 60.0, ("mean", "r1"): 55.0}
    apart = judged(made, against(entry("eccv-a", values=shape | known, **on), r1=1.0))
    assert [item.direction for item in apart] == ["i2t", "t2i"]
    assert np.isnan(estimate(made, "fne", "mean", "r1", "nowhere")[0])


def test_the_sentence_counts(made: StudyResults) -> None:
    partly = entry("f30k-b", values={**entry().values, ("i2t", "r10"): None, ("both", "rsum"): 600.0})
    requested = replace(
        against(r10=50.0, rsum=6.0), entries={"fne": (gone(), partly), "infonce": (entry("f30k-c", ensemble=True),)}
    )
    result = judged(made, requested)
    assert Counter(item.verdict for item in result) == {
        "not available": 2, "reproduced": 1, "not reproduced": 1, "not comparable": 3
    }  # fmt: skip
    assert sentence(result) == (
        "Of 7 numbers of 3 published results that are compared with this study: 2 not available, 1 reproduced within "
        "the declared tolerance, 1 not reproduced and 3 not comparable: the setting differs. No number is available "
        "here of f30k-fne (doi 10.1145/abc)."
    )


def test_the_table_tells_numbers_verdicts_sources_and_the_rule(made: StudyResults) -> None:
    requested = replace(against(rsum=6.0), entries={"fne": (gone(), entry(note="twice"))})
    study = results(made.definition, made.root, published=requested)
    table = published_table(study)
    assert [words for _, words in table.sections] == [
        "FNE (released rule) against FNE, ViT-B/16-384 + BERT-base (f30k-fne): not available here, see doi 10.1145/abc",
        "FNE (released rule) against A method, ViT-B/16-384 + BERT-base (f30k-a)",
    ]
    assert table.rows[0][2].absent and table.rows[0][1].note == "not_available"
    mean, low, high = interval(made, "fne", "both", "rsum")
    shown = [cell.text for cell in table.rows[1]]
    assert shown[0] == "rsum" and shown[2:4] == ["458.0", "±6.0"] and shown[5] == "5"
    assert shown[4] == f"{mean:.1f}" and table.rows[1][4].note == f"[{low:.1f}, {high:.1f}]"
    assert "95 % interval" in table.caption and "two one-sided tests at 2.5 % each" in table.caption
    assert any(" against f30k-a: source: A source (confidence A: primary source); twice." in n for n in table.notes)
    record = table.records[1]
    assert record["published"] == pytest.approx(4.58) and record["tolerance"] == pytest.approx(0.06)
    assert record["mean"] == pytest.approx(mean / 100) and record["verdict"] == shown[1]
    assert table.records[0]["published"] is None and table.records[0]["doi"] == "10.1145/abc"


def test_methods_stand_apart_and_carry_their_sources(made: StudyResults) -> None:
    second = entry("f30k-b", method="B", ensemble=True, backbone={"image": None, "text": "GRU"})
    requested = against(gone(), entry(), second, context=(entry("f30k-c", method="C", source="Another"),))
    table = methods_table(results(made.definition, made.root, published=requested))
    assert table.sections == ((0, "Published"), (4, "This study: both encoders trained end to end"))
    names = [row[0].text for row in table.rows]
    assert names == ["FNE", "A method", "B", "C", *(fake.title for fake in SMALL)]
    assert [row[0].mark for row in table.rows] == ["1", "2", "2", "3", "", "", ""]
    assert [note[:4] for note in table.notes] == ["(1) ", "(2) ", "(3) "] and "Another" in table.notes[2]
    assert table.rows[0][0].note == "not available here, see doi 10.1145/abc"
    assert all(cell.absent for cell in table.rows[0][3:])
    assert [cell.text for cell in table.rows[1][3:]] == ["55.0", "85.0", "94.0", "52.0", "82.0", "90.0", "458.0"]
    assert [row[2].text for row in table.rows[:3]] == ["no", "no", "yes"] and table.rows[2][
        1
    ].text == "not stated + GRU"
    for row in table.rows[4:]:
        for cell, (direction, metric) in zip(row[3:], SEVEN, strict=True):
            mean = 100 * fmean(made.values(row[0].note, metric, direction, "own").values())
            assert cell.text == f"{mean:.1f}"
        assert row[-1].note.startswith("[")


def test_the_ablation_takes_one_thing_away_at_a_time(paper: Made) -> None:
    table = ablation_table(paper.results)
    assert [row[0].note for row in table.rows] == [
        "fne", "hardest_buffer", "fne_abstract", "fne_no_buffer", "fne_no_cutdown", "fne_no_elimination"
    ]  # fmt: skip
    rows = {row[0].note: row for row in table.rows}
    assert rows["fne"][1].text == "full method" and rows["fne"][-1].text == "full method"
    assert rows["fne_no_buffer"][1].text == "memory.kind: momentum → none"
    mine, its = (paper.results.values(name) for name in ("fne_no_cutdown", "fne"))
    difference = 100 * fmean(mine[seed] - its[seed] for seed in mine)
    assert rows["fne_no_cutdown"][-1].text == f"−{abs(difference):.1f}" and rows["fne_no_cutdown"][-1].note
    record = next(row for row in table.records if row["id"] == "hardest_buffer")
    shared = set(paper.results.values("hardest_buffer"))
    requested = fmean(paper.results.values("hardest_buffer")[s] - paper.results.values("fne")[s] for s in shared)
    assert len(shared) == 4 and record["rsum_difference"] == pytest.approx(requested)
    low, high = record["rsum_difference_low"], record["rsum_difference_high"]
    assert low < record["rsum_difference"] < high


def test_the_ablation_tells_what_was_tuned_apart(paper: Made) -> None:
    tuned = read_mapping(paper.root / "ablations" / "tuned" / "literature.yaml")["values"]
    notes = {row[0].note: row[1].note for row in ablation_table(paper.results).rows}
    for name, note in notes.items():
        apart = [key for key in sorted({*tuned[name]} & {*tuned["fne"]}) if tuned[name][key] != tuned["fne"][key]]
        assert re.findall(r"[\w.]+(?=: )", note.removeprefix("tuned separately: ")) == apart
        assert note.startswith("tuned separately: ") or not apart
    assert any(notes.values()) and not notes["fne"]
    assert "and was tuned for itself" in ablation_table(paper.results).caption


def test_variants_that_are_ablations_stay_out_of_the_table_of_methods(paper: Made) -> None:
    table = methods_table(paper.results)
    assert [row[0].note for row in table.rows] == ["hardest_in_batch", "fne", "sum_of_hinges", "random", "infonce"]
    assert len(table.sections) == 1 and table.notes == ("This study is compared with no published result.",)


def test_a_study_set_against_nothing_says_so(paper: Made, lonely: Made) -> None:
    assert published_table(paper.results).rows == ()
    assert "compared with no published result" in (paper.reports / "tables/published.md").read_text("utf-8")
    assert 'id="table-published"' not in paper.page()
    assert 'id="ablation"' in paper.page() and 'id="ablation"' not in lonely.page()
    assert ablation_table(lonely.results).notes == ("Nothing to take away in this study: it names no method.",)


def test_page_record_and_files_of_a_study_set_against_results(tmp_path: Path, root: Path) -> None:
    study = write(tmp_path, study_of("paper", SMALL, (0, 1, 2), "hardest_in_batch", title=HOSTILE))
    (tmp_path / FILE).parent.mkdir()
    (tmp_path / FILE).write_bytes((root / FILE).read_bytes())
    bad = entry("f30k-b", method=HOSTILE, source=HOSTILE, note=HOSTILE, backbone={"image": HOSTILE, "text": HOSTILE})
    requested = against(gone(), bad, entry("f30k-c"), context=(entry("f30k-d"),), r1=1.0, rsum=6.0)
    made = build(replace(study, published=requested), tmp_path)
    page = made.page()
    assert 'id="table-published"' in page and HOSTILE not in page
    assert "3 published results that are compared with this study" in page and "f30k-fne (doi 10.1145/abc)" in page
    record = read_json(made.reports / "record.json")
    assert record["inputs"][str(FILE)] == sha256_file(tmp_path / FILE)
    for name in ("published", "methods", "ablation"):
        latex = (made.reports / f"tables/{name}.tex").read_text("utf-8")
        assert latex.count("{") - latex.count(r"\{") == latex.count("}") - latex.count(r"\}")
        for rule in (r"\toprule", r"\bottomrule"):
            assert latex.count(rule) == 1
        assert "<script" not in (made.reports / f"tables/{name}.html").read_text("utf-8")
        for row in re.findall(r"^\|.*\|$", (made.reports / f"tables/{name}.md").read_text("utf-8"), re.MULTILINE):
            assert len(re.findall(r"(?<!\\)\|", row)) == len(tables.build(made.results, name).columns) + 1


def test_numbers_that_a_reader_entered_are_shown_with_page_and_table(
    made: StudyResults, tmp_path: Path, root: Path
) -> None:
    (tmp_path / FILE).parent.mkdir()
    (tmp_path / FILE).write_bytes((root / FILE).read_bytes())
    numbers = {f"{side}.{metric}": value for (side, metric), value in zip(SIX, (50, 80, 90, 40, 70, 80.5), strict=True)}
    given = dict.fromkeys(("id", "image_encoder", "text_encoder", "ensemble", "note"))
    source = {"paper": "Li et al. 2023", "page": "930", "table": "2"}
    add({**given, "method": "FNE", "dataset": "flickr30k", "protocol": "1k_test", **source}, numbers, tmp_path)
    requested = against(read_published(tmp_path)["f30k-fne"], r1=1.0)
    study = results(made.definition, made.root, published=requested)
    table = published_table(study)
    assert {(item["direction"], item["published"]) for item in table.records} == {("i2t", 0.5), ("t2i", 0.4)}
    assert any("Li et al. 2023, page 930, table 2" in note for note in table.notes)
    assert any("Li et al. 2023, page 930, table 2" in note for note in methods_table(study).notes)
