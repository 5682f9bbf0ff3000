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

SCHEDULERS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "FLUX_JOB_ID", "KUBERNETES_SERVICE_HOST")
"""Set by a scheduler that hands out devices itself."""


@contextlib.contextmanager
def device(requested: str, *, poll: float = 1.0, folder: Path | None = None) -> Iterator[str]:
    """Hold the device that a job may use, and yield ``"cpu"`` or ``"cuda"``.

    Where a scheduler has set ``CUDA_VISIBLE_DEVICES`` that is taken as it is. Otherwise the first free device of those
    that the variable allows is locked for the life of the process (a killed process frees it) and the variable set to
    it. Must run before torch is imported.

    Args:
        requested: ``cpu``, ``cuda``, or ``auto`` (``cuda`` where there is a device and torch can use it).
        poll: Seconds between looks while every device is taken.
        folder: Where the lock files lie; a folder of this user's below the system's temporary folder by default.

    Raises:
        UserError: ``cuda`` is requested and there is none.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [] if requested == "cpu" else allowed_devices(installed_devices(), visible)
    if not names:
        if requested == "cuda":
            shown = "there is none" if visible is None else f"CUDA_VISIBLE_DEVICES={visible!r} leaves none"
            raise bad_input(f"no CUDA device: {shown}", key="--device", value=requested, allowed=["auto", "cpu"])
        yield "cpu"
        return
    if visible and any(name in os.environ for name in SCHEDULERS):
        yield _usable(requested)
        return
    taken, lock = _take(names, folder or Path(tempfile.gettempdir(), f"fne-leases-{os.getuid()}"), poll)
    try:
        os.environ["CUDA_VISIBLE_DEVICES"] = taken
        yield _usable(requested)
    finally:
        if visible is None:
            os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = visible
        lock.release()


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


def _take(names: list[str], folder: Path, poll: float) -> tuple[str, FileLock]:
    """Lock the first free device; wait, and say so once, while all are taken."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    announced = False
    while True:
        for name in names:
            lock = FileLock(folder / f"{name.replace('/', '_')}.lock", blocking=False)
            with contextlib.suppress(Timeout):
                lock.acquire()
                return name, lock
        if not announced:
            print(f"waiting for a CUDA device: all {len(names)} are leased (locks in {folder})", file=sys.stderr)
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
