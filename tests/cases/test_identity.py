"""What makes results the same or others: no two corpora in one folder, no old results of an edited rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from fne.data.manifest import Manifest
from fne.results.code import Code
from fne.study import paths
from fne.study.api import resolve
from tests.cases.conftest import corpus, refusal, save, verb
from tests.encoders.conftest import build_model
from tests.plugin_files import STRATEGY, clean_path, place
from tests.projects import Project

__all__ = ["clean_path"]


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


@pytest.mark.usefixtures("clean_path")
def test_an_edited_helper_of_a_rule_trains_it_anew(project: Project) -> None:
    """The digest of a variant's code, which Snakemake compares, changes with the helper's file."""
    helper = place(project.root, "SIGN = 1.0\n")
    text = STRATEGY.replace("self.sharpness * similarities", f"{helper}.SIGN * self.sharpness * similarities")
    rule = place(project.root, f"import {helper}\n{text}")
    delta = {"negatives.strategy": f"{rule}:SoftHard"}
    project.variant("own", delta, list(delta), parent="hardest_in_batch")
    project.edit("studies/smoke", variants=["hardest_in_batch", "fne", "own"])

    def digest(variant: str) -> str:
        return Code(project.root).training(resolve(project.load("smoke"), variant))

    before = {variant: digest(variant) for variant in ("own", "fne")}
    place(project.root, "SIGN = -1.0  # now the easiest\n", helper)
    assert digest("own") != before["own"] and digest("fne") == before["fne"]
