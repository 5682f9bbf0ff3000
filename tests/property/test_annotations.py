"""Annotations, judgements, relevance, ratings with one change, or garbage: read, or one error that names the file."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fne.data import arrow, readers
from fne.data.items import to_corpus
from fne.data.manifest import SPLITS, Manifest
from fne.data.writing import staging, write_prepared
from fne.utils.errors import UserError
from tests.data import forms

FRAGMENTS = [
    "null", "true", "[]", "{}", '""', '" "', "-1", "1e999", "NaN", "0", "9" * 5000, "[" * 100_000, '{"a":' * 20_000,
    '"\\ud800"', '"\\u0000"', '"../x.jpg"', '"/x.jpg"', "x" * 140_000, '"' + "x" * 300 + '.jpg"', "\0", "\x1f", "\t",
    "\n", "\r", "\u2028", ",", "|", '"', '"a', "#", "#1", "val", "TEST", "ä", "é", "３", "０1", "[1, 2]", '[["a"]]',
    '{"raw": 1}', "images", "annotations", "caption", "image", "split", "train", "4.9", "inf",
]  # fmt: skip
"""What takes the place of a word, a number or a text."""
ENCODINGS = ["utf-8-sig", "utf-16", "utf-16-be", "utf-32", "latin-1", "utf-7", "cp500"]


IMAGES = [(f"{number}.jpg", split, [f"a man {number} .", f'says "hello {number}"'], [10 * number, 10 * number + 1])
          for number, split in enumerate(SPLITS * 2)]  # fmt: skip
FORMS = {name: make(IMAGES) for name, make in forms.FORMS.items()}


@st.composite
def changed(draw: st.DrawFn, content: bytes) -> bytes:
    """A file with one change; once in five times it is garbage."""
    kind = draw(st.sampled_from(["garbage", "byte", "line", "word", "key", "encoding", *["word"] * 4]))
    place = draw(st.integers(0, max(0, len(content) - 1)))
    if kind == "garbage":
        return draw(st.one_of(st.binary(max_size=80), st.text(max_size=80).map(lambda t: t.encode(errors="replace"))))
    if kind == "byte":
        new = draw(st.sampled_from([b"", b"\0", b"\xff", b"\xed\xa0\x80", b'"', b"\n", b"\r", b"\t", b"\xef\xbb\xbf"]))
        return content[:place] + new + content[place + draw(st.integers(0, 3)) :]
    text = content.decode()
    if kind == "encoding":
        return text.encode(draw(st.sampled_from(ENCODINGS)), errors="replace")
    if kind == "line":
        lines = text.splitlines(keepends=True)
        at, other = draw(st.integers(0, len(lines) - 1)), draw(st.integers(0, len(lines) - 1))
        action = draw(st.sampled_from(["twice", "gone", "swapped", "cut"]))
        if action == "cut":
            return content[:place]
        if action == "swapped":
            lines[at], lines[other] = lines[other], lines[at]
        else:
            lines[at : at + 1] = [lines[at]] * (2 if action == "twice" else 0)
        return "".join(lines).encode()
    pattern = r'"\w+": ' if kind == "key" and '": ' in text else r'"[^"\n]*"|[\w.]+|[^\w\s]'
    result = draw(st.sampled_from(list(re.finditer(pattern, text))))
    new = result[0] + f"{draw(st.sampled_from(FRAGMENTS))}, {result[0]}" if kind == "key" else draw(
        st.sampled_from(FRAGMENTS))  # fmt: skip
    return (text[: result.start()] + new + text[result.end() :]).encode("utf-8", errors="surrogatepass")


def outcome(act: Callable[[], Any], folder: Path) -> str:
    """Empty where it worked, else the one error, which names a file and is no wall of text."""
    try:
        act()
    except UserError as error:
        said = str(error)
        assert str(folder) in said and len(said) < 150_000, said[:500]
        return said
    return ""


def prepare(folder: Path, name: str, judgements: dict[str, str | None]) -> None:
    """All that ``prepare`` does but for reading pictures."""
    path = folder / name
    items, inside = readers.read_annotations(path, "custom")
    corpus = to_corpus(items)
    truths = readers.known_truths(items, judgements, path)
    with staging(folder / "prepared") as temporary:
        if inside:
            (temporary / "images").mkdir()
            arrow.write_pictures(path, items, temporary / "images")
        data = {"dataset": "custom"}
        write_prepared(temporary, folder / "prepared", data, "images", corpus, truths, "0" * 64)
    manifest = Manifest.load(folder / "prepared")
    for split in SPLITS:
        pairs = manifest.truth(split).pairs
        own = manifest.split(split).caption_image
        assert set(zip(own.tolist(), range(len(own)), strict=True)) <= set(map(tuple, pairs.tolist()))
    assert all(file and ".." not in file.split("/") and file[0] != "/" for file in manifest.image_files)
    assert inside is False or all(file.is_file() for file in manifest.image_paths())


def write(folder: Path, files: dict[str, str], name: str, content: bytes) -> None:
    for other, text in files.items():
        (folder / other).write_bytes(text.encode())
    (folder / name).write_bytes(content)


@pytest.mark.parametrize("form", FORMS)
@given(data=st.data())
def test_annotations(form: str, data: st.DataObject) -> None:
    given_name, files = FORMS[form]
    name = data.draw(st.sampled_from(sorted(files)))
    content = data.draw(changed(files[name].encode()))
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), files, name, content)
        outcome(lambda: prepare(Path(folder), given_name, {}), Path(folder))


@pytest.mark.parametrize("form", FORMS)
def test_the_files_that_are_changed_are_valid(form: str, tmp_path: Path) -> None:
    write(tmp_path, FORMS[form][1], *[(name, text.encode()) for name, text in FORMS[form][1].items()][0])
    prepare(tmp_path, FORMS[form][0], {})
    manifest = Manifest.load(tmp_path / "prepared")
    assert (len(manifest.image_ids), len(manifest.texts)) == (6, 12)
    assert manifest.texts[1].endswith('says "hello 0"')


JUDGED = {
    "crowdflower": "2.jpg\t5.jpg#0\t1\t3\t0\n5.jpg\t2.jpg#1\t0.333\t1\t2\n5.jpg\t5.jpg#1\t1\t3\t0\n",
    "expert": "2.jpg\t5.jpg#0\t4\t3\t4\n5.jpg\t2.jpg#1\t1\t1\t2\n",
}


@pytest.mark.parametrize("kind", JUDGED)
@given(data=st.data())
def test_judgements(kind: str, data: st.DataObject) -> None:
    content = data.draw(changed(JUDGED[kind].encode()))
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), FORMS["list"][1], f"{kind}.txt", content)
        given_files: dict[str, str | None] = {kind: f"{folder}/{kind}.txt"}
        outcome(lambda: prepare(Path(folder), "list.json", given_files), Path(folder))


CAPTIONED = {
    "dataset_tiny.json": forms.karpathy(
        [(f"COCO_val2014_{number:012d}.jpg", *image[1:]) for number, image in enumerate(IMAGES)]
    )
}


def matched() -> dict[str, str]:
    """Relevance files and ratings of the corpus in Karpathy's schema."""
    head = "caption,image,agg_score,sampling_method\n"
    row = "COCO_val2014:sentid:{},COCO_val2014_{:012d}.jpg,{},c2i\n".format
    return {
        "eccv_image_to_caption.json": json.dumps({"2": [20, 50], "5": [51]}),
        "eccv_caption_to_image.json": json.dumps({"20": [2, 5], "51": [5]}),
        "sits_val.csv": head + row(10, 1, 5) + row(10, 4, 3.5) + row(41, 1, 0),
        "sits_test.csv": head + row(20, 2, 5) + row(20, 5, 3.5) + row(51, 2, 0),
    }


@pytest.mark.parametrize("name", matched())
@given(data=st.data())
def test_relevance_and_ratings(name: str, data: st.DataObject) -> None:
    content = data.draw(changed(matched()[name].encode()))
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), matched() | CAPTIONED, name, content)
        section = {"dataset": "custom", "annotations": f"{folder}/dataset_tiny.json"}
        outcome(lambda: readers.require_matched(section, {"eccv": folder}, folder), Path(folder))


def test_the_files_of_relevance_and_ratings_are_valid(tmp_path: Path) -> None:
    for name, text in (matched() | CAPTIONED).items():
        (tmp_path / name).write_text(text)
    section = {"dataset": "custom", "annotations": str(tmp_path / "dataset_tiny.json")}
    readers.require_matched(section, {"eccv": str(tmp_path)}, str(tmp_path))


VALUES = st.sampled_from(
    [None, "", " ", "0.jpg", "../x", "/x/0.jpg", "a/0.jpg", "x" * 300, "\0", "ä.jpg", "val", "Train", b"", b"picture"]
)


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@given(data=st.data())
def test_columnar_files(suffix: str, data: st.DataObject) -> None:
    """A value is another one, a column is gone, twice or of another type, or bytes of the file are others."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    cells: dict[str, list[Any]] = {
        "image": [{"bytes": file.encode(), "path": f"/cache/{file}"} for file, *_ in IMAGES],
        "caption": [texts for _, _, texts, _ in IMAGES],
        "split": [split for _, split, *_ in IMAGES],
    }
    kind, number = data.draw(st.sampled_from(["value", "column", "type", "bytes"])), data.draw(st.integers(0, 5))
    names, column = list(cells), data.draw(st.sampled_from(list(cells)))
    if kind == "value" and column == "image":
        cells["image"][number] = data.draw(
            st.sampled_from([None, {"bytes": b"other", "path": "1.jpg"}, {"bytes": None, "path": "x"},
                             {"bytes": b"x", "path": None}, {"bytes": b"x", "path": "a/b/../c"}])
        )  # fmt: skip
    elif kind == "value":
        value = data.draw(VALUES.filter(lambda one: not isinstance(one, bytes)))
        cells[column][number] = value if column == "split" else [value]
    elif kind == "type":
        other = pa.array([2**62] * 6, data.draw(st.sampled_from([pa.timestamp("us"), pa.duration("s"), pa.uint64()])))
        twice = pa.StructArray.from_arrays(
            [pa.array(["a"] * 6), other], ["raw", data.draw(st.sampled_from(["raw", "b"]))]
        )
        picture = pa.StructArray.from_arrays(
            data.draw(st.permutations([pa.array(["a"] * 6), other])), ["bytes", "path"]
        )
        lists = pa.ListArray.from_arrays(range(7), data.draw(st.sampled_from([other, twice])))
        cells[column] = data.draw(
            st.sampled_from([[1] * 6, [None] * 6, [b"\xff"] * 6, [[{"raw": 1}]] * 6, [1.5] * 6, [["x" * 10**6]] * 6,
                             other, other.dictionary_encode(), twice, picture, lists])
        )  # fmt: skip
    columns, arrays = names, [pa.array(cells[name]) for name in names]
    if kind == "column":
        at = names.index(column)
        twice = data.draw(st.booleans())
        columns, arrays = ([*names, column], [*arrays, arrays[at]]) if twice else (
            names[:at] + names[at + 1 :], arrays[:at] + arrays[at + 1 :])  # fmt: skip
    if data.draw(st.booleans()):
        arrays = [item.cast(pa.binary()).view(pa.string()) if item.type == pa.binary() else item for item in arrays]
    whole = pa.Table.from_arrays(arrays, names=columns)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{suffix}"
        if suffix == ".parquet":
            pyarrow.parquet.write_table(whole, path)
        else:
            with pa.ipc.new_stream(path, whole.schema) as stream:
                stream.write_table(whole)
        if kind == "bytes":
            content = path.read_bytes()
            place = data.draw(st.integers(0, len(content) - 1))
            path.write_bytes(content[:place] + data.draw(st.binary(max_size=4)) + content[place + 4 :])
        outcome(lambda: prepare(Path(folder), path.name, {}), Path(folder))


UNITS = ['"', '""', '","', '"\t"', "\n", "a,", "a\t", "{", '{"a":1}\n', "[[", '"a":', "x#0\ty\n", "é", 'a.jpg,"b\n']


@pytest.mark.parametrize("unit", UNITS)
def test_a_megabyte_of_one_thing_is_answered(tmp_path: Path, unit: str) -> None:
    """Repetitions that backtracking or quadratic readers would choke on."""
    text = unit * (1_000_000 // len(unit))
    heads = ("", "image,caption,split\n", "image\tcaption\tsplit\n", '{"image": [', "image,caption,split\n")
    for name, head in zip(("x.csv", "x.txt", "x.tsv", "x.json", "x.jsonl"), heads, strict=True):
        (tmp_path / name).write_text(head + text)
        assert len(outcome(partial(readers.read_annotations, tmp_path / name, "custom"), tmp_path)) in range(20, 2000)
