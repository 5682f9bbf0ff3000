"""Before the first job: is what would run the code of this checkout, and is there what the jobs request?"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from fne.utils import lease
from fne.utils.errors import UserError, bad_input
from fne.utils.files import sha256_file

VERSION = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)


def installed() -> Path | None:
    """The package that the command ``fne`` imports: of ``PYTHONPATH``, else what is installed."""
    for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep):
        if entry and (package := Path(entry) / "fne").joinpath("__init__.py").is_file():
            return package
    try:
        found = importlib.metadata.distribution("fne")
    except importlib.metadata.PackageNotFoundError:
        return None
    origin = json.loads(found.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        return Path(unquote(urlparse(origin["url"]).path)) / "fne"
    return Path(str(found.locate_file("fne")))


def check_installed(checkout: Path) -> None:
    """Refuse an installation, such as that of a container, whose code is not that of the checkout it would work on.

    Raises:
        UserError: Names both, their versions and a file that differs.
    """
    here, there = checkout / "fne", installed()
    if there is None or not (here / "__init__.py").is_file() or not (there / "__init__.py").is_file():
        return
    if here.resolve() == there.resolve():
        return
    mine, theirs = ({str(file.relative_to(place)): file for file in place.rglob("*.py")} for place in (here, there))
    both = {*mine} & {*theirs}
    differ = {*mine} ^ {*theirs} | {name for name in both if sha256_file(mine[name]) != sha256_file(theirs[name])}
    if differ:
        versions = f"version {_version(there)}, not the checkout's {_version(here)}"
        raise bad_input(
            f"this package, which jobs run, is {versions}: {len(differ)} files differ, such as fne/{min(differ)}",
            file=there,
            hint="build the image anew (Containerfile), or install the checkout: pip install -e . -c constraints.txt",
        )


def _version(package: Path) -> str:
    found = VERSION.search((package / "__init__.py").read_text(encoding="utf-8"))
    return found[1] if found else "unknown"


def check_requests(executor: str, jobs: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Refuse a partition that Slurm does not have, more GPUs than a node, or this machine, has, and untracked sources.

    Args:
        executor: Snakemake's.
        jobs: Rule and resources of every job that would run.

    Raises:
        UserError: Names the rule, what it requests and what there is; or a file that no pod would get.
    """
    if executor == "slurm":
        partitions, usual = slurm_partitions()
        for rule, resources in jobs:
            name, nodes = resources.get("slurm_partition", usual), resources.get("nodes", 1)
            if name is None:
                continue
            for each in str(name).split(","):
                if each not in partitions:
                    problem, key = "no such partition of Slurm", "slurm_partition"
                    raise bad_input(problem, file=f"rule {rule}", key=key, value=each, allowed=partitions)
            most = max(partitions[each] for each in str(name).split(",")) * nodes
            _check_gpus(rule, resources.get("gpu", 0), most, f"a job on partition {name}")
    elif executor == "kubernetes":
        unknown = ["git", "ls-files", "--others", "--exclude-standard", "--exclude=*.pyc", "--"]
        places = ["Snakefile", "ablations", "fne", "workflow"]
        done = subprocess.run([*unknown, *places], capture_output=True, text=True, timeout=60, check=False)
        if done.returncode or done.stdout:
            named = done.stdout.splitlines()[0] if done.stdout else done.stderr.strip()
            hint = "git add them: pods get the files that git knows"
            raise bad_input("pods would lack files that git does not know", file=named, hint=hint)
    elif executor == "local":
        most = None
        for rule, resources in jobs:
            if resources.get("gpu", 0):
                if most is None:
                    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
                    most = len(lease.allowed_devices(lease.installed_devices(), visible))
                _check_gpus(rule, resources["gpu"], most, "this machine")


def _check_gpus(rule: str, gpus: Any, most: int, where: str) -> None:
    if isinstance(gpus, int) and gpus > most:
        hint = "request fewer (--config processes=...), or device=cpu"
        raise bad_input(f"more GPUs than {where} can have", file=f"rule {rule}", key="gpu", value=gpus,
                        allowed=f"at most {most}", hint=hint)  # fmt: skip


def slurm_partitions() -> tuple[dict[str, int], str | None]:
    """Of each partition the GPUs of its best node, and the default partition.

    Raises:
        UserError: Slurm does not answer.
    """
    try:
        done = subprocess.run(["sinfo", "-h", "-o", "%P %G"], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        said = str(getattr(error, "stderr", None) or error).strip()
        raise UserError(f"executor slurm: Slurm does not answer here: {said}") from None
    return parse_partitions(done.stdout)


def parse_partitions(listing: str) -> tuple[dict[str, int], str | None]:
    """As :func:`slurm_partitions`, from what ``sinfo -h -o '%P %G'`` prints."""
    partitions: dict[str, int] = {}
    usual = None
    for line in listing.splitlines():
        name, _, resources = line.strip().partition(" ")
        if name.endswith("*"):
            usual = name = name.removesuffix("*")
        gpus = sum(int(count) for count in re.findall(r"\bgpu(?::[^:,()]+)?:(\d+)", resources))
        partitions[name] = max(partitions.get(name, 0), gpus)
    return partitions, usual
