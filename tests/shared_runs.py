"""Studies that are really run, once for all tests that look at finished results."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import pytest
from filelock import FileLock

from tests.snakemake_project import ROOT, Project


def run_once(
    tmp_path_factory: pytest.TempPathFactory, worker: str, name: str, targets: Sequence[str], studies: Mapping[str, str]
) -> Project:
    """Run Snakemake in a copy of the project; workers side by side share one run.

    Args:
        tmp_path_factory: Of the worker.
        worker: Its name.
        name: Of the run.
        targets: What is to be made.
        studies: Further studies of the project: name to content.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base if worker == "master" else base.parent
    project, log = Project(shared / name), shared / f"{name}.log"
    with FileLock(shared / f"{name}.lock"):
        if not log.exists():
            Project.copy_of(ROOT, project.folder)
            for study, content in studies.items():
                (project.folder / f"ablations/studies/{study}.yaml").write_text(content)
            started = time.monotonic()
            done = project.snakemake("--cores", "2", *targets, timeout=1000)
            seconds = time.monotonic() - started
            log.write_text(f"{done.returncode}\n{seconds:.0f} s\n{done.stdout}{done.stderr}")
    status, _, said = log.read_text().partition("\n")
    assert status == "0", said[-6000:]
    return project


def said_by(project: Project) -> str:
    """What the run printed."""
    return project.folder.with_suffix(".log").read_text()
