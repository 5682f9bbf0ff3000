"""Annotations, judgements, relevance, ratings with one change, or garbage: read, or one error that names the file."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fne.data import arrow, readers
from fne.data.manifest import SPLITS, Manifest
from fne.data.writing import staging, write_prepared
from fne.utils.errors import UserError
from tests.data import forms
from tests.property.damage import changed, of_bytes

IMAGES = [(f"{number}.jpg", split, [f"a man {number} .", f'says "hello {number}"'], [10 * number, 10 * number + 1])
          for number, split in enumerate(SPLITS * 2)]  # fmt: skip
SEEDS = st.integers(0, 2**32 - 1)
FORMS = {name: make(IMAGES) for name, make in forms.FORMS.items()}


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
    truths = readers.known_truths(items, judgements, path)
    with staging(folder / "prepared") as temporary:
        if inside:
            (temporary / "images").mkdir()
            arrow.write_pictures(path, items, temporary / "images")
        data = {"dataset": "custom"}
        write_prepared(temporary, folder / "prepared", data, "images", items, truths, "0" * 64)
    manifest = Manifest.load(folder / "prepared")
    for split in SPLITS:
        pairs = manifest.truth(split).pairs
        own = manifest.split(split).caption_image
        assert set(zip(own.tolist(), range(len(own)), strict=True)) <= set(map(tuple, pairs.tolist()))
    assert all(file and ".." not in file.split("/") and file[0] != "/" for file in manifest.column("file"))
    assert inside is False or all(file.is_file() for file in manifest.image_paths())


def write(folder: Path, files: dict[str, str], name: str, content: bytes) -> None:
    for other, text in files.items():
        (folder / other).write_bytes(text.encode())
    (folder / name).write_bytes(content)


@pytest.mark.parametrize("form", FORMS)
@given(seed=SEEDS)
def test_annotations(form: str, seed: int) -> None:
    given_name, files = FORMS[form]
    draw = random.Random(seed)
    name = draw.choice(sorted(files))
    content = changed(files[name].encode(), Path(name).suffix, draw)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), files, name, content)
        outcome(lambda: prepare(Path(folder), given_name, {}), Path(folder))


@pytest.mark.parametrize("form", FORMS)
def test_the_files_that_are_changed_are_valid(form: str, tmp_path: Path) -> None:
    write(tmp_path, FORMS[form][1], *[(name, text.encode()) for name, text in FORMS[form][1].items()][0])
    prepare(tmp_path, FORMS[form][0], {})
    manifest = Manifest.load(tmp_path / "prepared")
    assert (len(manifest.column("id")), len(manifest.column("text"))) == (6, 12)
    assert manifest.column("text")[1].endswith('says "hello 0"')


JUDGED = {
    "crowdflower": "2.jpg\t5.jpg#0\t1\t3\t0\n5.jpg\t2.jpg#1\t0.333\t1\t2\n5.jpg\t5.jpg#1\t1\t3\t0\n",
    "expert": "2.jpg\t5.jpg#0\t4\t3\t4\n5.jpg\t2.jpg#1\t1\t1\t2\n",
}


@pytest.mark.parametrize("kind", JUDGED)
@given(seed=SEEDS)
def test_judgements(kind: str, seed: int) -> None:
    content = changed(JUDGED[kind].encode(), ".txt", random.Random(seed))
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
@given(seed=SEEDS)
def test_relevance_and_ratings(name: str, seed: int) -> None:
    content = changed(matched()[name].encode(), Path(name).suffix, random.Random(seed))
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), matched() | CAPTIONED, name, content)
        section = {"dataset": "custom", "annotations": f"{folder}/dataset_tiny.json"}
        outcome(lambda: readers.require_matched(section, {"eccv": folder}, folder), Path(folder))


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
@given(seed=SEEDS)
def test_columnar_files(suffix: str, seed: int) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    draw = random.Random(seed)
    pictures = [{"bytes": file.encode(), "path": f"/cache/{file}"} for file, *_ in IMAGES]
    cells = {"image": pictures, "caption": [texts for _, _, texts, _ in IMAGES], "split": SPLITS * 2}
    if draw.random() < 0.3:  # a value is another one
        cells[draw.choice([*cells])] = [draw.choice([None, "", "../x", "\0", "ä.jpg", "x" * 300])] * 6
    whole = pa.table(cells)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{suffix}"
        if suffix == ".parquet":
            pyarrow.parquet.write_table(whole, path)
        else:
            with pa.ipc.new_stream(path, whole.schema) as stream:
                stream.write_table(whole)
        path.write_bytes(of_bytes(path.read_bytes(), draw))
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
