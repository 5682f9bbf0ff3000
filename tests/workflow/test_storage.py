"""The whole path through a storage provider of Snakemake: files travel between a job's folder and another place."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.snakemake_project import ROOT, Project

PLUGIN = "snakemake_storage_plugin_fs"
SHARED = ("sources", "source-cache", "persistence", "software-deployment", "storage-local-copies")


@pytest.mark.skipif(
    find_spec(PLUGIN) is None, reason=f"{PLUGIN}: not installed (pip install snakemake-storage-plugin-fs)"
)
def test_smoke_through_a_storage_provider_is_what_it_is_without(smoke: Project, tmp_path: Path) -> None:
    project, store = Project.copy_of(ROOT, tmp_path / "project"), tmp_path / "store"
    store.mkdir()
    through = ("--default-storage-provider", "fs", "--default-storage-prefix", str(store))
    done = project.snakemake("--cores", "2", *through, "--shared-fs-usage", *SHARED, "--", "smoke", timeout=1000)
    assert done.returncode == 0, done.stdout + done.stderr
    made = [path.relative_to(smoke.folder) for path in (smoke.folder / "results").rglob("*") if path.is_file()]
    assert not [name for name in made if not (store / name).is_file()]
    assert not (project.folder / "results").exists(), "all lies in the other place"
    for name in ("results/smoke/runs.csv", "results/smoke/contrasts.csv", "reports/smoke/tables/main.csv"):
        assert (store / name).read_bytes() == (smoke.folder / name).read_bytes()
