"""From trained weights to the tables of a study, on real files: nothing in between is made up."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from fne.data import coco_relevance
from fne.data.manifest import Manifest, SplitView
from fne.steps import aggregate, evaluate, rank
from fne.steps import train as job
from fne.steps.score import score
from fne.study import paths
from fne.study.api import Study, resolve
from fne.training import embed
from fne.training.embed import embed_split
from fne.utils.errors import UserError
from fne.utils.files import read_json, sha256_file
from fne.utils.provenance import read_readings
from tests.evaluation.coco import write_files
from tests.training import project

JOB = ("fne", "0-1")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> tuple[Path, Study]:
    root = tmp_path_factory.mktemp("ranked")
    study = project.make(root)
    job.run(study, *JOB, root, 1, "cpu")
    for split in ("val", "test"):
        rank.run(study, *JOB, split, root, 1, "cpu")
        evaluate.run(study, *JOB, split, root)
    return root, study


@pytest.fixture
def ranked(whole, tmp_path: Path) -> tuple[Path, Study, Path]:
    """A copy that a test may change, and its folder of results."""
    shutil.copytree(whole[0], tmp_path / "ranked", symlinks=True)
    return tmp_path / "ranked", whole[1], tmp_path / "ranked" / paths.run_folder(whole[1], *JOB)


def changed(study: Study, **values: object) -> Study:
    flat = study.configs["fne"] | {key.replace("__", "."): value for key, value in values.items()}
    return replace(study, configs={**study.configs, "fne": flat})


def test_rankings_and_metrics_are_those_of_the_embeddings(ranked) -> None:
    root, study, folder = ranked
    meta, arrays = evaluate.read_rankings(folder / "rankings.test.npz")
    manifest = Manifest.load(root / paths.data_folder(study))
    split, pairs = manifest.split("test"), manifest.truth("test").pairs
    np.testing.assert_array_equal(arrays["pairs"], pairs)
    assert meta["failed"] == {} and meta["digest"] == read_json(folder / "run.json")["digest"]
    metrics = read_json(folder / "metrics.test.json")
    assert metrics["seeds"] == [0, 1] and metrics["config"] == resolve(study, "fne")
    assert metrics["fingerprint"]["truth"]["relevance"] == "exact"
    values = {(row["seed"], row["protocol"], row["direction"], row["metric"]): row["value"] for row in metrics["rows"]}
    assert len(values) == len(metrics["rows"]) == 2 * 15
    queries = np.load(folder / "queries.test.npz")
    for seed, image, text in embed_split(study, *JOB, "test", root):
        scores = (image.double().numpy() @ text.double().numpy().T).astype(np.float32)
        for i in np.random.default_rng(seed).choice(len(pairs), 200, replace=False):
            item, other = pairs[i]
            assert arrays[f"{seed}/i2t/greater"][i] == (scores[item] > scores[item, other]).sum()
            assert arrays[f"{seed}/t2i/ties"][i] == (scores[:, other] == scores[item, other]).sum() - 1
        own = scores[split.caption_image, np.arange(scores.shape[1])]
        above, ties = (scores > own).sum(0), (scores == own).sum(0)
        hits = np.clip((5 - above) / ties, 0, 1)
        assert values[seed, "own", "t2i", "r5"] == pytest.approx(hits.mean(), abs=1e-12)
        np.testing.assert_allclose(queries["own/t2i/r5"][seed], np.bincount(split.caption_image, hits))


def test_every_reading_of_the_test_split_is_on_record(ranked) -> None:
    root, study, folder = ranked
    with pytest.raises(UserError, match="no such file"):  # without weights nothing is read, nothing is logged
        rank.run(study, "infonce", "0-1", "test", root, 1, "cpu")
    for split in ("test", "val"):
        log = read_readings(root / paths.readings(study, *JOB, split))
        assert [(entry["variant"], entry["block"], entry["purpose"]) for entry in log] == [(*JOB, "rank")]
        entries = log if split == "test" else []
        assert read_json(folder / f"metrics.{split}.json")["record"]["test_accesses"] == entries


def test_a_replicate_that_was_never_selected_or_is_not_finite_fails_alone(ranked, monkeypatch) -> None:
    root, study, folder = ranked
    (first, second) = embed.embed_split(study, *JOB, "val", root)
    broken = (second[0], second[1], second[2] * torch.nan)
    for results, words in (([second], "diverged"), ([(0, *second[1:]), broken], "not finite")):
        monkeypatch.setattr(embed, "embed_split", lambda *given, of=results: iter(of))
        rank.run(study, *JOB, "val", root, 1, "cpu")
        evaluate.run(study, *JOB, "val", root)
        metrics = read_json(folder / "metrics.val.json")
        ((lost, why),) = metrics["failed"].items()
        assert words in why and {str(row["seed"]) for row in metrics["rows"]} == {"0", "1"} - {lost}


def test_evaluate_follows_the_tie_rule_of_the_study_but_no_other_training(ranked) -> None:
    root, study, folder = ranked
    evaluate.run(changed(study, evaluation__tie_rule="pessimistic"), *JOB, "test", root)
    metrics = read_json(folder / "metrics.test.json")
    assert metrics["fingerprint"]["own"]["tie_rule"] == metrics["config"]["evaluation"]["tie_rule"] == "pessimistic"
    with pytest.raises(UserError, match=r"negatives.tau.*0\.5.*0\.75"):
        evaluate.run(changed(study, negatives__tau=0.75), *JOB, "test", root)


@pytest.mark.parametrize("damage", ["cut", "missing", "another schema"])
def test_damaged_rankings_are_refused_and_leave_nothing(ranked, damage: str) -> None:
    root, study, folder = ranked
    file = folder / "rankings.test.npz"
    (folder / "metrics.test.json").unlink()
    if damage == "another schema":
        np.savez(file, meta=np.array(json.dumps({"schema": 99})))
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:5000])
    else:
        file.unlink()
    with pytest.raises(UserError, match="rankings.test.npz"):
        evaluate.run(study, *JOB, "test", root)
    assert not (folder / "metrics.test.json").exists()


def test_relevance_files_are_ranked_on_the_test_split_and_named_in_the_record(ranked, monkeypatch) -> None:
    root, study, results = ranked
    original = Manifest.split

    def named_as_coco(manifest: Manifest, name: str) -> SplitView:
        view = original(manifest, name)
        names = [f"COCO_val2014_{number:012d}.jpg" for number in range(len(view.image_ids))]
        return replace(view, image_ids=names, sentids=list(range(1000, 1000 + len(view.caption_ids))))

    monkeypatch.setattr(Manifest, "split", named_as_coco)
    i2t, t2i = {3: [1015, 1016, 1400], 7: [1035]}, {1000: [0, 5], 1499: [99]}
    folder = write_files(root / "files", "eccv", i2t, t2i)
    requested, protocols = changed(study, evaluation__relevance__eccv=str(folder)), {}
    for split in ("val", "test"):
        rank.run(requested, *JOB, split, root, 1, "cpu")
        evaluate.run(requested, *JOB, split, root)
        protocols[split] = read_json(results / f"metrics.{split}.json")["fingerprint"]
    assert set(protocols["val"]) == {"own", "truth"} == set(protocols["test"]) - {"eccv"}
    assert protocols["test"]["eccv"]["relevance"] == f"files {coco_relevance.digest(folder, 'eccv')}"
    meta, arrays = evaluate.read_rankings(results / "rankings.test.npz")
    assert {file.name: sha256_file(file) for file in folder.iterdir()}.items() <= meta["record"]["inputs"].items()
    assert arrays["pairs"][arrays["eccv/i2t/pairs"]].tolist() == [[3, 15], [3, 16], [3, 400], [7, 35]]
    aggregate.run(requested, root)
    rows = pd.read_csv(root / paths.results_folder(study) / "runs.csv")
    assert (rows.protocol == "eccv").sum() == 2 * 2 * 3
    with pytest.raises(UserError, match="stale"):
        aggregate.run(replace(study, variants=("fne",), baseline="fne"), root)
    folder.rename(root / "moved")
    evaluate.run(changed(study, evaluation__relevance__eccv=str(root / "moved")), *JOB, "test", root)
    write_files(root / "moved", "eccv", i2t | {3: [1015]}, t2i)
    with pytest.raises(UserError, match="eccv"):
        evaluate.run(changed(study, evaluation__relevance__eccv=str(root / "moved")), *JOB, "test", root)


def test_scores_of_the_same_embeddings_are_the_studys(ranked) -> None:
    """`fne score` without the workflow: metrics and fingerprints."""
    root, study, folder = ranked
    runs = [(image, text) for _, image, text in embed_split(study, *JOB, "test", root)]
    manifest = Manifest.load(root / paths.data_folder(study))
    view, truth = manifest.split("test"), manifest.truth("test")
    pd.DataFrame(truth.pairs, columns=["image", "caption"]).assign(
        image=lambda rows: [view.image_ids[i] for i in rows["image"]],
        caption=lambda rows: [view.caption_ids[c] for c in rows["caption"]],
    ).to_csv(root / "pairs.csv", index=False)
    ids = {"image": [view.image_ids[i] for i in view.caption_image], "caption": view.caption_ids}
    made = score({"fne": runs}, ids=ids, relevance={"truth": root / "pairs.csv"}, dataset=manifest.dataset)
    expected = read_json(folder / "metrics.test.json")
    result = made.results.runs[["seed", "protocol", "direction", "metric", "value"]].to_dict("records")
    assert result == expected["rows"]
    assert made.results.protocols["own"] == expected["fingerprint"]["own"]
