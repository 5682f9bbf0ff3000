"""The manifest: which images and captions a prepared data set holds, in which order, and in which split.

``manifest.json`` is the index: what the data are, how many rows a split has, digests, the files of truth. The rows
themselves lie in ``manifest.parquet``, and a split's columns are read only when something needs them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from fne.data import pictures
from fne.data.sources import SPLITS as SPLITS
from fne.data.truth import Truth
from fne.utils.errors import bad_input
from fne.utils.files import read_record, reading, sha256_file

NAME, ROWS = "manifest.json", "manifest.parquet"
AGAIN = "prepare the data again: `fne prepare`"
SHAPE = {"dataset": str, "data_id": str, "data": dict, "root": str,
         "splits": {split: {"images": int, "captions": int} for split in SPLITS},
         "truth": {"*": {"file": str, "kind": str, "sha256": str}},
         "sha256": {"images": str, "captions": str, "pixels": str, "rows": str}}  # fmt: skip
COLUMNS = ("id", "file", "split", "captions", "caption_id", "text")
"""Of ``manifest.parquet``, one row an image, images grouped as train, val, test: id, path relative to the folder of
images, split, number of captions, and in lists the id and text of each; beside them ``sentid`` where the annotations
have ids of their own (in COCO's file the annotation id of COCO; no part of any digest)."""


@dataclass(frozen=True)
class SplitRows:
    """Where the rows of one split stand.

    Attributes:
        name: ``train``, ``val`` or ``test``.
        image_rows: int64 (n,), rows of the split's images in the manifest (and in every image feature store).
        caption_rows: int64 (m,), rows of the split's captions in the manifest (and in every text store).
        caption_image: int64 (m,), for every caption the position 0..n-1 of its image *within the split*, ascending.
    """

    name: str
    image_rows: np.ndarray
    caption_rows: np.ndarray
    caption_image: np.ndarray


@dataclass(frozen=True)
class SplitView(SplitRows):
    """One split of a manifest.

    Attributes:
        texts: The m captions.
        image_ids, caption_ids: Their ids.
        sentids: The captions' ids in the annotation file, or None where it has none.
    """

    texts: list[str]
    image_ids: list[str]
    caption_ids: list[str]
    sentids: list[Any] | None = None


@dataclass(frozen=True)
class Manifest:
    """A prepared data set.

    Attributes:
        folder: Where ``manifest.json`` lies.
        dataset, data_id: Name of the data set, name of its prepared folder.
        data: The resolved ``data`` section it was prepared from.
        root: Folder of the images, absolute or relative to the working directory.
        splits: Per split the number of ``images`` and of ``captions``.
        truth_files: Per split: file, kind, sha256, prevalence, number of queries per direction.
        sha256: Digests: of the rows of ``images`` and of ``captions``, of ``pixels`` (file contents), and of the file
            that holds the ``rows``.
    """

    folder: Path
    dataset: str
    data_id: str
    data: dict[str, Any]
    root: Path
    splits: dict[str, dict[str, int]]
    truth_files: dict[str, dict[str, Any]]
    sha256: dict[str, str]

    @classmethod
    def load(cls, folder: str | Path) -> Manifest:
        """Read and check the index, ``folder/manifest.json``; the rows are checked when first read.

        Raises:
            UserError: The file is missing or of another schema.
        """
        folder = Path(folder)
        stored = read_record(folder / NAME, "manifest", SHAPE, AGAIN)
        return cls(folder, root=folder / stored["root"], truth_files=stored["truth"],
                   **{key: stored[key] for key in ("dataset", "data_id", "data", "splits", "sha256")})  # fmt: skip

    @classmethod
    def open(cls, folder: str | Path) -> Manifest:
        """Read it for a verb that works on pictures: those that lie outside are compared with those prepared.

        Raises:
            UserError: As :meth:`load`, or a picture is missing or another one.
        """
        manifest = cls.load(folder)
        if manifest.root.parent != manifest.folder:
            pixels = manifest.sha256["pixels"]
            pictures.require_unchanged(manifest.folder, manifest.root, manifest.column("file"), pixels)
        return manifest

    @cached_property
    def _rows(self) -> Any:
        """The file of rows, opened once it is known to be the one that the index was written with."""
        import pyarrow.parquet as pq

        path = self.folder / ROWS
        with reading(path, AGAIN):
            digest = sha256_file(path)
            if digest == self.sha256["rows"]:
                file = pq.ParquetFile(path, memory_map=True)
                if set(COLUMNS) <= set(file.schema_arrow.names):
                    return file
        raise bad_input(f"not the rows that {NAME} was written with: altered or cut short", file=path, hint=AGAIN)

    def stream(self, name: str, split: str | None = None) -> Iterator[list[Any]]:
        """One column of a split, or of all of them, in parts of some thousand images.

        Args:
            name: One of :data:`COLUMNS`, or ``sentid``; a column of lists is read as one of captions.
            split: The split; None: all.

        Raises:
            UserError: The file of rows is missing, cut short or altered.
        """
        file, first = self._rows, 0
        begin = 0 if split is None else self._before(split, "images")
        end = begin + sum(self.splits[one]["images"] for one in ([split] if split else SPLITS))
        with reading(self.folder / ROWS, AGAIN):
            for group in range(file.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                if begin <= first < end:
                    table = file.read_row_group(group, columns=[name], use_threads=False)
                    for part in table.column(0).chunks:
                        values = part.flatten() if name in ("caption_id", "text", "sentid") else part
                        yield values.to_pylist()  # to_numpy imports pandas
                first += count

    def column(self, name: str, split: str | None = None) -> list[Any]:
        """All of what :meth:`stream` yields."""
        return list(chain.from_iterable(self.stream(name, split)))

    def rows(self, name: str) -> SplitRows:
        """Where the rows of one split stand: all that training on stored features needs.

        Raises:
            UserError: As :meth:`stream`, or the index counts other rows.
        """
        counts, expected = np.array(self.column("captions", name), np.int64), self.splits[name]
        if (len(counts), int(counts.sum())) != (expected["images"], expected["captions"]):
            raise bad_input(
                "counts other rows", file=self.folder / NAME, key=f"splits.{name}", value=expected, hint=AGAIN
            )
        image, caption = self._before(name, "images"), self._before(name, "captions")
        return SplitRows(
            name,
            np.arange(image, image + len(counts)),
            np.arange(caption, caption + counts.sum()),
            np.repeat(np.arange(len(counts)), counts),
        )

    def _before(self, split: str, kind: str) -> int:
        """How many images or captions stand before those of a split."""
        return sum(self.splits[one][kind] for one in SPLITS[: SPLITS.index(split)])

    def split(self, name: str) -> SplitView:
        """The rows of one split with texts and ids.

        Raises:
            UserError: As :meth:`rows`.
        """
        return SplitView(
            **vars(self.rows(name)),
            texts=self.column("text", name),
            image_ids=self.column("id", name),
            caption_ids=self.column("caption_id", name),
            sentids=self.column("sentid", name) if "sentid" in self._rows.schema_arrow.names else None,
        )

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

    def image_paths(self, split: str | None = None) -> list[Path]:
        """The image files of a split, or of all, in manifest order."""
        return [self.root / file for file in self.column("file", split)]

    def fingerprint(self, modality: str) -> str:
        """Hex SHA-256 of the content one encoder sees, in order.

        Args:
            modality: ``image`` (ids, files, splits and the bytes of the files) or ``text`` (ids, images and
                captions).
        """
        keys = {"image": ("images", "pixels"), "text": ("captions",)}[modality]
        return digest_rows([self.sha256[key]] for key in keys)


def digest_rows(rows: Iterable[Iterable[Any]]) -> str:
    """Hex SHA-256 over rows of cells (control characters part fields and rows)."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update("\x1f".join(map(str, row)).encode("utf-8") + b"\x1e")
    return digest.hexdigest()
