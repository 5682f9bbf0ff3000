"""The smoke study, really run, once for all tests that look at finished results."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from filelock import FileLock

from tests.snakemake_project import ROOT, Project


def run_once(tmp_path_factory: pytest.TempPathFactory, worker: str) -> Project:
    """Run `snakemake --cores 2 smoke` in a copy of the project; workers side by side share one run."""
    base = tmp_path_factory.getbasetemp()
    shared = base if worker == "master" else base.parent
    project = Project(shared / "smoke")
    with FileLock(shared / "smoke.lock"):
        if not (shared / "smoke.log").exists():
            Project.copy_of(ROOT, project.folder)
            started = time.monotonic()
            done = project.snakemake("--cores", "2", "smoke", timeout=1000)
            seconds = time.monotonic() - started
            text = f"{done.returncode}\n{seconds:.0f} s\n{done.stdout}{done.stderr}"
            (shared / "smoke.log").write_text(text)
    status, _, said = (shared / "smoke.log").read_text().partition("\n")
    assert status == "0", said[-6000:]
    return project


def said_by(project: Project) -> str:
    """What the run printed."""
    return Path(project.folder.parent / "smoke.log").read_text()
