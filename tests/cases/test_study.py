"""Studies whose names must become folders."""

from __future__ import annotations

import pytest

from fne.study import paths
from tests.cases.conftest import refusal, verb
from tests.plugin_files import STRATEGY, clean_path, place
from tests.projects import Project

__all__ = ["clean_path"]


@pytest.mark.usefixtures("clean_path")
def test_a_long_swept_value_still_makes_a_folder(project: Project) -> None:
    """A name short enough for a file system, or a refusal of the check; not a failure in the middle of the grid."""
    rule = place(project.root, STRATEGY)
    long = "/data/" + "very_long_folder_name/" * 12 + "words.txt"
    delta = {"negatives.strategy": f"{rule}:SoftHard"}
    project.variant("words", delta, [*delta, "negatives.options.label"], parent="hardest_in_batch",
                    sweep={"negatives.options.label": [long, "short.txt"]})  # fmt: skip
    project.edit("studies/smoke", variants=["hardest_in_batch", "fne", "words"])
    if refusal(verb, "check", "smoke", root=project.root, about=("characters long", "too long")):
        return
    study = project.load("smoke")
    assert max(map(len, study.variants)) <= 200, "most file systems take 255"
    for variant in study.variants:
        (project.root / paths.run_folder(study, variant, "0-1")).mkdir(parents=True)
