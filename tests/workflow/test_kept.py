"""Snakemake and the overrides that results were made with; and what a project that was restored runs."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from fne.study import paths
from tests.snakemake_project import ROOT, Project

SMOKE = ("--config", "study=smoke")
RESTORE = "snakemake --cores 1 --touch"


@pytest.fixture
def project(smoke: Project, tmp_path: Path) -> Project:
    return Project.copy_of(smoke.folder, tmp_path / "project", made=True)


def dry(project: Project, *options: str) -> tuple[int, str]:
    done = project.snakemake(*SMOKE, *options, "--dry-run", "--printshellcmds")
    return done.returncode, done.stdout + done.stderr


def test_others_are_refused_before_the_dag(project: Project) -> None:
    for option, line in (
        ("variants=hardest_in_batch,fne", "variants: made with"),
        ("set={memory.size: 256}", "memory.size: made with"),
    ):
        project.refused(*SMOKE, option, saying=[line, "--config replace=true"])
    project.refused(*SMOKE, "replace=perhaps", saying=["--config: replace: got 'perhaps'; allowed: true, false"])
    status, summary = dry(project, "set={memory.size: 256}", "replace=true")
    assert status == 0 and "--set memory.size=256 --exactly --variant fne --block 0-1" in summary
    assert not (project.folder / paths.overrides("smoke")).exists(), "a dry run writes nothing"


def test_what_was_kept_holds_until_it_is_replaced(project: Project) -> None:
    status, summary = dry(project, "seeds=0-3")
    trained = re.findall(r"fne job --study smoke --set seeds=0-3 --exactly --variant (\w+) --block (\S+)", summary)
    assert status == 0 and sorted(trained) == [(name, "2-3") for name in ("fne", "hardest_in_batch", "infonce")]
    file = project.folder / paths.overrides("smoke")
    file.write_text(json.dumps({"schema": 1, "study": "smoke", "overrides": {"seeds": "0-3"}}))
    for options in ((), ("variants=hardest_in_batch,fne,infonce",)):
        status, summary = dry(project, *options)
        assert status == 0 and len(set(re.findall(r"fne job .* --set seeds=0-3.* --block 2-3", summary))) == 3
        assert summary.count("note: study smoke: with seeds=0-3, as its results were made") == 1
    assert "Nothing to be done" in dry(project, "replace=true")[1]
    file.write_text("{")
    project.refused(*SMOKE, saying=["results/smoke/study.json: not valid JSON"])


def scramble(folder: Path) -> None:
    """Times of a copy that took what a study reads last: each file is older than what it is made from."""
    for place, name in enumerate(("reports", "results", "resources", "ablations", "fne")):
        for path in folder.joinpath(name).rglob("*"):
            os.utime(path, (1e9 + place, 1e9 + place))


@pytest.mark.parametrize("remembers", [True, False])
def test_a_restored_project_trains_nothing_again_after_one_command(project: Project, remembers: bool) -> None:
    """The documents' command; with or without Snakemake's own records, which may be left behind."""
    if not remembers:
        shutil.rmtree(project.folder / ".snakemake")
    scramble(project.folder)
    if not remembers:
        assert "run" in {job.rule for job in project.planned("smoke")}, "times alone say that all is old"
    weights = {file: file.read_bytes() for file in project.folder.glob("results/smoke/*/*/weights.safetensors")}
    assert len(weights) == 3 and RESTORE in (ROOT / "docs/how-to/resume.md").read_text()
    done = project.run(*RESTORE.split(), *SMOKE)
    assert done.returncode == 0, done.stderr
    assert project.planned("smoke") == [] == project.planned(*SMOKE)
    assert all(file.read_bytes() == content for file, content in weights.items())
