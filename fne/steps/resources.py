"""``estimate --resources``: what the jobs of a study request of a cluster, as a Snakemake profile."""

from __future__ import annotations

import math
from pathlib import Path
from typing import NamedTuple

import yaml

from fne.data.identity import training_pairs
from fne.study.api import Study, blocks, parse_block
from fne.utils.files import write_text

HEADER = """\
# What the jobs of study {study} need, written by `fne estimate {study} --resources`; a retry ({{attempt}}) has more.
# snakemake --profile workflow/profiles/slurm --workflow-profile {folder} --config study={study}{loaders}
# It stands in for `set-resources` of that profile. Memory and minutes of training were {source}.
"""
CAPTIONS = 5


class Need(NamedTuple):
    """Of one training job: seconds, MB of main memory, GPUs, and processes that decode images for it."""

    seconds: float
    memory_mb: float
    gpus: int
    loaders: int


def images_and_captions(study: Study) -> tuple[int, int]:
    """Of all splits together, as the study's file has them; of a corpus without counts those of its training split."""
    data = study.data
    counts = data.get("counts") or {split: data[split] for split in ("train", "val", "test") if split in data}
    if None in counts.values():
        pairs = training_pairs(data, study.root)
        return pairs["images"], pairs["captions"]
    images = sum(counts.values())
    return images, images * data.get("captions_per_image", CAPTIONS)


def needs(study: Study, training: Need) -> dict[str, dict[str, object]]:
    """What every rule requests: ``mem_mb``, ``runtime`` (minutes), and CPUs and GPUs where they are not one and none.

    The memory of the others grows with what they hold: 2 kB a caption in steps that read captions (1.5 kB measured in
    ``prepare`` of COCO), 60 B a query and run in those that compare runs (its recalls and ranks).
    """
    images, captions = images_and_captions(study)
    seeds = sum(len(parse_block(block)) for block in blocks(study))
    jobs = len(study.variants) * len(blocks(study))
    reading = 2e-3 * captions
    comparing = 1000 + 60e-6 * captions * seeds * len(study.variants)
    trained = max(training.memory_mb * 1.3, 1500 + reading)

    def need(mb: float, minutes: float, **more: object) -> dict[str, object]:
        rounded = math.ceil(mb / 100) * 100
        return {"mem_mb": f"attempt * {rounded}", "runtime": f"attempt * {math.ceil(minutes)}", **more}

    together = {"cpus_per_task": training.loaders} if training.loaders > 1 else {}
    together |= {"gpu": training.gpus} if training.gpus else {}
    minutes = 10 + 2 * training.seconds / 60
    ranking = 20 + images / 600
    numbers = {rule: need(comparing, 20 + jobs / 20) for rule in
               ("aggregate", "compare", "audit", "set_against_reference", "make_tables", "make_figures", "make_report",
                "make_notebook", "compare_of_series", "make_tables_of_series", "make_figures_of_series",
                "make_report_of_series")}  # fmt: skip
    extracting = need(1500 + reading, 20 + images / 300, **({"gpu": 1} if training.gpus else {}))
    return {
        **dict.fromkeys(("prepare", "prepare_corpus", "prepare_with_images"), need(1000 + reading, 10 + images / 1200)),
        "pretrain": need(1500, 60),
        **dict.fromkeys(("extract", "extract_tokens", "extract_part"), extracting),
        "run": need(trained, minutes + ranking, **together),
        "train": need(trained, minutes, **together),
        "rank": need(trained, ranking, **together),
        "evaluate": need(1000, 20),
        "calibrate": need(trained, ranking, **together),
        **numbers,
    }


def write(study: Study, root: Path, training: Need, source: str) -> Path:
    """Write the profile of a study.

    Args:
        study: The study.
        root: The project's folder.
        training: What a training job needs, the largest of all variants.
        source: How that is known.

    Returns:
        The file.
    """
    folder = Path("resources", "profiles", study.name)
    loaders = f" loaders={training.loaders}" if training.loaders > 1 else ""
    header = HEADER.format(study=study.name, folder=folder, loaders=loaders, source=source)
    # runs of less than half an hour ride together, side by side
    side_by_side = 1 if training.gpus else max(1, min(4, int(1800 // max(training.seconds, 1.0))))
    profile = {"group-components": {"runs": side_by_side}, "set-resources": needs(study, training)}
    content = yaml.safe_dump(profile, sort_keys=False, default_flow_style=None)
    write_text(root / folder / "config.yaml", header + content)
    return folder / "config.yaml"
