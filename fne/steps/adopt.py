"""``fne adopt``: keep runs that other code trained, where the present code was shown to give the same weights."""

from __future__ import annotations

import os
from collections.abc import Collection
from datetime import UTC, datetime
from pathlib import Path

from fne.results.code import Code
from fne.results.current import stands, trained_alike
from fne.results.records import read_run
from fne.study import paths
from fne.study.api import Study, blocks, resolve
from fne.utils.errors import bad_input
from fne.utils.files import sha256_file, write_json

WEIGHTS = "weights.safetensors"


def run(study: Study, variants: Collection[str], evidence: Path, reason: str, root: Path) -> str:
    """Record that the present code would train the same weights as the runs of a study have.

    Args:
        study: The study.
        variants: Whose runs are adopted; empty: those that the evidence holds.
        evidence: The folder of another project, in which runs of this study were trained by the present code.
            Each of them must have the weights of its counterpart, bit by bit.
        reason: Why the edit changes nothing; it is recorded in each ``run.json`` with the runs that showed it.
        root: The project's folder.

    Returns:
        What was adopted, in a sentence.

    Raises:
        UserError: The evidence holds no run, or one of other code, config or weights; or no reason is given.
    """
    if not reason.strip():
        raise bad_input("is empty", file="command line", key="--reason")
    for variant in variants:
        resolve(study, variant)
    sources = Code(root)
    code = {variant: sources.training(resolve(study, variant)) for variant in study.variants}
    jobs = [paths.run_folder(study, variant, block) for variant in study.variants for block in blocks(study)]
    shown = [job for job in jobs if (evidence / job / "run.json").is_file() and (root / job / "run.json").is_file()]
    if not shown:
        hint = f"train some there first: fne train --study {study.name} --variant {study.variants[0]} --block ..."
        raise bad_input("holds no run of this study", file=evidence / paths.results_folder(study), hint=hint)
    for job in shown:
        _require_same(evidence / job, root / job, code[job.parent.name])
    named = set(variants) or {job.parent.name for job in shown}
    entry = {"reason": reason.strip(), "date": datetime.now(UTC).date().isoformat(),
             "shown_by": [f"{job.parent.name}/{job.name}" for job in shown]}  # fmt: skip
    adopted = 0
    for job in jobs:
        file, now = root / job / "run.json", code[job.parent.name]
        if job.parent.name not in named or not file.is_file():
            continue
        content = read_run(file)
        if not stands(content, now) and trained_alike(content["config"], resolve(study, job.parent.name)):
            stat = os.stat(file)
            write_json(file, content | {"adopted": [*content.get("adopted", ()), {"code": now, **entry}]})
            os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # what was made from the run stays current
            adopted += 1
    return f"{adopted} runs of study {study.name} hold under the present code; {len(shown)} showed it"


def _require_same(there: Path, here: Path, code: str) -> None:
    """Refuse a run as evidence that was not trained by the present code, or gave other weights."""
    item, other = read_run(there / "run.json"), read_run(here / "run.json")
    if item["code"] != code:
        hint = "train it there with the present code"
        raise bad_input("trained by other code", file=there / "run.json", key="code", value=item["code"],
                        allowed=[code], hint=hint)  # fmt: skip
    if not trained_alike(item["config"], other["config"]):
        raise bad_input("trained under another config than its counterpart", file=there / "run.json", key="config")
    if item["fingerprints"] != other["fingerprints"]:
        raise bad_input("trained on other data or features", file=there / "run.json", key="fingerprints")
    if sha256_file(there / WEIGHTS) != sha256_file(here / WEIGHTS):
        hint = "the edit changes results: train these runs again"
        raise bad_input("other weights than its counterpart", file=there / WEIGHTS, hint=hint)
