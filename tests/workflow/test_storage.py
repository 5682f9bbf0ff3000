"""The whole path through a storage provider of Snakemake: files travel between a job's folder and another place."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.projects import given as write_corpus
from tests.snakemake_project import ROOT, Project

PLUGIN = "snakemake_storage_plugin_fs"
SHARED = ("sources", "source-cache", "persistence", "software-deployment", "storage-local-copies")


pytestmark = pytest.mark.skipif(
    find_spec(PLUGIN) is None, reason=f"{PLUGIN}: not installed (pip install snakemake-storage-plugin-fs)"
)


def through(store: Path) -> tuple[str, ...]:
    """Options: all that rules make lies in a folder."""
    store.mkdir()
    place = ("--default-storage-provider", "fs", "--default-storage-prefix", str(store))
    return (*place, "--shared-fs-usage", *SHARED)


@pytest.mark.parametrize("options", [("study=paper",), (
    "study=flickr8k", "images=corpus/images", "annotations=corpus/split.json", "image_encoder=./corpus/vision",
    "text_encoder=./corpus/text")], ids=lambda options: options[0])  # fmt: skip
def test_what_no_rule_makes_is_not_looked_for_in_the_other_place(options: tuple[str, ...], tmp_path: Path) -> None:
    project = Project.copy_of(ROOT, tmp_path / "project")
    write_corpus(project.folder / "corpus")
    targets = ("all", *(["verify", "notebook"] if "flickr8k" not in options[0] else []))
    done = project.snakemake("-n", "--cores", "2", *through(tmp_path / "store"), "--config", *options, "--", *targets)
    assert done.returncode == 0, done.stdout + done.stderr


def test_smoke_through_a_storage_provider_is_what_it_is_without(smoke: Project, tmp_path: Path) -> None:
    project, store = Project.copy_of(ROOT, tmp_path / "project"), tmp_path / "store"
    done = project.snakemake("--cores", "2", *through(store), "--", "smoke", timeout=1000)
    assert done.returncode == 0, done.stdout + done.stderr
    made = [path.relative_to(smoke.folder) for path in (smoke.folder / "results").rglob("*") if path.is_file()]
    assert not [name for name in made if not (store / name).is_file()]
    assert not (project.folder / "results").exists(), "all lies in the other place"
    for name in ("results/smoke/runs.csv", "results/smoke/contrasts.csv", "reports/smoke/tables/main.csv"):
        assert (store / name).read_bytes() == (smoke.folder / name).read_bytes()
