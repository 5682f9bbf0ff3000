"""Manifests: what they say about splits, and that an edited one is refused."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fne.data import writing
from fne.data.items import Item, equal_captions, view_of
from fne.data.manifest import Manifest
from fne.data.writing import staging, write_prepared
from fne.utils.errors import UserError


def edited(prepared: Path, folder: Path, change) -> Path:
    """A copy of the manifest with a change to its JSON."""
    content = json.loads((prepared / "manifest.json").read_text())
    change(content)
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(content))
    shutil.copy(prepared / "manifest.parquet", folder)
    return folder


def test_splits_partition_the_rows(prepared: Path) -> None:
    manifest = Manifest.load(prepared)
    split, texts, ids = (manifest.column(name) for name in ("split", "text", "id"))
    views = [manifest.split(name) for name in ("train", "val", "test")]
    assert np.concatenate([view.image_rows for view in views]).tolist() == list(range(440))
    assert np.concatenate([view.caption_rows for view in views]).tolist() == list(range(3 * 440))
    for view, n in zip(views, (240, 80, 120), strict=True):
        assert len(view.image_rows) == len(view.image_ids) == n
        assert {split[row] for row in view.image_rows} == {view.name}
        assert view.texts == [texts[row] for row in view.caption_rows]
        owners = view.image_rows[view.caption_image]
        assert view.caption_ids == [f"{ids[row]}#{number % 3}" for number, row in enumerate(owners)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c.update(schema=1),
            "schema: another schema; got 1; allowed: 2; prepare the data again: `fne prepare`",
        ),
        (lambda c: c.pop("splits"), "splits: entry is missing"),
        (lambda c: c["splits"].pop("val"), "val: entry is missing"),
        (lambda c: c["splits"]["train"].update(captions=719), "splits.train: counts other rows"),
    ],
)
def test_edited_index_is_refused(prepared: Path, tmp_path: Path, change, message: str) -> None:
    folder = edited(prepared, tmp_path / "edited", change)
    with pytest.raises(UserError, match=message) as caught:
        Manifest.load(folder).rows("train")
    assert str(folder / "manifest.json") in str(caught.value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda file: file.unlink(),
        lambda file: file.write_bytes(file.read_bytes()[:-50]),
        lambda file: file.write_bytes(file.read_bytes().replace(b"train", b"trail", 1)),
        lambda file: pq.write_table(pq.read_table(file).slice(1), file),
    ],
)
def test_altered_rows_are_refused_and_counts_need_none(prepared: Path, tmp_path: Path, damage) -> None:
    folder = edited(prepared, tmp_path / "edited", lambda content: None)
    damage(folder / "manifest.parquet")
    manifest = Manifest.load(folder)
    assert manifest.splits["val"] == {"images": 80, "captions": 240}
    for read in (lambda: manifest.rows("val"), lambda: manifest.split("test"), lambda: manifest.column("text")):
        with pytest.raises(UserError, match=r"manifest\.parquet: (no such file|not the rows .*cut short); prepare"):
            read()


def test_columns_are_those_that_were_prepared_in_whatever_groups(tmp_path: Path, monkeypatch) -> None:
    draw, folder = np.random.default_rng(0), tmp_path / "tiny-1"
    items = [
        Item(f"{row}.jpg", f"{row % 3}/{row}.jpg", split, [f"ω {row} {k}" for k in range(draw.integers(1, 5))])
        for split, count in (("train", 23), ("val", 5), ("test", 9))
        for row in range(count)
    ]
    monkeypatch.setattr(writing, "GROUP", 4)
    digests = set()
    for named in (None, lambda row: row, lambda row: f"s{row}"):
        rows = [replace(item, sentids=named and [named(row)] * len(item.captions)) for row, item in enumerate(items)]
        with staging(folder) as temporary:
            truths = {split: equal_captions(rows, split) for split in ("train", "val", "test")}
            write_prepared(temporary, folder, {"dataset": "tiny"}, "images", rows, truths, "0" * 64)
        manifest = Manifest.load(folder)
        assert pq.ParquetFile(folder / "manifest.parquet").num_row_groups == 6 + 2 + 3
        for split in ("train", "val", "test"):
            expected, result = (vars(view) for view in (view_of(rows, split), manifest.split(split)))
            for name, value in expected.items():
                assert np.array_equal(result[name], value) and type(result[name]) is type(value), name
        assert manifest.column("file") == [item.file for item in rows]
        digests.add((manifest.fingerprint("image"), manifest.fingerprint("text")))
    text = "".join(
        f"{item.filename}#{k}\x1f{row}\x1f{caption}\x1e"
        for row, item in enumerate(items)
        for k, caption in enumerate(item.captions)
    )
    assert manifest.sha256["captions"] == hashlib.sha256(text.encode()).hexdigest()
    assert len(digests) == 1, "ids of the annotation file are no part of any digest"


def test_truth_of_another_run_is_refused(prepared: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    shutil.copy(prepared / "manifest.json", folder)
    shutil.copy(prepared / "truth.val.npz", folder / "truth.test.npz")
    with pytest.raises(UserError, match="not the file the manifest was written with"):
        Manifest.load(folder).truth("test")


def test_fingerprints_follow_what_an_encoder_sees(prepared: Path, tmp_path: Path) -> None:
    manifest = Manifest.load(prepared)
    other_pixels = Manifest.load(edited(prepared, tmp_path / "a", lambda c: c["sha256"].update(pixels="0")))
    assert other_pixels.fingerprint("image") != manifest.fingerprint("image")
    assert other_pixels.fingerprint("text") == manifest.fingerprint("text")
    assert len({manifest.fingerprint(modality) for modality in ("image", "text")}) == 2
    with pytest.raises(KeyError):
        manifest.fingerprint("audio")
