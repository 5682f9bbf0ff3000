"""A copy of the project in a temporary folder, and what Snakemake would do there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("Snakefile", "workflow", "fne", "ablations", "README.md", "pyproject.toml")
MADE = ("results", "resources", "reports", ".snakemake/metadata")
TARGETS = ("all", "smoke", "tables", "figures", "verify")
NOT_COPIED = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")


@dataclass(frozen=True)
class Job:
    """One job of a dry run: its rule, wildcards and output."""

    rule: str
    wildcards: dict[str, str] = field(hash=False)
    outputs: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    resources: dict[str, str] = field(hash=False, default_factory=dict)
    threads: int = 1


@dataclass(frozen=True)
class Project:
    """A project folder."""

    folder: Path

    @classmethod
    def copy_of(cls, source: Path, folder: Path, *, made: bool = False) -> Project:
        """Copy a project, with what was made in it if requested, times of change included."""
        folder.mkdir(parents=True)
        for part in PARTS + (MADE if made else ()):
            if (source / part).is_dir():
                shutil.copytree(source / part, folder / part, ignore=NOT_COPIED)
            elif (source / part).exists():
                shutil.copy2(source / part, folder / part)
        return cls(folder)

    def environment(self) -> dict[str, str]:
        """This interpreter's programs first, and the copied package before the installed one."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        inherited = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
        return inherited | {"PATH": path, "PYTHONPATH": str(self.folder)}

    def run(self, *command: str, timeout: float = 280) -> subprocess.CompletedProcess:
        """Run a command in the project's folder."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def snakemake(self, *arguments: str, timeout: float = 280) -> subprocess.CompletedProcess:
        """Run Snakemake."""
        return self.run(sys.executable, "-m", "snakemake", *arguments, timeout=timeout)

    def planned(self, *arguments: str) -> list[Job]:
        """The jobs of a dry run, the target rule left out."""
        done = self.snakemake(*arguments, "--dry-run", "--quiet", "host")
        assert done.returncode == 0, done.stdout + done.stderr
        return [job for job in parse_jobs(done.stdout + done.stderr) if job.rule not in TARGETS]

    def refused(self, *arguments: str, saying: Sequence[str] = ()) -> str:
        """What a dry run says that is refused before the graph of jobs: one message, which holds some words."""
        done = self.snakemake("--dry-run", *arguments)
        said = done.stdout + done.stderr
        assert done.returncode != 0 and [words for words in saying if words not in said] == [], said
        assert not [words for words in ("Traceback", "Building DAG", "jobs would run", "rule run") if words in said]
        return said

    def finish(self, *arguments: str) -> None:
        """Make every file of the DAG (empty), recorded as the result of the present parameters and inputs."""
        for job in self.planned("--forceall", *arguments):
            for name in job.outputs:
                path = self.folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch() if path.suffix else path.mkdir(exist_ok=True)  # a folder of images, an encoder
        done = self.snakemake("--touch", "--forceall", "--cores", "1", "--quiet", "all", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace one piece of text in a file."""
        path = self.folder / name
        text = path.read_text()
        assert old in text, f"{name} holds {old!r}"
        path.write_text(text.replace(old, new, 1))


def parse_jobs(text: str) -> list[Job]:
    """The jobs that a dry run prints."""
    jobs = []
    for block in re.split(r"^\[.+\d{4}\]\n", text, flags=re.MULTILINE)[1:]:
        head = re.match(r"(?:local)?(?:rule|checkpoint) (\w+):", block)
        if not head:
            continue
        fields = dict(re.findall(r"^    (\w+): (.*)$", block, flags=re.MULTILINE))
        items = {
            key: [item.removesuffix(" (update)") for item in text.split(", ") if item] for key, text in fields.items()
        }
        jobs.append(
            Job(
                rule=head[1],
                wildcards=dict(item.split("=", 1) for item in items.get("wildcards", [])),
                outputs=tuple(items.get("output", [])),
                inputs=tuple(items.get("input", [])),
                resources=dict(item.split("=", 1) for item in items.get("resources", [])),
                threads=int(fields.get("threads", 1)),
            )
        )
    return jobs
