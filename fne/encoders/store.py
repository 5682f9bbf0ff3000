"""The feature store, reading side: a folder with a manifest and one memory-mapped matrix, verified when opened.

Torch-free. ``values.bin`` is row-major little-endian: one row per item at the pooled level, one row per token at the
token level, where ``offsets.npy`` tells which tokens belong to which item. Rows stand in the order of the manifest of
the data (all splits). :mod:`fne.encoders.writer` makes such folders.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fne.utils.errors import bad_input
from fne.utils.files import read_record, reading, sha256_file, sha256_text

MANIFEST, VALUES, OFFSETS = "manifest.json", "values.bin", "offsets.npy"
DTYPES: dict[str, np.dtype[Any]] = {"float16": np.dtype("<f2"), "float32": np.dtype("<f4")}
LEVELS = ("pooled", "tokens")
MODALITIES = ("image", "text")
AGAIN = "extract the features again"

SHAPE = {"modality": str, "encoder": dict, "level": str, "dtype": str, "rows": int, "dim": int, "tokens_total": int,
         "data_fingerprint": str, "sha256": dict}  # fmt: skip


def partial_folder(out: Path) -> Path:
    """The folder beside ``out`` in which an unfinished extraction keeps its work."""
    return out.with_name(out.name + ".partial")


@dataclass(frozen=True)
class Features:
    """Features of one modality of one data set under one frozen encoder.

    Attributes:
        folder: Where the store lies.
        manifest: What it says of itself.
        values: Memory map, (N, D) at the pooled level, (tokens_total, D) at the token level.
        offsets: None at the pooled level; else (N + 1,) int64: item i owns ``values[offsets[i]:offsets[i + 1]]``.
    """

    folder: Path
    manifest: dict[str, Any]
    values: np.ndarray
    offsets: np.ndarray | None

    @classmethod
    def open(
        cls,
        folder: str | Path,
        data_fingerprint: str | None = None,
        *,
        encoder: Mapping[str, Any] | None = None,
        modality: str | None = None,
        checksums: bool = True,
    ) -> Features:
        """Open a store after verifying it.

        Args:
            folder: The store.
            data_fingerprint: ``Manifest.fingerprint(modality)`` of the data whose rows the caller indexes with; not
                compared when None.
            encoder: The config's encoder section the caller expects; every key that the store recorded is compared.
            modality: ``"image"`` or ``"text"``; not compared when None.
            checksums: Read all values once and compare SHA-256 (about a second per gigabyte).

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
        offsets = None
        count = manifest["rows"]
        if manifest["level"] == "tokens":
            count = manifest["tokens_total"]
            path = _checked(folder, "offsets", OFFSETS, manifest, checksums)
            with reading(path, AGAIN):
                offsets = np.load(path, allow_pickle=False)
        path, dtype = _checked(folder, "values", VALUES, manifest, checksums), DTYPES[manifest["dtype"]]
        if path.stat().st_size != count * manifest["dim"] * dtype.itemsize:
            raise bad_input("a feature file cut short, or longer than its manifest says", file=path, hint=AGAIN)
        shape = (count, manifest["dim"])
        # copy on write: torch takes no array that may not be written; an empty file cannot be mapped
        values = np.memmap(path, dtype=dtype, mode="c", shape=shape) if count and shape[1] else np.zeros(shape, dtype)
        return cls(folder, manifest, values, offsets)

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


def _checked(folder: Path, key: str, name: str, manifest: Mapping[str, Any], checksums: bool) -> Path:
    """A file of the store, which the manifest's checksum vouches for."""
    path = folder / name
    if not path.is_file():
        raise bad_input("a file of the feature store is missing", file=path, hint=AGAIN)
    if checksums and sha256_file(path) != manifest["sha256"].get(key):
        problem = "not the file that its manifest describes (SHA-256 differs): altered, damaged, or of another encoder"
        raise bad_input(problem, file=path, hint=AGAIN)
    return path
