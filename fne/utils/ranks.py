"""Start the processes that train one model together on this node, and end them together.

Each is told who it is by the variables of ``torchrun``, which may start them as well. The nodes of a job meet at its
first node, named by the scheduler. One process that dies ends all, with one message.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import IO

from fne.utils.errors import UserError, bad_input
from fne.utils.lease import LEASED
from fne.utils.signals import TERMINATED

LOST = 75
"""The exit status of a rank that lost the others."""
SETTLE, GRACE = 5.0, 10.0
"""Seconds in which the other ranks of a job may end after one failed, and after they were asked to."""
PORTS = range(20000, 30000)


def check_share(batch: int, processes: int) -> None:
    """Refuse a batch that ``processes`` cannot share equally.

    Raises:
        UserError: So it is.
    """
    if batch % processes:
        problem = f"cannot be shared equally by {processes} processes"
        raise bad_input(problem, key="train.batch_size", value=batch, allowed=f"a multiple of {processes}")


def run(arguments: Sequence[str], nodes: int, devices: Sequence[str]) -> None:
    """Run a verb as the ranks of this node, until all have ended.

    SIGTERM and SIGUSR1 are passed on to them.

    Args:
        arguments: Of ``fne``.
        nodes: How many nodes do the same.
        devices: Of each rank of this node, the same number on every node; an empty name is the CPU.

    Raises:
        UserError: A rank failed; which one, and how.
        SystemExit: SIGTERM ended them, or a rank named the problem itself.
    """
    count = len(devices)
    node, address, port = rendezvous(nodes, os.environ)
    ranks: dict[int, tuple[subprocess.Popen, IO[bytes] | None]] = {}

    def forward(number: int, frame: object) -> None:
        for process, _ in ranks.values():
            process.send_signal(number)

    # Ranks are started while SIGUSR1 is ignored: a rank that cannot answer it yet inherits that.
    previous = {signal.SIGUSR1: signal.signal(signal.SIGUSR1, signal.SIG_IGN)}
    try:
        for local, device in enumerate(devices):
            names = {"RANK": node * count + local, "LOCAL_RANK": local, "WORLD_SIZE": nodes * count,
                     "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": address, "MASTER_PORT": port, LEASED: 1,
                     "CUDA_VISIBLE_DEVICES": device}  # fmt: skip
            # All would say the same: the first rank is heard, another one only if it is the first to fail.
            words = tempfile.TemporaryFile() if local else None
            process = subprocess.Popen(
                [sys.executable, "-m", "fne", *arguments],
                env={**os.environ, **{name: str(value) for name, value in names.items()}},
                stderr=words,
            )
            ranks[node * count + local] = process, words
        previous |= {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGUSR1)}
        _wait(ranks)
        blame = _blame({rank: process.poll() for rank, (process, _) in ranks.items()})
    finally:
        _end([process for process, _ in ranks.values()])
        for number, handler in previous.items():
            signal.signal(number, handler)
    if blame is None:
        if any(process.returncode for process, _ in ranks.values()):
            raise SystemExit(TERMINATED)
        return
    _report(blame, *ranks[blame], nodes * count, first=blame == node * count)


def rendezvous(nodes: int, environment: Mapping[str, str]) -> tuple[int, str, int]:
    """The number of this node, and address and port where the ranks of all nodes meet.

    ``MASTER_ADDR``, ``MASTER_PORT`` and ``RANK`` or ``JOB_COMPLETION_INDEX`` say so (a PyTorchJob or an indexed job of
    Kubernetes), else the variables of a Slurm step with one task a node.

    Raises:
        UserError: Nothing says so, or there is another number of nodes.
    """
    if nodes == 1:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return 0, "127.0.0.1", probe.getsockname()[1]
    if "MASTER_ADDR" in environment:
        number = environment.get("RANK", environment.get("JOB_COMPLETION_INDEX", ""))
        if not (number.isdecimal() and int(number) < nodes):
            raise bad_input(
                "is not the number of this node", key="RANK", value=number, allowed=f"0 to {nodes - 1}, one a node"
            )
        return int(number), environment["MASTER_ADDR"], int(environment.get("MASTER_PORT", 29500))
    if "SLURM_NODEID" in environment:
        there = int(environment.get("SLURM_STEP_NUM_NODES", environment.get("SLURM_NNODES", 1)))
        if there != nodes:
            hint = "start one task on each: srun --ntasks-per-node 1"
            raise bad_input(
                "another number of nodes than Slurm gave this step",
                key="--nodes",
                value=nodes,
                allowed=[there],
                hint=hint,
            )
        hosts = environment.get("SLURM_STEP_NODELIST") or environment["SLURM_JOB_NODELIST"]
        done = subprocess.run(["scontrol", "show", "hostnames", hosts], capture_output=True, text=True, check=True)
        step = int(environment.get("SLURM_STEP_ID", 0))
        port = PORTS[(int(environment["SLURM_JOB_ID"]) * 31 + step) % len(PORTS)]
        return int(environment["SLURM_NODEID"]), done.stdout.split()[0], port
    hint = "set MASTER_ADDR, MASTER_PORT and RANK (the number of the node) on each, or start it by srun"
    raise bad_input("nothing says which node this is", key="--nodes", value=nodes, allowed=[1], hint=hint)


def _wait(ranks: Mapping[int, tuple[subprocess.Popen, object]]) -> None:
    """Until all ranks ended, or some time after one failed: how the others end shows which was the first."""
    failed = None
    while any(process.poll() is None for process, _ in ranks.values()):
        if failed is None and any(process.returncode not in (None, 0, TERMINATED) for process, _ in ranks.values()):
            failed = time.monotonic()
        if failed is not None and time.monotonic() - failed > SETTLE:
            return
        time.sleep(0.1)


def _blame(statuses: Mapping[int, int | None]) -> int | None:
    """The rank that failed of its own: killed, or else with an error, or else one that lost ranks of other nodes."""
    failed = {rank: status for rank, status in statuses.items() if status not in (None, 0, TERMINATED, -signal.SIGTERM)}
    return min(failed, key=lambda rank: (failed[rank] > 0, failed[rank] == LOST, rank), default=None)  # type: ignore[operator]


def _end(processes: Sequence[subprocess.Popen]) -> None:
    """End what still runs."""
    for process in processes:
        if process.poll() is None:
            process.terminate()
    until = time.monotonic() + GRACE
    for process in processes:
        try:
            process.wait(max(until - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _report(rank: int, process: subprocess.Popen, words: IO[bytes] | None, size: int, *, first: bool) -> None:
    """Raise what ended a job."""
    status, again = process.returncode, "the same command continues from the last checkpoint"
    if status < 0:
        name = signal.Signals(-status).name
        memory = ", as a kernel or a scheduler does where memory runs out" if -status == signal.SIGKILL else ""
        raise UserError(f"rank {rank} of {size} (process {process.pid}) was killed by {name}{memory}; the others were "
                        f"ended; {again}")  # fmt: skip
    if status == LOST:
        raise UserError(f"the ranks of this node lost the others: the log of another node says why; {again}")
    if words is not None:
        words.seek(0)
        sys.stderr.write(words.read().decode(errors="replace"))
    if status == 2:
        raise SystemExit(status)
    raise UserError(f"rank {rank} of {size} failed with status {status}, as above; the others were ended; {again}")
