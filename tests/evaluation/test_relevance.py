"""Relevance files: read by COCO's ids, refused in one sentence where they do not fit, and no numbers of stale ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fne.data import coco_relevance
from fne.data.manifest import SplitView
from fne.results.current import stale
from fne.steps import evaluate
from fne.steps.rank import rank_replicates, relevant_items
from fne.study import paths
from fne.study.api import Study, digest, evaluation_digest, load_study, resolve, training_digest
from fne.utils.errors import UserError
from tests.evaluation import coco
from tests.evaluation.coco import view_of, write_files
from tests.projects import ENCODERS, PATHS, ROOT, Project, given

VIEW = view_of([10, 20, 30], [1, 2, 3, 4, 5], np.array([0, 0, 1, 2, 2]))
I2T, T2I = {10: [2, 1, 4], 30: [5]}, {1: [10, 30], 5: [30]}


def test_files_are_placed_by_id(tmp_path: Path) -> None:
    result = coco_relevance.read(write_files(tmp_path, "eccv", I2T, T2I), "eccv", VIEW)
    assert result.pairs["i2t"].tolist() == [[0, 0], [0, 1], [0, 3], [2, 4]]
    assert result.pairs["t2i"].tolist() == [[0, 0], [2, 0], [2, 4]], "image first in both directions"
    assert {part.dtype for part in result.pairs.values()} == {np.dtype(np.int32)}
    assert all(not len(part) for part in result.outside.values())
    assert result.sha256 == coco_relevance.digest(tmp_path, "eccv")


def test_a_positive_named_twice_counts_once_and_one_outside_the_gallery_is_kept(tmp_path: Path) -> None:
    folder = write_files(tmp_path, "eccv", {10: [2, 2, 99, 99, 98]}, T2I)
    result = coco_relevance.read(folder, "eccv", VIEW)
    assert result.pairs["i2t"].tolist() == [[0, 1]] and result.outside["i2t"].tolist() == [0, 0]


def test_ids_are_read_from_any_way_the_pictures_are_named() -> None:
    named = replace(VIEW, image_ids=["000000000010.jpg", "val2014/COCO_val2014_000000000020.jpg", "30.png"])
    assert coco_relevance.coco_ids(named) == ({10: 0, 20: 1, 30: 2}, {1: 0, 2: 1, 3: 2, 4: 3, 5: 4})
    assert coco_relevance.coco_ids(replace(VIEW, sentids=["1", "2", "3", "4", "5"]))[1][5] == 4


def refused(folder: Path, view: SplitView = VIEW, saying: tuple[str, ...] = ()) -> None:
    with pytest.raises(UserError) as caught:
        coco_relevance.read(folder, "eccv", view)
    message = str(caught.value)
    assert "\n" not in message and all(words in message for words in saying), message


def test_another_corpus_is_named_with_its_first_ids(tmp_path: Path) -> None:
    many = {query: [1] for query in range(1000, 1007)} | {10: [1]}
    refused(
        write_files(tmp_path, "eccv", many, T2I),
        saying=("eccv_image_to_caption.json", "7 of its 8 queries are not in the test split", "1000",
                "Karpathy's test split of COCO", "eccv_caption"),
    )  # fmt: skip
    refused(write_files(tmp_path, "eccv", {10: [77, 78]}, T2I), saying=("no positive of a query", ": 10:", "[77, 78]"))


@pytest.mark.parametrize(
    ("text", "saying"),
    [
        ("[1, 2]", ("wrong kind", "a mapping")),
        ("{}", ("wrong kind",)),
        ('{"10": [1],', ("not valid JSON", "line 1")),
        ('{"ten": [1]}', ("not a COCO id", "'ten'")),
        ('{"10": []}', ("no positive of a query", "10")),
        ('{"10": ["1"]}', ("10[0]: wrong kind", "'1'", "an integer")),
        ('{"10": 1}', ("10: wrong kind", "a list")),
    ],
)
def test_a_damaged_file_is_refused_with_its_name(tmp_path: Path, text: str, saying: tuple[str, ...]) -> None:
    folder = write_files(tmp_path, "eccv", I2T, T2I)
    (folder / "eccv_image_to_caption.json").write_text(text)
    refused(folder, saying=("eccv_image_to_caption.json", *saying))


def test_a_missing_file_is_refused_and_says_where_it_is_had(tmp_path: Path) -> None:
    (write_files(tmp_path, "eccv", I2T, T2I) / "eccv_caption_to_image.json").unlink()
    refused(tmp_path, saying=("eccv_caption_to_image.json", "no such file", "PyPI package eccv_caption"))


def test_a_corpus_without_cocos_ids_is_refused(tmp_path: Path) -> None:
    folder = write_files(tmp_path, "eccv", I2T, T2I)
    refused(folder, replace(VIEW, sentids=None), ("caption without a COCO id", "dataset_coco.json", "sentid"))
    refused(folder, replace(VIEW, sentids=[1, 2, 3, 4, 4]), ("caption without a COCO id of its own",))
    refused(folder, replace(VIEW, image_ids=["a.jpg", *VIEW.image_ids[1:]]), ("image without a COCO id", "'a.jpg'"))


COCO = {"data.dataset": "coco", **PATHS, **ENCODERS}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_where_files_lie_retrains_nothing_and_which_are_given_evaluates_anew(project: Project) -> None:
    plain, given, elsewhere = (
        resolve(project.load("flickr8k", **COCO, **more), "fne")
        for more in ({}, {"evaluation.relevance.eccv": "/a"}, {"evaluation.relevance.eccv": "/b"})
    )
    assert training_digest(plain) == training_digest(given) and digest(plain) == digest(given)
    assert evaluation_digest(plain) != evaluation_digest(given) == evaluation_digest(elsewhere)
    run = {"code": "c"}

    def why(then: dict, now: dict) -> tuple[str, str] | None:
        return stale({"config": then, "code": "c"}, run, now, "c")

    assert why(given, elsewhere) is None and why(plain, plain) is None
    stage, reason = why(plain, given)
    assert stage == "evaluate" and "stale" in reason


def test_relevance_files_do_not_change_the_data(project: Project, tmp_path: Path) -> None:
    files = {"data.dataset": "coco", **given(tmp_path / "given")}
    names = {
        paths.data_id(project.load("flickr8k", **files, **more))
        for more in ({}, {"evaluation.relevance.cxc": "/a", "evaluation.relevance.eccv": "/a"})
    }
    assert len(names) == 1


def test_relevance_and_coco_protocols_need_coco(project: Project) -> None:
    project.fails(
        "smoke", {"evaluation.relevance.cxc": "/a"},
        saying=["evaluation.relevance.cxc", "COCO's test split", "'scenes'", "null"],
    )  # fmt: skip
    for protocol, metric in (("coco_1k_5fold", "rsum"), ("eccv", "map_at_r"), ("cxc", "r1")):
        primary = {"protocol": protocol, "metric": metric} | ({} if metric == "rsum" else {"direction": "i2t"})
        project.edit("studies/smoke", primary=primary)
        project.fails("smoke", saying=["primary.protocol", protocol, "COCO's test split", "own, truth"])
    project.edit("studies/smoke", primary={"protocol": "eccv", "metric": "p1", "direction": "i2t"})
    project.fails("smoke", saying=["primary.metric", "r1, map_at_r, r_precision"])


def test_a_primary_metric_of_relevance_files_needs_them(project: Project) -> None:
    project.edit("studies/flickr8k", primary={"protocol": "eccv", "metric": "r1", "direction": "t2i"})
    project.fails(
        "flickr8k", COCO,
        saying=["evaluation.relevance.eccv", "not given", "snakemake --config eccv=...", "eccv_caption/data"],
    )  # fmt: skip
    made = project.load("flickr8k", **COCO, **{"evaluation.relevance.eccv": "/a"})
    assert made.primary == {"protocol": "eccv", "metric": "r1", "direction": "t2i"}
    project.edit("studies/flickr8k", primary={"protocol": "coco_1k_5fold", "metric": "rsum"})
    assert project.load("flickr8k", **COCO).primary["direction"] == "both"


def test_what_is_not_there_is_told_before_any_work(project: Project, tmp_path: Path) -> None:
    folder = write_files(tmp_path / "files", "cxc", I2T, T2I)
    given = {"evaluation.relevance.cxc": str(folder), "evaluation.relevance.eccv": str(tmp_path / "nowhere")}
    made = project.load("flickr8k", **COCO, **given)
    assert [file.name for file in paths.relevance_files(made)] == [
        "eccv_image_to_caption.json", "eccv_caption_to_image.json",
        "cxc_image_to_caption.json", "cxc_caption_to_image.json",
    ]  # fmt: skip
    (folder / "cxc_caption_to_image.json").unlink()
    with pytest.raises(UserError) as caught:
        paths.check_given(made)
    lines = [line for line in str(caught.value).splitlines() if "relevance" in line]
    assert len(lines) == 2, lines
    assert "evaluation.relevance.eccv: no such folder" in lines[0] and "snakemake --config eccv=..." in lines[0]
    assert "cxc_caption_to_image.json" in lines[1] and "PyPI package eccv_caption" in lines[1]


@pytest.fixture
def ranked(tmp_path: Path) -> tuple[Study, Path, Path]:
    """A study of COCO with relevance files, and the rankings of one job, as ``rank`` writes them."""
    folder = tmp_path / "files"
    given = {f"evaluation.relevance.{name}": str(folder) for name in ("eccv", "cxc")}
    study, made = load_study("flickr8k", COCO | given, ROOT), coco.files(folder, coco.VIEW)
    known, described = relevant_items(coco.CocoManifest, coco.VIEW, coco.own_truth(coco.VIEW), made)
    result, _ = rank_replicates([(0, *coco.embeddings())], known)
    return study, folder, coco.write_rankings(
        tmp_path, study, "0", known | result, dataset="coco", seeds=[0], failed={}, protocols=described,
        selected_epoch={"0": 3}, record={"test_accesses": []},
    )  # fmt: skip


def scored(study: Study, root: Path, file: Path) -> dict[str, dict]:
    evaluate.run(study, "fne", "0", "test", root)
    metrics = json.loads(file.with_name("metrics.test.json").read_text())
    assert set(metrics["fingerprint"]) == {row["protocol"] for row in metrics["rows"]}
    return metrics["fingerprint"]


def asking(study: Study, **changes: str | None) -> Study:
    flat = study.configs["fne"] | {f"evaluation.relevance.{name}": folder for name, folder in changes.items()}
    return replace(study, configs={**study.configs, "fne": flat})


def test_every_protocol_that_is_asked_for_is_scored_under_its_own_fingerprint(ranked, tmp_path: Path) -> None:
    study, folder, file = ranked
    result = scored(study, tmp_path, file)
    assert set(result) == {"own", "eccv", "cxc"} and len({text["id"] for text in result.values()}) == 3
    assert result["eccv"]["relevance"] == f"files {coco_relevance.digest(folder, 'eccv')}"
    names = {name: text["name"] for name, text in result.items()}
    assert names == {"own": "coco_test_20", "eccv": "coco_test_20_eccv", "cxc": "coco_test_20_cxc"}, "no published ones"
    assert set(scored(asking(study, cxc=None), tmp_path, file)) == {"own", "eccv"}


def test_files_that_were_not_ranked_or_have_changed_are_refused(ranked, tmp_path: Path) -> None:
    study, folder, file = ranked
    coco.files(tmp_path / "moved", coco.VIEW)
    moved = asking(study, eccv=str(tmp_path / "moved"))
    assert set(scored(moved, tmp_path, file)) == {"own", "eccv", "cxc"}, "a place is no content"
    before = file.with_name("metrics.test.json").read_bytes()
    stored = json.loads((folder / "cxc_caption_to_image.json").read_text())
    (folder / "cxc_caption_to_image.json").write_text(json.dumps(dict(list(stored.items())[1:])))
    with pytest.raises(UserError, match="without the relevance files of protocol 'cxc', or with other ones.*rank it"):
        evaluate.run(study, "fne", "0", "test", tmp_path)
    with np.load(file) as arrays:
        meta = json.loads(str(arrays["meta"]))
        kept = {name: arrays[name] for name in arrays.files if name != "meta"}
    del meta["protocols"]["eccv"]
    np.savez(file, meta=np.array(json.dumps(meta)), **kept)
    with pytest.raises(UserError, match="protocol 'eccv'"):
        evaluate.run(asking(study, cxc=None), "fne", "0", "test", tmp_path)
    assert file.with_name("metrics.test.json").read_bytes() == before
