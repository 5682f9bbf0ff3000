"""From embeddings to metrics and files: definitions by loops, and changes that must change nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fne import protocols
from fne.data.manifest import SplitView
from fne.data.truth import Truth
from fne.steps import evaluate
from fne.steps.rank import rank_replicates, relevant_items
from fne.study.api import load_study, resolve
from fne.utils.errors import UserError
from tests.evaluation.coco import write_rankings

ROOT = Path(__file__).resolve().parents[2]
COUNTS = np.array([1, 5, 2, 3, 1, 7, 4, 2, 1, 6, 3, 5])
CAPTION_IMAGE = np.repeat(np.arange(len(COUNTS)), COUNTS)
N, M = len(COUNTS), len(CAPTION_IMAGE)
BOTH = ("own", "truth")
SCORED = {"i2t": np.arange(N)[::2], "t2i": np.arange(M)[1::2]}


def embeddings(seed: int = 0, noise: float = 1.2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randn(N, 8, generator=generator)
    texts = images[CAPTION_IMAGE] + noise * torch.randn(M, 8, generator=generator)
    return torch.nn.functional.normalize(images, dim=1), torch.nn.functional.normalize(texts, dim=1)


def relevance() -> np.ndarray:
    """(N, M) own pairs and some others."""
    matrix = np.random.default_rng(4).random((N, M)) < 0.06
    matrix[CAPTION_IMAGE, np.arange(M)] = True
    return matrix


def arrays_of(
    images: torch.Tensor,
    texts: torch.Tensor,
    caption_image: np.ndarray,
    relevant: np.ndarray,
    seed: int = 0,
    queries: dict[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    queries = queries or {"i2t": np.arange(len(images))[::2], "t2i": np.arange(len(texts))[1::2]}
    pairs = np.argwhere(relevant).astype(np.int32)
    known = {"pairs": pairs, "caption_image": caption_image}
    for column, direction in enumerate(("i2t", "t2i")):
        known[f"own/{direction}/pairs"] = np.flatnonzero(caption_image[pairs[:, 1]] == pairs[:, 0])
        known[f"truth/{direction}/pairs"] = np.flatnonzero(np.isin(pairs[:, column], queries[direction]))
    ranked, failed = rank_replicates([(seed, images, texts)], known)
    assert not failed
    return {**known, **ranked}


def metrics_of(arrays: dict[str, np.ndarray], rule: str = "expected") -> dict[tuple[str, str, str], float]:
    rows, _ = evaluate.evaluate_replicates([0], arrays, BOTH, rule, [1, 5, 10])
    result = {(row["protocol"], row["direction"], row["metric"]): row["value"] for row in rows}
    assert len(result) == len(rows) == 2 * 4 + 1 + 2 * 3
    return result


def test_every_metric_by_its_definition() -> None:
    images, texts = embeddings()
    arrays = arrays_of(images, texts, CAPTION_IMAGE, relevance())
    result = metrics_of(arrays)
    scores, own = (images @ texts.T).numpy(), np.arange(N)[:, None] == CAPTION_IMAGE
    for direction in ("i2t", "t2i"):
        turn = (lambda x: x) if direction == "i2t" else np.transpose
        queries = SCORED[direction]
        order = np.argsort(-turn(scores), axis=1)
        flags = np.take_along_axis(turn(own), order, 1)
        truth = np.take_along_axis(turn(relevance()), order, 1)[queries]
        for k in (1, 5, 10):
            assert result["own", direction, f"r{k}"] == pytest.approx(np.mean([row[:k].any() for row in flags]))
        ranks = [np.flatnonzero(row)[0] + 1 for row in flags]
        assert result["own", direction, "median_rank"] == np.median(ranks)
        total = [int(row.sum()) for row in truth]
        at_r = [sum(row[: r + 1].mean() for r in range(n) if row[r]) / n for row, n in zip(truth, total, strict=True)]
        assert result["truth", direction, "map_at_r"] == pytest.approx(np.mean(at_r), abs=1e-12)
        precision = [row[:n].mean() for row, n in zip(truth, total, strict=True)]
        assert result["truth", direction, "r_precision"] == pytest.approx(np.mean(precision), abs=1e-12)
        assert result["truth", direction, "p1"] == pytest.approx(truth[:, 0].mean(), abs=1e-12)
    recalls = [value for key, value in result.items() if key[2] in ("r1", "r5", "r10")]
    assert len(recalls) == 6 and result["own", "both", "rsum"] == pytest.approx(sum(recalls))


def test_values_per_image_sum_to_the_metrics() -> None:
    arrays = {}
    for seed in (0, 1):
        arrays |= arrays_of(*embeddings(seed), CAPTION_IMAGE, relevance(), seed)
    rows, values = evaluate.evaluate_replicates([0, 1], arrays, BOTH, "expected", [1, 3, 5, 10])
    np.testing.assert_array_equal(values["own/i2t/count"], np.ones(N))
    np.testing.assert_array_equal(values["own/t2i/count"], COUNTS)
    scored = np.bincount(CAPTION_IMAGE[1::2], minlength=N)
    np.testing.assert_array_equal(values["truth/t2i/count"], scored)
    np.testing.assert_array_equal(values["truth/i2t/count"], np.arange(N) % 2 == 0)
    checked = 0
    for row in rows:
        part = f"{row['protocol']}/{row['direction']}"
        if f"{part}/{row['metric']}" in values:
            sums = values[f"{part}/{row['metric']}"]
            assert sums.shape == (2, N)
            mean = sums[row["seed"]].sum() / values[f"{part}/count"].sum()
            assert mean == pytest.approx(row["value"], abs=1e-12)
            checked += 1
    assert checked == 2 * (2 * 4 + 2 * 3)
    assert values["own/i2t/rank"].shape == (2, N) and values["own/t2i/rank"].shape == (2, M)
    hits = values["own/t2i/rank"][0] <= 5
    np.testing.assert_array_equal(values["own/t2i/r5"][0], np.bincount(CAPTION_IMAGE, hits, N))


KNOWN = {"pairs": np.array([[0, 0], [1, 1]]), "caption_image": CAPTION_IMAGE}


def test_a_diverged_replicate_fails_alone() -> None:
    images, texts = embeddings()
    broken = texts.clone()
    broken[3, 2] = torch.inf
    ranked, failed = rank_replicates([(7, images, broken), (8, images, texts)], KNOWN)
    assert list(failed) == ["7"] and "not finite" in failed["7"]
    assert {name.split("/")[0] for name in ranked} == {"8"}
    assert ranked["8/i2t/top_ids"].shape == (N, 10) and ranked["8/t2i/top_ids"].shape == (M, 10)


def view() -> SplitView:
    ids = [f"i{i}" for i in range(N)], [f"c{c}" for c in range(M)]
    return SplitView("test", np.arange(N), np.arange(M), CAPTION_IMAGE, [""] * M, *ids)


class FakeManifest:
    """As much of a manifest as is read."""

    folder, dataset, truth_files = Path("resources/x"), "flickr8k", {"test": {"file": "truth.test.npz"}}


def truth(matrix: np.ndarray, image_queries: list[int], caption_queries: list[int]) -> Truth:
    queries = (np.array(part, dtype=np.int32) for part in (image_queries, caption_queries))
    return Truth("judged", np.argwhere(matrix).astype(np.int32), *queries)


def test_protocols_follow_from_what_is_known() -> None:
    arrays, described = relevant_items(FakeManifest, view(), truth(relevance(), [0, 3], [1, 2, 5]))
    assert all(len(arrays[f"own/{direction}/pairs"]) == M for direction in ("i2t", "t2i"))
    own, known = described["own"], described["truth"]
    assert own["queries"] == {"i2t": N, "t2i": M} and own["gallery"] == {"i2t": M, "t2i": N}
    assert own["captions_per_image"] == [1, 7] and own["relevant_pairs"] == {"i2t": M, "t2i": M}
    assert known["queries"] == {"i2t": 2, "t2i": 3} and known["relevance"] == "judged"
    assert known["relevant_pairs"]["t2i"] == relevance()[:, [1, 2, 5]].sum() and own["folds"] == 1
    assert (own["name"], known["name"]) == (f"flickr8k_test_{N}", f"flickr8k_test_{N}_truth")
    assert set(relevant_items(FakeManifest, view(), truth(relevance(), [], []))[1]) == {"own"}
    one_way, described = relevant_items(FakeManifest, view(), truth(relevance(), [], [4]))
    ranked, _ = rank_replicates([(0, *embeddings())], one_way)
    rows, values = evaluate.evaluate_replicates([0], {**one_way, **ranked}, BOTH, "expected", [1, 5, 10])
    assert {row["direction"] for row in rows if row["protocol"] == "truth"} == {"t2i"}
    assert "truth/i2t/count" not in values


def test_truth_that_does_not_fit_the_split_is_refused() -> None:
    missing = relevance()
    missing[CAPTION_IMAGE[4], 4] = False
    with pytest.raises(UserError, match="own caption is not among"):
        relevant_items(FakeManifest, view(), truth(missing, [], []))
    with pytest.raises(UserError, match="outside the split"):
        relevant_items(FakeManifest, view(), truth(np.ones((N + 1, M), bool), [], []))


def test_known_protocols_carry_the_fields_names() -> None:
    assert protocols.display_name("flickr8k", "test", 1000, 5000) == "flickr8k_1k"
    assert protocols.display_name("flickr30k", "test", 1000, 5000) == "flickr30k_1k"
    assert protocols.display_name("coco", "test", 5000, 25_000) == "coco_5k"
    assert protocols.display_name("coco", "test", 5000, 25_010) == "coco_test_5000"
    assert protocols.display_name("coco", "test", 1000, 5000) == "coco_test_1000"
    assert protocols.display_name("flickr30k", "val", 1000, 5000) == "flickr30k_val_1000"


CHANGES: dict[str, Callable[[dict], dict]] = {
    "split": lambda a: {**a, "split": "val"},
    "ids_sha256": lambda a: {**a, "image_ids": [*a["image_ids"][:-1], "another"]},
    "relevance_sha256": lambda a: {**a, "pairs": {**a["pairs"], "t2i": a["pairs"]["t2i"][:-1]}},
    "queries": lambda a: {**a, "pairs": {**a["pairs"], "t2i": a["pairs"]["t2i"][:3]}},
    "outside_gallery": lambda a: {**a, "outside": {"i2t": np.array([3]), "t2i": np.array([])}},
    "relevance": lambda a: {**a, "relevance": "judged"},
    "captions_per_image": lambda a: {**a, "caption_image": np.minimum(a["caption_image"] + 1, N - 1)},
}


@pytest.mark.parametrize("change", [*CHANGES, "tie_rule"])
def test_a_fingerprint_tells_protocols_apart(change: str) -> None:
    arguments = {
        "dataset": "scenes", "split": "test", "caption_image": CAPTION_IMAGE, "relevance": "exact",
        "image_ids": view().image_ids, "caption_ids": view().caption_ids,
        "pairs": dict.fromkeys(("i2t", "t2i"), np.argwhere(relevance())),
    }  # fmt: skip
    item = protocols.finish(protocols.describe("truth", **arguments), "expected")
    again = json.loads(json.dumps(protocols.finish(protocols.describe("truth", **arguments), "expected")))
    protocols.require_same({"a.json": item, "b.json": again})
    changed = CHANGES.get(change, lambda a: a)(arguments)
    rule = "pessimistic" if change == "tie_rule" else "expected"
    other = protocols.finish(protocols.describe("truth", **changed), rule)
    assert len(item["id"]) == 12 and item["id"] != other["id"]
    with pytest.raises(UserError) as caught:
        protocols.require_same({"a.json": item, "b.json": other})
    assert all(word in str(caught.value) for word in ("a.json", "b.json", item["id"], other["id"], change))
    with pytest.raises(UserError, match="does not belong"):
        protocols.require_same({"a.json": {**item, "split": "val"}})


@pytest.fixture()
def ranked(tmp_path: Path):
    """A study with the rankings of one job, as ``rank`` writes them."""
    study = load_study("smoke", root=ROOT)
    arrays, described = relevant_items(FakeManifest, view(), truth(relevance(), [0, 3], [1, 2, 5]))
    result, failed = rank_replicates([(0, *embeddings()), (1, embeddings()[0], embeddings()[1] * torch.nan)], arrays)
    record = {"test_accesses": [{"time": "2026-11-20T12:00:00+00:00"}]}
    return study, write_rankings(
        tmp_path, study, "0-1", arrays | result, dataset="flickr8k", seeds=[0, 1], failed=failed, protocols=described,
        selected_epoch={"0": 3, "1": 2}, record=record,
    )  # fmt: skip


def test_evaluate_writes_metrics_and_queries(ranked, tmp_path: Path) -> None:
    study, file = ranked
    evaluate.run(study, "fne", "0-1", "test", tmp_path)
    metrics = json.loads((file.parent / "metrics.test.json").read_text())
    assert {row["seed"] for row in metrics["rows"]} == {0} and list(metrics["failed"]) == ["1"]
    assert metrics["seeds"] == [0, 1] and metrics["config"] == resolve(study, "fne")
    assert {name: text["tie_rule"] for name, text in metrics["fingerprint"].items()} == {
        "own": "expected",
        "truth": "expected",
    }
    protocols.require_same({"own": metrics["fingerprint"]["own"]})
    assert len(metrics["record"]["test_accesses"]) == 1 and len(metrics["record"]["inputs"]["rankings"]) == 64
    with np.load(file.parent / "queries.test.npz") as stored:
        assert stored["seeds"].tolist() == [0] and stored["own/t2i/r1"].shape == (1, N)


def test_evaluate_follows_the_tie_rule_of_the_study_but_no_other_training(ranked, tmp_path: Path) -> None:
    study, file = ranked
    flat = {**study.configs["fne"], "evaluation.tie_rule": "pessimistic"}
    evaluate.run(replace(study, configs={**study.configs, "fne": flat}), "fne", "0-1", "test", tmp_path)
    metrics = json.loads((file.parent / "metrics.test.json").read_text())
    assert metrics["fingerprint"]["own"]["tie_rule"] == metrics["config"]["evaluation"]["tie_rule"] == "pessimistic"
    flat = {**study.configs["fne"], "negatives.tau": 0.75}
    with pytest.raises(UserError, match="negatives.tau was 0.5 and is now 0.75.*train the variant again"):
        evaluate.run(replace(study, configs={**study.configs, "fne": flat}), "fne", "0-1", "test", tmp_path)


def test_damaged_rankings_are_refused_and_leave_nothing(ranked, tmp_path: Path) -> None:
    study, file = ranked
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="damaged or cut short"):
        evaluate.run(study, "fne", "0-1", "test", tmp_path)
    file.unlink()
    with pytest.raises(UserError, match="no such file"):
        evaluate.run(study, "fne", "0-1", "test", tmp_path)
    np.savez(file, meta=np.array(json.dumps({"schema": 99})))
    with pytest.raises(UserError, match="another schema"):
        evaluate.run(study, "fne", "0-1", "test", tmp_path)
    assert [path.name for path in file.parent.iterdir()] == [file.name]
