"""Hugging Face data sets, saved to disk or as parquet, pictures inside or beside: the manifest of Karpathy's json."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fne.data import arrow
from fne.data.manifest import Manifest
from fne.steps import prepare
from fne.utils.errors import UserError
from tests.data.conftest import Corpus

FOLDER_OF = {"train": "train", "restval": "train", "val": "validation", "test": "test"}


def table_of(corpus: Corpus, keep: str | None = None, bytes_inside: bool = True) -> list[dict[str, Any]]:
    """Rows as of ``nlphuji/flickr30k``: picture, captions, their ids, file name, split."""
    return [
        {
            "image": {
                "bytes": (corpus.images / entry["filename"]).read_bytes() if bytes_inside else None,
                "path": f"/cache/of/somebody/{entry['filename']}",
            },
            "caption": [item["raw"] for item in entry["sentences"]],
            "sentids": [item["sentid"] for item in entry["sentences"]],
            "filename": entry["filename"],
            "split": entry["split"],
        }
        for entry in corpus.entries
        if keep in (None, FOLDER_OF[entry["split"]])
    ]


def without(rows: list[dict[str, Any]], *names: str, **changed: Any) -> list[dict[str, Any]]:
    return [{key: value for key, value in (row | changed).items() if key not in names} for row in rows]


def parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    import pyarrow
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path, row_group_size=2)
    return path


def saved(folder: Path, rows: list[dict[str, Any]], split: str | None = None, files: int = 1, **state: Any) -> Path:
    """As ``save_to_disk`` leaves a data set: Arrow streams, named by ``state.json``."""
    import pyarrow

    folder.mkdir(parents=True)
    names = [f"data-{number:05d}-of-{files:05d}.arrow" for number in range(files)]
    whole = pyarrow.Table.from_pylist(rows)
    for number, name in enumerate(names):
        part = whole.slice(number * -(-len(rows) // files), -(-len(rows) // files))
        with pyarrow.ipc.new_stream(folder / name, whole.schema) as stream:
            stream.write_table(part, max_chunksize=2)
    content = {"_data_files": [{"filename": name} for name in names], "_split": split, **state}
    (folder / "state.json").write_text(json.dumps(content))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def hub(corpus: Corpus) -> Path:
    """One parquet file per split, no column that names it."""
    for split in ("train", "validation", "test"):
        rows = without(table_of(corpus, split), "split")
        parquet(corpus.folder / "hub" / "data" / f"{split}-00000-of-00001.parquet", rows)
    return corpus.folder / "hub"


def hub_of_one_name(corpus: Corpus) -> Path:
    """All rows in files named ``test``; the column ``split`` is what counts, as in ``nlphuji/flickr30k``."""
    rows = table_of(corpus)
    parquet(corpus.folder / "hub" / "TEST" / "test-00000-of-00002.parquet", rows[:4])
    parquet(corpus.folder / "hub" / "TEST" / "test-00001-of-00002.parquet", rows[4:])
    return corpus.folder / "hub"


def dict_on_disk(corpus: Corpus) -> Path:
    """A ``DatasetDict``, with an intermediate result of ``map`` left in it."""
    for split in ("train", "validation", "test"):
        saved(corpus.folder / "saved" / split, without(table_of(corpus, split), "split"), split, files=2)
    (corpus.folder / "saved" / "train" / "cache-0123.arrow").write_bytes(b"not data")
    (corpus.folder / "saved" / "dataset_dict.json").write_text('{"splits": ["train", "validation", "test"]}')
    return corpus.folder / "saved"


def caption_a_row(corpus: Corpus) -> Path:
    """A row per caption, its picture repeated, as in ``phiyodr/flickr30k_long``; names only in the pictures."""
    rows = [
        row | {"caption": caption, "sentids": None}
        for row in without(table_of(corpus), "filename", "sentids")
        for caption in row["caption"]
    ]
    return parquet(corpus.folder / "long" / "data.parquet", rows)


def structs(corpus: Corpus) -> Path:
    """Captions as structs, as in COCO sets made of Karpathy's json; ``filepath`` names a folder of elsewhere."""
    rows = []
    for row in table_of(corpus):
        sentences = [
            {"raw": item, "sentid": sentid} for item, sentid in zip(row["caption"], row["sentids"], strict=True)
        ]
        rows.append(without([row], "caption", "sentids")[0] | {"sentences": sentences, "filepath": "val2014"})
    return parquet(corpus.folder / "structs" / "data.parquet", rows)


def beside(corpus: Corpus) -> Path:
    """No picture inside; files named in a column."""
    return parquet(corpus.folder / "beside" / "data.parquet", without(table_of(corpus), "image"))


INSIDE = [hub, hub_of_one_name, dict_on_disk, caption_a_row, structs]


def prepared(corpus: Corpus, annotations: Path, images: Path | None, name: str = "tiny-2") -> Manifest:
    folder = corpus.folder / "resources" / name
    data = {"annotations": str(annotations), "images": str(images) if images else None}
    prepare.run(corpus.data | data, folder)
    return Manifest.load(folder)


@pytest.mark.parametrize("make", [*INSIDE, beside])
def test_every_layout_gives_the_manifest_of_karpathys(corpus: Corpus, make) -> None:
    corpus.write()
    expected = prepared(corpus, corpus.file, corpus.images, "tiny-1")
    result = prepared(corpus, make(corpus), corpus.images if make is beside else None)
    for modality in ("image", "text"):
        assert result.fingerprint(modality) == expected.fingerprint(modality)
    for column in ("caption_id", "text"):
        assert result.column(column) == expected.column(column)
    for split in ("train", "test"):
        sentids = None if make is caption_a_row else expected.split(split).sentids
        assert result.split(split).sentids == sentids
    if make is not beside:
        assert result.root == corpus.folder / "resources/tiny-2/images"
        assert sorted(path.name for path in result.root.iterdir()) == sorted(expected.column("id"))
        for path, original in zip(result.image_paths(), expected.image_paths(), strict=True):
            assert path.read_bytes() == original.read_bytes()


def refused(corpus: Corpus, annotations: Path, message: str, images: Path | None = None) -> None:
    with pytest.raises(UserError, match=message):
        prepared(corpus, annotations, images)
    left = corpus.folder / "resources"
    assert not left.exists() or not list(left.iterdir())


def test_a_data_file_that_is_missing(corpus: Corpus) -> None:
    folder = dict_on_disk(corpus)
    (folder / "train" / "data-00001-of-00002.arrow").unlink()
    refused(corpus, folder, "data-00001-of-00002.arrow: not a readable data file")


@pytest.mark.parametrize("make", [hub, dict_on_disk])
@pytest.mark.parametrize("share", [0.0, 0.6])
def test_a_data_file_that_is_cut_short(corpus: Corpus, make, share: float) -> None:
    folder = make(corpus)
    path = arrow.data_files(folder)[0][0]
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    refused(corpus, folder, rf"{path.name}: not a readable data file \(.*\); is it complete\?")


def named(**names: str) -> Callable[[list[dict[str, Any]]], object]:
    """Give rows, by ``row<number>``, other names of files."""
    return lambda rows: [rows[int(row[3:])].update(filename=name) for row, name in names.items()]


def inside(number: int, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[list[dict[str, Any]]], object]:
    return lambda rows: rows[number]["image"].update(change(rows[number]["image"]))


def dropped(*names: str) -> Callable[[list[dict[str, Any]]], object]:
    return lambda rows: [row.pop(name) for row in rows for name in names]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda rows: [row.update(alt_text=row.pop("caption")) for row in rows],
         "columns: no field holds the caption; got '.*alt_text.*'; allowed: caption"),
        (dropped("image", "filename"), "columns: no field holds the image"),
        (inside(2, lambda image: {"bytes": None}), "row 2.image: a row has no picture; got 'picture2.jpg'"),
        (inside(2, lambda image: {"bytes": image["bytes"][:300]}),
         "1 of 6 images are unreadable or cut short: picture2.jpg"),
        (named(row4="picture1.jpg"), "row 4.image: two pictures have one name; got 'picture1.jpg'"),
        *((named(row2=name), "row 2.image: leaves the images folder") for name in ("../picture2.jpg", "/../x.jpg")),
        (lambda rows: [rows[0].update(filename=None)], "row 0.image: not a file name"),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_used(corpus: Corpus, edit: Callable[[list[dict[str, Any]]], object], message: str) -> None:
    rows, corpus.data["counts"] = table_of(corpus), None
    edit(rows)
    # the name speaks of two splits, and so of none
    refused(corpus, parquet(corpus.folder / "p" / "train-and-test.parquet", rows).parent, message)


def test_pictures_of_one_name_in_two_folders_are_two(corpus: Corpus) -> None:
    rows = table_of(corpus)
    for number, place in ((1, "/cache/a"), (3, "b")):
        rows[number]["filename"] = f"{place}/same.jpg"
    manifest = prepared(corpus, parquet(corpus.folder / "p" / "x.parquet", rows), None)
    assert manifest.column("id") == manifest.column("file")
    assert manifest.column("id")[:3] == ["cache/a/same.jpg", "b/same.jpg", "picture4.jpg"]
    assert [file.read_bytes() for file in manifest.image_paths()[:3]] == [rows[n]["image"]["bytes"] for n in (1, 3, 4)]


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_dictionaries_large_types_and_columns_of_another_type(tmp_path: Path, suffix: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    def written(**columns: Any) -> Path:
        names = [f"{number}.jpg" for number in range(6)]
        table = pa.table({"image": names, "caption": ["a"] * 6, "split": ["train", "val", "test"] * 2} | columns)
        if suffix == ".parquet":
            pa.parquet.write_table(table, tmp_path / f"x{suffix}", compression="zstd")
        else:
            with pa.ipc.new_stream(tmp_path / f"x{suffix}", table.schema) as stream:
                stream.write_table(table)
        return tmp_path / f"x{suffix}"

    texts = pa.array([f"a man {number % 2}" for number in range(6)])
    for values in (texts, texts.cast(pa.large_string()), texts.dictionary_encode()):
        records, _ = arrow.read(written(caption=values, image_id=pa.array(range(6), pa.uint16())))
        assert [record.captions for record in records] == [["a man 0"], ["a man 1"]] * 3
        assert [record.image_id for record in records] == list(range(6))
    late = pa.array([2**62] * 6, pa.timestamp("us"))
    for column in ("image", "caption", "split", "sentids"):
        for values in (late, late.dictionary_encode(), pa.array([b"a"] * 6), pa.array([[["a"]]] * 6)):
            if column == "sentids":
                values = pa.ListArray.from_arrays(range(7), late)
            with pytest.raises(UserError, match=rf"x{suffix}: "):
                arrow.read(written(**{column: values}))


def test_a_group_of_rows_that_would_unpack_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parquet(tmp_path / "x.parquet", [{"image": "a.jpg", "caption": "x" * 5000, "split": "val"}] * 2)
    monkeypatch.setattr(arrow, "MOST", 1000)
    with pytest.raises(UserError, match="x.parquet: not a readable data file .a group of rows of more than 1000 bytes"):
        arrow.read(tmp_path / "x.parquet")
