"""Counted ranks against a plain loop, and the changes that must change nothing."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
import torch

from fne.evaluation.ranking import count_ranks, rank, validation_recalls


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


AT_COCOS_SIZE = """
import torch
from fne.utils.provenance import peak_memory_mb
from fne.evaluation.ranking import rank
torch.manual_seed(0)
images, texts = torch.randn(5000, 64), torch.randn(25_000, 64)
pairs = torch.stack([torch.arange(75_000) % 5000, torch.randint(25_000, (75_000,))], 1)
one, other = rank(images, texts, pairs, top=10), rank(texts, images, pairs.flip(1), top=10)
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
