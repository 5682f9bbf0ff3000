"""Where the ranks of a job meet, by what a scheduler says, and which of them ended it."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from fne.utils import ranks
from fne.utils.errors import UserError
from fne.utils.signals import TERMINATED

STEP = {"SLURM_JOB_ID": "7", "SLURM_NNODES": "2", "SLURM_NODEID": "1", "SLURM_JOB_NODELIST": "gpu[3-4]"}
POD = {"MASTER_ADDR": "first", "MASTER_PORT": "23456"}


@pytest.fixture
def scontrol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slurm's program that writes out a list of hosts."""
    program = tmp_path / "scontrol"
    program.write_text('#!/bin/sh\n[ "$*" = "show hostnames gpu[3-4]" ] && printf "gpu3\\ngpu4\\n"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))


def test_nodes_meet_where_the_scheduler_says(scontrol) -> None:
    node, host, port = ranks.rendezvous(2, STEP)
    assert (node, host) == (1, "gpu3") and port in ranks.PORTS
    assert ranks.rendezvous(2, STEP | {"SLURM_NODEID": "0"})[2] == port, "the same port on all nodes"
    assert ranks.rendezvous(2, STEP | {"SLURM_STEP_ID": "1"})[2] != port, "another one for another step"
    assert ranks.rendezvous(2, POD | {"RANK": "1"}) == (1, "first", 23456)
    assert ranks.rendezvous(2, POD | {"JOB_COMPLETION_INDEX": "0"}) == (0, "first", 23456)


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({}, "which node"),
        (POD, "RANK"),
        (POD | {"RANK": "2"}, "RANK.*'2'.*0 to 1"),
        (STEP | {"SLURM_NNODES": "3"}, "--nodes.*2.*3"),
        (STEP | {"SLURM_STEP_NUM_NODES": "1"}, "--nodes.*2.*1"),
    ],
)
def test_another_number_of_nodes_and_no_number_are_refused(environment: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        ranks.rendezvous(2, environment)


@pytest.mark.parametrize(
    ("statuses", "rank"),
    [
        ({0: ranks.LOST, 1: -signal.SIGKILL, 2: 1}, 1),
        ({0: ranks.LOST, 1: None, 2: 1}, 2),
        ({2: None, 3: ranks.LOST}, 3),
        ({0: 0, 1: TERMINATED, 2: -signal.SIGTERM, 3: None}, None),
    ],
)
def test_the_rank_that_failed_of_its_own_is_named(statuses: dict, rank: int | None) -> None:
    assert ranks._blame(statuses) == rank
