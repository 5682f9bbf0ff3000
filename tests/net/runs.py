"""``python -m tests.net.runs COMMIT``: `smoke` and two variants of `paper` at a commit and here, on this machine.

Weights and every file that later steps read must be equal, bit by bit but for times and records. About five minutes.
"""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from fne.utils.files import DIGESTS
from tests.snakemake_project import ROOT, Project

STUDIES = (["smoke"], ["--config", "study=paper", "variants=hardest_in_batch,fne", "seeds=0-1"])
OF_THIS_RUN = {"record", "cost", "created", "started", "finished", "seconds", "seconds_per_step", "seconds_total",
               "peak_memory_mb", "time", "source", "commit", "made_from"}  # fmt: skip
"""Keys and columns that hold times, machines and code, not results."""


def run(source: Path, folder: Path) -> Path:
    """A copy of a project in which the studies were run, or an exit."""
    project = Project.copy_of(source, folder)
    for arguments in STUDIES:
        done = project.snakemake(*arguments, "--cores", "2", "--quiet", "all", timeout=3600)
        if done.returncode:
            sys.exit(f"{source}: {done.stdout[-3000:]}{done.stderr[-3000:]}")
    return folder


def content(file: Path) -> Any:
    """What of a file must be equal."""
    if file.suffix == ".npz":
        with np.load(file, allow_pickle=False) as stored:
            return {key: json.dumps(strip(json.loads(str(stored[key])))) if key == "meta" else stored[key].tobytes()
                    for key in stored.files}  # fmt: skip
    if file.suffix == ".json":
        return strip(json.loads(file.read_text()))
    if file.suffix == ".csv":
        return [strip(row) for row in csv.DictReader(io.StringIO(file.read_text()))]
    return file.read_bytes()


def equal(first: Path, second: Path) -> bool:
    """Are both there, with equal content?"""
    return first.exists() and second.exists() and content(first) == content(second)


def strip(value: Any) -> Any:
    """Without the keys of :data:`OF_THIS_RUN`, at any depth."""
    if isinstance(value, dict):
        return {key: strip(inner) for key, inner in value.items() if key not in OF_THIS_RUN}
    return [strip(inner) for inner in value] if isinstance(value, list) else value


def main(commit: str) -> None:
    """Run both and print what differs; exit 1 if anything does."""
    with tempfile.TemporaryDirectory() as place:
        tree = Path(place) / "tree"
        subprocess.run(["git", "-C", str(ROOT), "worktree", "add", "--detach", str(tree), commit], check=True)
        try:
            there = run(tree, Path(place) / "there")
        finally:
            subprocess.run(["git", "-C", str(ROOT), "worktree", "remove", "--force", str(tree)], check=True)
        here = run(ROOT, Path(place) / "here")
        made = [side / name for side in (there, here) for name in ("results", "resources")]
        result = [(folder.parent, path) for folder in made for path in folder.rglob("*")]
        kinds = (".safetensors", ".npz", ".json", ".csv", ".bin")
        files = sorted({path.relative_to(side) for side, path in result if path.suffix in kinds and path.is_file()
                        and path.name != DIGESTS})  # fmt: skip
        differs = [file for file in files if not equal(there / file, here / file)]
        for file in differs:
            print(f"differs: {file}")
        weights = sum(file.suffix == ".safetensors" for file in files)
        print(f"{len(files) - len(differs)} of {len(files)} files are equal, {weights} of them weights")
        sys.exit(bool(differs))


if __name__ == "__main__":
    main(sys.argv[1])
