"""What runs again after an edit: exactly what it can change. Dry runs over a finished (fabricated) study."""

from __future__ import annotations

import shutil
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.projects import given
from tests.snakemake_project import ROOT, Job, Project

STUDY = """
title: Three variants
question: Does an edit run again what it must, and nothing else?
regime: head
data: {dataset: scenes, train: 140, val: 20, test: 20}
variants: [hardest_in_batch, fne, infonce]
tuned: literature
seeds: [0, 1]
block: 2
baseline: hardest_in_batch
primary: {metric: rsum, protocol: own}
"""
THREE = ("--config", "study=three", "job=stages")
AFTERWARDS = {"aggregate", "compare", "make_tables", "make_figures", "make_report"}
PER_JOB = {"train", "rank", "evaluate"}
REPORTED = {"make_tables", "make_figures", "make_report"}
ALL = {"hardest_in_batch", "fne", "infonce"}


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose study `three` is finished, its files empty."""
    project = Project.copy_of(ROOT, tmp_path_factory.mktemp("reruns") / "finished")
    (project.folder / "ablations/studies/three.yaml").write_text(STUDY)
    project.finish(*THREE)
    return project


@pytest.fixture
def project(finished: Project, tmp_path: Path) -> Project:
    return Project.copy_of(finished.folder, tmp_path / "project", made=True)


def rules(jobs: list[Job]) -> set[str]:
    return {job.rule for job in jobs}


def trained(jobs: list[Job]) -> Counter:
    """(variant, block) of the training jobs."""
    return Counter((job.wildcards["variant"], job.wildcards["block"]) for job in jobs if job.rule == "train")


def test_comments_readme_and_plumbing_run_nothing(project: Project) -> None:
    project.edit("README.md", "\n", "\nAn edit.\n")
    for name in ("base.yaml", "variants/fne.yaml", "studies/three.yaml"):
        path = project.folder / "ablations" / name
        path.write_text("# a comment\n" + path.read_text())
    plumbing = ("fne/study/api.py", "fne/training/engine.py", "fne/steps/rank.py", "fne/report/tables/main.py")
    for name in (*plumbing, "workflow/rules/train.smk", "Snakefile"):
        path = project.folder / name
        path.write_text(path.read_text() + "\n# a comment\n")
    assert project.planned(*THREE) == []


def test_a_value_of_one_variant_runs_that_variant_only(project: Project) -> None:
    project.edit("ablations/variants/infonce.yaml", "set: {", "set: {train: {weight_decay: 0.5}, ")
    project.edit("ablations/variants/infonce.yaml", "isolates: [", "isolates: [train.weight_decay, ")
    jobs = project.planned(*THREE)
    assert trained(jobs) == {("infonce", "0-1"): 1}
    assert rules(jobs) == PER_JOB | AFTERWARDS | {"audit"}
    assert {job.wildcards["variant"] for job in jobs if job.rule in PER_JOB} == {"infonce"}


@pytest.mark.parametrize(("option", "runs", "expected"), [
    ("seeds=0-3", {(name, "2-3") for name in ALL}, PER_JOB | AFTERWARDS | {"calibrate", "audit"}),
    ("set={evaluation.tie_rule: pessimistic}", set(), {"evaluate"} | AFTERWARDS),
    ("set={audit.picks: full}", set(), set()),
])  # fmt: skip
def test_a_value_of_the_command_line_runs_what_reads_it(
    project: Project, option: str, runs: set[tuple[str, str]], expected: set[str]
) -> None:
    jobs = project.planned(*THREE, option)
    assert set(trained(jobs)) == runs and rules(jobs) == expected


@pytest.mark.parametrize(("file", "old", "new", "expected"), [
    ("fne/report/tables/main.py", "MOST_NAMED = 100", "MOST_NAMED = 101", {"make_tables", "make_report"}),
    ("fne/evaluation/metrics.py", "order = np.argsort(", "order = np.argsort(1 * ", {"evaluate"} | AFTERWARDS),
    ("fne/results/columns.yaml", "# kind: ", "# Its kind: ", AFTERWARDS | {"audit"}),
    ("fne/training/pairs.py", "strict=True)", "strict=False)", {"rank", "evaluate", "calibrate", "audit"} | AFTERWARDS),
    ("ablations/tuned/literature.yaml", "hardest_in_batch: 'mean", "hardest_in_batch: 'the mean", REPORTED),
    ("ablations/variants/infonce.yaml", "title: ", "title: Another ", AFTERWARDS),
])  # fmt: skip
def test_an_edit_after_training_makes_anew_what_reads_it_and_trains_nothing(
    project: Project, file: str, old: str, new: str, expected: set[str]
) -> None:
    project.edit(file, old, new)
    assert rules(project.planned(*THREE)) == expected


def test_a_new_figure_or_its_code_draws_and_trains_nothing(project: Project) -> None:
    project.edit("fne/report/figures/budget.py", "panels(1, 1, 3.2)", "panels(1, 1, 3.3)")
    assert rules(project.planned(*THREE)) == {"make_figures", "make_report"}
    path = project.folder / "fne/report/figures/names.py"
    path.write_text(path.read_text().replace('FIGURES = ("', 'FIGURES = ("another_figure", "'))
    jobs = project.planned(*THREE)
    assert rules(jobs) == {"make_figures", "make_report"}
    assert any("reports/three/figures/another_figure.svg" in job.outputs for job in jobs)


@pytest.fixture(scope="session")
def finished_pairs(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose study of COCO is finished without relevance files; what a user gives is tiny."""
    project = Project.copy_of(ROOT, tmp_path_factory.mktemp("reruns") / "pictures")
    (project.folder / "ablations/studies/pairs.yaml").write_text(PAIRS)
    given(project.folder / "given")
    (project.folder / "files").mkdir()
    for name in RELEVANCE_FILES:
        (project.folder / "files" / name).write_text("{}")
    project.finish(*COCO)
    return project


@pytest.fixture
def pictures(finished_pairs: Project, tmp_path: Path) -> Project:
    project = Project.copy_of(finished_pairs.folder, tmp_path / "pairs", made=True)
    for name in ("given", "files"):
        shutil.copytree(finished_pairs.folder / name, project.folder / name)
    return project


PAIRS = STUDY.replace("data: {dataset: scenes, train: 140, val: 20, test: 20}", "data: {dataset: coco}")
COCO = ("--config", "study=pairs", "job=stages", "images=given/images", "annotations=given/split.json",
        "image_encoder=./given/vision", "text_encoder=./given/text")  # fmt: skip
RELEVANCE_FILES = [
    f"{name}_{side}.json" for name in ("eccv", "cxc") for side in ("image_to_caption", "caption_to_image")
]


def test_relevance_files_rank_anew_and_train_nothing(pictures: Project) -> None:
    requested = (*COCO, "eccv=files")
    assert pictures.planned(*COCO) == []
    jobs = pictures.planned(*requested)
    assert rules(jobs) == {"rank", "evaluate"} | AFTERWARDS
    assert {job.wildcards["variant"] for job in jobs if job.rule == "rank"} == ALL
    pictures.finish(*requested)
    assert pictures.planned(*requested) == []
    assert rules(pictures.planned(*requested, "cxc=files")) == {"rank", "evaluate"} | AFTERWARDS, "a further protocol"
    time.sleep(1.1)  # Snakemake compares whole seconds
    (pictures.folder / "files/cxc_image_to_caption.json").write_text('{"1": [2]}')
    assert pictures.planned(*requested) == [], "a file that no protocol of the study reads"
    (pictures.folder / "files/eccv_image_to_caption.json").write_text('{"1": [2]}')
    assert rules(pictures.planned(*requested)) == {"rank", "evaluate"} | AFTERWARDS, "other content"


def test_ratings_calibrate_and_audit_anew_and_rank_nothing(pictures: Project) -> None:
    project = pictures
    for split in ("val", "test"):
        (project.folder / f"files/sits_{split}.csv").touch()
    requested, anew = (*COCO, "sits=files"), {"calibrate", "audit"} | REPORTED
    jobs = project.planned(*requested)
    assert rules(jobs) == anew
    assert [job.wildcards["variant"] for job in jobs if job.rule == "calibrate"] == ["fne"]
    project.finish(*requested)
    assert project.planned(*requested) == []
    assert rules(project.planned(*requested, "set={audit.sits_match: 4.0}")) == anew, "another score of a match"
    assert rules(project.planned(*COCO)) == anew, "no ratings any more"
    time.sleep(1.1)  # Snakemake compares whole seconds
    (project.folder / "files/sits_val.csv").write_text("other")
    assert rules(project.planned(*requested)) == anew, "other content"
    (project.folder / "files/sits_val.csv").unlink()
    project.refused(*requested, saying=["sits_val.csv: audit.sits: no such file"])


@pytest.mark.parametrize(("file", "old", "new", "expected"), [
    ("fne/losses/infonce.py", "softplus(both)", "2 * softplus(both)", {"infonce"}),
    ("fne/negatives/fne.py", "draw(weights, uniform)", "draw(weights, 1 - uniform)", {"fne"}),
    ("fne/training/engine.py", 'self.step += 1', 'self.step += 2', ALL),
])  # fmt: skip
def test_an_edit_of_code_trains_the_variants_that_run_it(
    project: Project, file: str, old: str, new: str, expected: set[str]
) -> None:
    project.edit(file, old, new)
    jobs = project.planned(*THREE)
    assert trained(jobs) == {(variant, "0-1"): 1 for variant in expected}
    assert not rules(jobs) & {"prepare", "extract"}


def test_docstrings_messages_and_moves_train_nothing(project: Project) -> None:
    project.edit("fne/losses/infonce.py", '"""', '"""Edited. ')
    project.edit("fne/training/calibration.py", "raise bad_input(problem", 'raise bad_input("Edited: " + problem')
    folder = project.folder / "fne/losses"
    (folder / "contrastive.py").write_text((folder / "infonce.py").read_text())
    (folder / "infonce.py").unlink()
    assert not trained(project.planned(*THREE))


def test_an_edit_of_what_makes_data_or_features_makes_them_anew(project: Project) -> None:
    project.edit("fne/encoders/pooling.py", "def pooled(", "EDITED = 1\n\n\ndef pooled(")
    assert project.planned(*THREE) == [], "nothing uses it"
    project.edit("fne/steps/extract.py", "256, 4096", "256, 2048")
    assert "extract" in rules(project.planned(*THREE))
    project.edit("fne/scenes/render.py", "255", "254")
    assert "prepare" in rules(project.planned(*THREE))
