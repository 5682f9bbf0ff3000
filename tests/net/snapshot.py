"""What must stay the same while code moves, as plain data: digests, files made from a result.

``python -m tests.net.snapshot`` writes the fixtures that are missing; those that are there it leaves as they are.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
import tempfile
from collections.abc import Callable
from contextlib import chdir
from pathlib import Path
from typing import Any

import pandas as pd

from fne.cli import main
from fne.results.code import Code, ResultCode
from fne.results.schema import write_part
from fne.study.api import Series, evaluation_digest, load, resolve, study_files, training_digest
from tests.snakemake_project import ROOT, Project

HERE = Path(__file__).parent
RESULT = HERE / "smoke.tar.xz"
"""The study `smoke` after ``evaluate`` and ``calibrate``, as one machine computed it, with the data that it is of."""
VERBS = ("aggregate", "compare", "audit", "tables", "figures", "report")


def digests() -> dict[str, Any]:
    """Study -> variant -> digests of what training and what evaluation alone read; of a series, member by member."""
    result = {}
    for name in study_files(ROOT):
        made = load(name, root=ROOT, complete=False)
        for study in made.members if isinstance(made, Series) else (made,):
            configs = {variant: resolve(study, variant) for variant in study.variants}
            result[study.name] = {
                variant: [training_digest(config), evaluation_digest(config)] for variant, config in configs.items()
            }
    return result


def sources() -> dict[str, Any]:
    """Rule -> source files that its parameter `made_by` is a digest of: an edit of one runs the rule again."""
    text, code, result = "", ResultCode(ROOT), {}
    for file in (ROOT / "workflow/rules").glob("*.smk"):
        text += file.read_text()
    for rule, body in re.findall(r"^rule (\w+):\n((?:.*\n)*?)(?=^\S|\Z)", text, re.MULTILINE):
        if named := re.search(r"RESULT_CODE\.of_modules\(([^)]*)\)", body):
            roots, others = code.named(*re.findall(r'"([^"]+)"', named[1]))
            files = {*others, *(file for file, _, _ in code.reached(roots))}
            result[rule] = sorted(file.relative_to(ROOT).as_posix() for file in files)
    return result


def rendered() -> dict[str, Any]:
    """File -> SHA-256 of every CSV, table and figure that the verbs after training make of :data:`RESULT`."""
    with tempfile.TemporaryDirectory() as place:
        folder = Project.copy_of(ROOT, Path(place) / "project").folder
        with tarfile.open(RESULT) as archive:
            archive.extractall(folder, filter="data")
        give_code(folder)
        give_parts(folder)
        with chdir(folder):
            main(["prepare", "--study", "smoke"])  # its manifest is older than rows in Parquet
            given = set(folder.rglob("*"))
            for verb in VERBS:
                main([verb, "--study", "smoke"])
        made = sorted(path for path in folder.rglob("*") if path.is_file() and path not in given)
        kinds = (".csv", ".json", ".html", ".md", ".tex", ".svg", ".png")
        return {
            path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in made
            if path.suffix in kinds and path.name != "record.json"
        }


def give_code(folder: Path) -> None:
    """Say of the runs of :data:`RESULT`, which are older than digests of code, that the code of now trained them."""
    for file in (folder / "results").rglob("*.json"):
        content = json.loads(file.read_text())
        if file.name == "run.json" or file.name.startswith("metrics."):
            file.write_text(json.dumps(content | {"code": Code(folder).training(content["config"])}))


def give_parts(folder: Path) -> None:
    """Turn the tables of the runs of :data:`RESULT`, which are older than Parquet, into what a run leaves now."""
    for file in (folder / "results").glob("*/*/*/*.csv"):
        rows = pd.read_csv(file, float_precision="round_trip").to_dict("records")
        write_part(file.with_suffix(".parquet"), rows)
        file.unlink()


SNAPSHOTS: dict[str, Callable[[], dict[str, Any]]] = {"digests": digests, "sources": sources, "rendered": rendered}


def fixture(name: str) -> Path:
    """The file of a snapshot."""
    return HERE / f"{name}.json"


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for name, make in SNAPSHOTS.items():
        if not fixture(name).exists():
            fixture(name).write_text(json.dumps(make(), indent=1) + "\n")
            print(f"wrote {fixture(name)}")
