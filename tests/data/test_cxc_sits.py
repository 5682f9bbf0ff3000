"""Ratings of Crisscrossed Captions as judged pairs of COCO: read, refused, and used by ``calibrate`` and ``audit``."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fne.data import cxc_sits
from fne.data.coco_relevance import read as read_relevance
from fne.data.manifest import SplitView
from fne.data.truth import Truth, sorted_pairs
from fne.study import paths
from fne.study.api import resolve, training_digest
from fne.utils.errors import UserError
from tests.evaluation.coco import own_truth, view_of
from tests.projects import ENCODERS, PATHS, Project, given

VIEW = view_of([10, 20, 30], [1, 2, 3, 4, 5, 6], np.array([0, 0, 1, 2, 2, 2]))
HEADER = ",".join(cxc_sits.COLUMNS)
ROWS = [(1, 10, 4.9), (3, 10, 3.0), (4, 10, 2.99), (6, 20, 5), (2, 30, 0), (2, 20, 3.4), (5, 30, 1.0)]
"""Caption, image, score; the first and the last are an image's own."""


def row(caption: int, image: int, score: float) -> str:
    return f"COCO_val2014:sentid:{caption},COCO_val2014_{image:012d}.jpg,{score},c2i_intrasim"


def write(folder: Path, rows: list[tuple[int, int, float]], split: str = "test") -> Path:
    text = "\n".join([HEADER, *(row(*item) for item in rows)]) + "\n"
    (folder / f"sits_{split}.csv").write_text(text, encoding="utf-8")
    return folder


def known(folder: Path, match: float = 3.0, view: SplitView = VIEW, truth: Truth | None = None) -> Truth:
    return cxc_sits.known({"audit": {"sits": folder, "sits_match": match}}, view, truth or own_truth(view))


def judged(truth: Truth) -> dict[tuple[int, int], tuple[float, int]]:
    extra = truth.extra
    result = zip(extra["judged_share"].tolist(), extra["judged_positive"].tolist(), strict=True)
    return dict(zip(map(tuple, extra["judged_pairs"].tolist()), result, strict=True))


def test_ratings_are_placed_by_cocos_ids_and_match_from_the_threshold_on(tmp_path: Path) -> None:
    write(tmp_path, ROWS)
    for match in (3.0, 3.4, 5.0, 0.5):
        result = known(tmp_path, match)
        expected = {(image // 10 - 1, caption - 1): score for caption, image, score in ROWS}
        assert {pair: item[1] for pair, item in judged(result).items()} == {p: s >= match for p, s in expected.items()}
        assert {pair: item[0] for pair, item in judged(result).items()} == pytest.approx(
            {pair: score / 5 for pair, score in expected.items()}
        )
        own = {(int(image), caption) for caption, image in enumerate(VIEW.caption_image)}
        matches = {pair for pair, score in expected.items() if score >= match}
        assert {tuple(pair) for pair in result.pairs.tolist()} == own | matches, "own pairs stay whatever people say"
        assert result.kind == "judged" and set(result.extra["judged_source"].tolist()) == {2}


def test_a_rating_overrules_equal_captions(tmp_path: Path) -> None:
    own = own_truth(VIEW)
    equal = replace(own, pairs=sorted_pairs(np.concatenate([own.pairs, [[0, 3], [1, 4]]])))
    result = known(write(tmp_path, ROWS), truth=equal)
    assert not result.contains(0, 3) and result.contains(1, 4), "(0, 3) was rated 2.99, (1, 4) by nobody"


@pytest.mark.parametrize(
    ("line", "saying"),
    [
        (row(4, 20, 5.01), "line 3: malformed rating"),
        (row(4, 20, -0.1), "line 3: malformed rating"),
        (row(4, 20, float("nan")), "line 3: malformed rating"),
        (row(4, 20, 3).replace(",3,", ",high,"), "line 3: malformed rating"),
        (row(4, 20, 3).replace(":sentid:4", ""), "line 3: malformed rating"),
        (row(4, 20, 3).replace("sentid:4", "sentid:x"), "line 3: malformed rating"),
        (row(4, 20, 3).replace(".jpg", ".png"), "line 3: malformed rating"),
        (row(4, 20, 3).rpartition(",")[0], "line 3: malformed rating"),
        (row(4, 20, 3) + ",1", "line 3: malformed rating"),
        (row(4, 20, 3)[:30], "line 3: malformed rating"),
        (row(4, 20, 3).replace("sentid:4", "sentid:" + "4" * 5000), "line 3: malformed rating"),
        ('"' + row(4, 20, 3), "line 3: not a readable table"),
        ('"' + row(4, 20, 3) + "\n" + row(3, 20, 3) + '"', "line 3: not a readable table"),
        (row(1, 20, 4), "line 3: a pair rated twice"),
        (row(4, 40, 3), "COCO id: 1 of its 2 images are not in the test split; got 40"),
        (row(7, 20, 3), "COCO id: 1 of its 3 captions are not in the test split; got 7"),
    ],
)
def test_a_row_that_cannot_be_used_is_refused_with_its_place(tmp_path: Path, line: str, saying: str) -> None:
    (tmp_path / "sits_test.csv").write_text("\n".join([HEADER, row(1, 20, 3), line, row(2, 20, 4)]), encoding="utf-8")
    with pytest.raises(UserError) as caught:
        known(tmp_path)
    assert f"sits_test.csv: {saying}" in str(caught.value).replace("audit.sits: ", "")


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    def refused(saying: str) -> None:
        with pytest.raises(UserError, match=saying):
            known(tmp_path)

    refused("audit.sits: no such file; .*Crisscrossed-Captions")
    file = tmp_path / "sits_test.csv"
    file.write_text("")
    refused("line 1: not a SITS file; .*caption,image,agg_score")
    file.write_text("caption1,caption2,agg_score,sampling_method\n")
    refused("line 1: not a SITS file; got 'caption1,caption2")
    file.write_bytes(gzip.compress(b"caption"))
    refused("audit.sits: not UTF-8 text")
    file.write_text(f"{HEADER}\n")
    refused("rates no image with another image's caption")
    write(tmp_path, [item for item in ROWS if item[:2] in ((1, 10), (5, 30))])
    refused("rates no image with another image's caption")
    write(tmp_path, ROWS)
    with pytest.raises(UserError, match="caption without a COCO id"):
        known(tmp_path, view=replace(VIEW, sentids=None))


COCO = {"data.dataset": "coco", **PATHS, **ENCODERS}


def test_ratings_belong_to_coco_are_no_part_of_a_digest_and_are_the_only_judges(tmp_path: Path) -> None:
    config, files = Project(tmp_path), {"data.dataset": "coco", **given(tmp_path / "given")}
    plain, rated = (config.load("flickr8k", **files, **more) for more in ({}, {"audit.sits": "/a"}))
    assert paths.data_id(plain) == paths.data_id(rated)
    assert training_digest(resolve(plain, "fne")) == training_digest(resolve(rated, "fne"))
    with pytest.raises(UserError, match="audit.sits: is about COCO's val and test splits; data.dataset is 'scenes'"):
        config.load("smoke", **{"audit.sits": "/a"})
    with pytest.raises(UserError, match="audit.sits: is a second source of human judgements"):
        config.load("flickr8k", **COCO, **{"audit.sits": "/a", "data.judgements.expert": "/b"})


SPLITS = {"train": 60, "val": 24, "test": 24}
WORDS = "red blue dog cat runs sits on grass sand near big small two men water".split()


@pytest.mark.needs_shared
def test_the_real_ratings_from_three_on_are_the_pairs_of_cxcs_relevance_files(shared: Path, tmp_path: Path) -> None:
    place = shared / "data" / "coco_annotations"
    own = json.loads((place / "original_image_to_caption.json").read_text(encoding="utf-8"))
    images = sorted(map(int, own))
    view = view_of(images, [c for i in images for c in own[str(i)]], np.repeat(np.arange(len(images)), 5))
    (tmp_path / "sits_test.csv").write_bytes(gzip.decompress((place / "cxc_sits_test.csv.gz").read_bytes()))
    base = Project(tmp_path).read("base")["audit"]
    result = known(tmp_path, base["sits_match"], view)
    positive = result.extra["judged_pairs"][result.extra["judged_positive"] > 0]
    listed = read_relevance(place, "cxc", view)
    assert np.array_equal(positive, listed.pairs["i2t"]) and np.array_equal(positive, listed.pairs["t2i"])
    other = result.extra["judged_pairs"][:, 0] != view.caption_image[result.extra["judged_pairs"][:, 1]]
    assert (int(other.sum()), int(result.extra["judged_positive"][other].sum())) == (19_833, 10_614)
    (tmp_path / "sits_test.csv").write_bytes(gzip.decompress((place / "cxc_sits_val.csv.gz").read_bytes()))
    with pytest.raises(UserError, match="5,000 of its 5,000 images are not in the test split"):
        known(tmp_path, base["sits_match"], view)
