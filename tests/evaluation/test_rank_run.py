"""From trained weights to the tables of a study, on real files: nothing in between is made up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fne.data.manifest import Manifest, SplitView
from fne.steps import aggregate, evaluate, rank
from fne.steps import train as job
from fne.study import paths
from fne.study.api import Study
from fne.training.embed import embed_split
from fne.utils.errors import UserError
from fne.utils.files import read_json, sha256_file
from fne.utils.provenance import read_test_accesses
from tests.evaluation.coco import write_files
from tests.training import project

JOB = ("fne", "0-1")


@pytest.fixture(scope="module")
def ranked(tmp_path_factory) -> tuple[Path, Study]:
    root = tmp_path_factory.mktemp("ranked")
    study = project.make(root)
    job.run(study, *JOB, root, 1, "cpu")
    for split in ("val", "test"):
        rank.run(study, *JOB, split, root, 1, "cpu")
        evaluate.run(study, *JOB, split, root)
    return root, study


def test_rankings_and_metrics_are_those_of_the_embeddings(ranked) -> None:
    root, study = ranked
    folder = root / paths.run_folder(study, *JOB)
    meta, arrays = evaluate.read_rankings(folder / "rankings.test.npz")
    manifest = Manifest.load(root / paths.data_folder(study))
    split, pairs = manifest.split("test"), manifest.truth("test").pairs
    np.testing.assert_array_equal(arrays["pairs"], pairs)
    assert meta["failed"] == {} and meta["seeds"] == [0, 1]
    assert meta["digest"] == read_json(folder / "run.json")["digest"]
    metrics = read_json(folder / "metrics.test.json")
    values = {(row["seed"], row["protocol"], row["direction"], row["metric"]): row["value"] for row in metrics["rows"]}
    assert len(values) == len(metrics["rows"]) == 2 * 15
    for seed, image, text in embed_split(study, *JOB, "test", root):
        scores = (image.double().numpy() @ text.double().numpy().T).astype(np.float32)
        for i in np.random.default_rng(seed).choice(len(pairs), 200, replace=False):
            item, other = pairs[i]
            assert arrays[f"{seed}/i2t/greater"][i] == (scores[item] > scores[item, other]).sum()
            assert arrays[f"{seed}/t2i/ties"][i] == (scores[:, other] == scores[item, other]).sum() - 1
        own = scores[split.caption_image, np.arange(scores.shape[1])]
        above, ties = (scores > own).sum(0), (scores == own).sum(0)
        hit = np.clip((5 - above) / ties, 0, 1).mean()
        assert values[seed, "own", "t2i", "r5"] == pytest.approx(hit, abs=1e-12)
    assert metrics["fingerprint"]["truth"]["relevance"] == "exact"


def test_every_reading_of_the_test_split_is_on_record(ranked) -> None:
    root, study = ranked
    with pytest.raises(UserError, match="no such file"):  # without weights nothing is read, nothing is logged
        rank.run(study, "infonce", "0-1", "test", root, 1, "cpu")
    log = read_test_accesses(root / paths.test_accesses(study))
    assert [(entry["variant"], entry["block"], entry["purpose"]) for entry in log] == [(*JOB, "rank")]
    for split, entries in (("test", log), ("val", [])):
        metrics = read_json(root / paths.run_folder(study, *JOB) / f"metrics.{split}.json")
        assert metrics["record"]["test_accesses"] == entries


def test_a_replicate_that_was_never_selected_is_missing(ranked, monkeypatch) -> None:
    root, study = ranked
    from fne.training import embed

    whole = embed.embed_split
    monkeypatch.setattr(embed, "embed_split", lambda *a: (result for result in whole(*a) if result[0] == 1))
    file = root / paths.rankings(study, *JOB, "val")
    before = file.read_bytes()
    rank.run(study, *JOB, "val", root, 1, "cpu")
    meta, arrays = evaluate.read_rankings(file)
    assert meta["failed"] == {"0": "no checkpoint was selected: training diverged"}
    assert "1/i2t/greater" in arrays and "0/i2t/greater" not in arrays
    file.write_bytes(before)


def test_relevance_files_are_ranked_on_the_test_split_and_named_in_the_record(ranked, monkeypatch, tmp_path) -> None:
    """The last of this file: it reads the test split once more."""
    root, study = ranked
    whole = Manifest.split

    def named_as_coco(manifest: Manifest, name: str) -> SplitView:
        view = whole(manifest, name)
        names = [f"COCO_val2014_{number:012d}.jpg" for number in range(len(view.image_ids))]
        return replace(view, image_ids=names, sentids=list(range(1000, 1000 + len(view.caption_ids))))

    folder = write_files(tmp_path / "files", "eccv", {3: [1015, 1016, 1400], 7: [1035]}, {1000: [0, 5], 1499: [99]})
    flat = study.configs["fne"] | {"evaluation.relevance.eccv": str(folder)}
    requested = replace(study, configs={**study.configs, "fne": flat})
    monkeypatch.setattr(Manifest, "split", named_as_coco)
    results, protocols = root / paths.run_folder(study, *JOB), {}
    for split in ("val", "test"):
        rank.run(requested, *JOB, split, root, 1, "cpu")
        evaluate.run(requested, *JOB, split, root)
        protocols[split] = set(read_json(results / f"metrics.{split}.json")["fingerprint"])
    assert protocols["val"] == {"own", "truth"} == protocols["test"] - {"eccv"}
    meta, arrays = evaluate.read_rankings(results / "rankings.test.npz")
    assert {file.name: sha256_file(file) for file in folder.iterdir()}.items() <= meta["record"]["inputs"].items()
    assert arrays["pairs"][arrays["eccv/i2t/pairs"]].tolist() == [[3, 15], [3, 16], [3, 400], [7, 35]]
    aggregate.run(requested, root)
    rows = pd.read_csv(root / paths.results_folder(study) / "runs.csv")
    assert (rows.protocol == "eccv").sum() == 2 * 2 * 3
    with pytest.raises(UserError, match="stale"):
        aggregate.run(replace(study, variants=("fne",), baseline="fne"), root)
