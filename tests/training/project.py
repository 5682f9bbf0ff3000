"""A whole small project in a folder: config, prepared scenes, and features that stand in for a frozen encoder's."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from fne.data.manifest import Manifest
from fne.encoders.writer import writing
from fne.steps.prepare import run as prepare
from fne.study import paths
from fne.study.api import Study, data_section, load_study

OVERRIDES = {"data.prevalence": 0.02}  # enough false negatives among few picks
REPOSITORY = Path(__file__).resolve().parents[2]


def make(root: Path) -> Study:
    """Prepare study ``smoke`` below ``root``. Features are bags of words, and their mean over an image's captions."""
    shutil.copytree(REPOSITORY / "ablations", root / "ablations")
    study = load_study("smoke", OVERRIDES, root)
    fill(study, root)
    return study


def fill(study: Study, root: Path) -> None:
    """Prepare the data of a study below ``root``, with those features."""
    prepare(data_section(study), root / paths.data_folder(study))
    manifest = Manifest.load(root / paths.data_folder(study))
    words = sorted({word for text in manifest.column("text") for word in text.split()})
    column = {word: number for number, word in enumerate(words)}
    text = np.zeros((len(manifest.column("text")), len(words)), np.float32)
    for row, sentence in enumerate(manifest.column("text")):
        for word in sentence.split():
            text[row, column[word]] = 1
    image = np.zeros((len(manifest.column("id")), len(words)), np.float32)
    np.add.at(image, np.repeat(np.arange(len(image)), manifest.column("captions")), text)
    for modality, values, ids in (
        ("image", image, manifest.column("id")),
        ("text", text, manifest.column("caption_id")),
    ):
        header = {
            "modality": modality,
            "encoder": {"checkpoint": "words", "section": paths.encoder(study, modality)},
            "preprocessing": {},
            "level": "pooled",
            "pooling": "mean",
            "dtype": "float32",
            "data_fingerprint": manifest.fingerprint(modality),
            "versions": {},
        }
        with writing(root / paths.features_folder(study, modality), header, len(ids)) as writer:
            writer.append(values)
            writer.finish()
