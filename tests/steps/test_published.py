"""``fne published add``: what is entered is read back, other text of the file stays, what cannot be is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fne import cli
from fne.data.published import FILE, read_published
from fne.study.api import load_study
from tests.projects import Project

NUMBERS = "i2t.r1=50.1 i2t.r5=80.2 i2t.r10=90.3 t2i.r1=40.4 t2i.r5=70.5 t2i.r10=80.6 rsum=412.1".split()
PAPER = "Li et al.: a title, with # and 'quotes', doi 10.1145/3581783.3612101"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def add(project: Project, **changes: Any) -> int:
    given = {"method": "FNE", "dataset": "flickr30k", "protocol": "1k_test", "paper": PAPER, "page": 930, "table": "II"}
    words = [f"--{key.replace('_', '-')}={value}" for key, value in (given | changes).items() if key != "metrics"]
    command = ["published", "add", "--root", str(project.root), *words]
    return cli.main([*command, "--metrics", *changes.get("metrics", NUMBERS)])


def test_a_result_without_numbers_is_filled_in_its_place(project: Project, capsys: pytest.CaptureFixture) -> None:
    file = project.root / FILE
    known, before = read_published(project.root), file.read_text().splitlines()
    assert not known["f30k-fne"].available
    assert add(project) == 0 and "flickr30k" in capsys.readouterr().out, "a study that shows it"
    after = file.read_text().splitlines()
    start = before.index("  - id: f30k-fne")
    assert after[:start] == before[:start] and after[-2000:] == before[-2000:]
    now = read_published(project.root)
    assert [*now] == [*known] and [name for name in now if now[name] != known[name]] == ["f30k-fne"]
    entry = load_study("flickr30k", root=project.root, complete=False).published.entries["fne"][0]
    assert {f"{side}.{metric}".removeprefix("both."): value for (side, metric), value in entry.values.items()} == {
        name: float(value) for name, value in (item.split("=") for item in NUMBERS)
    }
    assert entry.source == f"{PAPER}, page 930, table II" and entry.confidence == "A"
    assert dict(entry.backbone) == dict(known["f30k-fne"].backbone) and known["f30k-fne"].source in entry.note
    assert add(project) == 0 and file.read_text().splitlines() == after, "once more changes nothing"


@pytest.mark.parametrize("end", ["", "\n", "  # why\n\n# the end\n", "\n\n"])
def test_a_new_result_is_six_lines_behind_the_others(project: Project, end: str) -> None:
    file = project.root / FILE
    file.write_text(file.read_text().rstrip("\n") + end)
    before, known = file.read_text(), read_published(project.root)
    assert add(project, method="New (α)", ensemble="no", image_encoder="ViT, large", metrics=["t2i.r1=7"]) == 0
    now = read_published(project.root)
    entry = now.pop("f30k-new")
    assert now == known and (entry.method, entry.ensemble, dict(entry.backbone)) == (
        "New (α)", False, {"image": "ViT, large", "text": None})  # fmt: skip
    assert {key: value for key, value in entry.values.items() if value is not None} == {("t2i", "r1"): 7.0}
    lines = file.read_text().splitlines()
    own = lines.index("  - id: f30k-new")
    assert [line for line in lines[:own] + lines[own + 6 :] if line] == [line for line in before.splitlines() if line]
    assert yaml.safe_load(file.read_text())["results"][-1]["id"] == "f30k-new"


@pytest.mark.parametrize(
    ("changes", "saying"),
    [
        ({"dataset": "flickr30"}, ["did you mean 'flickr30k 1k_test'"]),
        ({"metrics": ["i2t.r2=5"]}, ["'i2t.r2'", "i2t.r1"]),
        ({"metrics": ["i2t.r1=101"]}, ["i2t.r1", "101", "<= 100"]),
        ({"metrics": ["i2t.r1=0.501"]}, ["0.501", "percent"]),
        ({"metrics": ["i2t.r1=null"]}, ["no number"]),
        ({"metrics": [*NUMBERS[:6], "rsum=422.1"]}, ["rsum", "412.1"]),
        ({"metrics": ["i2t.r1=60", "i2t.r5=50"]}, ["r1 60.0 exceeds r5 50.0"]),
        ({"page": 0, "paper": " "}, ["source.page", "source.paper"]),
        ({"id": "coco5k-fne"}, ["'coco5k-fne'", "f30k-"]),
        ({"method": "α"}, ["--id"]),
        ({"method": "VSE++", "image_encoder": "ResNet-152", "text_encoder": "GRU"},
         ["f30k-vsepp-rn152", "other values", "i2t.r1 52.9, here 50.1"]),
        ({"id": "f30k-vsepp-rn152"}, ["f30k-vsepp-rn152", "other values", "method VSE++, here FNE"]),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_and_nothing_written(
    project: Project, changes: dict[str, Any], saying: list[str], capsys: pytest.CaptureFixture
) -> None:
    before = (project.root / FILE).read_text()
    assert add(project, **changes) == 2
    message = capsys.readouterr().err
    assert [words for words in saying if words not in message] == [], message
    assert (project.root / FILE).read_text() == before


def test_names_that_are_nearly_anothers_are_noted(project: Project, capsys: pytest.CaptureFixture) -> None:
    assert add(project, method="New", text_encoder="BERT base") == 0
    assert "'BERT base'; did you mean 'BERT-base'" in capsys.readouterr().err


def test_a_short_entry_by_hand_says_what_a_long_one_says(project: Project) -> None:
    long = read_published(project.root)["f30k-vsepp-rn152"]
    short = ("results:\n- id: f30k-vsepp-rn152\n  method: VSE++\n  backbone: {image: ResNet-152, text: GRU}\n"
             "  ensemble: false\n  metrics: {i2t: {r1: 52.9, r5: 80.5, r10: 87.2}, t2i: {r1: 39.6, r5: 70.1, r10: 79.5}"
             ", rsum: 409.8}\n  source: {paper: P, page: 3, table: 2}\n")  # fmt: skip
    (project.root / FILE).write_text(short)
    entry = read_published(project.root)["f30k-vsepp-rn152"]
    assert entry.source == "P, page 3, table 2" and entry.confidence == "A"
    for key in ("method", "backbone", "dataset", "protocol", "ensemble", "values"):
        assert getattr(entry, key) == getattr(long, key), key
    assert add(project, method="Another") == 0 and [*read_published(project.root)] == [long.id, "f30k-another"]
