"""One rule in an otherwise empty folder that holds what it declares as its input, and what it makes there."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.snakemake_project import PARTS, Job, Project

CACHES = (".snakemake", ".fne", "fne", "workflow")
"""Where programs keep what they worked out."""
BESIDE = ("logs", "benchmarks")
MAY_DIFFER = ("cost.csv", "record.", "run.json", "metrics.", "verify.json", "calibration.npz", "rankings.",
              "curves.", "readings.", "digests.", "manifest.json")  # fmt: skip
"""They tell of times, or of files that do."""


def first_of_each(jobs: list[Job]) -> dict[str, Job]:
    """A job of every rule, of a run one whose variant estimates false negatives."""
    result: dict[str, Job] = {}
    for job in sorted(jobs, key=lambda job: job.wildcards.get("variant") != "fne"):
        result.setdefault(job.rule, job)
    return result


def problems(whole: Project, job: Job, place: Path, *options: str) -> list[str]:
    """What is wrong where a job runs with its declared inputs alone: it fails, makes other files or other content.

    Args:
        whole: A finished study.
        job: One of its jobs.
        place: An empty folder.
        options: Of Snakemake, as the study was run with.
    """
    project = Project.copy_of(whole.folder, place)
    for name in job.inputs:
        source, target = whole.folder / name, place / name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, target)
    before = _files(place)
    done = project.snakemake("--cores", "1", "--quiet", "--allowed-rules", job.rule, *options, "--", *job.outputs)
    if done.returncode:
        return [done.stdout + done.stderr]
    made = {name for name in _files(place) - before if not name.startswith(BESIDE)}
    declared = {name for output in job.outputs for name in _below(place, output)}
    wrong = [f"{name}: made, not declared" for name in sorted(made - declared)]
    for name in sorted(made & declared):
        mine, its = place / name, whole.folder / name
        if its.is_file() and not mine.name.startswith(MAY_DIFFER) and mine.suffix != ".npz":
            wrong += [f"{name}: differs"] if mine.read_bytes() != its.read_bytes() else []
    return wrong


def _below(place: Path, name: str) -> set[str]:
    folder = place / name
    files = folder.rglob("*") if folder.is_dir() else [folder]
    return {file.relative_to(place).as_posix() for file in files}


def _files(place: Path) -> set[str]:
    parts = {*CACHES, *PARTS}
    return {
        path.relative_to(place).as_posix()
        for path in place.rglob("*")
        if path.is_file() and path.relative_to(place).parts[0] not in parts
    }
