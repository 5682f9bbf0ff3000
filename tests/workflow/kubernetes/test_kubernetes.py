"""The Kubernetes profile: the real executor plugin against a stand-in of the API, which checks what it is sent."""

from __future__ import annotations

import copy
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import fne
from tests.snakemake_project import ROOT, Project
from tests.workflow.kubernetes.standin import Cluster, problems

NEEDED = ("kubernetes_validate", "snakemake_executor_plugin_kubernetes", "snakemake_storage_plugin_fs")
MISSING = [name.replace("_", "-") for name in NEEDED if importlib.util.find_spec(name) is None]
MISSING += [] if shutil.which("rsync") else ["rsync"]
PROFILE = ROOT / "workflow/profiles/kubernetes/config.yaml"

needs_plugins = pytest.mark.skipif(bool(MISSING), reason=f"kubernetes: no {', '.join(MISSING)}")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The Job that the plugin sends for a rule that requests a GPU, and what came of it: it was run."""
    project = Project.copy_of(ROOT, tmp_path_factory.mktemp("project") / "project")
    for command in (["init", "-q"], ["add", "-A"], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "a"]):
        subprocess.run(["git", *command], cwd=project.folder, check=True)  # sources are what git knows
    place = tmp_path_factory.mktemp("cluster")
    volume = place / "volume"
    volume.mkdir()
    pip = place / "bin" / "pip"  # the image installs the storage plugin from files within it; here it is installed
    pip.parent.mkdir()
    pip.write_text("#!/bin/sh\n")
    pip.chmod(0o755)
    path = f"{pip.parent}:{Path(sys.executable).parent}:/usr/bin:/bin"
    cluster = Cluster(place, {"PATH": path, "PYTHONPATH": "", "HOME": str(place)})
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--profile", "workflow/profiles/kubernetes", "--retries", "0",
         "--default-storage-prefix", f"{volume}/fne", "--kubernetes-persistent-volumes", f"fne:{volume}",
         "--precommand", f"mkdir -p {volume}/scratch && ln -sfn {volume}/scratch scratch",
         "--set-resources", "prepare:gpu=1", "--config", "study=smoke", "--seconds-between-status-checks", "2",
         "--until", "prepare"],
        cwd=project.folder, env=project.environment() | {"KUBECONFIG": str(cluster.kubeconfig())}, text=True,
        capture_output=True, timeout=900, check=False,
    )  # fmt: skip
    logs = "".join(file.read_text() for file in place.glob("*.log"))
    assert done.returncode == 0, done.stdout + done.stderr + logs + "\n".join(cluster.refused)
    (sent,) = cluster.jobs.values()
    (manifest,) = volume.glob("fne/resources/*/manifest.json")
    assert manifest.is_file() and (volume / "scratch").is_dir() and not cluster.refused
    return sent


@needs_plugins
@pytest.mark.timeout(1200)
def test_a_job_has_its_memory_gpu_and_volume_and_runs(job: dict[str, Any]) -> None:
    spec = job["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    wanted = {"nvidia.com/gpu": "1", "memory": "1500M", "ephemeral-storage": "5000M"}
    for kind in ("requests", "limits"):
        assert wanted.items() <= container["resources"][kind].items()
    assert {mount["name"] for mount in container["volumeMounts"]} == {"workdir", "fne"}
    assert container["image"] == yaml.safe_load(PROFILE.read_text())["container-image"]


@needs_plugins
def test_bad_manifests_are_refused(job: dict[str, Any]) -> None:
    def broken(change: Any) -> list[str]:
        bad = copy.deepcopy(job)
        change(bad, bad["spec"]["template"]["spec"]["containers"][0])
        return problems(bad)

    assert problems(job) == []
    (only_requested,) = broken(lambda bad, container: container["resources"]["limits"].pop("nvidia.com/gpu"))
    assert "nvidia.com/gpu" in only_requested
    (misspelt,) = broken(lambda bad, container: container.update(comand=["sh"]))
    assert "comand" in misspelt
    (of_text,) = broken(lambda bad, container: bad["spec"].update(backoffLimit="none"))
    assert "none" in of_text
    (twice,) = broken(lambda bad, container: container["volumeMounts"].append(container["volumeMounts"][0]))
    assert "/workdir" in twice


def test_the_image_is_of_this_version() -> None:
    image = yaml.safe_load(PROFILE.read_text())["container-image"]
    text = (ROOT / "Containerfile").read_text()
    assert image.endswith(f":{fne.__version__}") and text.count(image) == 2 and "USER 1000" in text
