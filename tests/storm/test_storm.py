"""A storm over a finished study: kills, cut files, a full disk, two at once. The end is the same, nothing is left."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fne.utils import leftovers
from tests.snakemake_project import MADE, ROOT, Project

JOB = ("--variant", "fne", "--block", "0-1")
VERBS: dict[str, tuple[str, ...]] = {"rank": JOB, "evaluate": JOB, "aggregate": (), "compare": (), "tables": (),
                                     "report": ()}  # fmt: skip
TIMES = re.compile(r"(.*_)?(seconds|time|date|started|finished|record|cost|commit|cpu)(_.*)?")
"""Keys of JSON files and columns of CSV files that differ from run to run."""
UNEQUAL = re.compile(r"cost\..*|record\..*|report\.html|captions\.json|digests\.json|pictures\.npz|readings\..*")
"""Files that hold times (or digests of such); the log of test readings, to which each attempt adds a line."""


@pytest.fixture
def project(smoke: Project, tmp_path: Path) -> Iterator[Project]:
    """A copy of the finished study, which must be the same at the end, with nothing left over."""
    copied = Project.copy_of(smoke.folder, tmp_path / "project", made=True)
    yield copied
    assert differences(copied.folder, smoke.folder) == []


def start(project: Project, verb: str, *before: str, **environment: str) -> subprocess.Popen:
    """A verb that a person runs by hand over finished results."""
    command = [str(Path(sys.executable).parent / "fne"), verb, "--study", "smoke", *VERBS[verb]]
    path = os.pathsep.join([str(ROOT / "tests/storm"), str(project.folder)])
    return subprocess.Popen(
        [*before, *command],
        cwd=project.folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=project.environment() | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | environment,
    )


def run(project: Project, verb: str, *before: str, **environment: str) -> tuple[int, str]:
    """Its exit status, and what it printed."""
    process = start(project, verb, *before, **environment)
    said, _ = process.communicate(timeout=600)
    return process.returncode, said


def content(file: Path) -> str:
    """A digest of what a file says, times left out."""
    raw = file.read_bytes()
    if file.suffix == ".json":
        raw = json.dumps(timeless(json.loads(raw)), sort_keys=True).encode()
    elif file.suffix == ".csv":
        raw = json.dumps(timeless([*csv.DictReader(io.StringIO(raw.decode()))])).encode()
    elif file.suffix == ".npz":
        with np.load(file) as arrays:
            parts = {name: arrays[name] for name in sorted(arrays.files) if name != "meta"}
        raw = b"".join(name.encode() + part.tobytes() for name, part in parts.items())
    return hashlib.sha256(raw).hexdigest()


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: timeless(item) for key, item in value.items() if not TIMES.fullmatch(key)}
    return [timeless(item) for item in value] if isinstance(value, list) else value


def contents(folder: Path) -> dict[str, str]:
    """Of all that was made in a project, by name."""
    made = (place for part in MADE[:3] for place in (folder / part).rglob("*"))
    return {
        file.relative_to(folder).as_posix(): content(file)
        for file in made
        if file.is_file() and not UNEQUAL.fullmatch(file.name) and not leftovers.NAME.fullmatch(file.name)
    }


def differences(folder: Path, whole: Path) -> list[str]:
    """How a project differs from the one that nobody killed."""
    mine, its = contents(folder), contents(whole)
    unequal = [f"{name}: differs" for name in sorted({*mine, *its}) if mine.get(name) != its.get(name)]
    left = {place for part in MADE for place in (folder / part).rglob("*") if leftovers.NAME.fullmatch(place.name)}
    left |= {place for place in (folder / "results").rglob(".*") if place.name.endswith(".lock")}
    return unequal + [f"{place}: left over" for place in sorted(left)]


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_that_is_killed_while_it_writes_ends_as_ever_when_it_is_run_again(project: Project, verb: str) -> None:
    for at in ("1", "2", "3"):
        assert run(project, verb, FNE_STORM=at)[0] == -signal.SIGKILL
    assert run(project, verb)[0] == 0


@pytest.mark.parametrize(
    ("name", "verb"),
    [("fne/0-1/metrics.test.json", "aggregate"), ("fne/0-1/rankings.test.npz", "evaluate"), ("runs.csv", "tables")],
)
def test_a_file_that_was_cut_is_one_error_that_names_it(project: Project, smoke: Project, name: str, verb: str) -> None:
    file = project.folder / "results/smoke" / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    status, said = run(project, verb)
    assert status == 2 and "Traceback" not in said and file.name in said, said
    shutil.copytree(smoke.folder / "results", project.folder / "results", dirs_exist_ok=True)


@pytest.mark.parametrize("verb", ["evaluate", "aggregate"])
def test_a_full_disk_is_one_error_and_leaves_nothing(project: Project, verb: str) -> None:
    """No file may be longer than a block; half a .pyc file is Python's own fault, and stops it the next time."""
    limited = ("env", "PYTHONDONTWRITEBYTECODE=1", "bash", "-c", 'ulimit -f 1; exec "$@"', "bash")
    status, said = run(project, verb, *limited)
    assert status == 2 and "Traceback" not in said and "too large" in said, said
    assert run(project, verb)[0] == 0


def test_two_people_may_run_the_same_verb_at_once(project: Project) -> None:
    for process in [start(project, "aggregate"), start(project, "aggregate")]:
        said, _ = process.communicate(timeout=600)
        assert process.returncode == 0, said


def test_a_difference_and_a_leftover_are_seen(project: Project, smoke: Project) -> None:
    file = project.folder / "results/smoke/runs.csv"
    valid, left = file.read_text(), file.with_name(f"{leftovers.prefix(file)}x.tmp.csv")
    file.write_text(valid.replace("fne", "enf", 1))
    left.write_text("")
    result = differences(project.folder, smoke.folder)
    assert result[0] == "results/smoke/runs.csv: differs" and result[1].endswith(": left over") and len(result) == 2
    file.write_text(valid)
    left.unlink()
