"""Each rule in a folder that holds its declared inputs alone makes its declared outputs, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.alone import first_of_each, problems
from tests.snakemake_project import ROOT, Job, Project
from tests.workflow.test_dag import reference_of

DRAW = ("--config", "study=smoke", "set={encoders.draw: 1}", "replace=true")
PLAIN = ("--config", "study=smoke")
ONE_JOB = ("--config", "study=smoke", "job=run")
PARTS = ("--config", "study=smoke", "shards=2")
SETS = {"pretrain": DRAW, "run": ONE_JOB, "extract_part": PARTS}
TEXT = "\n".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
RULES = re.findall(r"^rule (\w+):", TEXT, re.M)
OF_A_STUDY = [rule for rule in RULES if not rule.endswith("_of_series")]


@pytest.fixture(scope="module")
def finished(smoke: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """The study, set against a reference, and with its notebook."""
    project = Project.copy_of(smoke.folder, tmp_path_factory.mktemp("alone") / "finished", made=True)
    reference_of(project.folder, "smoke")
    return project


@pytest.fixture(scope="module")
def jobs(finished: Project) -> dict[str, Job]:
    targets = "--forceall", "smoke", "notebook"
    return first_of_each([job for options in (PLAIN, *SETS.values()) for job in finished.planned(*targets, *options)])


@pytest.mark.parametrize("rule", OF_A_STUDY)
def test_a_rule_alone(finished: Project, jobs: dict[str, Job], rule: str, tmp_path: Path) -> None:
    assert problems(finished, jobs[rule], tmp_path / "alone", *SETS.get(rule, PLAIN)) == []
