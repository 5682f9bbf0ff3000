"""The little corpus in every flat form that annotations may have."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from tests.data.conftest import Corpus

NAMES = {"train": "train", "restval": "train", "val": "val", "test": "test"}


def rows(corpus: Corpus) -> list[tuple[str, str, list[str]]]:
    """File, split and captions of every image."""
    return [
        (entry["filename"], NAMES[entry["split"]], [one["raw"] for one in entry["sentences"]])
        for entry in corpus.entries
    ]


def albef_per_split(corpus: Corpus) -> Path:
    """A caption a row with ids in train, a list of captions an image in val and test, as ALBEF's files have it."""
    for split in ("train", "val", "test"):
        chosen = [(place, row) for place, row in enumerate(rows(corpus)) if row[1] == split]
        entries: list[dict[str, Any]] = [
            {"image": file, "caption": caption, "image_id": f"coco_{place}"}
            for place, (file, _, captions) in chosen
            for caption in captions
        ]
        if split != "train":
            entries = [{"image": file, "caption": captions} for _, (file, _, captions) in chosen]
        (corpus.folder / f"tiny_{split}.json").write_text(json.dumps(entries))
    return corpus.folder / "tiny_{split}.json"


def albef_in_one(corpus: Corpus) -> Path:
    path = corpus.folder / "list.json"
    path.write_text(json.dumps([{"image": file, "caption": all, "split": split} for file, split, all in rows(corpus)]))
    return path


def table(corpus: Corpus, name: str = "pairs.csv", split: str | None = None, **columns: str) -> Path:
    """A row per caption; ``columns`` renames them."""
    path = corpus.folder / name
    header = [columns.get(column, column) for column in ("image", "caption", "split")]
    with open(path, "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle, "excel-tab" if path.suffix == ".tsv" else "excel")
        writer.writerow(header if split is None else header[:2])
        for file, named, captions in rows(corpus):
            for caption in captions:
                if split in (None, named):
                    writer.writerow([file, caption, named] if split is None else [file, caption])
    return path


def tables(corpus: Corpus) -> Path:
    for split in ("train", "val", "test"):
        table(corpus, f"pairs.{split}.csv", split)
    return corpus.folder / "pairs.{split}.csv"


def json_cells(corpus: Corpus) -> Path:
    """The table beside the pictures of nlphuji/flickr30k: captions and their ids as JSON lists."""
    path = corpus.folder / "annotations.csv"
    with open(path, "w", encoding="utf-8", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["raw", "sentids", "split", "filename", "img_id"])
        for place, (file, split, captions) in enumerate(rows(corpus)):
            ids = [one["sentid"] for one in corpus.entries[place]["sentences"]]
            writer.writerow([json.dumps(captions), json.dumps(ids), split, file, place])
    return path


MAKERS = [
    albef_per_split,
    albef_in_one,
    table,
    lambda corpus: table(corpus, "pairs.tsv"),
    lambda corpus: table(corpus, "renamed.csv", image="file_name", caption="sentences"),
    tables,
    json_cells,
]
