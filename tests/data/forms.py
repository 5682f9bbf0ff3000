"""One corpus in every form that annotations may have: what a user gives, and the files by their names."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from fne.data.manifest import SPLITS

Image = tuple[str, str, list[str], list[int]]
"""File, split, captions and their ids."""
Form = tuple[str, dict[str, str]]


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def table(
    images: Sequence[Image],
    separator: str = ",",
    quote: Callable[[str], str] = quoted,
    header: Sequence[str] = ("image", "caption", "split"),
) -> str:
    """A row per caption; the split is left out where the header has no third name."""
    rows = [(quote(file), quote(text), split) for file, split, texts, _ in images for text in texts]
    return "\n".join(separator.join(row[: len(header)]) for row in [tuple(header), *rows]) + "\n"


def per_split(name: str, make: Callable[[list[Image]], str]) -> Callable[[Sequence[Image]], Form]:
    def form(images: Sequence[Image]) -> Form:
        parts = {split: [image for image in images if image[1] == split] for split in SPLITS}
        return name, {name.replace("{split}", split): make(part) for split, part in parts.items()}

    return form


def single(name: str, make: Callable[[Sequence[Image]], str]) -> Callable[[Sequence[Image]], Form]:
    return lambda images: (name, {name: make(images)})


def karpathy(images: Sequence[Image]) -> str:
    entries = []
    for number, (file, split, texts, ids) in enumerate(images):
        sentences = [{"raw": raw, "sentid": item, "imgid": number} for raw, item in zip(texts, ids, strict=True)]
        entries.append({"filename": file, "imgid": number, "split": split, "sentences": sentences})
    return json.dumps({"images": entries}, indent=1)


def albef(images: list[Image]) -> str:
    """A caption a row with the id of its image in train, a list of captions an image in val and test."""
    entries: list[dict[str, Any]] = []
    for file, split, texts, _ in images:
        whole = {"image": file, "caption": texts}
        entries += [{**whole, "caption": item, "image_id": f"coco_{file}"} for item in texts] if split == "train" else [
            whole]  # fmt: skip
    return json.dumps(entries)


def listed(images: Sequence[Image]) -> str:
    return json.dumps([{"image": file, "caption": texts, "split": split} for file, split, texts, _ in images])


def json_lines(images: Sequence[Image]) -> str:
    entries = [{"file_name": file, "text": text, "split": split} for file, split, texts, _ in images for text in texts]
    return "".join(json.dumps(entry) + "\n" for entry in entries)


def numbered(images: list[Image]) -> str:
    """Kaggle's ``results.csv``."""
    lines = [f"{file}| {k}| {text}\n" for file, _, texts, _ in images for k, text in enumerate(texts)]
    return "image_name| comment_number| comment\n" + "".join(lines)


def columns(images: Sequence[Image]) -> str:
    """A column for each of at most three captions, in another order."""
    lines = []
    for file, split, texts, _ in images:
        first, second, third = [*map(quoted, texts), "", ""][:3]
        lines.append(f"{file},{split},{second},{first},{third}\n")
    return "file_name,split,caption_1,caption_0,caption_10\n" + "".join(lines)


def json_cells(images: Sequence[Image]) -> str:
    """The table beside the pictures of nlphuji/flickr30k: captions and their ids as JSON lists."""
    lines = [f"{quoted(json.dumps(texts))},{quoted(json.dumps(ids))},{split},{file}\n"
             for file, split, texts, ids in images]  # fmt: skip
    return "raw,sentids,split,filename\n" + "".join(lines)


def token(images: list[Image]) -> str:
    return "".join(f"{file}#{k}\t{text}\r\n" for file, _, texts, _ in images for k, text in enumerate(texts))


def coco(images: list[Image]) -> str:
    notes = [{"id": item, "image_id": ids[0], "caption": text}
             for _, _, texts, ids in images for text, item in zip(texts, ids, strict=True)]  # fmt: skip
    places = [{"id": ids[0], "file_name": file} for file, _, _, ids in images]
    return json.dumps({"images": places, "annotations": notes})


FORMS: dict[str, Callable[[Sequence[Image]], Form]] = {
    "karpathy": single("dataset_tiny.json", karpathy),
    "albef": per_split("tiny_{split}.json", albef),
    "list": single("list.json", listed),
    "lines": single("metadata.jsonl", json_lines),
    "csv": single("pairs.csv", table),
    "renamed": single("renamed.csv", lambda images: table(images, header=("file_name", "sentences", "split"))),
    "tsv": single("pairs.tsv", lambda images: table(images, "\t", str)),
    "quoted tsv": single("quoted.tsv", lambda images: table(images, "\t")),
    "csv per split": per_split("pairs.{split}.csv", lambda images: table(images, header=("image", "caption"))),
    "captions.txt": per_split("captions_{split}.txt", lambda images: table(images, header=("image", "caption"))),
    "results.csv": per_split("results_{split}.csv", numbered),
    "columns": single("metadata.csv", columns),
    "json cells": single("cells.csv", json_cells),
    "token": per_split("{split}.token", token),
    "coco": per_split("captions_{split}2014.json", coco),
}
ONE_LINE = ("tsv", "results.csv", "token")
"""Forms in which a caption cannot go on over lines."""
WITH_IDS = ("karpathy", "json cells", "coco")
"""Forms that hold ids of captions."""
