"""Ratings of Crisscrossed Captions as judged pairs of COCO: read, refused, and used by ``calibrate`` and ``audit``."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fne.analysis.posteriors import posteriors
from fne.analysis.scores import METRICS, Scored
from fne.data import cxc_sits
from fne.data.coco_relevance import read as read_relevance
from fne.data.manifest import Manifest, SplitView
from fne.data.truth import Truth, sorted_pairs
from fne.negatives import maps
from fne.results.calibration_tables import calibration_files, read
from fne.steps import audit, rank
from fne.steps import calibrate as calibration
from fne.steps import train as job
from fne.steps.calibrate import val_batches
from fne.study import paths
from fne.study.api import Study, resolve, training_digest
from fne.training.embed import embed_split
from fne.utils.errors import UserError
from tests.evaluation.coco import own_truth, view_of
from tests.projects import ENCODERS, PATHS, Project, checkpoint, given
from tests.training import project

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


def test_a_missing_rating_file_is_told_before_any_work(tmp_path: Path) -> None:
    study = Project(tmp_path).load("flickr8k", **COCO, **{"audit.sits": str(write(tmp_path, ROWS))})
    with pytest.raises(UserError) as caught:
        paths.check_given(study)
    summary = str(caught.value)
    assert "sits_val.csv: audit.sits: no such file" in summary and "sits_test.csv" not in summary.replace(
        cxc_sits.SOURCE, ""
    )


SPLITS = {"train": 60, "val": 24, "test": 24}
WORDS = "red blue dog cat runs sits on grass sand near big small two men water".split()


def corpus(root: Path) -> dict[str, dict[tuple[int, int], float]]:
    """A tiny COCO of six captions an image, and ratings of its val and test split, of the first five as CxC's are."""
    rng, sentid = np.random.default_rng(4), 1000
    (root / "pictures").mkdir()
    entries, rated = [], {}
    for number, split in enumerate(name for name, count in SPLITS.items() for _ in range(count)):
        name = f"COCO_val2014_{number + 500:012d}.jpg"
        Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)).save(root / "pictures" / name)
        topic, sentences = rng.choice(WORDS, 5, replace=False), []
        for _ in range(6):
            sentences.append({"raw": " ".join(rng.choice(topic, 3, replace=False)), "imgid": number, "sentid": sentid})
            sentid += 1
        entries.append({"filename": name, "imgid": number, "split": split, "sentences": sentences})
    (root / "dataset_coco.json").write_text(json.dumps({"dataset": "coco", "images": entries}), encoding="utf-8")
    for split in ("val", "test"):
        mine = [entry for entry in entries if entry["split"] == split]
        rated[split] = {}
        for _ in range(300):
            image, other = rng.choice(len(mine), 2)
            sentence = mine[other]["sentences"][int(rng.integers(5))]
            shared = set(mine[image]["sentences"][0]["raw"].split()) & set(sentence["raw"].split())
            score = round(float(np.clip(1.5 * len(shared) + rng.uniform(0, 2), 0, 5)), 2)
            rated[split][sentence["sentid"], 500 + mine[image]["imgid"]] = score
        write(root, [(*pair, score) for pair, score in rated[split].items()], split)
    return rated


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Study, dict]:
    """The tiny COCO with a variant trained, ranked, calibrated and audited on it."""
    root = tmp_path_factory.mktemp("coco")
    rated = corpus(root)
    config = Project(root)
    config.write("studies/tiny", config.read("studies/smoke") | {
        "data": {"dataset": "coco", "counts": SPLITS}, "variants": ["hardest_in_batch", "fne"],
        "encoders": {side: {"checkpoint": str(checkpoint(root / f"words-{side}"))} for side in ("image", "text")},
    })  # fmt: skip
    study = config.load("tiny", **{
        "data.annotations": str(root / "dataset_coco.json"), "data.images": str(root / "pictures"),
        "audit.sits": str(root), "train.batch_size": 16, "negatives.min_positives": 2,
    })  # fmt: skip
    project.fill(study, root)
    job.run(study, "fne", "0-1", root, 1, "cpu")
    rank.run(study, "fne", "0-1", "test", root, 1, "cpu")
    calibration.run(study, "fne", "0-1", root, 1, "cpu")
    audit.run(study, root)
    return root, study, rated


def test_maps_are_fitted_on_ratings_of_val_and_scored_on_those_of_test(made) -> None:
    """Everything again by plain loops over the rated pairs."""
    root, study, rated = made
    config, manifest = resolve(study, "fne"), Manifest.load(root / paths.data_folder(study))
    rows = read(root / calibration_files(study)[0])[0]
    assert {row["source"] for row in rows} == {"judged"} and {row["direction"] for row in rows} == {"both"}
    (posterior,) = [item for item in posteriors(config) if item.own]
    views = {split: manifest.split(split) for split in ("val", "test")}
    embedded = {
        split: {seed: sides for seed, *sides in embed_split(study, "fne", "0-1", split, root)} for split in views
    }
    for seed in (0, 1):
        posterior.fit(list(val_batches(views["val"], *embedded["val"][seed], config["train"]["batch_size"])))
        p, y = {}, {}
        for split, view in views.items():
            image, text = embedded[split][seed]
            everything = image @ text.T  # the posterior of a pair is one of its similarity alone
            p[split], y[split] = [], []
            for (sentid, number), score in rated[split].items():
                caption = view.sentids.index(sentid)
                place = view.image_ids.index(f"COCO_val2014_{number:012d}.jpg")
                if view.caption_image[caption] != place:
                    s = everything[place, caption]
                    own = torch.eye(2)  # a batch of two pairs, of which the first anchor's negative is this pair
                    p[split].append(float(posterior.probability(torch.where(own > 0, own, s))[0, 0, 1]))
                    y[split].append(score >= 3.0)
        p, y = ({split: np.array(values[split]) for split in views} for values in (p, y))
        assert 10 < y["test"].sum() < len(y["test"]) - 10
        for kind in ("none", *maps.MAPS):
            mapped = p["test"] if kind == "none" else maps.fit(kind, p["val"], y["val"])(p["test"])
            (row,) = [r for r in rows if (r["seed"], r["own"], r["recalibration"]) == (seed, True, kind)]
            assert (row["pairs"], row["positives"]) == (len(y["test"]), y["test"].sum())
            result = [row["scores"][name] for name in METRICS]
            assert result == pytest.approx(Scored(np.clip(mapped, 0, 1), y["test"]).scores().tolist(), rel=1e-3)


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
