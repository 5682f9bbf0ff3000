"""Records of runs: code, packages, inputs and machine of a result; every reading of the test split."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from fne.utils.files import parse_json, read_bytes, sha256_file, sha256_text
from fne.utils.shape import check

PACKAGES = ("fne", "torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy", "pandas", "matplotlib",
            "seaborn", "pillow", "snakemake")  # fmt: skip
KERNEL_SWITCHES = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS",
                   "MKL_CBWR")  # fmt: skip
"""Environment variables by which torch, oneDNN and MKL choose among kernels, which round differently."""
PACKAGE_FOLDER = Path(__file__).resolve().parents[1]


def now() -> datetime:
    """The present, in UTC."""
    return datetime.now(UTC)


def record(
    started: datetime,
    *,
    device: str | None = None,
    inputs: Mapping[str, str | Path] | None = None,
    test_accesses: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """The record that goes into every result file. Neither the host's name nor the user's is in it.

    Args:
        started: When the work began, from :func:`now`.
        device: ``"cpu"`` or ``"cuda"``; for ``"cuda"`` the record names the model of the device.
        inputs: Name -> file (a ``Path``, whose SHA-256 is taken) or a fingerprint that is already known (a ``str``).
        test_accesses: What :func:`log_reading` returned for each reading of the test split by this work.

    Returns:
        ``python``, ``packages``, ``commit`` and ``dirty`` (None outside git), ``source`` (digest of the package's own
        files), ``platform``, ``cpu``, ``threads``, ``device``, ``started`` and ``finished`` (ISO 8601, UTC),
        ``seconds``, ``peak_memory_mb``, ``inputs``, ``test_accesses``; ``cpu_capability`` and ``kernel_switches``,
        which say which kernels the arithmetic used.
    """
    finished = now()
    commit, dirty = git_state(PACKAGE_FOLDER)
    return {
        "python": platform.python_version(),
        "packages": package_versions(),
        "commit": commit,
        "dirty": dirty,
        "source": source_digest(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
        "cpu_capability": cpu_capability(),
        "kernel_switches": {name: os.environ[name] for name in KERNEL_SWITCHES if os.environ.get(name)},
        "threads": threads(),
        "device": device_name(device),
        "started": started.isoformat(timespec="seconds"),
        "finished": finished.isoformat(timespec="seconds"),
        "seconds": round((finished - started).total_seconds(), 3),
        "peak_memory_mb": peak_memory_mb(),
        "inputs": {
            name: sha256_file(value) if isinstance(value, Path) else value for name, value in (inputs or {}).items()
        },
        "test_accesses": [dict(access) for access in test_accesses],
    }


def package_versions() -> dict[str, str]:
    """Versions of the installed packages that results depend on, without importing any."""
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


@cache
def source_digest(folder: Path = PACKAGE_FOLDER) -> str:
    """Hex SHA-256 over names and contents of all Python files of a folder, in order of name."""
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.py"))
    return sha256_text("".join(f"{name}\0{sha256_file(folder / name)}\n" for name in names))


def git_state(folder: Path) -> tuple[str | None, bool | None]:
    """Commit of the repository that tracks ``folder`` and whether it was edited since, or None twice.

    A folder that merely lies inside a repository which does not track it (an installed package) has no commit.
    """

    def git(*arguments: str) -> str | None:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False, env=environment)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD") if git("ls-files", "--", ".") else None
    if commit is None:
        return None, None
    status = git("status", "--porcelain", "--untracked-files=no")
    return commit, None if status is None else bool(status)


def cpu_model() -> str:
    """The processor's name."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def cpu_capability() -> str | None:
    """The instruction set that torch's CPU kernels use (``AVX2``, ...); None where torch is not loaded."""
    return sys.modules["torch"].backends.cpu.get_cpu_capability() if "torch" in sys.modules else None


def threads() -> int | None:
    """Threads that arithmetic may use: torch's own count where it is loaded, else ``OMP_NUM_THREADS``."""
    if "torch" in sys.modules:
        return sys.modules["torch"].get_num_threads()
    text = os.environ.get("OMP_NUM_THREADS", "")
    return int(text) if text.isdigit() else None


def device_name(device: str | None) -> str | None:
    """``"cpu"``, or ``"cuda (<model of the device>)"`` where torch is loaded."""
    if device is not None and device.startswith("cuda") and "torch" in sys.modules:
        return f"{device} ({sys.modules['torch'].cuda.get_device_name(device)})"
    return device


def peak_memory_mb() -> float | None:
    """Largest resident memory of this process so far, in MiB; None where the system does not report it."""
    # Not getrusage, which counts what the parent had before it started this program.
    file = Path("/proc/self/status")
    size = file.read_text(encoding="utf-8").partition("VmHWM:")[2].split() if file.is_file() else []
    return round(int(size[0]) / 1024, 1) if size else None


def log_reading(log: Path, *, variant: str, block: str, purpose: str) -> dict[str, str]:
    """Note one reading of a split: append a line to ``log`` and return it for the run's record.

    Each run and purpose has a log of its own, which only ever grows: together they tell how often a study has looked at
    its test split.

    Args:
        log: ``root / fne.study.paths.readings(...)``.
        variant, block: The run.
        purpose: The verb, ``rank`` or ``calibrate``.
    """
    entry = {"time": now().isoformat(timespec="seconds"), "variant": variant, "block": block, "purpose": purpose}
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab", buffering=0) as handle:
        handle.write((json.dumps(entry, ensure_ascii=True) + "\n").encode())
    return entry


def read_readings(log: Path) -> list[dict[str, str]]:
    """Every entry of the log, oldest first; empty where there is none.

    Raises:
        UserError: A line is not what :func:`log_reading` writes.
    """
    if not log.exists():
        return []
    entries = []
    for number, line in enumerate(read_bytes(log).splitlines(), start=1):
        entry = parse_json(line, log, f"line {number}", "not an entry of the log of test accesses")
        check(entry, {"time": str, "variant?": str}, log, f"line {number}", more=True)
        entries.append(entry)
    return entries
