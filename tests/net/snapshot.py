"""What must stay the same while code moves, as plain data: digests, graphs of jobs, files made from a result.

``python -m tests.net.snapshot`` writes the fixtures that are missing; those that are there it leaves as they are.
"""

from __future__ import annotations

import functools
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

from fne.cli import main
from fne.results.code import Code, ResultCode
from fne.study.api import Series, evaluation_digest, load, resolve, study_files, training_digest
from tests.snakemake_project import ROOT, Job, Project
from tests.tables import sign

HERE = Path(__file__).parent
RESULT = HERE / "smoke.tar.xz"
"""The study `smoke` after ``evaluate`` and ``calibrate``, as one machine computed it, with the data that it is of."""
VERBS = ("aggregate", "compare", "audit", "tables", "figures", "report")
TARGETS = {
    "all": ["all"],
    "smoke": ["smoke"],
    "tables": ["tables"],
    "figures": ["figures"],
    "notebook": ["notebook"],
    "verify": ["verify"],
    "variance": ["all", "--config", "study=variance", "seeds=0-1", "variants=hardest_in_batch,fne"],
    "finetune": ["all", "--config", "study=flickr8k_finetune", "images=.", "annotations=README.md",
                 "image_encoder=.", "text_encoder=."],
}  # fmt: skip


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


@functools.cache
def planned() -> dict[str, list[Job]]:
    """The jobs of every target, by dry runs."""
    with tempfile.TemporaryDirectory() as folder:
        project = Project.copy_of(ROOT, Path(folder) / "project")
        write_corpus(project.folder)
        return {target: project.planned("--forceall", *arguments) for target, arguments in TARGETS.items()}


def write_corpus(folder: Path) -> None:
    """What `finetune` of :data:`TARGETS` reads: data and encoders are known by their content."""
    splits = [*["train"] * 128, "val", "test"]
    rows = [{"image": f"{place}.png", "caption": split, "split": split} for place, split in enumerate(splits)]
    (folder / "README.md").write_text(json.dumps(rows))
    for row in rows:
        (folder / row["image"]).write_bytes(b"")
    for name in ("config.json", "model.safetensors", "preprocessor_config.json", "tokenizer.json"):
        (folder / name).write_text("{}")


def graphs() -> dict[str, Any]:
    """Target -> job -> inputs and outputs; source files, which move, stand in :func:`sources`."""
    return {
        target: {
            " ".join((job.rule, *(f"{key}={value}" for key, value in sorted(job.wildcards.items())))): {
                "inputs": sorted(name for name in job.inputs if not name.startswith("fne/")),
                "outputs": sorted(job.outputs),
            }
            for job in jobs
        }
        for target, jobs in planned().items()
    }


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
        sign(*(folder / "results").rglob("*.csv"))
        given = set(folder.rglob("*"))
        with chdir(folder):
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


SNAPSHOTS: dict[str, Callable[[], dict[str, Any]]] = {
    "digests": digests,
    "graphs": graphs,
    "sources": sources,
    "rendered": rendered,
}


def fixture(name: str) -> Path:
    """The file of a snapshot."""
    return HERE / f"{name}.json"


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for name, make in SNAPSHOTS.items():
        if not fixture(name).exists():
            fixture(name).write_text(json.dumps(make(), indent=1) + "\n")
            print(f"wrote {fixture(name)}")
