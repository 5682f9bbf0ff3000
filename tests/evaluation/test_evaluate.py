"""From embeddings to metrics and files: definitions by loops, and what tells two protocols apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from fne import protocols
from fne.analysis import layout
from fne.data.manifest import SplitView
from fne.data.ranked_captions import first_captions
from fne.data.truth import Truth, sorted_pairs
from fne.steps.rank import relevant_items
from fne.utils.errors import UserError
from tests.evaluation import coco
from tests.evaluation.coco import evaluated, view_of

COUNTS = np.array([1, 5, 2, 3, 1, 7, 4, 2, 1, 6, 3, 5])
CAPTION_IMAGE = np.repeat(np.arange(len(COUNTS)), COUNTS)
N, M = len(COUNTS), len(CAPTION_IMAGE)
IDS = [f"i{i}" for i in range(N)], [f"c{c}" for c in range(M)]
VIEW = SplitView("test", np.arange(N), np.arange(M), CAPTION_IMAGE, [""] * M, *IDS)
RELEVANT = np.random.default_rng(4).random((N, M)) < 0.06
RELEVANT[CAPTION_IMAGE, np.arange(M)] = True


def truth(image_queries: list[int], caption_queries: list[int], matrix: np.ndarray = RELEVANT) -> Truth:
    queries = (np.array(part, dtype=np.int32) for part in (image_queries, caption_queries))
    return Truth("judged", np.argwhere(matrix).astype(np.int32), *queries)


def embeddings() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(N, 8, generator=generator)
    texts = images[CAPTION_IMAGE] + 1.2 * torch.randn(M, 8, generator=generator)
    return torch.nn.functional.normalize(images, dim=1), torch.nn.functional.normalize(texts, dim=1)


def test_every_metric_by_its_definition() -> None:
    images, texts = embeddings()
    scored = {"i2t": np.arange(N)[::2], "t2i": np.arange(M)[1::2]}
    result, values = evaluated(VIEW, images, texts, truth=truth(*scored.values()))
    scores, own = (images @ texts.T).numpy(), np.arange(N)[:, None] == CAPTION_IMAGE
    for direction, queries in scored.items():
        turn = (lambda x: x) if direction == "i2t" else np.transpose
        order = np.argsort(-turn(scores), axis=1)
        flags = np.take_along_axis(turn(own), order, 1)
        known = np.take_along_axis(turn(RELEVANT), order, 1)[queries]
        for k in (1, 5, 10):
            assert result["own", direction, f"r{k}"] == pytest.approx(np.mean([row[:k].any() for row in flags]))
        ranks = [np.flatnonzero(row)[0] + 1 for row in flags]
        assert result["own", direction, "median_rank"] == np.median(ranks)
        assert values[f"own/{direction}/rank"][0].tolist() == ranks
        total = [int(row.sum()) for row in known]
        at_r = [sum(row[: r + 1].mean() for r in range(n) if row[r]) / n for row, n in zip(known, total, strict=True)]
        assert result["truth", direction, "map_at_r"] == pytest.approx(np.mean(at_r), abs=1e-12)
        precision = [row[:n].mean() for row, n in zip(known, total, strict=True)]
        assert result["truth", direction, "r_precision"] == pytest.approx(np.mean(precision), abs=1e-12)
        assert result["truth", direction, "p1"] == pytest.approx(known[:, 0].mean(), abs=1e-12)
    recalls = [value for key, value in result.items() if key[2] in ("r1", "r5", "r10")]
    assert len(recalls) == 6 and result["own", "both", "rsum"] == pytest.approx(sum(recalls))
    assert len(result) == 2 * 4 + 1 + 2 * 3


def test_protocols_follow_from_what_is_known() -> None:
    _, described = relevant_items("flickr8k", VIEW, truth([0, 3], [1, 2, 5]))
    own, known = described["own"], described["truth"]
    assert own["queries"] == {"i2t": N, "t2i": M} and own["gallery"] == {"i2t": M, "t2i": N}
    assert own["captions_per_image"] == [1, 7] and own["relevant_pairs"] == {"i2t": M, "t2i": M}
    assert known["queries"] == {"i2t": 2, "t2i": 3} and known["relevance"] == "judged"
    assert known["relevant_pairs"]["t2i"] == RELEVANT[:, [1, 2, 5]].sum() and own["folds"] == 1
    assert (own["name"], known["name"]) == (f"flickr8k_test_{N}", f"flickr8k_test_{N}_truth")
    assert set(relevant_items("flickr8k", VIEW, truth([], []))[1]) == {"own"}
    result, values = evaluated(VIEW, *embeddings(), truth=truth([], [4]))
    assert {direction for protocol, direction, _ in result if protocol == "truth"} == {"t2i"}
    np.testing.assert_array_equal(values["own/t2i/count"], COUNTS)
    assert "truth/i2t/count" not in values


def test_truth_that_does_not_fit_the_split_is_refused() -> None:
    missing = RELEVANT.copy()
    missing[CAPTION_IMAGE[4], 4] = False
    for matrix, words in ((missing, "own caption is not among"), (np.ones((N + 1, M), bool), "outside the split")):
        with pytest.raises(UserError, match=words):
            relevant_items("flickr8k", VIEW, truth([], [], matrix))


@pytest.mark.parametrize(
    ("split", "name"),
    [
        (("flickr8k", "test", 1000, 5000), "flickr8k_1k"),
        (("flickr30k", "val", 1000, 5000), "flickr30k_val_1000"),
        (("coco", "test", 5000, 25_000), "coco_5k"),
        (("coco", "test", 5000, 25_010), "coco_test_5000"),
    ],
)
def test_known_protocols_carry_the_names_of_the_field(split, name: str) -> None:
    assert protocols.display_name(*split) == name


CHANGES: dict[str, Callable[[dict], dict]] = {
    "split": lambda a: {"split": "val"},
    "ids_sha256": lambda a: {"image_ids": [*a["image_ids"][:-1], "another"]},
    "relevance_sha256": lambda a: {"pairs": {**a["pairs"], "t2i": a["pairs"]["t2i"][:-1]}},
    "queries": lambda a: {"pairs": {**a["pairs"], "t2i": a["pairs"]["t2i"][:3]}},
    "outside_gallery": lambda a: {"outside": {"i2t": np.array([3]), "t2i": np.array([])}},
    "relevance": lambda a: {"relevance": "judged"},
    "captions_per_image": lambda a: {"caption_image": np.minimum(a["caption_image"] + 1, N - 1)},
    "tie_rule": lambda a: {},
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_fingerprint_distinguishes_protocols(change: str) -> None:
    arguments = {
        "dataset": "scenes", "split": "test", "caption_image": CAPTION_IMAGE, "relevance": "exact",
        "image_ids": IDS[0], "caption_ids": IDS[1], "pairs": dict.fromkeys(("i2t", "t2i"), np.argwhere(RELEVANT)),
    }  # fmt: skip
    item = protocols.finish(protocols.describe("truth", **arguments), "expected")
    protocols.require_same({"a.json": item, "b.json": json.loads(json.dumps(item))})
    changed = protocols.describe("truth", **arguments | CHANGES[change](arguments))
    other = protocols.finish(changed, "pessimistic" if change == "tie_rule" else "expected")
    with pytest.raises(UserError) as caught:
        protocols.require_same({"a.json": item, "b.json": other})
    assert all(word in str(caught.value) for word in ("a.json", "b.json", item["id"], other["id"], change))
    with pytest.raises(UserError, match="does not belong"):
        protocols.require_same({"a.json": {**item, "split": "val"}})


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("rule", ["expected", "pessimistic"])
def test_five_folds_are_the_mean_of_five_splits(tied: bool, rule: str) -> None:
    """Of recalls, medians and rsums, each fold evaluated as a split of its own."""
    images, texts = coco.embeddings(tied)
    result, _ = coco.evaluated_as_coco_5k(coco.VIEW, images, texts, (), rule)
    folds = []
    for i, c in zip(np.arange(coco.N).reshape(5, -1), np.arange(5 * coco.N).reshape(5, -1), strict=True):
        part = view_of(i.tolist(), [coco.VIEW.sentids[number] for number in c], np.repeat(np.arange(4), 5))
        folds.append(coco.evaluated(part, images[i], texts[c], (), rule)[0])
    for _, side, metric in folds[0]:
        mean = np.mean([fold["own", side, metric] for fold in folds])
        assert result["coco_1k_5fold", side, metric] == pytest.approx(mean, abs=1e-12)
    assert result["coco_1k_5fold", "t2i", "r1"] > result["own", "t2i", "r1"], "a fold is the easier gallery"


def moved(images: np.ndarray, captions: np.ndarray) -> SplitView:
    """The split in another order; ids move along."""
    numbers = [int(coco.VIEW.image_ids[i][-16:-4]) for i in images]
    return view_of(
        numbers, [coco.VIEW.sentids[c] for c in captions], np.argsort(images)[coco.VIEW.caption_image[captions]]
    )


@pytest.mark.parametrize("tied", [False, True])
def test_the_order_of_the_split_changes_no_relevance_score(tmp_path: Path, tied: bool) -> None:
    """Relevance goes by id: images and captions in another order, the same scores, ties included."""
    images, texts = coco.embeddings(tied)
    before, _ = coco.evaluated(coco.VIEW, images, texts, coco.files(tmp_path, coco.VIEW))
    order = np.random.default_rng(2).permutation(coco.N)
    within = np.random.default_rng(3).permuted(np.tile(np.arange(5), (coco.N, 1)), axis=1)
    captions = (5 * order[:, None] + within).ravel()
    view = moved(order, captions)
    after, _ = coco.evaluated(view, images[order], texts[captions], coco.files(tmp_path, view))
    assert after == pytest.approx(before, abs=1e-12)


def test_statistics_see_the_very_metrics(tmp_path: Path) -> None:
    """The sums per image that intervals and tests are made of have the metrics as their means, folds included."""
    result, values = coco.evaluated_as_coco_5k(coco.VIEW, *coco.embeddings(), coco.files(tmp_path, coco.VIEW))
    np.savez(tmp_path / "queries.test.npz", seeds=np.array([0]), **values)
    item = layout.load([tmp_path / "queries.test.npz"])
    means = dict(zip(item.keys, item.contributions.mean(axis=(0, 1)), strict=True))
    expected = {key: value for key, value in result.items() if key[2] != "median_rank"}
    assert means == pytest.approx(expected, abs=1e-12)
    assert item.queries[item.keys.index(("coco_1k_5fold", "both", "rsum"))] == 6 * coco.N
    assert {key[0] for key in item.keys} == {"own", "coco_1k_5fold", "eccv", "cxc"}


def test_only_the_first_five_captions_of_a_coco_image_are_ranked() -> None:
    """Karpathy's test split has 25,010 captions; the field's numbers are of 25,000."""
    caption_image = np.repeat(np.arange(4), [5, 7, 5, 6])
    view = view_of([1, 2, 3, 4], list(range(100, 123)), caption_image)
    pairs = sorted_pairs(np.concatenate([np.stack([caption_image, np.arange(23)], axis=1), [[0, 11], [3, 6]]]))
    truth = Truth("judged", pairs, np.array([0], np.int32), np.array([6, 11, 22], np.int32))
    cut, known, kept = first_captions("coco", view, truth)
    assert kept.tolist() == [*range(10), *range(12, 22)] and np.bincount(cut.caption_image).tolist() == [5] * 4
    assert cut.sentids == [100 + c for c in kept] and cut.caption_ids == [view.caption_ids[c] for c in kept]
    own = np.stack([np.repeat(np.arange(4), 5), np.arange(20)], axis=1)
    assert known.pairs.tolist() == sorted_pairs(np.concatenate([own, [[3, 6]]])).tolist()
    assert known.caption_queries.tolist() == [6]
    assert first_captions("flickr30k", view, truth)[0] is view
