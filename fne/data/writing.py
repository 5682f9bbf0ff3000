"""Writing a prepared data set: into a hidden folder first, the manifest last, nothing half-written."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import PIL

import fne
from fne.data.items import Item
from fne.data.manifest import NAME, ROWS, SPLITS, digest_rows
from fne.data.truth import Truth, prevalence
from fne.utils import leftovers
from fne.utils.files import SCHEMAS, sha256_file, write_json

GROUP = 8192
"""Images that are written and read at once."""


@contextmanager
def staging(folder: str | Path) -> Iterator[Path]:
    """Yield a hidden folder; on success its entries take their places in ``folder``, the manifest last.

    Other entries of ``folder`` (encoders, features) stay; an old manifest is removed before anything is
    replaced.
    """
    folder = Path(folder)
    temporary = leftovers.temporary(folder)
    temporary.mkdir()
    try:
        yield temporary
        folder.mkdir(exist_ok=True)
        (folder / NAME).unlink(missing_ok=True)
        for entry in sorted(temporary.iterdir(), key=lambda entry: entry.name == NAME):
            target = folder / entry.name
            if target.is_dir():
                shutil.rmtree(target)
            os.replace(entry, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_prepared(
    temporary: Path,
    folder: Path,
    data: dict[str, Any],
    root: str,
    items: Sequence[Item],
    truths: dict[str, Truth],
    pixels: str,
    notes: dict[str, dict[str, Any]] | None = None,
) -> None:
    """Write the truth files, the rows and the manifest into ``temporary``.

    Args:
        temporary: Folder that :func:`staging` gave.
        folder: Final folder; its name is the ``data_id``.
        data: The resolved ``data`` section.
        root: Images folder, absolute or relative to the manifest's folder.
        items: Images with their captions, grouped as train, val, test.
        truths: Ground truth per split.
        pixels: Digest of the contents of the image files, in order.
        notes: Further facts per split for the manifest's ``truth`` entry.
    """
    counts = {split: {"images": 0, "captions": 0} for split in SPLITS}
    for item in items:
        counts[item.split]["images"] += 1
        counts[item.split]["captions"] += len(item.captions)
    write_rows(temporary / ROWS, items)
    entries = {}
    for split in SPLITS:
        truth, file = truths[split], f"truth.{split}.npz"
        truth.save(temporary / file)
        images, captions = counts[split]["images"], counts[split]["captions"]
        entries[split] = {
            "file": file,
            "kind": truth.kind,
            "sha256": sha256_file(temporary / file),
            "prevalence": prevalence(truth.n_pairs, images, captions),
            "queries": {"i2t": len(truth.image_queries), "t2i": len(truth.caption_queries)},
            **(notes or {}).get(split, {}),
        }
    write_json(
        temporary / NAME,
        {
            "schema": SCHEMAS["manifest"],
            "dataset": data["dataset"],
            "data_id": folder.name,
            "data": data,
            "root": root,
            "splits": counts,
            "truth": entries,
            "sha256": {**digests_of(items), "pixels": pixels, "rows": sha256_file(temporary / ROWS)},
            "created": {"fne": fne.__version__, "numpy": np.__version__, "pillow": PIL.__version__},
        },
    )


def digests_of(items: Sequence[Item]) -> dict[str, str]:
    """Of the rows of images (id, file, split), and of those of captions (id, row of the image, text)."""
    captions = (
        (name, row, text)
        for row, item in enumerate(items)
        for name, text in zip(item.caption_ids(), item.captions, strict=True)
    )
    images = ((item.filename, item.file, item.split) for item in items)
    return {"images": digest_rows(images), "captions": digest_rows(captions)}


def write_rows(file: Path, items: Sequence[Item]) -> None:
    """Write the rows of a manifest (:data:`fne.data.manifest.COLUMNS`), :data:`GROUP` images at a time.

    A group of rows holds images of one split only. Equal items give equal bytes.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = pa.list_(pa.string())
    fields = {"id": pa.string(), "file": pa.string(), "split": pa.string(), "captions": pa.int32(), "caption_id": texts,
              "text": texts}  # fmt: skip
    if all(item.sentids is not None for item in items):
        numbers = all(type(sentid) is int for item in items for sentid in item.sentids or ())
        fields["sentid"] = pa.list_(pa.int64() if numbers else pa.string())
    with pq.ParquetWriter(file, pa.schema(fields), compression="zstd", use_dictionary=["split"]) as writer:
        for _, of_split in itertools.groupby(items, lambda item: item.split):
            while group := list(itertools.islice(of_split, GROUP)):
                columns: dict[str, list[Any]] = {
                    "id": [item.filename for item in group],
                    "file": [item.file for item in group],
                    "split": [item.split for item in group],
                    "captions": [len(item.captions) for item in group],
                    "caption_id": [item.caption_ids() for item in group],
                    "text": [item.captions for item in group],
                }
                if "sentid" in fields:
                    as_field = int if fields["sentid"].value_type == pa.int64() else str
                    columns["sentid"] = [list(map(as_field, item.sentids or ())) for item in group]
                writer.write_table(pa.table(columns, schema=writer.schema))
