"""COCO's protocols from embeddings: the five folds by plain loops, and changes that must change nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fne.analysis import layout
from fne.data.manifest import SplitView
from fne.data.ranked_captions import first_captions
from fne.data.truth import Truth, sorted_pairs
from tests.evaluation.coco import VIEW, N, embeddings, evaluated, evaluated_as_coco_5k, files, view_of


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("rule", ["expected", "pessimistic"])
def test_five_folds_are_the_mean_of_five_splits(tied: bool, rule: str) -> None:
    """Of recalls, medians and rsums, each fold evaluated as a split of its own."""
    images, texts = embeddings(tied)
    result, _ = evaluated_as_coco_5k(VIEW, images, texts, (), rule)
    folds = []
    for i, c in zip(np.arange(N).reshape(5, -1), np.arange(5 * N).reshape(5, -1), strict=True):
        part = view_of(i.tolist(), [VIEW.sentids[number] for number in c], np.repeat(np.arange(4), 5))
        folds.append(evaluated(part, images[i], texts[c], (), rule)[0])
    for _, side, metric in folds[0]:
        mean = np.mean([fold["own", side, metric] for fold in folds])
        assert result["coco_1k_5fold", side, metric] == pytest.approx(mean, abs=1e-12)
    assert result["coco_1k_5fold", "t2i", "r1"] > result["own", "t2i", "r1"], "a fold is the easier gallery"


def moved(images: np.ndarray, captions: np.ndarray) -> SplitView:
    """The split in another order; ids move along."""
    numbers = [int(VIEW.image_ids[i][-16:-4]) for i in images]
    return view_of(numbers, [VIEW.sentids[c] for c in captions], np.argsort(images)[VIEW.caption_image[captions]])


@pytest.mark.parametrize("tied", [False, True])
def test_the_order_of_the_split_changes_no_relevance_score(tmp_path: Path, tied: bool) -> None:
    """Relevance goes by id: images and captions in another order, the same scores, ties included."""
    images, texts = embeddings(tied)
    before, _ = evaluated(VIEW, images, texts, files(tmp_path, VIEW))
    order = np.random.default_rng(2).permutation(N)
    within = np.random.default_rng(3).permuted(np.tile(np.arange(5), (N, 1)), axis=1)
    captions = (5 * order[:, None] + within).ravel()
    view = moved(order, captions)
    after, _ = evaluated(view, images[order], texts[captions], files(tmp_path, view))
    assert after == pytest.approx(before, abs=1e-12)


def test_statistics_see_the_very_metrics(tmp_path: Path) -> None:
    """The sums per image that intervals and tests are made of have the metrics as their means, folds included."""
    result, values = evaluated_as_coco_5k(VIEW, *embeddings(), files(tmp_path, VIEW))
    np.savez(tmp_path / "queries.test.npz", seeds=np.array([0]), **values)
    item = layout.load([tmp_path / "queries.test.npz"])
    means = dict(zip(item.keys, item.contributions.mean(axis=(0, 1)), strict=True))
    expected = {key: value for key, value in result.items() if key[2] != "median_rank"}
    assert means == pytest.approx(expected, abs=1e-12)
    assert item.queries[item.keys.index(("coco_1k_5fold", "both", "rsum"))] == 6 * N
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
