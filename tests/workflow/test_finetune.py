"""The graph of jobs of a study that trains whole encoders: no feature store, several processes where asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.snakemake_project import ROOT, Project

STUDY = """
title: End to end
question: Does the graph hold?
regime: finetune
encoders: {draw: 1}
data: {dataset: scenes, train: 140, val: 20, test: 20}
variants: [hardest_in_batch, fne]
seeds: [0, 1]
block: 1
baseline: hardest_in_batch
primary: {metric: rsum, protocol: own}
"""
WHOLE = ("--config", "study=whole")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project.copy_of(ROOT, tmp_path_factory.mktemp("whole") / "project")
    (project.folder / "ablations/studies/whole.yaml").write_text(STUDY)
    return project


def test_it_reads_the_encoders_and_stores_no_features(project: Project) -> None:
    jobs = project.planned(*WHOLE)
    rules = [job.rule for job in jobs]
    assert "extract" not in rules and rules.count("run") == 4
    assert rules.count("pretrain") == 2, "the image and the text encoder of draw 1"
    for job in jobs:
        if job.rule == "run":
            names = {Path(name).name for name in job.inputs}
            assert {"image", "text", "images"} <= names and "values.bin" not in names


def test_several_processes_share_a_model_and_change_nothing_else(project: Project) -> None:
    trains = [j for j in project.planned(*WHOLE, "processes=2", "loaders=3", "device=cuda") if j.rule == "run"]
    assert {job.threads for job in trains} == {1}, "a dry run on one core is cut down to it"
    assert {job.resources["gpu"] for job in trains} == {"2"}
    done = project.snakemake(*WHOLE, "processes=2", "loaders=3", "--dry-run", "--printshellcmds", "--cores", "8")
    commands = [line for line in done.stdout.splitlines() if " job --study" in line]
    assert len(commands) == 4
    for line in commands:
        assert " fne job" in line and "--processes 2 --nodes 1" in line and "--threads 3" in line
    project.finish(*WHOLE)
    assert project.planned(*WHOLE, "processes=2", "loaders=3") == []


def test_more_processes_than_devices_are_refused_before_any_job(project: Project, tmp_path: Path, monkeypatch) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 'GPU 0: A (UUID: GPU-aaaa)'\necho 'GPU 1: A (UUID: GPU-bbbb)'\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    for options, words in (
        ((*WHOLE, "processes=4"), "more processes than CUDA devices; got 4; allowed: 1 to 2"),
        (("--set-resources", "run:gpu=1", *WHOLE, "processes=2"), "rule run: gpu: fewer GPUs than processes"),
    ):
        done = project.snakemake("--cores", "1", "--forceall", *options)
        said = done.stdout + done.stderr
        assert done.returncode != 0 and words in said, said
        assert "rule prepare" not in said and "Traceback" not in said


@pytest.mark.parametrize(
    ("given", "words"),
    [("processes=0", "processes"), ("processes=2 study=paper", "regime 'head'"), ("processes=3", "train.batch_size")],
)
def test_what_cannot_be_is_said_before_the_graph(project: Project, given: str, words: str) -> None:
    project.refused("--config", "study=whole", *given.split(), saying=[words])
