"""A small project of the regime ``finetune``: prepared scenes, and a tiny untrained ViT and BERT as checkpoints."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fne.data.manifest import Manifest
from fne.scenes.pretrain_image import _write_processor
from fne.scenes.pretrain_text import build_tokenizer
from fne.steps.prepare import run as prepare
from fne.study import paths
from fne.study.api import Study, data_section, load_study, resolve
from fne.training.engine import Engine
from fne.training.pairs import for_engine, open_corpus
from tests.encoders.conftest import build_model
from tests.snakemake_project import ROOT
from tests.training import toy

STUDY = """
title: Tiny, end to end
question: Does the path run?
regime: finetune
data: {{dataset: scenes, train: 64, val: 24, test: 24, prevalence: 0.005}}
encoders:
  image: {{checkpoint: {image}, pooling: mean}}
  text: {{checkpoint: {text}, pooling: mean}}
set:
  finetune: {{image_size: 48, randaugment_operations: 1, precision: float32}}
  train: {{epochs: 3, batch_size: 16, learning_rate: 1.0e-3, lr_warmup_steps: 0}}
  warmup: {{epochs: 1}}
  negatives: {{min_positives: 5}}
  memory: {{size: 40, momentum: 0.9}}
tuned: null
variants: [hardest_in_batch, fne, infonce, gist, hardest_xbm, hardest_bank]
seeds: [0]
block: 1
baseline: hardest_in_batch
primary: {{metric: rsum, protocol: own}}
"""


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of the project; study ``tiny``."""
    root = tmp_path_factory.mktemp("finetune")
    shutil.copytree(ROOT / "ablations", root / "ablations")
    folders = {family: root / "checkpoints" / family for family in ("vit", "bert", "resnet")}
    text = STUDY.format(image=folders["vit"], text=folders["bert"])
    (root / "ablations" / "studies" / "tiny.yaml").write_text(text)
    study = load_study("tiny", root=root)
    prepare(data_section(study), root / paths.data_folder(study))
    for family in folders:
        save_checkpoint(root, family)
    return root


def save_checkpoint(root: Path, family: str) -> None:
    """Save a tiny model of a family, its image processor and a tokenizer of the project's words."""
    folder = root / "checkpoints" / family
    if not folder.exists():
        data = root / paths.data_folder(load_study("tiny", root=root))
        build_model(family).save_pretrained(folder)
        _write_processor(folder, 48 if family != "swin" else 64)
        build_tokenizer(Manifest.load(data).column("text")).save_pretrained(folder)


def engine_of(study: Study, variant: str, root: Path, seeds: tuple[int, ...] = (0,)) -> Engine:
    config = resolve(study, variant)
    train, val, _ = open_corpus(study, root).training(config, toy.CPU)
    return Engine(for_engine(config, train), list(seeds), train, val, toy.CPU)


@pytest.fixture
def load(project: Path) -> Callable[..., Study]:
    """Load study ``tiny`` with dotted overrides."""

    def study(**changes: Any) -> Study:
        return load_study("tiny", {key.replace("__", "."): value for key, value in changes.items()}, project)

    return study
