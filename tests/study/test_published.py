"""Published results and a study's section about them: what cannot be is refused, null stays null."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from fne import cli
from fne.data.published import FILE, read_published
from fne.steps.describe import run as describe
from fne.utils.errors import UserError
from tests.projects import ENCODERS, PATHS, Project

ENTRY: dict[str, Any] = {
    "id": "f30k-a",
    "method": "A",
    "backbone": {"image": "ViT-B/16-384", "text": "BERT-base"},
    "dataset": "flickr30k",
    "protocol": "1k_test",
    "ensemble": False,
    "metrics": {
        "i2t": {"r1": 50.0, "r5": 80.0, "r10": 90.0},
        "t2i": {"r1": 40.0, "r5": 70.0, "r10": 80.0},
        "rsum": 410.0,
    },
    "source": "a table",
    "confidence": "A",
}
ECCV: dict[str, Any] = ENTRY | {
    "id": "eccv-a",
    "dataset": "coco",
    "protocol": "eccv",
    "metrics": {
        "i2t": {"map_at_r": 30.0, "r_precision": 40.0, "r1": 70.0},
        "t2i": {"map_at_r": 40.0, "r_precision": 50.0, "r1": 80.0},
        "mean": {"map_at_r": 35.0, "r_precision": 45.0, "r1": 75.0, "coco_5k_r1": None},
    },
}
NOTHING: dict[str, Any] = {
    "i2t": {"r1": None, "r5": None, "r10": None},
    "t2i": {"r1": None, "r5": None, "r10": None},
    "rsum": None,
}


def changed(entry: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A copy of an entry; dotted names (with ``__``) reach into it, and ``...`` takes a key out."""
    entry = copy.deepcopy(entry)
    for name, value in changes.items():
        *path, last = name.split("__")
        place = entry
        for key in path:
            place = place[key]
        if value is ...:
            del place[last]
        else:
            place[last] = value
    return entry


def write(root: Path, *entries: Any) -> Path:
    (root / FILE).parent.mkdir(exist_ok=True)
    (root / FILE).write_text(yaml.safe_dump({"results": list(entries)}), encoding="utf-8")
    return root


def fails(root: Path, *saying: str) -> str:
    with pytest.raises(UserError) as caught:
        read_published(root)
    message = str(caught.value)
    for words in saying:
        assert words in message, f"{words!r} is not in: {message}"
    return message


def test_the_committed_results_are_valid(root: Path) -> None:
    known = read_published(root)
    assert len(known) > 200 and {entry.dataset for entry in known.values()} == {"flickr30k", "coco"}
    assert known["f30k-vsepp-rn152"].values["both", "rsum"] == 409.8
    for name in ("f30k-fne", "coco1k-fne", "coco5k-fne"):
        assert not known[name].available and known[name].doi == "10.1145/3581783.3612101"
        assert all(value is None for value in known[name].values.values())


@pytest.mark.needs_shared
def test_the_committed_results_are_those_that_were_sourced(root: Path, shared: Path) -> None:
    ours, theirs = ((folder / "published.yaml").read_text("utf-8") for folder in (root / "ablations", shared))
    assert yaml.safe_load(ours) == yaml.safe_load(theirs)


def test_every_value_is_kept(tmp_path: Path) -> None:
    known = read_published(write(tmp_path, ENTRY, ECCV))
    assert known["f30k-a"].values == {
        ("i2t", "r1"): 50.0, ("i2t", "r5"): 80.0, ("i2t", "r10"): 90.0,
        ("t2i", "r1"): 40.0, ("t2i", "r5"): 70.0, ("t2i", "r10"): 80.0, ("both", "rsum"): 410.0,
    }  # fmt: skip
    assert known["eccv-a"].values["mean", "map_at_r"] == 35.0 and known["eccv-a"].values["mean", "coco_5k_r1"] is None


@pytest.mark.parametrize(
    ("changes", "saying"),
    [
        ({"metrics__i2t__r1": 101.0}, ["f30k-a: metrics.i2t.r1", "101", "number >= 0 and <= 100, or null"]),
        ({"metrics__i2t__r1": 80.1, "metrics__rsum": None}, ["i2t.r1", "r1 80.1 exceeds r5 80.0"]),
        ({"metrics__rsum": 410.4}, ["rsum", "410.4", "not the sum of its recalls, 410.0"]),
        ({"metrics__i2t__r1": ..., "metrics__i2t__r2": 50.0}, ["metrics.i2t.r2", "unknown key", "i2t.r1"]),
        ({"protocol": "2k_test"}, ["protocol", "'flickr30k 2k_test'", "did you mean 'flickr30k 1k_test'"]),
        ({"id": "coco1k-a"}, ["coco1k-a: id", "allowed: f30k- and then lower-case letters"]),
        ({"backbone__image": ...}, ["backbone.image", "is missing"]),
        ({"confidence": "D"}, ["confidence", "'D'", "A, B, C"]),
        ({"metrics": NOTHING}, ["confidence", "null, because it has no value"]),
        ({"metrics": NOTHING, "confidence": None}, ["names no DOI"]),
    ],
)  # fmt: skip
def test_an_entry_that_cannot_be(tmp_path: Path, changes: dict[str, Any], saying: list[str]) -> None:
    fails(write(tmp_path, changed(ENTRY, **changes)), "published.yaml", *saying)


def test_rounding_is_forgiven_up_to_what_seven_rounded_numbers_can_add_up_to(tmp_path: Path) -> None:
    for rsum in (409.65, 410.0, 410.35):
        read_published(write(tmp_path, changed(ENTRY, metrics__rsum=rsum)))


def test_what_was_not_printed_may_be_null(tmp_path: Path) -> None:
    entry = changed(ENTRY, metrics__i2t__r10=None, metrics__t2i__r10=None, metrics__rsum=None, ensemble=None)
    assert read_published(write(tmp_path, entry))["f30k-a"].available
    missing = changed(ENTRY, metrics=NOTHING, confidence=None, note="see doi 10.1145/3581783.3612101, pp. 924-934")
    assert read_published(write(tmp_path, missing))["f30k-a"].doi == "10.1145/3581783.3612101"


SECTION: dict[str, Any] = {
    "tolerance": {"r1": 1.0, "rsum": 6},
    "backbone": {
        "image": {"name": "ViT-B/16-384", "checkpoint": "vit-base-patch16-384", "image_size": 384},
        "text": {"name": "BERT-base", "checkpoint": "bert-base-uncased"},
    },
    "entries": {"fne": ["f30k-fne"], "hardest_in_batch": ["f30k-vsepp-rn152", "f30k-vsepp-butd-bert"]},
    "context": ["f30k-d2svse-vit384"],
}
GIVEN = PATHS | ENCODERS


@pytest.fixture(scope="module")
def few(root: Path) -> list[dict[str, Any]]:
    """Those of the committed results that these tests name: all of them take a fifth of a second to read."""
    names = {*SECTION["context"], "f30k-user", "coco5k-fne", "eccv-pcme"}.union(*SECTION["entries"].values())
    result = yaml.safe_load((root / FILE).read_text(encoding="utf-8"))["results"]
    return [entry for entry in result if entry["id"] in names]


@pytest.fixture
def project(tmp_path: Path, few: list[dict[str, Any]]) -> Project:
    """The study ``flickr8k`` on Flickr30K, set against published results."""
    project = Project(tmp_path)
    write(tmp_path, *few)
    content = project.read("studies/flickr8k")
    project.write("studies/flickr8k", content | {"data": {"dataset": "flickr30k"}, "published": SECTION})
    return project


def test_a_study_carries_what_it_is_set_against(project: Project) -> None:
    against = project.load("flickr8k", **GIVEN).published
    assert against is not None and against.tolerance == {"r1": 1.0, "rsum": 6.0}
    assert [entry.id for entry in against.entries["hardest_in_batch"]] == SECTION["entries"]["hardest_in_batch"]
    assert [entry.id for entry in against.shown] == [
        "f30k-fne", "f30k-vsepp-rn152", "f30k-vsepp-butd-bert", "f30k-d2svse-vit384"
    ]  # fmt: skip
    assert against.backbone["image"].image_size == 384 and against.backbone["text"].image_size is None


def test_variants_of_the_command_line_take_their_results_along(project: Project) -> None:
    study = project.load("flickr8k", **GIVEN, variants="fne,infonce", baseline="infonce")
    assert study.published is not None and list(study.published.entries) == ["fne"]


@pytest.mark.parametrize(
    ("changes", "saying"),
    [
        ({"entries__fne": ["coco5k-fne"]}, ["coco5k-fne is a result on coco", "'flickr30k'"]),
        ({"entries__fen": ["f30k-fne"]}, ["published.entries.fen", "not a variant of", "did you mean 'fne'"]),
        ({"entries": ..., "context": ..., "tolerance": ...}, ["names no published result"]),
        ({"tolerance__rsm": 1.0}, ["published.tolerance.rsm", "did you mean 'rsum'"]),
        ({"tolerance": ...}, ["published.tolerance", "none is declared for any metric of f30k-fne"]),
        ({"backbone__image__name": "ViT-B/16-385"}, ["published.backbone.image.name", "did you mean 'ViT-B/16-384'"]),
    ],
)  # fmt: skip
def test_a_section_that_cannot_be(project: Project, changes: dict[str, Any], saying: list[str]) -> None:
    project.edit("studies/flickr8k", published=changed(SECTION, **changes))
    project.fails("flickr8k", GIVEN, saying=["flickr8k.yaml", *saying])


def test_all_problems_of_a_section_are_listed_at_once(project: Project) -> None:
    wrong = {"backbone__text__name": "BERT", "entries__fne": ["f30k-fen"], "tolerance": {"r5": 1.0}}
    project.edit("studies/flickr8k", published=changed(SECTION, **wrong))
    saying = ["backbone.text.name: no published", "'f30k-fen'", "did you mean", "f30k-fne"]
    project.fails("flickr8k", GIVEN, saying=saying[:2] + saying[3:])


def test_context_needs_recalls(project: Project) -> None:
    section = {"context": ["eccv-pcme"]}
    project.edit("studies/flickr8k", data={"dataset": "coco"}, published=section)
    project.fails("flickr8k", GIVEN, saying=["published.context", "'eccv-pcme'", "no row in the table of methods"])


def test_a_damaged_file_of_results_is_told_with_the_study(project: Project) -> None:
    write(project.root, changed(ENTRY, metrics__i2t__r1=200.0))
    project.fails("flickr8k", GIVEN, saying=["published.yaml", "f30k-a: metrics.i2t.r1"])


def test_describe_tells_what_a_study_is_set_against(project: Project) -> None:
    summary = describe("flickr8k", project.root)
    assert "  fne: f30k-fne (FNE; ViT-B/16-384 + BERT-base; 1k_test; see doi 10.1145/3581783.3612101)" in summary
    assert "  hardest_in_batch: f30k-vsepp-rn152 (VSE++; ResNet-152 + GRU; 1k_test; rsum 409.8)" in summary
    assert "  beside them: f30k-d2svse-vit384" in summary and "tolerance: r1 1, rsum 6" in summary
    assert "published" not in describe("paper", project.root)


def test_check_reads_the_results_even_where_no_study_does(project: Project, capsys: pytest.CaptureFixture) -> None:
    for name in ("coco", "flickr30k"):  # they name results that the file of these tests does not hold
        project.edit(f"studies/{name}", published=None)
    assert cli.main(["check", "--root", str(project.root)]) == 0
    write(project.root, changed(ENTRY, metrics__i2t__r1=200.0))
    project.edit("studies/flickr8k", published=None)
    assert cli.main(["check", "--root", str(project.root)]) == 2
    assert "f30k-a: metrics.i2t.r1" in capsys.readouterr().err
