"""A long storm over the study `smoke`: kills at random, recovery as the README says, and the end must be the same.

``python -m tests.storm.storm FOLDER --kills 200`` continues where an earlier one in that folder stopped. Half of the
kills hit a process while it writes; steps take turns; one kill in three takes Snakemake and all its children along.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from fne.utils.leftovers import NAME
from tests.snakemake_project import MADE, ROOT, Project

STEPS = ("prepare", "extract", "train", "rank", "evaluate", "calibrate", "audit", "aggregate", "compare", "tables",
         "figures", "report")  # fmt: skip
"""Verbs of the study's jobs, in the order in which Snakemake runs them."""
READERS = {
    "weights.safetensors": "rank", "picks.npz": "audit", "run.json": "aggregate", "curves.csv": "aggregate",
    "audit.csv": "aggregate", "rankings.test.npz": "evaluate", "metrics.test.json": "aggregate",
    "queries.test.npz": "compare", "smoke/runs.csv": "tables", "smoke/contrasts.csv": "tables",
}  # fmt: skip
"""A verb that must refuse a damaged file of this name: of a job of `fne`, or of the study."""
TIMES = re.compile(r"(.*_)?(seconds|time|date|started|finished|record|cost|commit|cpu)(_.*)?")
"""Keys of JSON files and columns of CSV files that differ from run to run."""
UNEQUAL = re.compile(
    r"cost\..*|record\..*|report\.html|captions\.json|digests\.json|pictures\.npz|test_accesses\.jsonl"
)
"""Files that tell times (or digests of such); the log of test readings, to which each attempt adds a line."""
COMMAND = ("smoke", "--cores", "2", "--rerun-incomplete", "--quiet", "all")


class Storm(Project):
    """A project whose processes are watched, and killed as planned."""

    @property
    def plan(self) -> Path:
        return self.folder.parent / f"{self.folder.name}.plan"

    def environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(ROOT / "tests" / "storm"), str(self.folder)])
        return super().environment() | {"PYTHONPATH": path, "FNE_STORM": str(self.plan), "OMP_NUM_THREADS": "1"}

    def attempt(self, command: list[str], plans: dict[str, Any] | None = None) -> tuple[int, str, str]:
        """Run a command under a plan for some verbs, one of which is killed.

        Returns:
            Its exit status, what it printed, and which verb was killed; empty where none was.
        """
        self.plan.unlink(missing_ok=True)
        if plans:
            self.plan.write_text(json.dumps(plans))
        process = subprocess.Popen(command, cwd=self.folder, env=self.environment(), start_new_session=True, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
        try:
            said, _ = process.communicate(timeout=600)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        verbs = [line["verb"] for line in self.noted() if line["kind"] == "killed"]
        return process.returncode, said, verbs[-1] if plans and not self.plan.exists() else ""

    def snakemake_words(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "snakemake", *words]

    def by_hand(self, verb: str) -> list[str]:
        """How a person runs a verb over finished results; of those of one job, that of one variant."""
        job = ("--variant", "fne", "--block", "0-1")
        more = {"train": (*job, "--device", "cpu"), "rank": (*job, "--split", "test"), "calibrate": job,
                "evaluate": (*job, "--split", "test")}.get(verb, ())  # fmt: skip
        return [str(Path(sys.executable).parent / "fne"), verb, "--study", "smoke", *more]

    def noted(self) -> list[dict[str, Any]]:
        """What its processes noted."""
        log = self.plan.with_suffix(".noted")
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


class Log:
    """The kills, a line each."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []

    def add(self, line: dict[str, Any]) -> None:
        with open(self.file, "a") as file:
            file.write(json.dumps(line) + "\n")
        print(f"{len(self.lines()):4d} {line}", flush=True)


def content(file: Path) -> str:
    """A digest of what a file says, times left out."""
    raw = file.read_bytes()
    if file.suffix == ".json":
        raw = json.dumps(_timeless(json.loads(raw)), sort_keys=True).encode()
    elif file.suffix == ".csv":
        rows = [{key: value for key, value in row.items() if not TIMES.fullmatch(key)}
                for row in csv.DictReader(io.StringIO(raw.decode()))]  # fmt: skip
        raw = json.dumps(rows).encode()
    elif file.suffix == ".npz":
        with np.load(file) as arrays:
            parts = {name: arrays[name] for name in sorted(arrays.files)}
        words = {name: str(part) for name, part in parts.items() if part.dtype.kind == "U" and not part.ndim}
        summary = {name: _timeless(json.loads(text)) if text[:1] == "{" else text for name, text in words.items()}
        raw = json.dumps(summary, sort_keys=True).encode()
        raw += b"".join(name.encode() + parts[name].tobytes() for name in parts if name not in summary)
    return hashlib.sha256(raw).hexdigest()


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if not TIMES.fullmatch(key)}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def contents(folder: Path) -> dict[str, str]:
    """Of all that was made in a project, by name; what was written while a process was killed has a hidden name."""
    made = (place for part in MADE[:3] for place in (folder / part).rglob("*"))
    files = (
        place for place in made if place.is_file() and not (UNEQUAL.fullmatch(place.name) or _is_left(place, folder))
    )
    return {file.relative_to(folder).as_posix(): content(file) for file in files}


def _is_left(place: Path, folder: Path) -> bool:
    return any(NAME.fullmatch(part) for part in place.relative_to(folder).parts)


def leftovers(folder: Path) -> list[str]:
    """What no run should leave: half-written files and folders, unfinished training, locks."""
    result = [place for part in MADE for place in (folder / part).rglob("*") if NAME.fullmatch(place.name)]
    result += [place for place in (folder / "results").rglob(".*") if place.name.endswith(".lock")]
    result += [place for place in (folder / "scratch").rglob("*") if place.is_file()]
    result += [*(folder / "resources").rglob("*.partial")]
    return sorted({place.relative_to(folder).as_posix() for place in result})


def differences(folder: Path, whole: Path) -> list[str]:
    """How a project differs from one that nobody killed."""
    mine, its = contents(folder), contents(whole)
    unequal = [f"{name}: {'missing' if name not in mine else 'surplus' if name not in its else 'differs'}"
               for name in sorted({*mine, *its}) if mine.get(name) != its.get(name)]  # fmt: skip
    return unequal + [f"{name}: left over" for name in leftovers(folder)]


def draw(chance: random.Random, verb: str, noted: Iterable[dict[str, Any]], number: int) -> dict[str, Any]:
    """A plan for a verb: half of them by a write, a third with the whole group."""
    lines = [line for line in noted if line["verb"] == verb and line["kind"] == "ended"]
    writes, seconds = max(line["writes"] for line in lines), max(line["seconds"] for line in lines)
    plan = {"verb": verb, "mode": ("write", "time")[number % 2], "at": chance.randint(1, writes)}
    delay = chance.choice([0.0, 0.001, 0.01]) if plan["mode"] == "write" else chance.uniform(0, seconds)
    return {**plan, "delay": round(delay, 4), "group": number % 3 == 0}


def ended(project: Storm) -> Counter[str]:
    """How many processes of each verb came to their end."""
    return Counter(line["verb"] for line in project.noted() if line["kind"] == "ended")


def run_kills(project: Storm, whole: Storm, log: Log, chance: random.Random, times: int) -> None:
    """Run a study from nothing to its end; each step is killed so many times on the way."""
    here: Counter[str] = Counter()
    while True:
        pending = [verb for verb in STEPS if ended(project)[verb] < ended(whole)[verb] and here[verb] < times]
        plans = {verb: draw(chance, verb, whole.noted(), len(log.lines())) for verb in pending}
        status, said, killed = project.attempt(project.snakemake_words(*COMMAND), plans)
        if killed:
            log.add({"run": project.folder.name, **plans[killed]})
            here[killed] += 1
            project.attempt(project.snakemake_words("--unlock"))
        elif status:
            raise SystemExit(f"{project.folder}: failed without a kill:\n{said[-4000:]}")
        elif not plans or ended(project)[STEPS[-1]]:
            return


def by_hand(project: Storm, whole: Storm, log: Log, chance: random.Random, verbs: Iterable[str] = STEPS[2:]) -> None:
    """Kill verbs that a person runs by hand over finished results, and run them again."""
    for verb in verbs:
        plan = draw(chance, verb, whole.noted(), len(log.lines())) | {"group": False}
        status, said, killed = project.attempt(project.by_hand(verb), {verb: plan})
        if killed:
            log.add({"run": f"{project.folder.name} by hand", **plan})
            status, said, _ = project.attempt(project.by_hand(verb))
        if status:
            raise SystemExit(f"{project.folder}: {verb} by hand failed:\n{said[-4000:]}")


def damage(project: Storm, whole: Storm, files: Iterable[Path]) -> None:
    """Cut result files in half, one after the other: whoever reads one ends with one error that names it."""
    for file in files:
        intact = file.read_bytes()
        file.write_bytes(intact[: len(intact) // 2])
        own = file.parent.name != "smoke"
        verb = READERS.get(file.name if own else f"smoke/{file.name}")
        status, said, _ = project.attempt(project.by_hand(verb or "tables"))
        if status not in (2, 0 if verb is None else 2) or "Traceback" in said or (status and file.name not in said):
            raise SystemExit(f"{verb} with a cut {file}: status {status}\n{said[-3000:]}")
        shutil.copytree(whole.folder / "results", project.folder / "results", dirs_exist_ok=True)


def full_disk(project: Storm, verbs: Iterable[str]) -> None:
    """No file may be longer than 300 bytes: a verb says so and leaves nothing; afterwards it runs as ever."""
    for verb in verbs:
        # half a .pyc file is Python's own fault, and stops it the next time
        limited = ["env", "PYTHONDONTWRITEBYTECODE=1", "bash", "-c", 'ulimit -f 1; exec "$@"', "bash"]
        status, said, _ = project.attempt([*limited, *project.by_hand(verb)])
        if status != 2 or "Traceback" in said or "too large" not in said:
            raise SystemExit(f"{verb} on a full disk: status {status}\n{said[-3000:]}")
        status, said, _ = project.attempt(project.by_hand(verb))
        if status:
            raise SystemExit(f"{verb} after a full disk: status {status}\n{said[-3000:]}")


def read_only(project: Storm, verbs: Iterable[str]) -> None:
    """Nothing below ``results`` and ``reports`` may be written: a verb says so. Root may write anything."""
    tops = [project.folder / top for top in ("results", "reports")]
    places = [*tops, *(place for top in tops for place in top.rglob("*") if place.is_dir())]
    for place in places:
        place.chmod(0o555)
    try:
        for verb in verbs:
            status, said, _ = project.attempt(project.by_hand(verb))
            if status != 2 or "Traceback" in said or "permission" not in said:
                raise SystemExit(f"{verb} in read-only folders: status {status}\n{said[-3000:]}")
    finally:
        for place in places:
            place.chmod(0o755)


def two_at_once(project: Storm, verbs: Iterable[str]) -> None:
    """Two people run the same verb at the same time: both end well."""
    for verb in verbs:
        pair = [subprocess.Popen(project.by_hand(verb), cwd=project.folder, env=project.environment(), text=True,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for _ in range(2)]  # fmt: skip
        for process in pair:
            said, _ = process.communicate(timeout=600)
            if process.returncode:
                raise SystemExit(f"two {verb} at once: status {process.returncode}\n{said[-3000:]}")


def require_equal(project: Storm, whole: Storm) -> None:
    """End the storm where a project differs from the one that nobody killed."""
    if result := differences(project.folder, whole.folder):
        raise SystemExit(f"{project.folder}:\n" + "\n".join(result[:30]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where projects and the log of kills lie")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--times", type=int, default=2, help="kills of each step in one run")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    folder = given.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    whole, log = Storm(folder / "whole"), Log(folder / "kills.jsonl")
    if not (folder / "whole.done").exists():
        shutil.rmtree(whole.folder, ignore_errors=True)
        Project.copy_of(ROOT, whole.folder)
        status, said, _ = whole.attempt(whole.snakemake_words(*COMMAND))
        if status:
            raise SystemExit(said[-4000:])
        (folder / "whole.done").touch()
    while (count := len(log.lines())) < given.kills:
        chance = random.Random(f"{given.seed} {count}")
        project = Storm(folder / f"run-{count}")
        shutil.rmtree(project.folder, ignore_errors=True)
        project.plan.with_suffix(".noted").unlink(missing_ok=True)
        Project.copy_of(ROOT, project.folder)
        run_kills(project, whole, log, chance, given.times)
        require_equal(project, whole)
        by_hand(project, whole, log, chance)
        require_equal(project, whole)
        if not count:  # once
            made = [file for file in sorted((project.folder / "results").rglob("*")) if file.is_file()]
            damage(project, whole, [file for file in made if "smoke/fne/" in str(file) or file.parent.name == "smoke"])
            full_disk(project, STEPS[3:])
            if os.geteuid():
                read_only(project, STEPS[3:])
            two_at_once(project, STEPS[4:])
            require_equal(project, whole)
            print("damage, full disk, two at once: one error each, and the same end", flush=True)
        print(f"{project.folder.name}: equal to the run that nobody killed, nothing left over", flush=True)
        shutil.rmtree(project.folder)
    for key in ("verb", "mode", "group"):
        print(f"{count} kills by {key}:", dict(Counter(line[key] for line in log.lines())))


if __name__ == "__main__":
    main()
