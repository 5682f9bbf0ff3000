"""Annotations in every form but Karpathy's: they say what Karpathy's say, or are refused with file, row and value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fne.data.manifest import COLUMNS, SPLITS, Manifest
from fne.data.readers import read_annotations
from fne.steps import prepare
from fne.utils.errors import UserError
from tests.data.conftest import Corpus
from tests.data.forms import FORMS, ONE_LINE, WITH_IDS, listed, table


def manifest_of(corpus: Corpus, name: str) -> Manifest:
    folder = corpus.folder / "resources" / name.replace("{split}", "split")
    prepare.run(corpus.data | {"annotations": str(corpus.folder / name)}, folder)
    return Manifest.load(folder)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_manifest_of_karpathys(corpus: Corpus, form: str) -> None:
    breaks = " " if form in ONE_LINE else "\n"
    corpus.entries[1]["sentences"][0]["raw"] = f'Two "dogs", one{breaks}ball; ünï'
    corpus.write()
    name, files = FORMS[form](corpus.rows())
    expected = manifest_of(corpus, corpus.file.name)
    for mark in ("", "\ufeff"):
        corpus.give({file: mark + text for file, text in files.items()})
        result = manifest_of(corpus, name)
        for column in COLUMNS:
            assert result.column(column) == expected.column(column), column
        assert result.splits == expected.splits
        for key in ("images", "captions", "pixels"):
            assert result.sha256[key] == expected.sha256[key]
        for split in SPLITS:
            assert result.truth_files[split]["sha256"] == expected.truth_files[split]["sha256"]
            assert result.split(split).sentids == (expected.split(split).sentids if form in WITH_IDS else None)


def refused(corpus: Corpus, name: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        prepare.run(corpus.data | {"annotations": str(corpus.folder / name)}, corpus.folder / "resources" / "tiny")
    assert str(corpus.folder) in str(caught.value)
    assert not (corpus.folder / "resources").exists()


def entries(corpus: Corpus) -> list[dict[str, Any]]:
    return json.loads(listed(corpus.rows()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"caption": None}, r"list.json: \[1\].caption\[0\]: not a caption; allowed: text"),
        ({"caption": ["fine", ""]}, r"\[1\].caption\[1\]: not a caption"),
        ({"caption": ["fine", ["no"]]}, r"\[1\].caption\[1\]: not a caption; got \['no'\]"),
        ({"caption": []}, r"\[1\].caption: image picture1.jpg has no caption"),
        ({"image": 12}, r"\[1\].image: not a file name; got 12"),
        ({"image": "/data/picture1.jpg"}, "leaves the images folder; got '/data/pic.*paths relative to data.images"),
        ({"image": "a/../../picture1.jpg"}, "leaves the images folder"),
        ({"image": "./"}, "leaves the images folder"),
        ({"image": "picture1.jpg\0"}, r"\[1\].image: holds a character that is no text"),
        ({"split": "tarin"}, r"\[1\].split: wrong split of picture1.jpg; got 'tarin'; .*did you mean 'train'"),
        ({"split": ["val"]}, r"\[1\].split: wrong split"),
        ({"image": "picture9.jpg"}, r"data.images: 1 of 6 images are missing: picture9.jpg"),
    ],
)
def test_a_row_that_cannot_be_used(corpus: Corpus, change: dict[str, Any], message: str) -> None:
    content = entries(corpus)
    content[1] |= change
    corpus.give({"list.json": json.dumps(content)})
    refused(corpus, "list.json", message)


def test_images_in_two_splits(corpus: Corpus) -> None:
    content = entries(corpus)
    corpus.give({"list.json": json.dumps([*content, content[0] | {"split": "val"}])})
    refused(corpus, "list.json", r"list.json: \[6\]: picture0.jpg is in more than one split; got 'val'; allowed: test")
    name, files = FORMS["albef"](corpus.rows())
    test = [*json.loads(files["tiny_test.json"]), {"image": "picture1.jpg", "caption": "x"}]
    corpus.give(files | {"tiny_test.json": json.dumps(test)})
    refused(corpus, name, r"tiny_test.json: \[2\]: picture1.jpg is in more than one split")


def test_a_file_of_one_split_that_holds_another_or_is_missing(corpus: Corpus) -> None:
    name, files = FORMS["csv per split"](corpus.rows())
    corpus.give(files | {"pairs.val.csv": table(corpus.rows())})
    refused(corpus, name, r"pairs.val.csv: line 2.split: the file of split 'val' holds an image of another; got 'test'")
    (corpus.folder / "pairs.train.csv").unlink()
    refused(corpus, name, "pairs.train.csv: data.annotations: no such file")


def test_ids_of_images_that_do_not_belong_one_to_one(corpus: Corpus) -> None:
    content = entries(corpus)
    corpus.give({"list.json": json.dumps([row | {"image_id": min(at, 4)} for at, row in enumerate(content)])})
    refused(corpus, "list.json", r"\[5\].image_id: the id of picture5.jpg is that of another image.*got 4")
    content = [row | {"image_id": place} for place, row in enumerate(content)]
    corpus.give({"list.json": json.dumps([*content, content[0] | {"image_id": 7}])})
    refused(corpus, "list.json", r"\[6\].image_id: the id of picture0.jpg is .*not the one it has elsewhere; got 7")


ROW = '{"image": "a.jpg", "text": "a", "split": "val"}\n'
HEAD, ENDS = "image\tcaption\tsplit\n", "v.jpg\tdog\tval\nt.jpg\tcat\ttest\n"
COCO = '{{"images": [{{{}, "file_name": "b.jpg"}}], "annotations": [{{"id": 5, "image_id": 8, "caption": "a"}}]}}'


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.token", "a.jpg#0\ta dog\n", "line 1: a.jpg has no split"),
        ("{split}.token", "a.jpg#0\ta dog\nb.jpg a cat\n",
         "line 2: malformed line; got 'b.jpg a cat'; allowed: image#k TAB caption"),
        ("captions_val2014.json", '{"images": [], "annotations": []}', "holds no pair"),
        ("captions_{split}.json", COCO.format('"id": 7.0'), r"annotations\[0\]: belongs to none of the images"),
        ("captions_{split}.json", COCO.format('"id": 9'), r"annotations\[0\]: belongs to none of the images"),
        ("x.jsonl", ROW + '{"image": }', "line 2: not valid JSON"),
        ("x.jsonl", f"{ROW}3", "line 2: not an entry; got 3"),
        ("x.jsonl", "\n", "holds no pair"),
        ("x.json", "[]", "holds no pair"),
        ("x.json", "[3]", r"\[0\]: not an entry; got 3"),
        ("x.json", '"x"', "not annotations of a known format"),
        ("x.json", "null", "not annotations of a known format"),
        ("x.csv", "", "line 1: no field holds the image; got ''"),
        ("x.csv", "image,caption,split\n", "data.annotations: holds no pair"),
        ("x.csv", "image,caption,split\na.jpg,one, two,test\n", "line 2: 4 cells under 3 columns; .*must be quoted"),
        ("x.csv", "image,caption,split\n\na.jpg,one\n", "line 3: 2 cells under 3 columns"),
        ("x.csv", 'image,caption,split\na.jpg,"one,test\n', "line 2: not a readable table"),
        ("x.csv", "filename,raw,split\na.jpg,one,test\n", "line 2.raw: not valid JSON"),
        ("x.csv", "image;caption\na.jpg;one\n", "line 1: no field holds the image; got 'image;caption'"),
        ("x.csv", "image,split,caption,split\na.jpg,val,a,train\n", "line 1: two columns have one name; got 'split'"),
        ("x.tsv", "image\timage\tcaption\n", "line 1: two columns have one name; got 'image'"),
        ("x.csv", "image,split,caption_0,caption_1\na.jpg,val,,\n", "line 2.caption_0: image a.jpg has no caption"),
        ("x.json", '[{"image": "a.jpg",\n"split": "val", "split": "test"}]',
         "x.json: not valid JSON: the key 'split' occurs twice in one object"),
        ("x.jsonl", '\n{"text": "a", "text": "b"}\n', "line 2: not valid JSON: the key 'text' occurs twice"),
        ("x.json", '[{"image": "a.jpg", "caption": "\\ud83d"}]', "not valid JSON: .*surrogates"),
        ("x.json", '[{"image": "a.jpg", "caption": "a\\u0000"}]', r"caption\[0\]: holds a character that is"),
        ("x.json", '[{"image": "a", "caption": "%s"}]' % ("a" * 30_000), "not a caption; .*1 to 20000 characters"),
        ("x.json", '[{"image": "a", "filepath": {"b": 1}, "caption": "a"}]', "not a file name; got {'b': 1}"),
        ("x.json", '[{"image": "a", "text": "a", "split": "val", "sentids": [1.5]}]', "not a caption's id; got"),
        ("x.json", "[" * 100_000, "x.json: not valid JSON: nested too deeply"),
        # rows that would vanish, with the line in which they do
        ("x.csv", 'image,caption,split\n1.jpg,"Stop says,train\n2.jpg,a man,train\n3.jpg,the stop",train\n',
         "line 2: not a readable table"),
        ("x.csv", 'image,caption,split\n1.jpg,"Stop, says,train\n2.jpg,a man,train\n3.jpg,the stop",train\n',
         "line 2: not a readable table"),
        ("x.csv", 'image,caption,split\n1.jpg,"Stop,train\n2.jpg,stop",train\n', "line 2: not a readable table"),
        ("x.csv", 'image,caption,split\n1.jpg,"Stop, now,train\n2.jpg,stop, you",train\n',
         "line 2: not a readable table"),
        ("x.tsv", f'{HEAD}{ENDS}1.jpg\t"a ""stop"" sign"\ttrain\n2.jpg\t"open\ttrain\n',
         "line 5: not a readable table"),
        ("x.tsv", f'{HEAD}{ENDS}1.jpg\t"Stop\ttrain\n2.jpg\ta man\tred\ttrain\n3.jpg\tstop"\ttrain\n',
         "line 4: not a readable table"),
    ],
)  # fmt: skip
def test_what_a_file_is_and_where_it_fails_is_told(tmp_path: Path, name: str, text: str, message: str) -> None:
    for split in SPLITS:
        (tmp_path / name.replace("{split}", split)).write_text(text, encoding="utf-8", newline="")
    with pytest.raises(UserError, match=message) as caught:
        read_annotations(tmp_path / name, "custom")
    assert str(tmp_path) in str(caught.value) and len(str(caught.value)) < 1200


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ('1.jpg\ta 6" ruler\ttrain\n', ['a 6" ruler']),
        ('1.jpg\t"a ""stop"" sign"\tTrain\n', ['a "stop" sign']),
        ('1.jpg\t"a\tb"\t TRAIN\n', ["a\tb"]),
        ('1.jpg\t"one\nline more"\ttrain\n', ["one\nline more"]),
        ("1.jpg\tone\u2028line\x0bmore\ttrain\n", ["one\u2028line\x0bmore"]),
    ],
)  # fmt: skip
def test_a_table_is_read_as_what_it_is(tmp_path: Path, rows: str, expected: list[str]) -> None:
    (tmp_path / "x.tsv").write_text(HEAD + rows + ENDS, encoding="utf-8", newline="")
    result = [item.captions for item in read_annotations(tmp_path / "x.tsv", "custom")[0]]
    assert result == [[each] for each in [*expected, "dog", "cat"]]


def test_what_is_not_utf8_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes("image,caption,split\na.jpg,Bär,val\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"x.csv: data.annotations: not UTF-8 text \(byte \d+\)$"):
        read_annotations(tmp_path / "x.csv", "custom")
