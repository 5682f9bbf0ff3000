"""Relevance and rating files that are not about the corpus are refused before anything is trained on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fne.data import readers
from fne.study import paths
from fne.utils.errors import UserError
from tests.projects import ENCODERS, Project


class Coco:
    """A little COCO in Karpathy's schema with relevance files and ratings, and a study of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.project = folder, Project(folder / "project")
        (folder / "images").mkdir()
        self.images: list[dict[str, Any]] = [
            {
                "filename": f"COCO_val2014_{number:012d}.jpg",
                "split": split,
                "sentences": [{"raw": f"{number} {k}", "sentid": 10 * number + k} for k in range(6)],
            }
            for number, split in enumerate(("train", "train", "val", "val", "test", "test"))
        ]
        self.write("eccv_image_to_caption.json", json.dumps({"4": [40, 50], "5": [50]}))
        self.write("eccv_caption_to_image.json", json.dumps({"40": [4, 5]}))
        for split, number in (("val", 2), ("test", 4)):
            self.write(f"sits_{split}.csv", self.ratings((10 * number, number), (10 * number, number + 1)))

    def ratings(self, *pairs: tuple[int, int]) -> str:
        rows = [f"COCO_val2014:sentid:{caption},COCO_val2014_{image:012d}.jpg,4.0,c" for caption, image in pairs]
        return "\n".join(["caption,image,agg_score,sampling_method", *rows]) + "\n"

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def given(self) -> dict[str, str]:
        place = str(self.folder)
        data = {"dataset": "coco", "annotations": f"{place}/dataset_coco.json", "images": f"{place}/images"}
        given = {"evaluation.relevance.eccv": place, "audit.sits": place, **ENCODERS}
        return {f"data.{key}": value for key, value in data.items()} | given

    def annotate(self) -> None:
        """Write the annotations where they are not there as they are."""
        file, text = self.folder / "dataset_coco.json", json.dumps({"dataset": "coco", "images": self.images})
        if not file.is_file() or file.read_text() != text:
            file.write_text(text)

    def check(self) -> None:
        self.annotate()
        paths.check_matched(self.project.load("flickr8k", **self.given()))


@pytest.fixture
def coco(tmp_path: Path) -> Coco:
    return Coco(tmp_path)


def test_files_of_the_corpus_are_accepted_and_read_once(coco: Coco, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fne.utils.digests.YOUNG", -1.0)
    readings: list[Path] = []
    reading = readers.read_annotations
    monkeypatch.setattr(readers, "read_annotations", lambda path, name: readings.append(path) or reading(path, name))
    coco.check()
    coco.check()
    assert len(readings) == 1
    coco.write("eccv_image_to_caption.json", json.dumps({"7": [40]}))
    with pytest.raises(UserError, match="1 of its 1 queries are not in the test split"):
        coco.check()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("eccv_image_to_caption.json", '{"4": [40], "4": [41]}', "the key '4' occurs twice in one object"),
        ("eccv_caption_to_image.json", '{"40": [2]}', "40: no positive of a query is in the test split"),
        ("sits_val.csv", "caption,image\n", "line 1: not a SITS file"),
    ],
)
def test_a_file_that_does_not_fit_is_named(coco: Coco, name: str, text: str, message: str) -> None:
    coco.write(name, text)
    with pytest.raises(UserError, match=message) as caught:
        coco.check()
    assert name in str(caught.value) and len(str(caught.value)) < 6000
