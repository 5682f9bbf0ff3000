"""Embeddings, similarities and rankings that somebody else made: .npy, .npz, .safetensors, .parquet, .json, or arrays.

What a file holds its arrays' names say (see :data:`NAMES`); a file without names holds one array.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap

from fne.data.text_files import read_json, say_nearest
from fne.utils.arrays import check_npz
from fne.utils.errors import bad_input
from fne.utils.files import open_file, reading, sha256_bytes, sha256_file
from fne.utils.shape import ANY, check

NAMES = {
    "similarities": ("similarities", "similarity", "logits_per_image"),
    "images": ("images", "image", "image_embeds", "image_embeddings", "image_features"),
    "captions": ("captions", "caption", "text", "texts", "text_embeds", "text_embeddings", "text_features"),
    "i2t": ("i2t",),
    "t2i": ("t2i",),
}
"""What an array is, and the names that it may have, the first that is there counts."""
IDS = {"images": ("image_ids", "ids"), "captions": ("caption_ids", "text_ids", "ids")}
"""Names of the ids of its rows; ``ids`` in a file of one side alone."""
KNOWN = frozenset(name for of in (*NAMES.values(), *IDS.values()) for name in of)
FORMATS = ".npy, .npz, .safetensors, .parquet, or .json for rankings"
ROWS, MOST = 1 << 22, 1 << 32
"""Entries of an array that are looked at at once, and bytes to which a table may unpack."""


@dataclass(frozen=True)
class Stored:
    """One array.

    Args:
        array: (rows, columns); of a ``.npy`` file a memory map.
        ids: Of its rows; None where nothing says them.
        columns: Ids of its columns, where it holds similarities of images to captions; None as above.
        source: What to call it in a message.
        digest: SHA-256 of the file, or of kind, shape and bytes of the array.
        again: Opens the file anew, which frees the memory that reading a map takes; None where there is no map.
    """

    array: np.ndarray
    ids: list[Any] | None
    columns: list[Any] | None
    source: str
    digest: str
    again: Callable[[], np.ndarray] | None = None


def read(source: Any, kinds: Sequence[str], label: str) -> dict[str, Stored]:
    """What a source holds of these kinds, by kind.

    Args:
        source: Path of a file; an array or tensor, which is of the first kind; or a mapping of names to arrays.
        kinds: Of :data:`NAMES`; an array without a name is of the first.
        label: What to call it in a message.

    Raises:
        UserError: It cannot be read, holds none of these, or an array of another shape or kind of numbers.
    """
    if isinstance(source, str | os.PathLike):
        file = Path(source).expanduser()
        arrays, ids, digest = _of_file(file)
        label = str(file)
    else:
        given = source if isinstance(source, Mapping) else {"": source}
        arrays = {str(name): _to_numpy(array) for name, array in given.items()}
        ids, digest, file = None, "", None
    unknown = [name for name in arrays if name not in KNOWN]
    named = {kind: arrays[name] for kind in kinds for name in reversed(NAMES[kind]) if name in arrays}
    if not named and len(unknown) == 1:
        named = {kinds[0]: arrays[unknown[0]]}
    if not named:
        allowed = [NAMES[kind][0] for kind in kinds]
        raise bad_input("holds no such array", file=label, value=", ".join(arrays), allowed=allowed)
    result = {}
    for kind, array in named.items():
        _require_matrix(array, label, kind)
        sides = ("images", "captions") if kind == "similarities" else (kind,)
        known_ids = [_ids(arrays, side, len(named) == len(sides) == 1) for side in sides]
        known_ids[0] = ids if known_ids[0] is None else known_ids[0]
        for item, size in zip(known_ids, array.shape, strict=False):
            if item is not None and len(item) != size:
                raise bad_input(f"{len(item):,} ids of {size:,} items", file=label, key=kind)
        again = (lambda file=file: open_memmap(file, mode="r")) if isinstance(array, np.memmap) else None
        result[kind] = Stored(array, known_ids[0], known_ids[1] if len(known_ids) > 1 else None, label,
                              digest or digest_of(array), again)  # fmt: skip
    return result


def _ids(arrays: Mapping[str, np.ndarray], side: str, alone: bool) -> list[Any] | None:
    """Ids of the items of a side, among the arrays; ``ids`` where that side is alone."""
    name = next((name for name in IDS.get(side, ()) if name in arrays and (alone or name != "ids")), None)
    if name is None:
        return None
    ids = np.asarray(arrays[name])
    return (ids.astype(str) if ids.dtype.kind == "S" else ids).ravel().tolist()


def read_rankings(file: Path) -> tuple[dict[str, dict[str, list[Any]]], str]:
    """Ranked lists of ids by direction and query id, best first, and the digest of the file.

    Raises:
        UserError: It is not JSON ``{"i2t": {image id: [caption ids]}, "t2i": {caption id: [image ids]}}``.
    """
    stored = read_json(file)
    check(stored, {"i2t": {ANY: [{str, int}]}, "t2i": {ANY: [{str, int}]}}, file)
    return stored, sha256_file(file)


def require_finite(stored: Stored, what: str) -> None:
    """Refuse NaN and infinity, which no order can be made of.

    Raises:
        UserError: Names the first row, and how many there are.
    """
    step = max(1, ROWS // stored.array.shape[1])
    bad: list[int] = []
    array = stored.array
    for start in range(0, len(array), step):
        array = stored.again() if stored.again else array
        finite = np.isfinite(array[start : start + step]).all(axis=1)
        bad += (start + np.flatnonzero(~finite)).tolist()
    if bad:
        raise bad_input(f"{len(bad):,} of {len(array):,} {what} hold NaN or infinity", file=stored.source,
                        key=row_name(stored, bad[0]))  # fmt: skip


def row_name(stored: Stored, row: int) -> str:
    """How a message names a row."""
    return f"row {row}" + (f" (id {stored.ids[row]!r})" if stored.ids is not None else "")


def digest_of(array: np.ndarray) -> str:
    """SHA-256 of kind, shape and bytes of an array."""
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _to_numpy(array: Any) -> np.ndarray:
    """An array of an array or tensor; of bfloat16, which numpy has none of, in float32."""
    if hasattr(array, "detach"):
        array = array.detach().cpu()
        array = array.float() if str(array.dtype) == "torch.bfloat16" else array
    return np.asarray(array)


def _require_matrix(array: np.ndarray, source: str, key: str) -> None:
    if array.ndim != 2 or not array.size or array.dtype.kind not in "iuf":
        value = f"{array.dtype}, shape {array.shape}"
        raise bad_input(
            "not a table of numbers", file=source, key=key, value=value, allowed="numbers in two dimensions"
        )


def _of_file(file: Path) -> tuple[dict[str, np.ndarray], list[Any] | None, str]:
    """Its arrays by name, the ids of its rows where it has those of all, and its digest."""
    if not file.is_file():
        raise bad_input("no such file", file=file, hint=say_nearest(file))
    suffix = file.suffix.lower()
    read = {".npy": _npy, ".npz": _npz, ".safetensors": _safetensors, ".parquet": _parquet}.get(suffix)
    if read is None:
        raise bad_input("of no form that is read", file=file, value=suffix, allowed=FORMATS)
    with reading(file):
        arrays, ids = read(file)
    return arrays, ids, sha256_file(file)


def _npy(file: Path) -> tuple[dict[str, np.ndarray], None]:
    with open_file(file):
        return {"": open_memmap(file, mode="r")}, None


def _npz(file: Path) -> tuple[dict[str, np.ndarray], None]:
    check_npz(file, "save it again with np.savez")
    with np.load(file, allow_pickle=False) as stored:
        others = [name for name in stored.files if name not in KNOWN]
        chosen = [name for name in stored.files if name in KNOWN or len(others) == 1]
        return {name: stored[name] for name in chosen}, None


def _safetensors(file: Path) -> tuple[dict[str, np.ndarray], None]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="pt") as stored:
            return {name: _to_numpy(stored.get_tensor(name)) for name in stored.keys()}, None  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(str(error)) from None


def _parquet(file: Path) -> tuple[dict[str, np.ndarray], list[Any] | None]:
    """One column of lists, equally long, and one of ids."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    meta = pq.ParquetFile(file).metadata
    if sum(meta.row_group(group).total_byte_size for group in range(meta.num_row_groups)) > MOST:
        raise ValueError(f"it would unpack to more than {MOST:,} bytes")
    table = pq.read_table(file)
    lists = [name for name in table.column_names
             if pa.types.is_list(table[name].type) or pa.types.is_fixed_size_list(table[name].type)]  # fmt: skip
    if len(lists) != 1:
        raise ValueError(f"{len(lists)} columns of lists, where it must have one")
    column = table[lists[0]].combine_chunks()
    flat = column.flatten().to_numpy(zero_copy_only=False)
    if (
        column.null_count
        or not len(column)
        or len(flat) % len(column)
        or len({*column.value_lengths().to_pylist()}) > 1
    ):
        raise ValueError(f"the lists of column {lists[0]} are not equally long")
    known = ("id", "image_id", "caption_id", "image", "caption")
    name = next((name for name in known if name in table.column_names and name != lists[0]), None)
    return {"": flat.reshape(len(column), -1)}, None if name is None else table[name].to_pylist()


def combined_digest(parts: Sequence[str]) -> str:
    """One digest of several; of one, itself."""
    return parts[0] if len(parts) == 1 else sha256_bytes("".join(parts).encode())
