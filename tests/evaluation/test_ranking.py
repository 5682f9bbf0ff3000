"""Counted ranks against a plain loop, and metrics against every order of the ties written out."""

from __future__ import annotations

import itertools
import subprocess
import sys
from fractions import Fraction
from math import comb

import numpy as np
import pytest
import torch

from fne.evaluation.metrics import best_rank, expected_hit, map_at_r, of_queries, r_precision, tie_groups
from fne.evaluation.ranking import count_ranks, rank, rank_both, validation_recalls


def embeddings(rows: int, dim: int = 16, seed: int = 0) -> torch.Tensor:
    values = torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(values, dim=1)


def all_pairs(rows: int, columns: int) -> np.ndarray:
    return np.array(list(itertools.product(range(rows), range(columns))))


def oracle(queries: torch.Tensor, gallery: torch.Tensor, pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scores = (queries.double().numpy() @ gallery.double().numpy().T).astype(np.float32)
    greater = [sum(scores[q, j] > scores[q, i] for j in range(len(gallery))) for q, i in pairs]
    ties = [sum(scores[q, j] == scores[q, i] for j in range(len(gallery)) if j != i) for q, i in pairs]
    return np.array(greater), np.array(ties)


@pytest.mark.parametrize("chunk", [1, 7, 50, 4_000_000])
def test_counts_equal_a_plain_loop_at_any_chunk(chunk: int) -> None:
    queries, gallery = embeddings(9), torch.cat([embeddings(11, seed=1), embeddings(4, seed=1)])
    pairs = np.random.default_rng(0).permutation(all_pairs(9, 15))
    greater, ties = count_ranks(queries, gallery, pairs, chunk_elements=chunk)
    expected = oracle(queries, gallery, pairs)
    np.testing.assert_array_equal(greater, expected[0])
    np.testing.assert_array_equal(ties, expected[1])
    assert set(ties[pairs[:, 1] < 4]) == {1} and set(ties[(pairs[:, 1] >= 4) & (pairs[:, 1] < 11)]) == {0}
    assert greater.dtype == ties.dtype == np.int32


@pytest.mark.parametrize("chunk", [1, 40, 200, 4_000_000])
def test_one_product_ranks_both_ways_as_two_do(chunk: int) -> None:
    images, texts = embeddings(23), torch.cat([embeddings(31, seed=1), embeddings(9, seed=1), embeddings(4)])
    pairs = np.random.default_rng(chunk).permutation(all_pairs(23, 44))[:300]
    result = rank_both(images, texts, pairs, top=6, chunk_elements=chunk)
    sides = ((images, texts, pairs), (texts, images, pairs[:, ::-1].copy()))
    for ranks, (queries, gallery, flipped) in zip(result, sides, strict=True):
        np.testing.assert_array_equal((ranks.greater, ranks.ties), oracle(queries, gallery, flipped))
        scores = (queries.double() @ gallery.double().T).float().numpy()
        expected = np.argsort(-scores, axis=1, kind="stable")[:, :6]
        np.testing.assert_array_equal(ranks.top_scores, np.take_along_axis(scores, expected, 1))
        np.testing.assert_array_equal(np.take_along_axis(scores, ranks.top_ids, 1), ranks.top_scores)


def test_equal_vectors_tie_exactly_wherever_they_stand() -> None:
    """Float32 BLAS gives one vector different last bits in different columns; ranks must not see that."""
    queries, item = embeddings(13, 257), embeddings(1, 257, seed=2)
    greater, ties = count_ranks(queries, item.repeat(203, 1), all_pairs(13, 203))
    assert (greater == 0).all() and (ties == 202).all()


def test_top_holds_the_most_similar_items_with_ties_by_row() -> None:
    queries, gallery = embeddings(5), embeddings(8, seed=1)
    gallery = torch.cat([gallery, gallery])
    ranks = rank(queries, gallery, np.empty((0, 2)), top=6)
    scores = (queries.double() @ gallery.double().T).float().numpy()
    expected = np.argsort(-scores, axis=1, kind="stable")[:, :6]
    np.testing.assert_array_equal(ranks.top_ids, expected)
    np.testing.assert_array_equal(ranks.top_scores, np.take_along_axis(scores, expected, 1))
    assert rank(queries, gallery, np.empty((0, 2)), top=99).top_ids.shape == (5, 16)


def test_a_nan_embedding_is_refused_and_a_pair_out_of_range_too() -> None:
    queries, gallery = embeddings(3), embeddings(4)
    broken = queries.clone()
    broken[1, 0] = torch.nan
    for of, pair, words in (
        (broken, [0, 0], "not finite"),
        (queries, [0, 4], "outside"),
        (queries, [-1, 0], "outside"),
    ):
        with pytest.raises(ValueError, match=words):
            count_ranks(of, gallery, np.array([pair]))
    recalls = validation_recalls(broken, gallery, np.array([0, 1, 2, 2]))
    assert len(recalls) == 7 and all(np.isnan(value) for value in recalls.values())


def test_validation_recalls_with_unequal_caption_counts_and_different_directions() -> None:
    images = embeddings(12)
    caption_image = np.array([0, 0, 0, 0, 1, 2, 2, 3, 4, 5, 6, 7, 7, 7, 8, 9, 10, 11])
    texts = torch.nn.functional.normalize(images[caption_image] + 1.4 * embeddings(18, seed=5), dim=1)
    recalls = validation_recalls(images, texts, caption_image, ks=(1, 3))
    scores, positive = (images @ texts.T).numpy(), caption_image[None] == np.arange(12)[:, None]
    for k, (side, of, own) in itertools.product((1, 3), (("i2t", scores, positive), ("t2i", scores.T, positive.T))):
        hits = [flags[np.argsort(-row)[:k]].any() for row, flags in zip(of, own, strict=True)]
        assert recalls[f"r{k}_{side}"] == pytest.approx(np.mean(hits), abs=1e-12)
    assert recalls["rsum"] == pytest.approx(sum(v for key, v in recalls.items() if key != "rsum"))


def test_validation_recalls_of_a_collapsed_model_are_chance_level() -> None:
    images, texts = torch.ones(10, 4) / 2, torch.ones(50, 4) / 2
    recalls = validation_recalls(images, texts, np.repeat(np.arange(10), 5), ks=(1, 5))
    assert recalls["r1_i2t"] == pytest.approx(5 / 50) and recalls["r1_t2i"] == pytest.approx(1 / 10)
    miss = np.prod([(45 - i) / (50 - i) for i in range(5)])
    assert recalls["r5_i2t"] == pytest.approx(1 - miss) and recalls["r5_t2i"] == pytest.approx(0.5)


@pytest.mark.parametrize("held", [1, 37, 60 * 9, 10_000])
def test_validation_recalls_do_not_depend_on_what_is_held_at_once(held: int, monkeypatch) -> None:
    draw = np.random.default_rng(0)
    owner = draw.permutation(np.r_[np.arange(60), draw.integers(0, 60, 90)])
    images, texts = (torch.from_numpy(draw.integers(-2, 3, (n, 4))).float() for n in (60, 150))  # exact, with ties
    monkeypatch.setattr("fne.evaluation.ranking.VALIDATED", held)
    recalls, scores = validation_recalls(images, texts, owner, ks=(1, 5)), (images @ texts.T).numpy()
    expected = {f"r{k}_{way}": [] for k in (1, 5) for way in ("i2t", "t2i")}
    for k in (1, 5):
        for i in range(60):
            best = scores[i, owner == i].max()
            counts = (scores[i] > best).sum(), (scores[i] == best).sum(), (scores[i, owner == i] == best).sum()
            expected[f"r{k}_i2t"].append(expected_hit(*map(np.array, counts), k))
        for c in range(150):
            own = scores[owner[c], c]
            counts = (scores[:, c] > own).sum(), (scores[:, c] == own).sum(), 1
            expected[f"r{k}_t2i"].append(expected_hit(*map(np.array, counts), k))
    for name, values in expected.items():
        assert recalls[name] == pytest.approx(np.mean(values))


AT_COCOS_SIZE = """
import torch
from fne.utils.provenance import peak_memory_mb
from fne.evaluation.ranking import rank_both
torch.manual_seed(0)
images, texts = torch.randn(5000, 64), torch.randn(25_000, 64)
pairs = torch.stack([torch.arange(75_000) % 5000, torch.randint(25_000, (75_000,))], 1)
one, other = rank_both(images, texts, pairs, top=10)
assert one.greater.max() > 20_000 and other.greater.max() > 4000
print(peak_memory_mb())
"""


def test_memory_stays_bounded_at_cocos_size() -> None:
    """5,000 x 25,000 both ways in one process, torch included: the whole matrix alone would be 1 GB in float64."""
    done = subprocess.run([sys.executable, "-c", AT_COCOS_SIZE], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 1200


@pytest.mark.gpu
def test_a_gpu_counts_the_same_ranks_and_recalls() -> None:
    images, texts = embeddings(300, 64), embeddings(1500, 64, seed=1)
    texts[700:] = texts[:800]
    pairs = np.stack([np.repeat(np.arange(300), 5), np.arange(1500)], 1)
    host, device = rank(images, texts, pairs, top=5), rank(images.cuda(), texts.cuda(), pairs, top=5)
    for name in ("greater", "ties", "top_scores"):
        np.testing.assert_array_equal(getattr(host, name), getattr(device, name))
    item = validation_recalls(images, texts, pairs[:, 0])
    assert validation_recalls(images.cuda(), texts.cuda(), pairs[:, 0]) == pytest.approx(item, abs=0.01)


KS = (1, 2, 3, 5, 10)


def counts(scores: np.ndarray, relevant: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Plain-loop (query, greater, ties) of every relevant pair."""
    rows = [
        (q, sum(s > scores[q, i] for s in scores[q]), sum(s == scores[q, i] for s in scores[q]) - 1)
        for q, i in zip(*np.nonzero(relevant), strict=True)
    ]
    return tuple(np.array(rows).T)


def all_metrics(scores: np.ndarray, relevant: np.ndarray, rule: str) -> dict[str, np.ndarray]:
    groups = tie_groups(*counts(scores, relevant), len(scores), rule)
    return {
        **of_queries(groups, [f"r{k}" for k in KS]), "rank": best_rank(groups), "map_at_r": map_at_r(groups),
        "r_precision": r_precision(groups),
    }  # fmt: skip


def of_ranking(flags: np.ndarray) -> dict[str, float]:
    """The definitions, read off one ranked list of relevance flags."""
    total = int(flags.sum())
    precision = [flags[: r + 1].mean() for r in range(total)]
    return {
        **{f"r{k}": float(flags[:k].any()) for k in KS},
        "rank": float(np.flatnonzero(flags)[0] + 1),
        "map_at_r": sum(p * f for p, f in zip(precision, flags, strict=False)) / total,
        "r_precision": float(flags[:total].mean()),
    }


def every_order(scores: np.ndarray, flags: np.ndarray) -> list[np.ndarray]:
    """The relevance flags of every ranking that agrees with the scores."""
    levels = [np.flatnonzero(scores == value) for value in sorted(set(scores), reverse=True)]
    orders = itertools.product(*(itertools.permutations(level) for level in levels))
    return [flags[list(itertools.chain(*order))] for order in orders]


CASES = [
    (scores, relevant)
    for seed in range(25)
    for rng in [np.random.default_rng(seed)]
    for scores in [rng.integers(0, 1 + seed % 4, (3, 7)).astype(float)]
    for relevant in [rng.random((3, 7)) < 0.4]
    if relevant.any(1).all()
]


@pytest.mark.parametrize("rule", ["expected", "pessimistic"])
@pytest.mark.parametrize("case", range(len(CASES)))
def test_metrics_are_the_mean_or_the_worst_of_every_order_of_the_ties(case: int, rule: str) -> None:
    scores, relevant = CASES[case]
    result = all_metrics(scores, relevant, rule)
    for q in range(len(scores)):
        orders = [of_ranking(flags) for flags in every_order(scores[q], relevant[q])]
        for name, values in result.items():
            of = np.mean if rule == "expected" else max if name == "rank" else min
            assert values[q] == pytest.approx(of([order[name] for order in orders]), abs=1e-12), name


def test_large_tie_groups_keep_their_precision() -> None:
    """Against exact rational arithmetic, at COCO's size."""
    for total, positives, k in ((25_000, 5, 10), (25_000, 24_000, 10), (5_000, 1, 1000), (12, 5, 10)):
        exact = 1 - Fraction(comb(total - positives, k), comb(total, k))
        result = expected_hit(np.array([0]), np.array([total]), np.array([positives]), k)
        assert result[0] == pytest.approx(float(exact), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize(
    ("queries", "greater", "ties", "count", "rule", "words"),
    [
        ([0, 0], [0, 0], [0, 0], 2, "expected", "needs a positive"),
        ([0, 0], [3, 3], [1, 2], 1, "expected", "contradict"),
        ([0, 0], [0, 0], [1, 1], 1, "optimistic", "tie_rule"),
    ],
)
def test_what_cannot_be_scored_is_refused(queries, greater, ties, count, rule, words) -> None:
    with pytest.raises(ValueError, match=words):
        tie_groups(*map(np.array, (queries, greater, ties)), count, rule)
