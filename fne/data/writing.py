"""Writing a prepared data set: into a hidden folder first, the manifest last, nothing half-written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import PIL

import fne
from fne.data.manifest import NAME, SPLITS, Corpus, count_splits
from fne.data.truth import Truth, prevalence
from fne.utils import leftovers
from fne.utils.files import SCHEMAS, sha256_file, write_json


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
    corpus: Corpus,
    truths: dict[str, Truth],
    pixels: str,
    notes: dict[str, dict[str, Any]] | None = None,
) -> None:
    """Write the truth files and the manifest into ``temporary``.

    Args:
        temporary: Folder that :func:`staging` gave.
        folder: Final folder; its name is the ``data_id``.
        data: The resolved ``data`` section.
        root: Images folder, absolute or relative to the manifest's folder.
        corpus: Images and captions.
        truths: Ground truth per split.
        pixels: Digest of the contents of the image files, in order.
        notes: Further facts per split for the manifest's ``truth`` entry.
    """
    counts = count_splits(corpus.image_splits, corpus.caption_image)
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
            "images": {"id": corpus.image_ids, "file": corpus.image_files, "split": corpus.image_splits},
            "captions": {
                "id": corpus.caption_ids,
                "image": corpus.caption_image.tolist(),
                "text": corpus.texts,
                **({"sentid": corpus.sentids} if corpus.sentids else {}),
            },
            "truth": entries,
            "sha256": {**corpus.digests(), "pixels": pixels},
            "created": {"fne": fne.__version__, "numpy": np.__version__, "pillow": PIL.__version__},
        },
    )
