"""The manifest: which images and captions a prepared data set holds, in which order, and in which split."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fne.data import pictures
from fne.data.sources import SPLITS as SPLITS
from fne.data.truth import Truth
from fne.utils.errors import bad_input
from fne.utils.files import check_record, read_json, reading, sha256_file

NAME = "manifest.json"
AGAIN = "prepare the data again"
SHAPE = {"dataset": str, "data_id": str, "data": dict, "root": str,
         "truth": {"*": {"file": str, "kind": str, "sha256": str}},
         "images": {"id": list, "file": list, "split": list},
         "captions": {"id": list, "image": list, "text": list, "sentid?": list},
         "sha256": {"images": str, "captions": str, "pixels": str}}  # fmt: skip
"""What the digests of its rows do not vouch for."""


@dataclass(frozen=True)
class SplitView:
    """One split of a manifest.

    Attributes:
        name: ``train``, ``val`` or ``test``.
        image_rows: int64 (n,), rows of the split's images in the manifest (and in every image feature store).
        caption_rows: int64 (m,), rows of the split's captions in the manifest (and in every text store).
        caption_image: int64 (m,), for every caption the position 0..n-1 of its image *within the split*.
        texts: The m captions.
        image_ids, caption_ids: Their ids.
        sentids: The captions' ids in the annotation file, or None where it has none (see :class:`Manifest`).
    """

    name: str
    image_rows: np.ndarray
    caption_rows: np.ndarray
    caption_image: np.ndarray
    texts: list[str]
    image_ids: list[str]
    caption_ids: list[str]
    sentids: list[Any] | None = None


@dataclass(frozen=True)
class Corpus:
    """Images and captions in rows: grouped as train, val, test, captions in image order.

    Attributes:
        image_ids, image_files, image_splits: Per image: id, path relative to the folder of images, split.
        caption_ids, caption_image, texts: Per caption: id, row of its image (int64), text.
        sentids: Per caption the annotation file's own id, in COCO's file the annotation id of COCO (no part of
            any digest); None where the file has none.
    """

    image_ids: list[str]
    image_files: list[str]
    image_splits: list[str]
    caption_ids: list[str]
    caption_image: np.ndarray
    texts: list[str]
    sentids: list[Any] | None

    def digests(self) -> dict[str, str]:
        """Of the rows of images, and of those of captions."""
        return {
            "images": digest_rows(self.image_ids, self.image_files, self.image_splits),
            "captions": digest_rows(self.caption_ids, self.caption_image.tolist(), self.texts),
        }

    def split(self, name: str) -> SplitView:
        """The rows of one split, of which there is at least an image."""
        first, count = self.image_splits.index(name), self.image_splits.count(name)
        low, high = np.searchsorted(self.caption_image, (first, first + count))
        return SplitView(
            name,
            np.arange(first, first + count),
            np.arange(low, high),
            self.caption_image[low:high] - first,
            self.texts[low:high],
            self.image_ids[first : first + count],
            self.caption_ids[low:high],
            None if self.sentids is None else self.sentids[low:high],
        )


@dataclass(frozen=True, kw_only=True)
class Manifest(Corpus):
    """A prepared data set.

    Attributes:
        folder: Where ``manifest.json`` lies.
        dataset, data_id: Name of the data set, name of its prepared folder.
        data: The resolved ``data`` section it was prepared from.
        root: Folder of the images, absolute or relative to the working directory.
        truth_files: Per split: file, kind, sha256, prevalence, number of queries per direction.
        sha256: Digests: those of :meth:`Corpus.digests`, and ``pixels`` (file contents).
    """

    folder: Path
    dataset: str
    data_id: str
    data: dict[str, Any]
    root: Path
    truth_files: dict[str, dict[str, Any]]
    sha256: dict[str, str]

    @classmethod
    def load(cls, folder: str | Path) -> Manifest:
        """Read and check ``folder/manifest.json``.

        Raises:
            UserError: The file is missing, of another schema, or does not agree with itself.
        """
        folder = Path(folder)
        path = folder / NAME
        stored = check_record(read_json(path, "run `fne prepare` first"), "manifest", SHAPE, path, AGAIN)
        images, captions = stored["images"], stored["captions"]
        with reading(path, AGAIN):
            of_caption = np.array(captions["image"], np.int64)
            rows = Corpus(images["id"], images["file"], images["split"], captions["id"], of_caption, captions["text"],
                          captions.get("sentid"))  # fmt: skip
            digests = rows.digests()
        for key, digest in digests.items():
            if stored["sha256"][key] != digest:
                problem = "contents disagree with the digest: edited or cut short"
                raise bad_input(problem, file=path, key=f"sha256.{key}", hint=AGAIN)
        return cls(**vars(rows), folder=folder, root=folder / stored["root"], truth_files=stored["truth"],
                   **{key: stored[key] for key in ("dataset", "data_id", "data", "sha256")})  # fmt: skip

    @classmethod
    def open(cls, folder: str | Path) -> Manifest:
        """Read it for a verb that works on what it lists: pictures that lie outside are compared with those prepared.

        Raises:
            UserError: As :meth:`load`, or a picture is missing or another one.
        """
        manifest = cls.load(folder)
        if manifest.root.parent != manifest.folder:
            pixels = manifest.sha256["pixels"]
            pictures.require_unchanged(manifest.folder, manifest.root, manifest.image_files, pixels)
        return manifest

    def truth(self, name: str) -> Truth:
        """The ground truth of one split, checked against the digest in the manifest, and read once.

        Raises:
            UserError: Its file is missing or was changed.
        """
        if name not in self._truths:
            self._truths[name] = self._read_truth(name)
        return self._truths[name]

    @cached_property
    def _truths(self) -> dict[str, Truth]:
        return {}

    def _read_truth(self, name: str) -> Truth:
        path = self.folder / self.truth_files[name]["file"]
        with reading(path, AGAIN):
            digest = sha256_file(path)
        if digest != self.truth_files[name]["sha256"]:
            raise bad_input("not the file the manifest was written with", file=path, hint=AGAIN)
        return Truth.load(path)

    def exact_truth(self, name: str) -> Truth | None:
        """The ground truth of a split in which every relevant pair is known; None where it is of another kind."""
        return self.truth(name) if self.truth_files[name]["kind"] == "exact" else None

    def image_paths(self) -> list[Path]:
        """The image files, in manifest order."""
        return [self.root / file for file in self.image_files]

    def fingerprint(self, modality: str) -> str:
        """Hex SHA-256 of the content one encoder sees, in order.

        Args:
            modality: ``image`` (ids, files, splits and the bytes of the files) or ``text`` (ids, images and
                captions).
        """
        keys = {"image": ("images", "pixels"), "text": ("captions",)}[modality]
        return digest_rows([self.sha256[key] for key in keys])


def count_splits(image_splits: list[str], caption_image: Iterable[int]) -> dict[str, dict[str, int]]:
    """Number of images and captions of every split that occurs."""
    of_caption = Counter(image_splits[row] for row in caption_image)
    return {
        split: {"images": image_splits.count(split), "captions": of_caption[split]}
        for split in SPLITS if split in image_splits
    }  # fmt: skip


def digest_rows(*columns: Iterable[Any]) -> str:
    """Hex SHA-256 over the rows of equally long columns (control characters part fields and rows)."""
    digest = hashlib.sha256()
    for row in zip(*columns, strict=True):
        digest.update("\x1f".join(str(cell) for cell in row).encode("utf-8") + b"\x1e")
    return digest.hexdigest()
