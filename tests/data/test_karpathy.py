"""Corpora in Karpathy's schema: what is read, and one clear error for everything that cannot be used."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fne.data.manifest import Manifest
from fne.steps import prepare
from fne.study.api import load_study
from fne.utils.errors import UserError
from tests.data.conftest import Corpus
from tests.projects import ROOT


def prepared(corpus: Corpus) -> Manifest:
    folder = corpus.folder / "resources" / "tiny-1"
    prepare.run(corpus.write(), folder)
    return Manifest.load(folder)


def refused(corpus: Corpus, message: str) -> str:
    """Prepare, expect one error that matches ``message``, and expect that nothing was written."""
    corpus.write()
    with pytest.raises(UserError, match=message) as caught:
        prepare.run(corpus.data, corpus.folder / "resources" / "tiny-1")
    assert not (corpus.folder / "resources").exists()
    return str(caught.value)


def test_rows_are_grouped_by_split_in_the_order_of_the_file(corpus: Corpus) -> None:
    manifest = prepared(corpus)
    names = [f"picture{imgid}.jpg" for imgid in (1, 3, 4, 2, 0, 5)]
    assert manifest.column("id") == manifest.column("file") == names
    assert manifest.column("split") == ["train"] * 3 + ["val"] + ["test"] * 2  # restval is training data
    assert manifest.split("train").caption_image.tolist() == [0, 0, 1, 2, 2]  # 2, 1 and 2 captions
    assert manifest.column("text")[:3] == ["Caption 0 of 1 .", "Caption 1 of 1 .", "Caption 0 of 3 ."]
    assert manifest.column("caption_id")[:3] == ["picture1.jpg#0", "picture1.jpg#1", "picture3.jpg#0"]
    assert manifest.root == corpus.images.resolve()
    assert [path.is_file() for path in manifest.image_paths()] == [True] * 6
    assert manifest.truth_files["test"]["kind"] == "equal_captions"


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


def image(number: int, *path: str | int, value: object) -> Callable[[Corpus], None]:
    """Put another value into an entry of the annotations."""

    def edit(corpus: Corpus) -> None:
        place: Any = corpus.entries
        for key in (number, *path)[:-1]:
            place = place[key]
        place[(number, *path)[-1]] = value

    return edit


def data(key: str, value: object) -> Callable[[Corpus], None]:
    return lambda corpus: corpus.data.update({key: value})


def renamed(name: str) -> Callable[[Corpus], None]:
    return lambda corpus: corpus.data.update(annotations=str(corpus.folder / name))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (image(2, "split", value="vall"), r"\[2\]\.split: wrong split of picture2.jpg; .*did you mean 'val'"),
        (image(2, "split", value="train"), "split: a split has no image; got 'val'"),
        (image(3, "filename", value="picture1.jpg"), r"\[3\]\.filename: occurs twice; got 'picture1.jpg'"),
        (image(3, "filename", value=""), r"images\[3\]\.filename: not a file name"),
        (image(3, "imgid", value=1), r"images\[3\]\.sentences: a caption belongs to another image; got 3; allowed: 1"),
        (image(1, "sentences", value=[]), r"images\[1\]\.sentences: image picture1.jpg has no caption"),
        (image(1, "sentences", 1, "raw", value="  \t"), r"images\[1\]\.sentences\[1\]: not a caption"),
        (image(1, "sentences", 1, value="text"), r"images\[1\]\.sentences\[0\]: not a caption"),
        (image(1, "filename", value="../picture1.jpg"), r"leaves the images folder; got '.*../picture1.jpg'"),
        (image(1, "filepath", value="/etc"), "leaves the images folder"),
        (image(1, value="picture"), r"images\[1\]: not an entry"),
        (lambda corpus: corpus.entries.clear(), "holds no pair"),
        (lambda corpus: setattr(corpus, "dataset", "flickr30k"),
         "dataset: names another data set; got 'flickr30k'; allowed: tiny"),
        (data("counts", {"val": 1014}), r"val: the val split has another number of images.*got 1; allowed: 1014"),
        (data("annotations", None), "data.annotations: not given; .*--set data.annotations="),
        (data("images", None), "data.images: not given; .*--set data.images="),
        (data("images", "/elsewhere"), "elsewhere: data.images: no such folder"),
        (renamed("images"), "data.annotations: not a folder of a data set"),
        *((renamed(name), f"{name}: data.annotations: no such file; did you mean 'dataset_tiny.json'")
          for name in ("Dataset_Tiny.JSON", "dataset_tinny.json", "ｄataset_tiny.json")),
    ],
)  # fmt: skip
def test_what_cannot_be_used(corpus: Corpus, edit: Callable[[Corpus], None], message: str) -> None:
    edit(corpus)
    assert "data" in refused(corpus, message)


def test_missing_images_are_counted_and_the_first_named(corpus: Corpus) -> None:
    for number in range(6):
        (corpus.images / f"picture{number}.jpg").unlink()
    message = refused(corpus, "data.images: 6 of 6 images are missing: ")
    assert message.count("picture") == 5 and message.endswith(", ...")


def test_broken_images(corpus: Corpus) -> None:
    path = corpus.images / "picture1.jpg"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (corpus.images / "picture3.jpg").write_text("<html>404</html>")
    (corpus.images / "picture5.jpg").write_bytes(b"")
    message = refused(corpus, "3 of 6 images are unreadable or cut short: ")
    assert all(f"picture{number}.jpg (" in message for number in (1, 3, 5))


def test_judgements_become_the_truth_of_test(corpus: Corpus) -> None:
    corpus.judge("crowdflower", "picture0.jpg\tpicture5.jpg#2\t1\t3\t0\npicture5.jpg\tpicture0.jpg#0\t0\t0\t3\n")
    manifest = prepared(corpus)
    truth = manifest.truth("test")
    assert manifest.truth_files["test"]["kind"] == truth.kind == "judged"
    assert truth.pairs.tolist() == [[0, 0], [0, 3], [1, 1], [1, 2], [1, 3]]
    assert manifest.truth("val").kind == "equal_captions"
    assert manifest.truth_files["test"]["queries"] == {"i2t": 2, "t2i": 2}
    np.testing.assert_array_equal(truth.extra["judged_pairs"], [[0, 3], [1, 0]])


@pytest.mark.parametrize(("dataset", "papers"), [("flickr30k", [29_000, 1014, 1000]), ("coco", [113_287, 5000, 5000])])
def test_counts_are_those_of_the_papers(dataset: str, papers: list[int]) -> None:
    given = {"data.dataset": dataset, "data.annotations": "a", "data.images": "b"}
    given |= {f"encoders.{side}.checkpoint": f"/m/{side}" for side in ("image", "text")}
    assert [*load_study("flickr8k", given, ROOT).data["counts"].values()] == papers
