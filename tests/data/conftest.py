"""Small data sets for the tests of this room."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from fne.data.items import SPLIT_OF
from tests.data.forms import Image
from tests.scenes.conftest import prepared  # noqa: F401 - a fixture

KEYS = ("raw", "sentid")


class Corpus:
    """A writable little corpus in Karpathy's schema: 2 train, 1 restval, 1 val and 2 test images."""

    SPLITS = ("test", "train", "val", "restval", "train", "test")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = folder / "images"
        self.images.mkdir()
        self.file = folder / "dataset_tiny.json"
        rng = np.random.default_rng(0)
        entries, sentid = [], 0
        for imgid, split in enumerate(self.SPLITS):
            name = f"picture{imgid}.jpg"
            PIL.Image.fromarray(rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)).save(self.images / name)
            sentences = []
            for k in range(1 + imgid % 3):
                sentences.append({"raw": f"Caption {k} of {imgid} .", "tokens": [], "imgid": imgid, "sentid": sentid})
                sentid += 1
            entries.append({"filename": name, "imgid": imgid, "split": split, "sentences": sentences})
        self.entries: list[dict[str, Any]] = entries
        self.dataset: str | None = "tiny"
        self.data: dict[str, Any] = {
            "dataset": "tiny", "annotations": str(self.file), "images": str(self.images),
            "judgements": {"crowdflower": None, "expert": None}, "counts": {"train": 3, "val": 1, "test": 2},
        }  # fmt: skip

    def write(self) -> dict[str, Any]:
        """Write the annotations as they stand now; returns the data section."""
        content = {"dataset": self.dataset, "images": self.entries}
        if self.dataset is None:
            del content["dataset"]
        self.file.write_text(json.dumps(content), encoding="utf-8")
        return self.data

    def rows(self) -> list[Image]:
        """The images as :mod:`tests.data.forms` takes them."""
        return [
            (entry["filename"], SPLIT_OF[entry["split"]], *([item[key] for item in entry["sentences"]] for key in KEYS))
            for entry in self.entries
        ]

    def give(self, files: dict[str, str]) -> None:
        """Write other files of annotations."""
        for name, text in files.items():
            (self.folder / name).write_text(text, encoding="utf-8", newline="")

    def judge(self, kind: str, text: str) -> None:
        """Write a judgement file and name it in the data section."""
        path = self.folder / f"{kind}.txt"
        path.write_text(text, encoding="utf-8")
        self.data["judgements"][kind] = str(path)


@pytest.fixture
def corpus(tmp_path: Path) -> Corpus:
    """A fresh little corpus."""
    return Corpus(tmp_path)
