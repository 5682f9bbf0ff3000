"""Flickr30K and COCO through `fne prepare`: fabricated corpora in the shape of the real ones, small counts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fne import cli
from fne.data.manifest import Manifest
from fne.study import paths
from fne.study.api import load_study
from tests.projects import Project

COCO_FOLDER = {"train": "train2014", "restval": "val2014", "val": "val2014", "test": "val2014"}
SPLITS = ("test", "restval", "train", "val", "train", "test", "train", "test")


class Photographs:
    """A project and a corpus in Karpathy's schema whose pictures lie where the real ones do."""

    def __init__(self, folder: Path, dataset: str) -> None:
        self.project, self.dataset, self.folder = Project(folder), dataset, folder
        self.images = folder / "photos"
        rng = np.random.default_rng(1)
        self.entries: list[dict[str, Any]] = []
        for imgid, split in enumerate(SPLITS if dataset == "coco" else [split.replace("rest", "") for split in SPLITS]):
            number = 391_895 + 7 * imgid
            place = COCO_FOLDER[split] if dataset == "coco" else "flickr30k-images"
            name = f"COCO_{place}_{number:012d}.jpg" if dataset == "coco" else f"{number}.jpg"
            (self.images / place).mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 255, (30, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(self.images / place / name)
            sentids = [770_337 + 10 * imgid + k for k in range(5)]
            sentences = [
                {"raw": f"A photo {imgid} in words {k}.\n", "tokens": [], "imgid": imgid, "sentid": sentid}
                for k, sentid in enumerate(sentids)
            ]
            entry = {"filename": name, "imgid": imgid, "split": split, "sentids": sentids, "sentences": sentences}
            more = {"filepath": place, "cocoid": number} if dataset == "coco" else {}
            self.entries.append(entry | more)
        self.annotations = folder / f"dataset_{dataset}.json"
        self.root = self.images if dataset == "coco" else self.images / "flickr30k-images"
        self.counts = {split: sum(("train" if item == "restval" else item) == split for item in self.splits())
                       for split in paths.SPLITS}  # fmt: skip
        self.write()

    def splits(self) -> list[str]:
        return [entry["split"] for entry in self.entries]

    def write(self) -> None:
        content = {"dataset": self.dataset, "images": self.entries}
        self.annotations.write_text(json.dumps(content), encoding="utf-8")

    def write_albef(self) -> Path:
        """The lists of ALBEF: train a row per caption, paths from the folder above the pictures' folders."""
        for split in paths.SPLITS:
            rows: list[dict[str, Any]] = []
            for entry in self.entries:
                if ("train" if entry["split"] == "restval" else entry["split"]) != split:
                    continue
                file = f"{entry.get('filepath', 'flickr30k-images')}/{entry['filename']}"
                captions = [item["raw"] for item in entry["sentences"]]
                row = {"image": file, "caption": captions}
                ident = {"image_id": f"{self.dataset}_{entry['imgid']}"}
                rows += [row | ident | {"caption": item} for item in captions] if split == "train" else [row]
            (self.folder / f"{self.dataset}_{split}.json").write_text(json.dumps(rows))
        return self.folder / f"{self.dataset}_{{split}}.json"

    def prepare(self, *, counts: bool = True, **given: object) -> int:
        """`fne prepare` of a study on these data; returns its exit status."""
        data = {"annotations": str(self.annotations), "images": str(self.root)} | given
        self.project.edit("studies/flickr8k", data={"dataset": self.dataset} | data)
        options = [f"data.counts.{split}={count}" for split, count in self.counts.items()] if counts else []
        options += ["encoders.image.checkpoint=/m/vision", "encoders.text.checkpoint=org/text"]
        argv = ["prepare", "--study", "flickr8k", "--root", str(self.project.root)]
        return cli.main([*argv, *(word for option in options for word in ("--set", option))])

    def manifest(self) -> Manifest:
        """The data that were prepared last."""
        files = (self.project.root / "resources").glob("*/manifest.json")
        return Manifest.load(max(files, key=lambda file: file.stat().st_mtime_ns).parent)


@pytest.fixture(params=["flickr30k", "coco"])
def photographs(request: pytest.FixtureRequest, tmp_path: Path) -> Photographs:
    return Photographs(tmp_path, request.param)


@pytest.fixture
def coco(tmp_path: Path) -> Photographs:
    return Photographs(tmp_path, "coco")


@pytest.fixture
def flickr30k(tmp_path: Path) -> Photographs:
    return Photographs(tmp_path, "flickr30k")


def test_coco_in_two_folders_with_restval_as_training(coco: Photographs) -> None:
    assert coco.prepare() == 0
    manifest = coco.manifest()
    assert {split: manifest.image_splits.count(split) for split in paths.SPLITS} == {"train": 4, "val": 1, "test": 3}
    train = manifest.split("train")
    assert [Path(manifest.image_files[row]).parent.name for row in train.image_rows] == ["val2014", *["train2014"] * 3]
    assert train.image_ids[0] == "COCO_val2014_000000391902.jpg"
    assert manifest.split("test").sentids == [entry for item in (0, 5, 7) for entry in coco.entries[item]["sentids"]]
    assert manifest.texts[0] == "A photo 1 in words 0."
    assert all(path.is_file() for path in manifest.image_paths())


def test_albefs_lists_give_the_manifest_of_karpathys_json(coco: Photographs) -> None:
    assert coco.prepare() == 0
    before = coco.manifest()
    assert coco.prepare(annotations=str(coco.write_albef())) == 0
    after = coco.manifest()
    assert after.sha256 == before.sha256 and after.data_id != before.data_id, "they are other files"
    assert before.sentids and after.sentids is None


def test_counts_are_those_of_the_papers(photographs: Photographs, capsys: pytest.CaptureFixture[str]) -> None:
    study = load_study("flickr8k", {"data.dataset": photographs.dataset, "data.annotations": "a", "data.images": "b",
                                    "encoders.image.checkpoint": "/m/v", "encoders.text.checkpoint": "o/t"},
                       photographs.project.root)  # fmt: skip
    papers = {"flickr30k": (29_000, 1014, 1000), "coco": (113_287, 5000, 5000)}[photographs.dataset]
    assert tuple(study.data["counts"].values()) == papers
    assert photographs.prepare(counts=False) == 2
    summary = capsys.readouterr().err
    result = photographs.counts["train"]
    assert f"has another number of images than data.counts.train states; got {result}; allowed: {papers[0]}" in summary
    assert not (photographs.project.root / "resources").exists()


WHERE = {"flickr30k": "University of Illinois", "coco": "http://images.cocodataset.org/zips/train2014.zip"}


def test_missing_images_with_where_to_get_them(photographs: Photographs, capsys: pytest.CaptureFixture[str]) -> None:
    for path in sorted(photographs.images.rglob("*.jpg"))[1:]:
        path.unlink()
    assert photographs.prepare() == 2
    summary = capsys.readouterr().err
    assert "data.images: 7 of 8 images are missing: " in summary and summary.count(".jpg") == 5
    assert f"; to get them: {'the ' if photographs.dataset == 'flickr30k' else '`fne fetch coco`'}" in summary
    assert WHERE[photographs.dataset] in summary and "Traceback" not in summary


def test_the_folder_below_was_meant(flickr30k: Photographs, capsys: pytest.CaptureFixture[str]) -> None:
    assert flickr30k.prepare(images=str(flickr30k.images)) == 2
    summary = capsys.readouterr().err
    assert f"give data.images={flickr30k.images}/flickr30k-images" in summary
