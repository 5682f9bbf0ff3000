"""Corpora in Karpathy's schema: what is read, and one clear error for everything that cannot be used."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fne.data.items import normalise
from fne.data.manifest import Manifest
from fne.data.readers import read_annotations
from fne.data.text_files import read_text
from fne.steps import prepare
from fne.utils import leftovers
from fne.utils.errors import UserError
from tests.data.conftest import Corpus


def prepared(corpus: Corpus) -> Manifest:
    folder = corpus.folder / "resources" / "tiny-1"
    prepare.run(corpus.write(), folder)
    return Manifest.load(folder)


def refused(corpus: Corpus, message: str, write: bool = True) -> str:
    """Prepare, expect one error that matches ``message``, and expect that nothing was written."""
    if write:
        corpus.write()
    with pytest.raises(UserError, match=message) as caught:
        prepare.run(corpus.data, corpus.folder / "resources" / "tiny-1")
    assert not (corpus.folder / "resources").exists()
    return str(caught.value)


def test_rows_are_grouped_by_split_in_the_order_of_the_file(corpus: Corpus) -> None:
    manifest = prepared(corpus)
    names = [f"picture{imgid}.jpg" for imgid in (1, 3, 4, 2, 0, 5)]
    assert manifest.image_ids == manifest.image_files == names
    assert manifest.image_splits == ["train"] * 3 + ["val"] + ["test"] * 2  # restval is training data
    assert manifest.split("train").caption_image.tolist() == [0, 0, 1, 2, 2]  # 2, 1 and 2 captions
    assert manifest.texts[:3] == ["Caption 0 of 1 .", "Caption 1 of 1 .", "Caption 0 of 3 ."]
    assert manifest.caption_ids[:3] == ["picture1.jpg#0", "picture1.jpg#1", "picture3.jpg#0"]
    assert manifest.root == corpus.images.resolve()
    assert [path.is_file() for path in manifest.image_paths()] == [True] * 6
    assert manifest.truth_files["test"]["kind"] == "equal_captions"


def test_subfolders_of_coco(corpus: Corpus) -> None:
    (corpus.images / "val2014").mkdir()
    (corpus.images / "picture2.jpg").rename(corpus.images / "val2014" / "picture2.jpg")
    corpus.entries[2]["filepath"] = "val2014"
    manifest = prepared(corpus)
    assert manifest.image_files[3] == "val2014/picture2.jpg"


def test_a_file_that_names_no_data_set_and_no_counts(corpus: Corpus) -> None:
    corpus.dataset = None
    corpus.data["counts"] = None
    corpus.data["judgements"] = None
    for entry in corpus.entries:
        del entry["imgid"]
        for sentence in entry["sentences"]:
            del sentence["imgid"], sentence["sentid"]
    assert len(prepared(corpus).image_ids) == 6


def test_equal_captions_are_the_known_extra_positives(corpus: Corpus) -> None:
    corpus.entries[1]["sentences"][0]["raw"] = "A dog's  Ball!"
    corpus.entries[4]["sentences"][1]["raw"] = "a dog s ball ."
    corpus.entries[0]["sentences"][0]["raw"] = "a dog s ball"  # test, so no pair with train
    manifest = prepared(corpus)
    pairs = manifest.truth("train").pairs.tolist()
    own = [[0, 0], [0, 1], [1, 2], [2, 3], [2, 4]]
    assert pairs == sorted([*own, [0, 4], [2, 0]])
    assert manifest.truth_files["train"]["prevalence"] == 2 / (5 * 2)
    assert manifest.truth_files["train"]["queries"] == {"i2t": 0, "t2i": 0}
    assert manifest.truth("test").pairs.tolist() == [[0, 0], [1, 1], [1, 2], [1, 3]]


def test_normalised_text() -> None:
    assert normalise("Two  DOGS' run, 3x .") == "two dogs run 3x"
    # A script without such runs keeps its text: otherwise all its captions would be equal.
    assert normalise(" 犬が走る ") == "犬が走る" != normalise("猫が走る")


def test_pixels_digest_follows_the_files(corpus: Corpus) -> None:
    before = prepared(corpus).fingerprint("image")
    Image.new("RGB", (20, 20)).save(corpus.images / "picture3.jpg")
    assert prepared(corpus).fingerprint("image") != before


def change(*path: object, value: object) -> Callable[[Corpus], None]:
    def apply(corpus: Corpus) -> None:
        place = corpus.entries
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return apply


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (
            change(2, "split", value="vall"),
            r"\[2\]\.split: wrong split of picture2.jpg; .*did you mean 'val'",
        ),
        (change(2, "split", value=None), r"images\[2\]\.split"),
        (change(2, "split", value=["val"]), r"images\[2\]\.split"),
        (
            change(3, "filename", value="picture1.jpg"),
            r"\[3\]\.filename: occurs twice, first in images\[1\]; got 'pic",
        ),
        (change(3, "filename", value=""), r"images\[3\]\.filename: no file name"),
        (change(3, "imgid", value=1), r"images\[3\]\.imgid: occurs twice, first in images\[1\]; got 1"),
        (
            change(4, "sentences", 0, "sentid", value=0),
            r"\[0\]\.sentid: occurs twice, first in images\[0\]\.sent",
        ),
        (
            change(2, "sentences", 2, "sentid", value=3),
            r"\[2\]\.sentid: occurs twice, first in images\[2\]\.sent",
        ),
        (change(1, "sentences", value=[]), r"images\[1\]\.sentences: image picture1.jpg has no caption"),
        (
            change(1, "sentences", 1, "raw", value="  \t"),
            r"sentences\[1\]\.raw: empty caption of picture1.jpg",
        ),
        (change(1, "sentences", 1, "raw", value=7), r"sentences\[1\]\.raw: not a caption; got 7"),
        (change(1, "sentences", 1, value="text"), r"images\[1\]\.sentences\[1\]\.raw: not a caption"),
        (
            change(1, "sentences", 1, "imgid", value=99),
            r"\[1\]\.imgid: caption listed under .* has no image; got 99",
        ),
        (change(1, "sentences", 1, "imgid", value=2), r"belongs to another image; got 2; allowed: 1"),
        (change(1, "filename", value="../picture1.jpg"), r"leaves the images folder; got '../picture1.jpg'"),
        (change(1, "filepath", value="/etc"), "leaves the images folder"),
        (change(1, value="picture"), r"images\[1\]: not an image entry"),
    ],
)
def test_annotations_that_cannot_be_used(corpus: Corpus, edit: Callable[[Corpus], None], message: str) -> None:
    edit(corpus)
    assert "dataset_tiny.json" in refused(corpus, message)


def test_wrong_counts(corpus: Corpus) -> None:
    corpus.data["counts"]["val"] = 1014
    refused(corpus, r"val: the val split has another number of images.*got 1; allowed: 1014")


def test_counts_of_an_unknown_split(corpus: Corpus) -> None:
    corpus.data["counts"]["tset"] = 1
    refused(corpus, "data.counts: unknown split; got 'tset'; .*did you mean 'test'")


def test_counts_may_leave_a_split_open(corpus: Corpus) -> None:
    corpus.data["counts"] = {"train": None, "test": 2}
    assert prepared(corpus)


def test_a_split_without_images(corpus: Corpus) -> None:
    corpus.entries[2]["split"] = "train"
    refused(corpus, "split: a split has no image; got 'val'")


def test_annotations_of_another_data_set(corpus: Corpus) -> None:
    corpus.dataset = "flickr30k"
    refused(corpus, "dataset: names another data set; got 'flickr30k'; allowed: tiny")


def test_a_corpus_of_ones_own_may_name_itself(corpus: Corpus) -> None:
    corpus.data["dataset"] = "custom"
    assert prepared(corpus).dataset == "custom"


@pytest.mark.parametrize("content", ["{}", '{"images": {}}', '{"images": []}'])
def test_not_the_schema(corpus: Corpus, content: str) -> None:
    corpus.file.write_text(content)
    refused(corpus, "images: not in Karpathy's schema", write=False)


def test_not_json(corpus: Corpus) -> None:
    corpus.file.write_text('{"images": [\n{"filename" }]}')
    refused(corpus, "line 2: not valid JSON", write=False)


def test_not_utf8(corpus: Corpus) -> None:
    corpus.entries[1]["sentences"][0]["raw"] = "Ein Bär"
    corpus.write()
    text = json.dumps({"dataset": "tiny", "images": corpus.entries}, ensure_ascii=False)
    corpus.file.write_bytes(text.encode("latin-1"))
    refused(corpus, r"dataset_tiny.json: data.annotations: not UTF-8 text \(byte \d+\)", write=False)


def test_no_such_annotations(corpus: Corpus) -> None:
    refused(corpus, "dataset_tiny.json: data.annotations: no such file", write=False)


@pytest.mark.parametrize("name", ["Dataset_Tiny.JSON", "dataset_tinny.json", "ｄataset_tiny.json"])
def test_the_nearest_name_of_annotations_that_are_not_there(corpus: Corpus, name: str) -> None:
    corpus.write()
    corpus.data["annotations"] = str(corpus.folder / name)
    refused(corpus, f"{name}: data.annotations: no such file; did you mean 'dataset_tiny.json'", write=False)


def test_annotations_under_a_name_that_no_file_can_have(corpus: Corpus) -> None:
    with pytest.raises(UserError, match="cannot be read: File name too long"):
        read_text(corpus.folder / ("x" * 300))


def test_what_a_killed_run_left_half_prepared_is_removed(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "_is_alive", lambda process: False)
    (corpus.folder / "resources").mkdir()
    half = corpus.folder / "resources" / f"{leftovers.prefix(Path('tiny-1'))}abc.tmp"
    half.mkdir()
    prepared(corpus)
    assert not half.exists()


def test_annotations_that_are_a_folder(corpus: Corpus) -> None:
    corpus.data["annotations"] = str(corpus.images)
    refused(corpus, "data.annotations: not a folder of a data set", write=False)


@pytest.mark.parametrize("key", ["annotations", "images"])
def test_paths_not_given(corpus: Corpus, key: str) -> None:
    corpus.data[key] = None
    refused(corpus, f"data.{key}: not given; .*--set data.{key}=")


def test_unreadable_annotations(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_, **__):
        raise PermissionError(13, "Permission denied")

    corpus.write()
    monkeypatch.setattr("fne.data.text_files.open_file", deny)
    with pytest.raises(UserError, match="data.annotations: no permission to read it"):
        read_annotations(corpus.file, "tiny")


def test_missing_images_are_counted_and_the_first_named(corpus: Corpus) -> None:
    for number in range(6):
        (corpus.images / f"picture{number}.jpg").unlink()
    message = refused(corpus, "data.images: 6 of 6 images are missing: ")
    assert message.count("picture") == 5 and message.endswith(", ...")


def test_one_missing_image(corpus: Corpus) -> None:
    (corpus.images / "picture4.jpg").unlink()
    assert refused(corpus, "1 of 6 images are missing: picture4.jpg").endswith("picture4.jpg")


def test_broken_images(corpus: Corpus) -> None:
    path = corpus.images / "picture1.jpg"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (corpus.images / "picture3.jpg").write_text("<html>404</html>")
    (corpus.images / "picture5.jpg").write_bytes(b"")
    message = refused(corpus, "3 of 6 images are unreadable or cut short: ")
    assert all(f"picture{number}.jpg (" in message for number in (1, 3, 5))


def test_a_picture_beyond_all_reason(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)  # the pictures have 2,000
    refused(corpus, "6 of 6 images are unreadable")


def test_no_images_folder(corpus: Corpus) -> None:
    corpus.data["images"] = str(corpus.folder / "elsewhere")
    refused(corpus, "elsewhere: data.images: no such folder")


def test_images_folder_without_permission(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    # Tests may run as root, whom no mode stops; so the answer of the system is replaced, not the mode.
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != corpus.images and allowed(path, mode))
    refused(corpus, "data.images: no permission to read the folder")


def test_unknown_key_of_the_section(corpus: Corpus) -> None:
    corpus.data["anotations"] = "x"
    refused(corpus, "data.anotations: unknown key.*did you mean 'annotations'")


def test_judgements_become_the_truth_of_test(corpus: Corpus) -> None:
    corpus.judge("crowdflower", "picture0.jpg\tpicture5.jpg#2\t1\t3\t0\npicture5.jpg\tpicture0.jpg#0\t0\t0\t3\n")
    manifest = prepared(corpus)
    truth = manifest.truth("test")
    assert manifest.truth_files["test"]["kind"] == truth.kind == "judged"
    assert truth.pairs.tolist() == [[0, 0], [0, 3], [1, 1], [1, 2], [1, 3]]
    assert manifest.truth("val").kind == "equal_captions"
    assert manifest.truth_files["test"]["queries"] == {"i2t": 2, "t2i": 2}
    np.testing.assert_array_equal(truth.extra["judged_pairs"], [[0, 3], [1, 0]])


def test_bad_judgements_write_nothing(corpus: Corpus) -> None:
    corpus.judge("crowdflower", "picture0.jpg\tpicture9.jpg#2\t1\t3\t0\n")
    refused(corpus, "line 1: unknown image of the caption; got 'picture9.jpg'; did you mean")


def test_unknown_kind_of_judgements(corpus: Corpus) -> None:
    corpus.data["judgements"]["experts"] = "x"
    refused(corpus, "data.judgements: unknown kind.*did you mean 'expert'")


def test_one_name_in_two_folders_makes_the_path_the_id(corpus: Corpus) -> None:
    for number, folder in ((1, "a"), (3, "b")):
        (corpus.images / folder).mkdir()
        (corpus.images / f"picture{number}.jpg").rename(corpus.images / folder / "same.jpg")
        corpus.entries[number] |= {"filename": "same.jpg", "filepath": folder}
    manifest = prepared(corpus)
    assert manifest.image_ids == manifest.image_files and manifest.caption_ids[0] == "a/same.jpg#0"
    corpus.entries[3]["filepath"] = "./a"
    refused_twice = r"images\[3\].filename: occurs twice, first in images\[1\]; got 'a/same.jpg'"
    with pytest.raises(UserError, match=refused_twice):
        prepare.run(corpus.write(), corpus.folder / "resources" / "tiny-2")


def test_a_byte_order_mark_is_accepted(corpus: Corpus) -> None:
    corpus.write()
    corpus.file.write_bytes(b"\xef\xbb\xbf" + corpus.file.read_bytes())
    assert len(read_annotations(corpus.file, "tiny")[0]) == 6
