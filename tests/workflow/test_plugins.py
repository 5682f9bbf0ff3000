"""A study with a rule from outside in the workflow: an edit of its file trains exactly its variants anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plugin_files import STRATEGY, place
from tests.snakemake_project import ROOT, Project
from tests.workflow.test_reruns import STUDY, THREE, trained


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose study `three` has a variant of the user's own; it is finished, its files empty."""
    project = Project.copy_of(ROOT, tmp_path_factory.mktemp("plugins") / "project")
    place(project.folder, STRATEGY, "own_rules")
    for name, sharpness in (("soft", 5.0), ("softer", 1.0)):
        (project.folder / f"ablations/variants/{name}.yaml").write_text(
            f"title: Own {name}\nquestion: Does an own rule help?\nparent: hardest_in_batch\nrole: scientific\n"
            f"set: {{negatives: {{strategy: 'own_rules:SoftHard', options: {{sharpness: {sharpness}}}}}}}\n"
            "isolates: [negatives.strategy, negatives.options.sharpness]\n"
        )
    study = STUDY.replace("[hardest_in_batch, fne, infonce]", "[hardest_in_batch, fne, soft, softer]")
    (project.folder / "ablations/studies/three.yaml").write_text(study)
    project.finish(*THREE)
    return project


def test_an_edit_of_the_rule_trains_its_variants_only(project: Project) -> None:
    assert project.planned(*THREE) == []
    jobs = project.planned(*THREE, "set={negatives.options.label: other}")
    assert set(trained(jobs)) == {("soft", "0-1"), ("softer", "0-1")}, "options can be given on the command line"
    project.edit("own_rules.py", "allowed, allowed, uniform", "allowed, allowed, 1 - uniform")
    assert set(trained(project.planned(*THREE))) == {("soft", "0-1"), ("softer", "0-1")}


def test_a_rule_that_is_gone_is_told_before_the_dag(project: Project) -> None:
    file: Path = project.folder / "own_rules.py"
    file.unlink()
    project.refused(*THREE, saying=["variants/soft.yaml", "no module named 'own_rules'"])
