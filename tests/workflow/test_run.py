"""``fne run``, really run: from images, captions and two encoders of one's own to a report; no file is written over."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml
from PIL import Image

from fne import cli
from fne.steps.run import TEMPLATE
from fne.study import paths
from fne.study.api import load_study
from fne.utils.fields import flatten
from tests.encoders.conftest import build_model
from tests.snakemake_project import ROOT, Project

SMALL = ["train.epochs=2", "train.batch_size=8", "train.lr_warmup_steps=1", "warmup.epochs=1", "model.hidden=16",
         "model.dim=8", "negatives.min_positives=2", "memory.size=8", "seeds=0-1"]  # fmt: skip
SETS = [word for item in SMALL for word in ("--set", item)]
SPLITS = ["train"] * 16 + ["val"] * 8 + ["test"] * 8


def write_corpus(folder: Path, thing: str) -> None:
    """Images of one colour each, two captions an image."""
    (folder / "images").mkdir(parents=True)
    rows = [("image", "caption", "split")]
    for number, split in enumerate(SPLITS):
        Image.new("RGB", (16, 16), (8 * number, 255 - 8 * number, 64)).save(folder / "images" / f"{number}.png")
        rows += [(f"{number}.png", f"{word} {thing} {number}", split) for word in ("a", "one")]
    with open(folder / "pairs.csv", "w", newline="") as handle:
        csv.writer(handle).writerows(rows)


def command(corpus: str) -> list[str]:
    return ["run", "--images", f"{corpus}/images", "--annotations", f"{corpus}/pairs.csv",
            "--image-encoder", "encoders/vit", "--text-encoder", "encoders/bert"]  # fmt: skip


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with two corpora and a pair of random encoders, nothing of it run."""
    from fne.scenes.pretrain_image import _write_processor
    from fne.scenes.pretrain_text import build_tokenizer

    project = Project.copy_of(ROOT, tmp_path_factory.mktemp("run") / "project")
    for family in ("vit", "bert"):
        folder = project.folder / "encoders" / family
        build_model(family).save_pretrained(folder)
        _write_processor(folder, 48)
        build_tokenizer([f"a one dog bridge {' '.join(map(str, range(32)))}"]).save_pretrained(folder)
    for corpus, thing in (("Dogs 2", "dog"), ("bridges", "bridge")):
        write_corpus(project.folder / corpus, thing)
    return project


@pytest.mark.timeout(900)
def test_one_command_leads_from_a_corpus_to_its_report(project: Project) -> None:
    words = ["fne", *command("bridges"), "--variants", "fne,hardest_in_batch", "--cores", "2"]
    done = project.run(*words, *SETS, timeout=800)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "</html>" in (project.folder / "reports/bridges/report.html").read_text()
    with open(project.folder / "results/bridges/runs.csv") as handle:
        assert {(row["variant"], row["seed"]) for row in csv.DictReader(handle)} == {
            (variant, seed) for variant in ("fne", "hardest_in_batch") for seed in "01"
        }
    file = project.folder / "ablations/studies/bridges.yaml"
    template, text = (project.folder / TEMPLATE).read_text(), file.read_text()
    assert text.count("#") == template.count("#"), "comments stay"
    written, given = flatten(yaml.safe_load(text)), flatten(yaml.safe_load(template))
    assert {key: value for key, value in written.items() if given[key] != value} == {
        "title": "Bridges", "data.images": "bridges/images", "data.annotations": "bridges/pairs.csv",
        "encoders.image.checkpoint": "./encoders/vit", "encoders.text.checkpoint": "./encoders/bert",
        "variants": ["fne", "hardest_in_batch"], "control": None,
    }  # fmt: skip

    done = project.run(*words)
    assert done.returncode == 0 and "Nothing to be done" in done.stdout + done.stderr, "what was set holds"
    file.write_text(text.replace("block: 5", "block: 2"))
    done = project.run(*words)
    assert done.returncode == 2 and "bridges.yaml" in done.stderr and "block" in done.stderr
    assert "block: 2" in file.read_text(), "an edit is not written over"
    done = project.run("fne", "run", "--study", "bridges", "--dry-run")
    assert done.returncode == 0, done.stderr


def test_two_corpora_are_two_studies_of_two_data_sets(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project.folder)
    for words in (command("Dogs 2"), [*command("bridges"), "--study", "spans"]):
        done = project.run("fne", *words, "--dry-run", *SETS)
        assert done.returncode == 0 and "jobs would run" in done.stdout + done.stderr, done.stderr
    assert len({paths.data_id(load_study(name, {})) for name in ("dogs_2", "spans")}) == 2


@pytest.mark.parametrize(
    ("words", "saying"),
    [
        (["run"], ["4 problems", "--images", "--annotations", "pairs.csv", "--image-encoder", "--text-encoder"]),
        ([*command("bridges"), "--study", "new"], ["train.batch_size", "got 128", "at most 16"]),
        ([*command("bridges"), "--study", "new", "--variants", "fne,infonse"], ["did you mean 'infonce'"]),
        ([*command("bridgs"), "--study", "new"], ["2 problems", "bridgs/images", "bridgs/pairs.csv"]),
        ([*command("bridges"), "--study", "2.0"], ["--study", "'2.0'"]),
    ],
)
def test_what_cannot_run_is_one_message_and_no_file(
    project: Project,
    words: list[str],
    saying: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(project.folder)
    before = {*project.folder.glob("ablations/studies/*")}
    assert cli.main(words) == 2
    message = capsys.readouterr().err
    assert [each for each in saying if each not in message] == [] and "Traceback" not in message
    assert {*project.folder.glob("ablations/studies/*")} == before


def test_the_template_is_a_study_but_for_what_only_a_user_knows() -> None:
    study = load_study("custom", root=ROOT, complete=False, file=ROOT / TEMPLATE)
    assert study.data["dataset"] == "custom" and study.baseline in study.variants and study.control in study.variants
