"""The file of a run's picks, ``picks.npz``: one row per anchor and negative, column by column (torch-free)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import ArrayLike

from fne.utils.errors import bad_input
from fne.utils.files import DAMAGED, atomic_path

COLUMNS: dict[str, type] = {
    "seed": np.int32,
    "epoch": np.int16,
    "step": np.int32,
    "direction": np.int8,
    "anchor": np.int32,
    "candidate": np.int32,
    "similarity": np.float32,
    "positive_similarity": np.float32,
    "posterior": np.float32,
    "weight": np.float32,
    "from_queue": np.int8,
    "age": np.int32,
    "false_negative": np.int8,
}
"""Columns and their types. ``epoch`` and ``step`` count from 0, through warm-up too. ``direction`` 0: the anchor is an
image and the candidate a caption; 1: the other way round; both are positions within the training split. ``posterior``
and ``weight`` are NaN where the rule has none, or where a kernel multiplied and selected. ``age``: steps since the
candidate entered the queue; -1: it is of the batch. ``false_negative``: 1 known to be relevant to its anchor, 0 known
not to be, -1 not known."""
ROW_BYTES = sum(np.dtype(kind).itemsize for kind in COLUMNS.values())
"""Bytes of a row before compression."""
BOUNDS = {"direction": (0, 1), "anchor": (0, None), "candidate": (0, None), "false_negative": (-1, 1)}
"""Least and greatest value of some columns."""
ADDED = {"age": -1}
"""Columns that older files lack, and what stands for them."""


def write(path: str | Path, columns: Mapping[str, np.ndarray]) -> int:
    """Write the picks, compressed; equal picks give equal bytes.

    Args:
        path: The file.
        columns: Every column of :data:`COLUMNS`, (P,) each.

    Returns:
        Bytes of the file.
    """
    with atomic_path(path) as temporary, open(temporary, "wb") as handle:
        dump(handle, columns)
    return Path(path).stat().st_size


def dump(handle: IO[bytes], columns: Mapping[str, ArrayLike]) -> None:
    """Write the picks into an open file; see :func:`write`."""
    arrays: dict[str, Any] = {name: np.asarray(columns[name]).astype(kind) for name, kind in COLUMNS.items()}
    np.savez_compressed(handle, **arrays)


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Read a file of picks, column by column, in the order of :data:`COLUMNS`.

    Raises:
        UserError: It is missing, cut short or damaged, a column is missing, or columns differ in length or hold values
            that cannot be.
    """
    hint = "delete its folder and train this variant again"
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = {name: stored[name] for name in stored.files}
    except FileNotFoundError:
        raise bad_input("no such file", file=path, hint=hint) from None
    except DAMAGED as error:
        raise bad_input(f"damaged or cut short ({error})", file=path, hint=hint) from None
    rows = len(found["seed"]) if "seed" in found and found["seed"].ndim == 1 else 0
    columns = {}
    for name, kind in COLUMNS.items():
        if name in ADDED and name not in found:
            found[name] = np.full(rows, ADDED[name], kind)
        if name not in found:
            raise bad_input("column is missing", file=path, key=name, hint=hint)
        if found[name].shape != (rows,):
            raise bad_input("columns differ in length", file=path, key=name, value=found[name].shape, hint=hint)
        if not np.can_cast(found[name].dtype, kind, "same_kind"):
            raise bad_input("wrong type", file=path, key=name, value=str(found[name].dtype), hint=hint)
        columns[name] = found[name].astype(kind, copy=False)
    for name, (least, greatest) in BOUNDS.items():
        odd = columns[name][(columns[name] < least) | (columns[name] > (greatest if greatest is not None else np.inf))]
        if len(odd):
            allowed = f"{least} to {greatest}" if greatest is not None else f">= {least}"
            raise bad_input("impossible value", file=path, key=name, value=int(odd[0]), allowed=allowed, hint=hint)
    return columns
