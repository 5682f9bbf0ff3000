"""A short storm over the finished study; the long one is ``python -m tests.storm.storm``."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from fne.utils import leftovers
from tests.snakemake_project import Project
from tests.storm import storm

VERBS = ("rank", "evaluate", "aggregate", "compare", "tables", "report")


@pytest.fixture(scope="module")
def whole(smoke: Project) -> storm.Storm:
    """The study that nobody killed, with what its verbs write at the least."""
    finished = storm.Storm(smoke.folder)
    notes = [{"verb": verb, "kind": "ended", "writes": 4, "seconds": 1.5} for verb in storm.STEPS]
    finished.plan.with_suffix(".noted").write_text("".join(json.dumps(note) + "\n" for note in notes))
    return finished


@pytest.fixture
def project(whole: storm.Storm, tmp_path: Path) -> Iterator[storm.Storm]:
    """A copy of it, which must be the same at the end, with nothing left over."""
    Project.copy_of(whole.folder, tmp_path / "project", made=True)
    copied = storm.Storm(tmp_path / "project")
    yield copied
    assert storm.differences(copied.folder, whole.folder) == []


def test_kills_of_verbs_by_hand(project: storm.Storm, whole: storm.Storm, tmp_path: Path) -> None:
    log = storm.Log(tmp_path / "kills.jsonl")
    storm.by_hand(project, whole, log, random.Random(0), VERBS)
    assert log.lines(), "a verb may end before the moment at which it was to be killed, but not all of them"


def test_cut_files_full_disks_and_two_at_once(project: storm.Storm, whole: storm.Storm) -> None:
    folder = project.folder / "results/smoke"
    storm.damage(
        project, whole, [folder / "fne/0-1/metrics.test.json", folder / "fne/0-1/audit.csv", folder / "runs.csv"]
    )
    storm.full_disk(project, ["evaluate", "aggregate"])
    storm.two_at_once(project, ["aggregate"])


def test_a_difference_and_a_leftover_are_seen(project: storm.Storm, whole: storm.Storm) -> None:
    file = project.folder / "results/smoke/runs.csv"
    valid, left = file.read_text(), file.with_name(f"{leftovers.prefix(file)}x.tmp.csv")
    file.write_text(valid.replace("fne", "enf", 1))
    left.write_text("")
    result = storm.differences(project.folder, whole.folder)
    assert result[0] == "results/smoke/runs.csv: differs" and result[1].endswith(": left over") and len(result) == 2
    file.write_text(valid)
    left.unlink()
