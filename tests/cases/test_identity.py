"""What makes results the same or others: no two corpora in one folder, no old results of an edited rule."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fne.data.manifest import Manifest
from fne.study import paths
from fne.study.api import resolve, training_digest
from fne.study.check_rules import check_rule
from fne.study.library import Library
from tests.cases.conftest import corpus, refusal, save, verb
from tests.encoders.conftest import build_model
from tests.plugin_files import STRATEGY, clean_path, place
from tests.projects import Project

__all__ = ["clean_path"]


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="two corpora of one's own share one folder, so that a study goes on with the captions of the other",
)
def test_a_study_never_reads_the_corpus_of_another(project: Project, tmp_path: Path) -> None:
    """Two folders, or each verb of study A refuses what was prepared from B's files."""
    checkpoints = {
        side: {"checkpoint": str(save(tmp_path / family, build_model(family), 40)), "pooling": "mean"}
        for side, family in (("image", "vit"), ("text", "bert"))
    }
    for name, caption in (("a", "a dog"), ("b", "a bridge")):
        content = project.read("studies/smoke") | {"data": corpus(tmp_path / name, caption), "encoders": checkpoints}
        project.write(f"studies/{name}", content)
    verb("prepare", "--study", "a", root=project.root)
    about = ("run prepare", "prepared from")
    extract = ("extract", "--study", "a", "--modality", "text", "--device", "cpu", "--threads", "1")
    if refusal(verb, "prepare", "--study", "b", root=project.root, about=about):
        return
    if refusal(verb, *extract, root=project.root, about=about):
        return
    read = Manifest.load(project.root / paths.data_folder(project.load("a"))).texts
    assert read == [f"a dog {number}" for number in range(5)]


@pytest.mark.xfail(
    strict=True,
    raises=AssertionError,
    reason="of a rule from outside only the file of its class is watched, not a module of one's own that it imports",
)
@pytest.mark.usefixtures("clean_path")
def test_an_edited_helper_of_a_rule_trains_it_anew(project: Project) -> None:
    """The training digest changes with the helper's file, or the check of the rule says that it is not watched."""
    helper = place(project.root, "SIGN = 1.0\n")
    text = STRATEGY.replace("self.sharpness * similarities", f"{helper}.SIGN * self.sharpness * similarities")
    rule = place(project.root, f"import {helper}\n{text}")
    delta = {"negatives.strategy": f"{rule}:SoftHard"}
    project.variant("own", delta, list(delta), parent="hardest_in_batch")
    project.edit("studies/smoke", variants=["hardest_in_batch", "fne", "own"])

    def digest() -> str:
        return training_digest(resolve(project.load("smoke"), "own"))

    before = digest()
    place(project.root, "SIGN = -1.0  # now the easiest\n", helper)
    os.utime(project.root / f"{rule}.py", (1, 1))  # as a new process, which remembers nothing of the rule
    if digest() == before:
        told: list[str] = []
        about = (helper,)
        said = refusal(lambda: told.append(check_rule(f"{rule}:SoftHard", {}, Library(project.root))), about=about)
        assert helper in said or helper in "".join(told), "results of the rule as it was would be taken for its own"
