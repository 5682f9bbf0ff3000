"""Relevance files: read by COCO's ids, refused in one sentence where they do not fit, and no numbers of stale ones."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fne.data import coco_relevance
from fne.results.current import stale
from fne.study import paths
from fne.study.api import digest, evaluation_digest, resolve, training_digest
from fne.utils.errors import UserError
from tests.evaluation.coco import view_of, write_files
from tests.projects import ENCODERS, PATHS, Project, given

VIEW = view_of([10, 20, 30], [1, 2, 3, 4, 5], np.array([0, 0, 1, 2, 2]))
I2T, T2I = {10: [2, 1, 4], 30: [5]}, {1: [10, 30], 5: [30]}


def test_files_are_placed_by_id_and_a_positive_outside_the_gallery_is_kept(tmp_path: Path) -> None:
    result = coco_relevance.read(write_files(tmp_path, "eccv", I2T | {20: [2, 2, 99, 99, 98]}, T2I), "eccv", VIEW)
    assert result.pairs["i2t"].tolist() == [[0, 0], [0, 1], [0, 3], [1, 1], [2, 4]]
    assert result.pairs["t2i"].tolist() == [[0, 0], [2, 0], [2, 4]], "image first in both directions"
    assert result.outside["i2t"].tolist() == [1, 1] and not len(result.outside["t2i"])
    assert result.sha256 == coco_relevance.digest(tmp_path, "eccv")


def test_ids_are_read_however_the_images_are_named() -> None:
    named = replace(VIEW, image_ids=["000000000010.jpg", "val2014/COCO_val2014_000000000020.jpg", "30.png"])
    assert coco_relevance.coco_ids(named) == ({10: 0, 20: 1, 30: 2}, {1: 0, 2: 1, 3: 2, 4: 3, 5: 4})


@pytest.mark.parametrize(
    ("text", "saying"),
    [
        ('{"10": [1],', "JSON"),
        ("{}", "wrong kind"),
        ('{"ten": [1]}', "'ten'"),
        ('{"10": ["1"]}', "'1'"),
        ('{"1000": [1], "1001": [1], "10": [1]}', "got 1000"),
        ('{"10": [77, 78]}', "[77, 78]"),
        (None, "no such file"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name(tmp_path: Path, text: str | None, saying: str) -> None:
    folder = write_files(tmp_path, "eccv", I2T, T2I)
    file = folder / "eccv_image_to_caption.json"
    if text is None:
        file.unlink()
    else:
        file.write_text(text)
    with pytest.raises(UserError) as caught:
        coco_relevance.read(folder, "eccv", VIEW)
    message = str(caught.value)
    assert "\n" not in message and file.name in message and saying in message, message


@pytest.mark.parametrize(
    ("change", "saying"),
    [
        ({"sentids": None}, "caption"),
        ({"sentids": [1, 2, 3, 4, 4]}, "caption"),
        ({"image_ids": ["a.jpg", *VIEW.image_ids[1:]]}, "a.jpg"),
    ],
)
def test_a_corpus_without_cocos_ids_is_refused(tmp_path: Path, change: dict, saying: str) -> None:
    with pytest.raises(UserError, match=f"COCO id.*{saying}|{saying}.*COCO id"):
        coco_relevance.read(write_files(tmp_path, "eccv", I2T, T2I), "eccv", replace(VIEW, **change))


COCO = {"data.dataset": "coco", **PATHS, **ENCODERS}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_where_files_lie_retrains_nothing_and_which_are_given_evaluates_anew(project: Project, tmp_path: Path) -> None:
    coco, places = COCO | given(tmp_path / "given"), ({}, *({"evaluation.relevance.eccv": at} for at in ("/a", "/b")))
    studies = [project.load("flickr8k", **coco | place) for place in places]
    assert len({paths.data_id(study) for study in studies}) == 1
    plain, here, elsewhere = (resolve(study, "fne") for study in studies)
    assert training_digest(plain) == training_digest(here) and digest(plain) == digest(here)
    assert evaluation_digest(plain) != evaluation_digest(here) == evaluation_digest(elsewhere)
    run = {"code": "c"}
    assert stale({"config": here, "code": "c"}, run, elsewhere, "c") is None
    assert stale({"config": plain, "code": "c"}, run, here, "c")[0] == "evaluate"


def test_coco_protocols_need_coco_and_their_files(project: Project) -> None:
    project.fails("smoke", {"evaluation.relevance.cxc": "/a"}, saying=["evaluation.relevance.cxc", "COCO", "'scenes'"])
    for primary in (
        {"protocol": "coco_1k_5fold", "metric": "rsum"},
        {"protocol": "eccv", "metric": "map_at_r", "direction": "i2t"},
    ):
        project.edit("studies/smoke", primary=primary)
        project.fails("smoke", saying=["primary.protocol", primary["protocol"], "COCO", "own, truth"])
    project.edit("studies/smoke", primary={"protocol": "eccv", "metric": "p1", "direction": "i2t"})
    project.fails("smoke", saying=["primary.metric", "r1, map_at_r, r_precision"])
    primary = {"protocol": "eccv", "metric": "r1", "direction": "t2i"}
    project.edit("studies/flickr8k", primary=primary)
    project.fails("flickr8k", COCO, saying=["evaluation.relevance.eccv", "eccv_caption"])
    assert project.load("flickr8k", **COCO, **{"evaluation.relevance.eccv": "/a"}).primary == primary


def test_missing_files_are_reported_before_any_work(project: Project, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "files", "cxc", I2T, T2I)
    places = {"evaluation.relevance.cxc": str(folder), "evaluation.relevance.eccv": str(tmp_path / "nowhere")}
    made = project.load("flickr8k", **COCO, **places)
    assert [file.name for file in paths.relevance_files(made)] == [
        f"{protocol}_{direction}.json"
        for protocol in ("eccv", "cxc")
        for direction in ("image_to_caption", "caption_to_image")
    ]
    (folder / "cxc_caption_to_image.json").unlink()
    with pytest.raises(UserError) as caught:
        paths.check_given(made)
    assert all(words in str(caught.value) for words in ("evaluation.relevance.eccv", "cxc_caption_to_image.json"))
