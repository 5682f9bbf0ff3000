"""Each rule in a folder that holds its declared inputs alone makes its declared outputs, and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.alone import first_of_each, problems
from tests.snakemake_project import ROOT, Job, Project
from tests.workflow.test_dag import reference_of

DRAW = ("--config", "study=smoke", "set={encoders.draw: 1}", "replace=true")
PLAIN = ("--config", "study=smoke")
STAGES = ("--config", "study=smoke", "job=stages")
PARTS = ("--config", "study=smoke", "extract_jobs=2")
SETS = {"pretrain": DRAW, **dict.fromkeys(("train", "rank", "evaluate", "calibrate"), STAGES), "extract_part": PARTS}
TEXT = "\n".join(path.read_text() for path in (ROOT / "workflow/rules").glob("*.smk"))
RULES = re.findall(r"^rule (\w+):", TEXT, re.M)
OF_A_STUDY = [rule for rule in RULES if not rule.endswith("_of_series")]


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Job]:
    """A job of each rule, as planned where nothing was made yet."""
    fresh, targets = Project.copy_of(ROOT, tmp_path_factory.mktemp("alone") / "fresh"), ("smoke", "notebook")
    every = [job for options in (PLAIN, *SETS.values()) for job in fresh.planned(*targets, *options)]
    reference_of(fresh.folder, "smoke")
    return first_of_each([*every, *fresh.planned("verify", *PLAIN)])


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("rule", OF_A_STUDY)
def test_a_rule_alone(smoke: Project, jobs: dict[str, Job], rule: str, tmp_path: Path) -> None:
    whole = smoke
    if rule == "set_against_reference":
        whole = Project.copy_of(smoke.folder, tmp_path / "whole", made=True)
        recorded = json.loads((ROOT / "ablations/reference/paper.json").read_text())
        reference_of(whole.folder, "smoke", machine=recorded["machine"], versions=recorded["versions"])
    assert problems(whole, jobs[rule], tmp_path / "alone", *SETS.get(rule, PLAIN)) == []
