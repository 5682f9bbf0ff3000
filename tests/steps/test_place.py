"""What is named before the first job: an installation of other code, partitions and GPUs that are not there."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from fne.steps import place
from fne.utils.errors import UserError
from tests.snakemake_project import ROOT, Project


class Installed:
    """An installed distribution in a folder."""

    def __init__(self, folder: Path, editable: bool) -> None:
        self.folder, self.editable = folder, editable

    def read_text(self, name: str) -> str | None:
        return json.dumps({"url": self.folder.as_uri(), "dir_info": {"editable": True}}) if self.editable else None

    def locate_file(self, name: str) -> Path:
        return self.folder / name


@pytest.mark.parametrize("editable", [True, False])
def test_an_installation_of_other_code_is_named(editable: bool, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    there, checkout = tmp_path / "site packages", tmp_path / "checkout"
    for folder in (there, checkout):
        shutil.copytree(ROOT / "fne" / "utils", folder / "fne" / "utils")
        (folder / "fne/__init__.py").write_text('__version__ = "1.0"\n')
    monkeypatch.setattr(place.importlib.metadata, "distribution", lambda _: Installed(there, editable))
    place.check_installed(checkout)
    (there / "fne/__init__.py").write_text('__version__ = "0.9"\n')
    with pytest.raises(UserError, match="version 0.9, not the checkout's 1.0: 1 files differ, such as fne/__init__.py"):
        place.check_installed(checkout)
    monkeypatch.setenv("PYTHONPATH", str(checkout))
    place.check_installed(checkout)


LISTING = """\
cpu* (null)
gpu gpu:2(S:0-1)
gpu gpu:a100:4(S:0),gpu:t4:1,mps:8
"""


def test_partitions_and_gpus_of_slurm(monkeypatch) -> None:
    assert place.parse_partitions(LISTING) == ({"cpu": 0, "gpu": 5}, "cpu")
    monkeypatch.setattr(place, "slurm_partitions", lambda: place.parse_partitions(LISTING))
    fine = [("run", {"gpu": 5, "slurm_partition": "gpu"}), ("run", {"gpu": 10, "slurm_partition": "gpu", "nodes": 2})]
    place.check_requests("slurm", [*fine, ("rank", {})])
    with pytest.raises(UserError, match="rule run: slurm_partition.*'gpus'; did you mean 'gpu'"):
        place.check_requests("slurm", [("run", {"slurm_partition": "gpus"})])
    with pytest.raises(UserError, match="rule run: gpu.*partition cpu.*got 1; allowed: at most 0"):
        place.check_requests("slurm", [("run", {"gpu": 1})])


def test_a_variant_that_git_does_not_know_is_named_before_pods_lack_it(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ablations").mkdir()
    subprocess.run(["git", "init", "-q"], check=True)
    place.check_requests("kubernetes", [])
    (tmp_path / "ablations" / "mine.yaml").touch()
    with pytest.raises(UserError, match="ablations/mine.yaml: pods would lack"):
        place.check_requests("kubernetes", [])


def test_slurm_that_does_not_answer_is_named(monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match="executor slurm: Slurm does not answer here: .*sinfo"):
        place.check_requests("slurm", [("run", {})])


def test_gpus_that_this_machine_lacks_are_named_before_any_work(tmp_path: Path) -> None:
    project = Project.copy_of(ROOT, tmp_path / "project")
    options = ("--config", "study=smoke", "device=cuda", "--set-resources", "prepare:gpu=99", "--until", "prepare")
    done = project.snakemake("--cores", "1", *options)
    said = done.stdout + done.stderr
    assert done.returncode != 0 and "rule prepare: gpu: more GPUs than this machine can have; got 99" in said
    assert "Traceback" not in said and not (project.folder / "resources").exists()


def test_a_profile_without_its_plugin_is_one_sentence(tmp_path: Path) -> None:
    from importlib.util import find_spec

    project = Project.copy_of(ROOT, tmp_path / "project")
    for name in ("slurm", "kubernetes"):
        if find_spec(f"snakemake_executor_plugin_{name}") is None:
            done = project.snakemake("--profile", f"workflow/profiles/{name}", "smoke")
            assert done.returncode != 0 and f"invalid choice: '{name}'" in done.stderr.splitlines()[-1]
