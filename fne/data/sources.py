"""Where the corpora are obtained: what may be downloaded, and whom to ask for the rest. Facts, no code.

Sizes and SHA-256: tensorflow/datasets, ``tensorflow_datasets/url_checksums/coco_captions.txt``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fne.utils.files import expanded

SPLITS = ("train", "val", "test")
MODALITIES = ("image", "text")


@dataclass(frozen=True)
class Archive:
    """One zip file that may be downloaded.

    Attributes:
        url: Its address.
        size: Bytes.
        sha256: Of the whole file.
        member: The one file or folder of it that is wanted.
        target: Where that goes, below the corpus's folder.
    """

    url: str
    size: int
    sha256: str
    member: str
    target: str

    @property
    def name(self) -> str:
        """The file's name."""
        return self.url.rpartition("/")[2]


@dataclass(frozen=True)
class Source:
    """Where a corpus comes from.

    Attributes:
        pictures: Where its pictures are obtained, in words.
        archives: What ``fne fetch`` downloads.
    """

    pictures: str
    archives: tuple[Archive, ...]


def _karpathy(dataset: str) -> Archive:
    url, name = "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip", f"dataset_{dataset}.json"
    sha256 = "4cfd70132527b80933105e5829dc9034eaab9573482e2e680abbab6130244817"
    return Archive(url, 36_745_453, sha256, name, name)


def _coco(folder: str, size: int, sha256: str) -> Archive:
    return Archive(f"http://images.cocodataset.org/zips/{folder}.zip", size, sha256, folder, f"images/{folder}")


SOURCES = {
    "flickr8k": Source(
        "the University of Illinois gives them out for research on request (https://forms.illinois.edu/sec/1713398, "
        "Flickr8k_Dataset.zip); its page about them is gone, and they may not be passed on",
        (_karpathy("flickr8k"),),
    ),
    "flickr30k": Source(
        "the University of Illinois gives them out for research on request: fill in the form at "
        "https://shannon.cs.illinois.edu/DenotationGraph/ (flickr30k-images.tar.gz); they may not be passed on",
        (_karpathy("flickr30k"),),
    ),
    "coco": Source(
        "`fne fetch coco` downloads http://images.cocodataset.org/zips/train2014.zip and val2014.zip",
        (
            _karpathy("coco"),
            _coco("train2014", 13_510_573_713, "ede4087e640bddba550e090eae701092534b554b42b05ac33f0300b984b31775"),
            _coco("val2014", 6_645_013_297, "fe9be816052049c34717e077d9e34aa60814a55679f804cd043e3cbee3b9fde0"),
        ),
    ),
}
"""By name of the data set."""


def annotation_files(annotations: str) -> list[Path]:
    """The file or folder of annotations that a user gave, or one file per split where it says ``{split}``."""
    place = expanded(annotations)
    if "{split}" not in place.name:
        return [place]
    return [place.with_name(place.name.replace("{split}", split)) for split in SPLITS]


def may_hold_pictures(annotations: str | None) -> bool:
    """May the annotations hold the pictures themselves, as a Hugging Face data set does?"""
    place = expanded(annotations or "annotations.json")
    return place.is_dir() or place.suffix in (".parquet", ".arrow")
