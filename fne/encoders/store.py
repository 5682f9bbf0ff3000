"""The feature store, reading side: a folder with a manifest and one memory-mapped matrix, verified when opened.

Torch-free. ``values.bin`` is row-major little-endian: one row per item at the pooled level, one row per token at the
token level, where ``offsets.npy`` tells which tokens belong to which item. Rows stand in the order of the manifest of
the data (all splits). :mod:`fne.encoders.writer` makes such folders.

The matrix is one file, so that readers hold one memory map; its shards are runs of :data:`SHARD` rows, each with a
digest. They are verified at the first opening. That is remembered in the project's cache, by path, size, times and
inode of the file, in a file that is only ever replaced whole: machines that share the project share it, and one that
sees an older version, or may not write there, verifies once more.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fne.utils.digests import Remembered
from fne.utils.errors import bad_input
from fne.utils.files import open_file, read_record, reading, sha256_text

MANIFEST, VALUES, OFFSETS = "manifest.json", "values.bin", "offsets.npy"
DTYPES: dict[str, np.dtype[Any]] = {"float16": np.dtype("<f2"), "float32": np.dtype("<f4")}
LEVELS = ("pooled", "tokens")
MODALITIES = ("image", "text")
AGAIN = "extract the features again"
SHARD = 1 << 16
"""Rows of ``values.bin`` that share a digest."""
HELD = 1 << 28
"""Bytes of a mapped file that are let go of when as many may be resident; smaller files stay."""
AROUND = 1 << 21
"""Bytes around a row that Linux may map with it: a huge page, where its cache holds the file in such pieces."""

SHAPE = {"modality": str, "encoder": dict, "level": str, "dtype": str, "rows": int, "dim": int, "tokens_total": int,
         "data_fingerprint": str, "sha256": {"values": str, "offsets?": str},
         "shards?": {"rows": int, "sha256": [str]}}  # fmt: skip


def partial_folder(out: Path) -> Path:
    """The folder beside ``out`` in which an unfinished extraction keeps its work."""
    return out.with_name(out.name + ".partial")


def digests_of(path: Path, size: int) -> list[str]:
    """Hex SHA-256 of every ``size`` bytes of a file, at least one; read in pieces."""
    digests: list[str] = []
    with open_file(path) as handle:
        while not digests or handle.peek(1):
            digest, left = hashlib.sha256(), size
            while left and (piece := handle.read(min(left, 1 << 20))):
                digest.update(piece)
                left -= len(piece)
            digests.append(digest.hexdigest())
    return digests


def joint(digests: Sequence[str]) -> str:
    """The digest of a file with these digests of its shards: that of the only one, or else one over all, in order."""
    return digests[0] if len(digests) == 1 else sha256_text("\n".join(digests))


class Pages:
    """A file mapped into memory, of which about :data:`HELD` bytes, and what one read takes, are resident at a time.

    A page that was read stays resident until memory is short, and a scheduler that watches resident memory counts it
    as the job's own: without a bound a job "needs" whatever file it reads at random.

    Args:
        file: Not empty; it must not change.
    """

    def __init__(self, file: Path) -> None:
        with open_file(file) as handle:  # copy on write: torch takes no array that may not be written
            self.map = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_COPY)
        self.read = 0

    def took(self, rows: int) -> None:
        """Call it when so many rows were copied out of the map, which nothing may write to: that would be undone."""
        self.read += rows * AROUND
        if self.read > HELD < len(self.map):
            self.read = 0
            self.map.madvise(mmap.MADV_DONTNEED)


@dataclass(frozen=True)
class Features:
    """Features of one modality of one data set under one frozen encoder.

    Attributes:
        folder: Where the store lies.
        manifest: What it says of itself.
        values: Memory map, (N, D) at the pooled level, (tokens_total, D) at the token level.
        offsets: None at the pooled level; else (N + 1,) int64: item i owns ``values[offsets[i]:offsets[i + 1]]``.
        pages: Of ``values``; None: of an empty file, which cannot be mapped.
    """

    folder: Path
    manifest: dict[str, Any]
    values: np.ndarray
    offsets: np.ndarray | None
    pages: Pages | None = None

    @classmethod
    def open(
        cls,
        folder: str | Path,
        data_fingerprint: str | None = None,
        *,
        encoder: Mapping[str, Any] | None = None,
        modality: str | None = None,
        cache: Path | None = None,
    ) -> Features:
        """Open a store after verifying it.

        Args:
            folder: The store.
            data_fingerprint: ``Manifest.fingerprint(modality)`` of the data whose rows the caller indexes with; not
                compared when None.
            encoder: The config's encoder section the caller expects; every key that the store recorded is compared.
            modality: ``"image"`` or ``"text"``; not compared when None.
            cache: Folder in which it is remembered that files were verified; of those that are still the same no
                value is read. None: all are read (about a second per gigabyte).

        Raises:
            UserError: The store is missing, unfinished, cut short, altered, or made from other data, another encoder
                or another modality.
        """
        folder = Path(folder)
        if not folder.is_dir():
            unfinished = "an unfinished extraction lies beside it: " if partial_folder(folder).is_dir() else ""
            raise bad_input("no such feature store", file=folder, hint=f"{unfinished}run the extraction")
        file = folder / MANIFEST
        manifest = read_record(file, "features", SHAPE, AGAIN)
        required = {
            "level": LEVELS,
            "dtype": tuple(DTYPES),
            "modality": (modality,),
            "data_fingerprint": (data_fingerprint,),
        }
        for key, allowed in required.items():
            if manifest[key] not in allowed and allowed != (None,):
                problem = "not the features that are read here: of other data, another encoder or another modality"
                raise bad_input(problem, file=file, key=key, value=manifest[key], allowed=allowed, hint=AGAIN)
        made = manifest["encoder"].get("section", {})
        for key, expected in (encoder or {}).items():
            result = made.get(key)
            if key == "checkpoint":  # folders may move between machines: only its own name counts here
                result, expected = Path(str(result)).name, Path(str(expected)).name
            if result != expected:
                at = {"file": file, "key": f"encoder.{key}", "value": result}
                raise bad_input("features of another encoder", **at, allowed=[expected], hint=AGAIN)
        sums, offsets = manifest["sha256"], None
        tokens, dtype = manifest["level"] == "tokens", DTYPES[manifest["dtype"]]
        count = manifest["tokens_total" if tokens else "rows"]
        # one shard where a store says nothing of shards
        shards = manifest.get("shards", {"rows": max(1, count), "sha256": [sums["values"]]})
        places = range(0, max(1, count), max(1, shards["rows"]))
        if joint(shards["sha256"]) != sums["values"] or len(places) != len(shards["sha256"]):
            raise bad_input("does not agree with itself", file=file, key="shards", hint=AGAIN)

        def shard(row: int) -> str:
            """Which of several shards holds a row, for a message."""
            number, rows = row // places.step, range(row, count)[: places.step]
            return f"; shard {number + 1} of {len(places)}, rows {row} to {rows[-1]}" if len(places) > 1 else ""

        path, width = _present(folder / VALUES), manifest["dim"] * dtype.itemsize
        with reading(path, AGAIN), open_file(path) as handle:  # opened: a shared file system tells its present size
            size = os.fstat(handle.fileno()).st_size
        if size != count * width:
            missing = shard(places[size // (places.step * width)]) if size < count * width else ""
            raise bad_input(f"cut short, or longer than its manifest says{missing}", file=path, hint=AGAIN)
        each = max(1, places.step * width)
        remembered = Remembered(cache and cache / f"{folder.name}.json", f"SHA-256 of every {each} bytes")
        with reading(path, AGAIN):
            result = remembered.get(path, lambda file: digests_of(file, each))
        for row, digest, expected in zip(places, result, shards["sha256"], strict=True):
            if digest != expected:
                raise bad_input(f"{_OTHER}{shard(row)}", file=path, hint=AGAIN)
        if tokens:
            path = _present(folder / OFFSETS)
            with reading(path, AGAIN):
                if remembered.get(path) != sums.get("offsets"):
                    raise bad_input(_OTHER, file=path, hint=AGAIN)
                offsets = np.load(path, allow_pickle=False)
        remembered.save()
        pages = Pages(folder / VALUES) if size else None
        values = np.frombuffer(pages.map if pages else bytearray(), dtype).reshape(count, manifest["dim"])
        return cls(folder, manifest, values, offsets, pages)

    def __len__(self) -> int:
        return self.manifest["rows"]

    @property
    def dim(self) -> int:
        """Width D of a feature."""
        return self.manifest["dim"]

    @property
    def level(self) -> str:
        """``"pooled"`` or ``"tokens"``."""
        return self.manifest["level"]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what the values are and what they were made from, for the record of a run."""
        kept = {key: self.manifest[key] for key in ("sha256", "data_fingerprint", "encoder", "level", "dtype")}
        return sha256_text(json.dumps(kept, sort_keys=True))

    def rows(self, indices: np.ndarray | Sequence[int] | slice) -> np.ndarray:
        """Features of some items of a store at the pooled level, as float32.

        Args:
            indices: (n,) rows of the store, or a slice of them.

        Returns:
            (n, D) float32, a copy.
        """
        return np.array(self.values[indices], dtype=np.float32)

    def padded(self, indices: np.ndarray | Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Features of some items of a store at the token level, padded with zeros to the longest of them.

        Args:
            indices: (n,) rows of the store.

        Returns:
            Tokens (n, T, D) float32 and a mask (n, T), True where there is a token.
        """
        assert self.offsets is not None
        indices = np.asarray(indices, dtype=np.int64)
        starts, ends = self.offsets[:-1][indices], self.offsets[1:][indices]
        lengths = ends - starts
        mask = np.arange(lengths.max(initial=0))[None, :] < lengths[:, None]
        tokens = np.zeros((*mask.shape, self.dim), dtype=np.float32)
        for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
            tokens[row, : end - start] = self.values[start:end]
        return tokens, mask


_OTHER = "not the file that its manifest describes (SHA-256 differs): altered, damaged, or of another encoder"


def _present(path: Path) -> Path:
    """A file of the store, which must be there."""
    if not path.is_file():
        raise bad_input("a file of the feature store is missing", file=path, hint=AGAIN)
    return path
