"""A lease on a CUDA device, one lock file each, so that jobs side by side on a machine do not share one."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from fne.utils.errors import bad_input

KUBERNETES = "KUBERNETES_SERVICE_HOST"
SCHEDULERS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID", KUBERNETES)
"""Set by a scheduler that hands out devices itself: in ``CUDA_VISIBLE_DEVICES``, or as all that a pod shows."""
LEASED = "FNE_LEASED"
"""Set for the ranks of a job: who started them holds their devices (:mod:`fne.utils.ranks`)."""


@contextlib.contextmanager
def device(requested: str, *, poll: float = 1.0, folder: Path | None = None) -> Iterator[str]:
    """Hold the device that this process may use, and yield ``"cpu"`` or ``"cuda"``.

    It is the first free one of :func:`assigned`, locked for the life of the process (a killed process frees it), and
    ``CUDA_VISIBLE_DEVICES`` is set to it. A rank of ``torchrun`` takes the ``LOCAL_RANK``-th. Must run before torch is
    imported.

    Args:
        requested: ``cpu``, ``cuda``, or ``auto`` (``cuda`` where there is a device and torch can use it).
        poll: Seconds between looks while every device is taken.
        folder: Where the lock files lie; a folder of this user's below the system's temporary folder by default.

    Raises:
        UserError: ``cuda`` is requested and there is none, or there are fewer devices than ranks.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if LEASED in os.environ:
        yield "cpu" if requested == "cpu" or not visible else _usable(requested)
        return
    rank = int(os.environ.get("LOCAL_RANK", 0))
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", rank + 1))
    with devices(requested, ranks, only=rank if "LOCAL_RANK" in os.environ else None, poll=poll, folder=folder) as held:
        if not held:
            yield "cpu"
            return
        try:
            os.environ["CUDA_VISIBLE_DEVICES"] = held[0]
            yield _usable(requested)
        finally:
            if visible is None:
                os.environ.pop("CUDA_VISIBLE_DEVICES", None)
            else:
                os.environ["CUDA_VISIBLE_DEVICES"] = visible


@contextlib.contextmanager
def devices(
    requested: str, count: int, *, only: int | None = None, poll: float = 1.0, folder: Path | None = None
) -> Iterator[list[str]]:
    """Hold as many devices, all at once or none (two jobs that each hold a part would wait for ever), or no device.

    Args:
        requested, poll, folder: As of :func:`device`.
        count: How many are required.
        only: Hold this one of them alone.

    Yields:
        Their names; empty where the job is to use the CPU.

    Raises:
        UserError: There are fewer, or ``cuda`` is requested and there is none.
    """
    names = [] if requested == "cpu" else enough_devices(requested, count)
    if not names:
        yield []
        return
    if only is not None:
        names, count = names[only : only + 1], 1
    # A scheduler keeps its jobs apart, and may name the devices of each by 0, 1, ...: leases are within a job.
    job = next((f"{os.environ[name]}-" for name in SCHEDULERS if name in os.environ and name != KUBERNETES), "")
    taken = _take(names, count, job, folder or Path(tempfile.gettempdir(), f"fne-leases-{os.getuid()}"), poll)
    try:
        yield list(taken)
    finally:
        for lock in taken.values():
            lock.release()


def enough_devices(requested: str, count: int) -> list[str]:
    """The devices that ``auto`` or ``cuda`` may use: none, or at least ``count``.

    Raises:
        UserError: There are fewer, or ``cuda`` is requested and there is none.
    """
    names, why = assigned()
    if not names and requested == "cuda":
        raise bad_input(f"no CUDA device: {why}", key="--device", value=requested, allowed=["auto", "cpu"])
    if names and count > len(names):
        problem, hint = "more processes than CUDA devices", "each trains on one of its own, or all by --device cpu"
        raise bad_input(problem, key="--processes", value=count, allowed=f"1 to {len(names)}", hint=hint)
    return names


def assigned() -> tuple[list[str], str]:
    """The devices that this job may use, and, where there are none, why."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    scheduler = next((name for name in SCHEDULERS if name in os.environ), KUBERNETES)
    if visible is None and scheduler != KUBERNETES:
        return [], f"the scheduler ({scheduler}) assigned none, CUDA_VISIBLE_DEVICES is not set"
    names = allowed_devices(installed_devices(), visible)
    return names, "there is none" if visible is None else f"CUDA_VISIBLE_DEVICES={visible!r} leaves none"


def installed_devices() -> list[str]:
    """This machine's CUDA devices in the driver's order, MIG slices in place of their parent; often none.

    UUIDs from ``nvidia-smi``; where that program is missing, the numbers of the device files.
    """
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return sorted(path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*"))
    return parse_devices(done.stdout) if done.returncode == 0 else []


def parse_devices(listing: str) -> list[str]:
    """UUIDs from the text of ``nvidia-smi -L``."""
    names: list[str] = []
    for kind, rest in re.findall(r"UUID: (GPU|MIG)(-[0-9A-Za-z/-]+)", listing):
        if kind == "MIG" and names and names[-1].startswith("GPU"):
            names.pop()
        names.append(kind + rest)
    return names


def allowed_devices(installed: list[str], visible: str | None) -> list[str]:
    """The devices that ``CUDA_VISIBLE_DEVICES`` leaves; like CUDA, stop at the first unknown name."""
    if visible is None:
        return installed
    allowed: list[str] = []
    for name in (part.strip().lower() for part in visible.split(",")):
        whole = [device for device in installed if name and device.lower().startswith(name)]
        if name.isdigit():
            whole = installed[int(name) : int(name) + 1]
        if len(whole) != 1:
            break
        allowed += whole
    return allowed


def _take(names: list[str], count: int, job: str, folder: Path, poll: float) -> dict[str, FileLock]:
    """Lock the first ``count`` free devices; wait, and say so once, while there are fewer."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    announced = False
    while True:
        taken: dict[str, FileLock] = {}
        for name in names:
            lock = FileLock(folder / f"{job}{name}.lock".replace("/", "_"), blocking=False)
            with contextlib.suppress(Timeout):
                lock.acquire()
                taken[name] = lock
            if len(taken) == count:
                return taken
        for lock in taken.values():
            lock.release()
        if not announced:
            print(f"waiting for {count} CUDA devices: of {len(names)}, {len(names) - len(taken)} are leased (locks in "
                  f"{folder})", file=sys.stderr)  # fmt: skip
            announced = True
        time.sleep(poll)


def _usable(requested: str) -> str:
    """Ask torch, now that only the leased device is visible."""
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if requested == "cuda":
        hint = f"torch {torch.__version__} may be a build without CUDA"
        problem = "torch cannot use the CUDA device"
        raise bad_input(problem, key="--device", value=requested, allowed=["auto", "cpu"], hint=hint)
    return "cpu"
