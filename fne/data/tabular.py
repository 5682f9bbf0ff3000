"""Reading flat annotation files: ALBEF's JSON lists, and CSV or TSV tables of (image, caption[, split]).

A file either names the split of every row, or there is one file per split (``..._{split}.json``).

Source: the fields are those of the retrieval files of ALBEF (Li et al. 2021) and of the CSV beside the pictures
of ``nlphuji/flickr30k``.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fne.data.items import Record, caption_text, image_file, split_of
from fne.utils.errors import bad_input

IMAGE = ("image", "filename", "file_name")
CAPTION = ("caption", "captions", "sentences", "sentences_raw", "raw")
IMAGE_ID = ("image_id", "img_id")
"""Names that a field may have, the first that is there counts."""

NO_SPLIT = "add a field `split`, or give one file per split: data.annotations=..._{split}.json"


def read_list(path: Path, stored: Sequence[Any], split: str | None) -> Iterator[Record]:
    """Check a list of ``{image, caption[, image_id][, split]}``; a caption is a text or a list of texts.

    Args:
        path: The file, for messages.
        stored: Its content.
        split: The split the whole file belongs to; None where each entry names its own.

    Raises:
        UserError: The first thing that cannot be used, with file, row and value.
    """
    if not stored:
        raise bad_input("holds no pair", file=path, key="data.annotations")
    for number, entry in enumerate(stored):
        if not isinstance(entry, dict):
            raise bad_input("not an entry", file=path, key=f"[{number}]", value=entry,
                            allowed="{image: ..., caption: ...}")  # fmt: skip
        yield to_record(path, f"[{number}]", entry, entry, split)


def read_table(path: Path, split: str | None) -> Iterator[Record]:
    """Read a CSV (or, by its suffix, TSV) file with a header; a column ``raw`` holds JSON lists of captions.

    Args:
        path: The file.
        split: The split the whole file belongs to; None where a column names it.

    Raises:
        UserError: The first thing that cannot be used, with file, line and value.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as handle:
            reader = csv.reader(handle, "excel-tab" if path.suffix == ".tsv" else "excel", strict=True)
            header = [name.strip() for name in next(reader, [])]
            pick(header, IMAGE, path, "line 1", "the image")
            pick(header, CAPTION, path, "line 1", "the caption")
            rows = 0
            for cells in reader:
                if not cells:
                    continue
                where, rows = f"line {reader.line_num}", rows + 1
                if len(cells) != len(header):
                    hint = "a caption with the separator in it must be quoted"
                    raise bad_input(f"{len(cells)} cells under {len(header)} columns", file=path, key=where,
                                    hint=hint)  # fmt: skip
                row: dict[str, Any] = dict(zip(header, cells, strict=True))
                for column in {"raw", "sentids"} & set(row):
                    row[column] = _json_list(row[column], path, f"{where}.{column}")
                yield to_record(path, where, row, header, split)
            if not rows:
                raise bad_input("holds no pair", file=path, key="data.annotations")
    except UnicodeDecodeError as error:
        raise bad_input(f"not UTF-8 text (byte {error.start})", file=path) from None
    except csv.Error as error:
        raise bad_input(f"not a readable table ({error})", file=path, key=f"line {reader.line_num}") from None


def _json_list(cell: str, path: Path, key: str) -> list[Any]:
    try:
        value = json.loads(cell)
    except json.JSONDecodeError:
        value = None
    if not isinstance(value, list):
        raise bad_input("not a JSON list", file=path, key=key, value=cell[:80])
    return value


def pick(fields: Iterable[str], names: Sequence[str], path: Path, where: str, what: str) -> str:
    """The first of ``names`` among the fields.

    Raises:
        UserError: None is there; lists the fields that are.
    """
    fields = list(fields)
    found = next((name for name in names if name in fields), None)
    if found is None:
        raise bad_input(f"no field holds {what}", file=path, key=where, value=", ".join(fields),
                        allowed=names, hint="rename the field that does")  # fmt: skip
    return found


def to_record(path: Path, where: str, row: Mapping[str, Any], fields: Iterable[str], split: str | None) -> Record:
    """Check one row.

    Args:
        path, where: File and row, for messages.
        row: The values by field.
        fields: The names of the fields.
        split: The split of the whole file, or None.

    Raises:
        UserError: A field is missing, a caption is empty, a path leads out of the folder of images, or the split
            is not known or not that of the file.
    """
    fields = list(fields)
    image = pick(fields, IMAGE, path, where, "the image")
    caption = pick(fields, CAPTION, path, where, "the caption")
    file = image_file(row[image], path, f"{where}.{image}", row.get("filepath"))
    texts = row[caption] if isinstance(row[caption], list) else [row[caption]]
    if not texts:
        raise bad_input(f"image {file} has no caption", file=path, key=f"{where}.{caption}")
    captions, sentids = [], row.get("sentids")
    for position, text in enumerate(texts):
        place = f"{where}.{caption}[{position}]" if isinstance(row[caption], list) else f"{where}.{caption}"
        captions.append(caption_text(text, file, path, place))
    named = split_of(row["split"], file, path, f"{where}.split") if "split" in fields else split
    if named is None:
        raise bad_input(f"{file} has no split", file=path, key=where, hint=NO_SPLIT)
    if split is not None and named != split:
        raise bad_input(f"the file of split {split!r} holds an image of another", file=path,
                        key=f"{where}.split", value=row["split"], allowed=[split])  # fmt: skip
    if not isinstance(sentids, list) or len(sentids) != len(captions):
        sentids = None
    identity = next((row[name] for name in IMAGE_ID if name in fields), None)
    return Record((path, where), file, named, captions, sentids, identity)
