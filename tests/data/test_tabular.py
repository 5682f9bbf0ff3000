"""Lists like ALBEF's and tables: they say what Karpathy's json says, or are refused with file, row and value."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fne.data.manifest import Manifest
from fne.data.readers import read_annotations
from fne.steps import prepare
from fne.utils.errors import UserError
from tests.data.conftest import Corpus
from tests.data.forms import MAKERS, albef_in_one, albef_per_split, json_cells, table, tables


def manifest_of(corpus: Corpus, annotations: Path) -> Manifest:
    folder = corpus.folder / "resources" / annotations.stem.replace("{split}", "split")
    prepare.run(corpus.data | {"annotations": str(annotations)}, folder)
    return Manifest.load(folder)


@pytest.mark.parametrize("make", MAKERS)
def test_every_form_gives_the_manifest_of_karpathys(corpus: Corpus, make) -> None:
    corpus.entries[1]["sentences"][0]["raw"] = 'Two "dogs", one\nball; ünï'
    corpus.write()
    expected, found = manifest_of(corpus, corpus.file), manifest_of(corpus, make(corpus))
    for name in ("image_ids", "image_files", "image_splits", "caption_ids", "texts", "sha256"):
        assert getattr(found, name) == getattr(expected, name), name
    assert found.caption_image.tolist() == expected.caption_image.tolist()
    for split in ("train", "val", "test"):
        assert found.truth_files[split]["sha256"] == expected.truth_files[split]["sha256"]
    assert found.sentids == (expected.sentids if make is json_cells else None)


def test_ids_of_captions_are_kept_where_all_have_one(corpus: Corpus) -> None:
    corpus.write()
    manifest = manifest_of(corpus, corpus.file)
    assert manifest.split("val").sentids == [3, 4, 5] and manifest.sentids[:3] == [1, 2, 6]
    del corpus.entries[4]["sentences"][1]["sentid"]
    corpus.write()
    assert manifest_of(corpus, corpus.file).sentids is manifest_of(corpus, corpus.file).split("val").sentids is None


def test_captions_of_an_image_may_stand_apart(corpus: Corpus) -> None:
    path = table(corpus)
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([header, *lines[::2], *lines[1::2]]) + "\n")
    manifest = manifest_of(corpus, path)
    assert sorted(manifest.caption_ids) == sorted(manifest_of(corpus, table(corpus, "whole.csv")).caption_ids)


def test_one_file_written_in_two_ways_is_one_image(corpus: Corpus) -> None:
    path = table(corpus)
    path.write_text(path.read_text().replace("picture4.jpg,Caption 1", ".//picture4.jpg,Caption 1"))
    corpus.write()
    assert manifest_of(corpus, path).sha256 == manifest_of(corpus, corpus.file).sha256


def test_one_name_in_two_folders_makes_the_path_the_id(corpus: Corpus) -> None:
    (corpus.images / "more").mkdir()
    (corpus.images / "picture3.jpg").rename(corpus.images / "more" / "picture1.jpg")
    path = table(corpus)
    path.write_text(path.read_text().replace("picture3.jpg", "more/picture1.jpg"))
    manifest = manifest_of(corpus, path)
    assert manifest.image_ids == manifest.image_files and "more/picture1.jpg#0" in manifest.caption_ids


def refused(corpus: Corpus, path: Path, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        prepare.run(corpus.data | {"annotations": str(path)}, corpus.folder / "resources" / "tiny")
    assert str(path.parent) in str(caught.value)
    assert not (corpus.folder / "resources").exists()


def entries(corpus: Corpus) -> list[dict[str, Any]]:
    return json.loads(albef_in_one(corpus).read_text())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"caption": None}, r"list.json: \[1\].caption: not a caption; allowed: text"),
        ({"caption": 7}, r"\[1\].caption: not a caption; got 7"),
        ({"caption": " "}, r"\[1\].caption: empty caption of picture1.jpg"),
        ({"caption": ["fine", ""]}, r"\[1\].caption\[1\]: empty caption"),
        ({"caption": ["fine", ["no"]]}, r"\[1\].caption\[1\]: not a caption; got \['no'\]"),
        ({"caption": []}, r"\[1\].caption: image picture1.jpg has no caption"),
        ({"image": ""}, r"\[1\].image: no file name"),
        ({"image": 12}, r"\[1\].image: no file name; got 12"),
        ({"image": "/data/picture1.jpg"}, "leaves the images folder; got '/data/pic.*paths relative to data.images"),
        ({"image": "a/../../picture1.jpg"}, "leaves the images folder"),
        ({"image": "a/../picture1.jpg"}, "leaves the images folder"),
        ({"image": "./"}, "leaves the images folder"),
        ({"image": "picture1.jpg\0"}, r"\[1\].image: holds a character that is no text"),
        ({"split": "tarin"}, r"\[1\].split: wrong split of picture1.jpg; got 'tarin'; .*did you mean 'train'"),
        ({"split": None}, r"\[1\].split: wrong split"),
        ({"split": ["val"]}, r"\[1\].split: wrong split"),
        ({"image": "picture9.jpg"}, r"data.images: 1 of 6 images are missing: picture9.jpg"),
    ],
)
def test_a_row_that_cannot_be_used(corpus: Corpus, change: dict[str, Any], message: str) -> None:
    content = entries(corpus)
    content[1] |= change
    (corpus.folder / "list.json").write_text(json.dumps(content))
    refused(corpus, corpus.folder / "list.json", message)


@pytest.mark.parametrize(("old", "new"), [("caption", "text_en"), ("caption", "captoin"), ("image", "img")])
def test_captions_or_images_in_an_unexpected_field(corpus: Corpus, old: str, new: str) -> None:
    content = [{new if key == old else key: value for key, value in row.items()} for row in entries(corpus)]
    (corpus.folder / "list.json").write_text(json.dumps(content))
    message = rf"list.json: \[0\]: no field holds the {old}; got '.*{new}.*'; allowed: {old}, .*; rename"
    refused(corpus, corpus.folder / "list.json", message)
    path = table(corpus, **{old: new})
    refused(corpus, path, rf"pairs.csv: line 1: no field holds the {old}; got '.*{new}.*'; allowed: {old}, ")


def test_karpathys_captions_in_an_unexpected_field(corpus: Corpus) -> None:
    for entry in corpus.entries:
        entry["captions"] = entry.pop("sentences")
    corpus.write()
    refused(corpus, corpus.file, r"images\[0\].sentences: .*has no caption; .*its captions may lie in 'captions'")


def test_images_in_two_splits(corpus: Corpus) -> None:
    content = entries(corpus)
    content += [row | {"split": "val"} for row in content if row["split"] != "val"]
    (corpus.folder / "list.json").write_text(json.dumps(content))
    message = (
        r"list.json: split: 5 of 6 images are in more than one split: picture0.jpg \(val, test\), "
        r"picture1.jpg \(train, val\), picture3.jpg \(train, val\), picture4.jpg \(train, val\), "
        r"picture5.jpg \(val, test\)$"
    )
    refused(corpus, corpus.folder / "list.json", message)


def test_many_images_in_two_splits(corpus: Corpus) -> None:
    for number in range(7):
        for split in ("train", "test"):
            corpus.entries.append({"filename": f"x{number}.jpg", "split": split, "sentences": [{"raw": "x"}]})
    refused(corpus, table(corpus), r"7 of 13 images are in more than one split: .*x4.jpg \(train, test\), \.\.\.$")


def test_images_in_the_files_of_two_splits(corpus: Corpus) -> None:
    path = albef_per_split(corpus)
    test = corpus.folder / "tiny_test.json"
    test.write_text(json.dumps([*json.loads(test.read_text()), {"image": "picture1.jpg", "caption": "x"}]))
    refused(corpus, path, r"tiny_train.json: split: 1 of 6 images .* picture1.jpg \(train, test\)")


def test_a_row_of_another_split_in_the_file_of_one(corpus: Corpus) -> None:
    tables(corpus)
    table(corpus, "pairs.val.csv")
    message = r"pairs.val.csv: line 2.split: the file of split 'val' holds an image of another; got 'test'"
    refused(corpus, corpus.folder / "pairs.{split}.csv", message)


def test_one_id_for_two_images(corpus: Corpus) -> None:
    content = [row | {"image_id": min(place, 4)} for place, row in enumerate(entries(corpus))]
    (corpus.folder / "list.json").write_text(json.dumps(content))
    message = r"\[5\].image_id: the id of picture4.jpg \(\[4\]\) stands with picture5.jpg; got 4"
    refused(corpus, corpus.folder / "list.json", message)


@pytest.mark.parametrize(("second", "shown"), [(7, "; got 7"), (None, "")])
def test_two_ids_of_one_image(corpus: Corpus, second: int | None, shown: str) -> None:
    content = [row | {"image_id": place} for place, row in enumerate(entries(corpus))]
    content.append(content[0] | {"image_id": second})
    (corpus.folder / "list.json").write_text(json.dumps(content))
    refused(corpus, corpus.folder / "list.json", rf"\[6\].image_id: picture0.jpg has two ids{shown}; allowed: 0")


def test_no_split_anywhere(corpus: Corpus) -> None:
    content = [{key: row[key] for key in ("image", "caption")} for row in entries(corpus)]
    (corpus.folder / "list.json").write_text(json.dumps(content))
    refused(corpus, corpus.folder / "list.json", r"\[0\]: picture0.jpg has no split; .*one file per split.*{split}")
    corpus.entries = [entry | {"split": "test"} for entry in corpus.entries]
    refused(corpus, table(corpus, "all.csv", "test"), r"all.csv: line 2: picture0.jpg has no split")


def test_wrong_counts(corpus: Corpus) -> None:
    corpus.data["counts"]["train"] = 29_000
    refused(corpus, table(corpus), "train: the train split has another number of images than.*got 3; allowed: 29000")


def test_a_missing_file_of_a_split(corpus: Corpus) -> None:
    path = albef_per_split(corpus)
    (corpus.folder / "tiny_val.json").unlink()
    refused(corpus, path, "tiny_val.json: data.annotations: no such file")
    tables(corpus)
    (corpus.folder / "pairs.train.csv").unlink()
    refused(corpus, corpus.folder / "pairs.{split}.csv", "pairs.train.csv: data.annotations: no such file")


def test_karpathys_json_per_split_is_refused(corpus: Corpus) -> None:
    corpus.write()
    for split in ("train", "val", "test"):
        corpus.file.with_name(f"k_{split}.json").write_text(corpus.file.read_text())
    refused(corpus, corpus.file.with_name("k_{split}.json"), "k_train.json: .*names its splits itself: give it alone")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: no field holds the image; got ''"),
        ("image,caption,split\n", "data.annotations: holds no pair"),
        ("image,caption,split\na.jpg,one, two,test\n", "line 2: 4 cells under 3 columns; .*must be quoted"),
        ("image,caption,split\n\na.jpg,one\n", "line 3: 2 cells under 3 columns"),
        ('image,caption,split\na.jpg,"one,test\n', "line 2: not a readable table"),
        ("filename,raw,split\na.jpg,one,test\n", "line 2.raw: not a JSON list; got 'one'"),
        ('filename,raw,split\na.jpg,"{""a"": 1}",test\n', "line 2.raw: not a JSON list"),
        ("image;caption\na.jpg;one\n", "line 1: no field holds the image; got 'image;caption'"),
    ],
)
def test_a_table_that_cannot_be_read(corpus: Corpus, text: str, message: str) -> None:
    path = corpus.folder / "pairs.csv"
    path.write_text(text)
    refused(corpus, path, message)


def test_a_table_that_is_not_utf8(corpus: Corpus) -> None:
    path = table(corpus)
    path.write_bytes(path.read_bytes().replace(b"Caption 0 of 2", "Bär".encode("latin-1")))
    refused(corpus, path, r"pairs.csv: data.annotations: not UTF-8 text \(byte \d+\)")


def test_a_table_with_a_byte_order_mark(corpus: Corpus) -> None:
    path = table(corpus)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert len(read_annotations(path, "tiny")[0]) == 6


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "holds no pair"),
        ("[3]", r"\[0\]: not an entry; got 3"),
        ('"x"', "not annotations of a known format"),
        ("null", "not annotations of a known format"),
    ],
)
def test_json_of_another_kind(corpus: Corpus, content: str, message: str) -> None:
    path = corpus.folder / "other.json"
    path.write_text(content)
    refused(corpus, path, message)


SPLIT_TEXTS = {"train": "a dog", "val": "a cat", "test": "a cow"}


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8", newline="")
    return folder / name


def captions_of(path: Path) -> list[list[str]]:
    return [item.captions for item in read_annotations(path, "custom")[0]]


NATIVE = {
    "x_{split}.token": "{split}.jpg#0\t{text}\n{split}.jpg#1\t{text} 2\r\n",
    "x_{split}.csv": "image_name| comment_number| comment\n{split}.jpg| 0| {text}\n{split}.jpg | 1| {text} 2 \n",
    "x_{split}.txt": "image,caption\n{split}.jpg,{text}\n{split}.jpg,{text} 2\n",
    "metadata_{split}.csv": "file_name,caption_1,caption_0,caption_10\n{split}.jpg,{text} 2,{text},\n",
    "metadata_{split}.jsonl": '{{"file_name": "{split}.jpg", "text": ["{text}", "{text} 2"]}}\n',
    "lines_{split}.json": '{{"image": "{split}.jpg", "text": "{text}"}}\n\n'
    '{{"image": "{split}.jpg", "text": "{text} 2"}}',
    "captions_{split}2014.json": '{{"images": [{{"id": 7, "file_name": "{split}.jpg"}}], "annotations": ['
    '{{"id": 5, "image_id": 7, "caption": "{text}"}}, {{"id": 2, "image_id": 7, "caption": "{text} 2"}}]}}',
}


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("name", NATIVE)
def test_native_files_one_per_split(tmp_path: Path, name: str, mark: str) -> None:
    for number, (split, text) in enumerate(SPLIT_TEXTS.items()):
        content = mark + NATIVE[name].format(split=split, text=text).replace(": 7", f": {number}")
        written(tmp_path, name.replace("{split}", split), content)
    items, inside = read_annotations(tmp_path / name, "custom")
    assert [(item.filename, item.captions) for item in items] == [
        (f"{split}.jpg", [text, f"{text} 2"]) for split, text in SPLIT_TEXTS.items()
    ]
    assert not inside and {tuple(item.sentids or ()) for item in items} == {(5, 2) if "2014" in name else ()}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.token", "a.jpg#0\ta dog\n", "data.annotations: Flickr's own list of captions, which names no split; give"),
        ("results.csv", "image_name| comment\na.jpg| a dog\n", "line 2: a.jpg has no split"),
        (
            "captions_val2014.json",
            '{"images": [], "annotations": []}',
            "COCO's own file of captions.*dataset_coco.json",
        ),
        ("x.jsonl", '{"image": "a.jpg", "text": "a", "split": "val"}\n{"image": }', "line 2: not valid JSON"),
        ("x.jsonl", '{"image": "a.jpg", "text": "a", "split": "val"}\n3', "line 2: not an entry; got 3"),
        ("x.jsonl", "\n", "holds no pair"),
        ("x.csv", "image,split,caption,split\na.jpg,val,a,train\n", "line 1: two columns have one name; got 'split'"),
        ("x.tsv", "image\timage\tcaption\n", "line 1: two columns have one name; got 'image'"),
        ("x.csv", "image,caption,split,comment_number\na.jpg,a,val,1\n", "line 2: captions of a.jpg are not in the"),
        ("x.csv", "image,split,caption_0,caption_1\na.jpg,val,,\n", "line 2.caption_0: image a.jpg has no caption"),
        (
            "x.json",
            '[{"image": "a.jpg",\n"split": "val", "split": "test"}]',
            "x.json: not valid JSON: the key 'split' occurs twice in one object",
        ),
        ("x.json", '{"images": [{"filename": "a", "filename": "b"}]}', "the key 'filename' occurs twice in one object"),
        ("x.jsonl", '{"image": "a.jpg", "image": "b.jpg"}\n', "the key 'image' occurs twice in one object"),
        ("x.jsonl", '\n{"text": "a", "text": "b"}\n', "line 2: not valid JSON: the key 'text' occurs twice"),
        ("x.json", '[{"image": "a.jpg", "caption": "\\ud83d"}]', r"half a letter \(.ud83d\) at character 32"),
        ("x.json", '[{"image": "a\\ud83d.jpg", "caption": "a"}]', r"half a letter \(.ud83d\) at character 13"),
        ("x.json", '[{"image": "a.jpg", "caption": "a\\u0000"}]', r"\[0\].caption: holds a character that is no text"),
        ("x.json", '[{"image": "%s", "caption": "a"}]' % ("ü" * 128), "a name that no file can have"),
        ("x.json", '[{"image": "a", "filepath": {"b": 1}, "caption": "a"}]', "no file name; got {'b': 1}"),
        ("x.json", '[{"image": "a", "caption": "a", "sentids": [1.5]}]', "sentids: not the id of a caption; got 1.5"),
        ("x.json", "[" * 100_000, "x.json: not valid JSON: nested too deeply"),
        ("x.json", "[" + "9" * 5000 + "]", "x.json: not valid JSON: Exceeds the limit"),
    ],
)
def test_what_a_file_is_and_where_it_fails_is_told(tmp_path: Path, name: str, text: str, message: str) -> None:
    path = written(tmp_path, name, text)
    with pytest.raises(UserError, match=message) as caught:
        read_annotations(path, "custom")
    assert str(path) in str(caught.value) and len(str(caught.value)) < 1200


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ('"id": 7, "file_name": "a.jpg"}, {"id": 7', r"images\[1\].id: occurs twice, first in images\[0\]; got 7"),
        ('"id": 7, "file_name": "a.jpg"}, {"id": 8', "images: 1 of 2 images have no caption; got 7"),
        ('"id": 7.0', r"images\[0\]: not an image entry"),
        ('"id": 9', r"annotations\[0\]: belongs to none of the images"),
    ],
)
def test_a_native_file_of_coco_that_does_not_agree_with_itself(tmp_path: Path, change: str, message: str) -> None:
    text = '{"images": [{"id": 7, "file_name": "b.jpg"}], "annotations": [{"id": 5, "image_id": 8, "caption": "a"}]}'
    for split in SPLIT_TEXTS:
        written(tmp_path, f"captions_{split}2014.json", text.replace('"id": 7', change, 1))
    with pytest.raises(UserError, match=message):
        read_annotations(tmp_path / "captions_{split}2014.json", "custom")


HEAD = "image\tcaption\tsplit\n"
ENDS = "v.jpg\tdog\tval\nt.jpg\tcat\ttest\n"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (
            '1.jpg\t"Stop , says\ttrain\n2.jpg\ta man\ttrain\n3.jpg\tthe stop"\ttrain\n',
            ['"Stop , says', "a man", 'the stop"'],
        ),
        ('1.jpg\t"Stop" says a sign\ttrain\n', ['"Stop" says a sign']),
        ('1.jpg\ta 6" ruler\ttrain\n', ['a 6" ruler']),
        ('1.jpg\t"\ttrain\n', ['"']),
        ('1.jpg\t"a ""stop"" sign"\ttrain\n', ['a "stop" sign']),
        ('1.jpg\t"a\tb"\ttrain\n', ["a\tb"]),
        ('1.jpg\t"one\nline more"\ttrain\n', ["one\nline more"]),
        ("1.jpg\tone\u2028line\x0bmore\ttrain\n", ["one\u2028line\x0bmore"]),
    ],
)
def test_a_table_is_read_as_what_it_is(tmp_path: Path, rows: str, expected: list[str]) -> None:
    found = captions_of(written(tmp_path, "x.tsv", HEAD + rows + ENDS))
    assert found == [[one] for one in [*expected, "dog", "cat"]]


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        ("x.csv", '1.jpg,"Stop says,train\n2.jpg,a man,train\n3.jpg,the stop",train\n'),
        ("x.csv", '1.jpg,"Stop, says,train\n2.jpg,a man,train\n3.jpg,the stop",train\n'),
        ("x.csv", '1.jpg,"Stop,train\n2.jpg,stop",train\n'),
        ("x.csv", '1.jpg,"Stop, now,train\n2.jpg,stop, you",train\n'),
        ("x.tsv", '1.jpg\t"a ""stop"" sign"\ttrain\n2.jpg\t"open\ttrain\n'),
        ("x.tsv", '1.jpg\t"Stop\ttrain\n2.jpg\ta man\tred\ttrain\n3.jpg\tstop"\ttrain\n'),
    ],
)
def test_rows_that_would_vanish_are_an_error_with_the_line_they_vanish_in(tmp_path: Path, name: str, rows: str) -> None:
    separator = "," if name == "x.csv" else "\t"
    path = written(tmp_path, name, (HEAD + ENDS).replace("\t", separator) + rows)
    with pytest.raises(UserError, match=r"x\.[ct]sv: line [45]: not a readable table"):
        read_annotations(path, "custom")


@pytest.mark.parametrize(
    ("line", "message"),
    [("b.jpg a cat", "line 2: malformed line; got 'b.jpg a cat'; allowed: image#k TAB caption"),
     ("a.jpg#2\ta cat", "line 2: captions of a.jpg are not in the order of their numbers; got '2'; allowed: 1")],
)  # fmt: skip
def test_a_line_of_flickrs_list_that_cannot_be_used(tmp_path: Path, line: str, message: str) -> None:
    for split in SPLIT_TEXTS:
        written(tmp_path, f"x_{split}.token", f"a.jpg#0\ta dog\n{line}\n")
    with pytest.raises(UserError, match=message):
        read_annotations(tmp_path / "x_{split}.token", "custom")


def test_splits_in_capitals(tmp_path: Path) -> None:
    path = written(tmp_path, "x.csv", "image,caption,split\n1.jpg,a,Train\n2.jpg,b, VAL\n3.jpg,c,Test \n")
    assert captions_of(path) == [["a"], ["b"], ["c"]]


def test_a_file_in_utf16_is_named_as_one(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes("image,caption,split\n".encode("utf-16"))
    with pytest.raises(UserError, match="x.csv: data.annotations: not UTF-8 text.*it is UTF-16: save it as UTF-8"):
        read_annotations(tmp_path / "x.csv", "custom")
