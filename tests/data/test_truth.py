"""Ground truth: storing, packing, looking up, and refusing what is not one."""

from __future__ import annotations

import re

import numpy as np
import pytest

from fne.data.items import Item, equal_captions, normalise
from fne.data.truth import EqualCaptions, Truth, prevalence
from fne.utils.errors import UserError


def random_truth(n_images: int, n_captions: int, seed: int) -> tuple[Truth, np.ndarray]:
    matrix = np.random.default_rng(seed).random((n_images, n_captions)) < 0.2
    pairs = np.argwhere(matrix).astype(np.int32)
    everything = np.arange(n_images, dtype=np.int32), np.arange(n_captions, dtype=np.int32)
    return Truth("exact", pairs, *everything), matrix


def test_contains_equals_the_matrix() -> None:
    truth, matrix = random_truth(9, 11, 4)
    images, captions = np.meshgrid(np.arange(9), np.arange(11), indexing="ij")
    np.testing.assert_array_equal(truth.contains(images, captions), matrix)
    np.testing.assert_array_equal(truth.contains(np.array(3), np.arange(11)), matrix[3])


def test_round_trip_and_equal_bytes(tmp_path) -> None:
    truth, _ = random_truth(6, 5, 1)
    truth.extra["judged_share"] = np.linspace(0, 1, 4, dtype=np.float32)
    truth.save(tmp_path / "a.npz")
    truth.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    loaded = Truth.load(tmp_path / "a.npz")
    assert loaded.kind == "exact"
    for name in ("pairs", "image_queries", "caption_queries"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(truth, name))
    np.testing.assert_array_equal(loaded.extra["judged_share"], truth.extra["judged_share"])


def test_unreadable_files_are_refused(tmp_path) -> None:
    truth, _ = random_truth(6, 5, 1)
    truth.save(tmp_path / "t.npz")
    content = (tmp_path / "t.npz").read_bytes()
    with pytest.raises(UserError, match="no such file"):
        Truth.load(tmp_path / "absent.npz")
    for cut in (0, 10, len(content) // 2, len(content) - 5):
        (tmp_path / "cut.npz").write_bytes(content[:cut])
        with pytest.raises(UserError, match="cut.npz"):
            Truth.load(tmp_path / "cut.npz")
    np.savez(tmp_path / "other.npz", pairs=truth.pairs)
    with pytest.raises(UserError, match="kind: array is missing"):
        Truth.load(tmp_path / "other.npz")
    Truth("exakt", truth.pairs, truth.image_queries, truth.caption_queries).save(tmp_path / "kind.npz")
    with pytest.raises(UserError, match="did you mean 'exact'"):
        Truth.load(tmp_path / "kind.npz")


def test_prevalence_leaves_own_pairs_out() -> None:
    # 4 images with 2 captions each: 8 own pairs, 24 others, of which 6 are relevant.
    assert prevalence(8 + 6, 4, 8) == 6 / 24
    assert prevalence(8, 4, 8) == 0
    assert prevalence(3, 1, 3) == 0


def grouped(seed: int, n_images: int = 7) -> tuple[EqualCaptions, list[list[int]]]:
    """Captions in a few groups, and the pairs by their definition."""
    rng = np.random.default_rng(seed)
    owner = np.repeat(np.arange(n_images), rng.integers(1, 5, n_images)).astype(np.int32)
    group = rng.integers(0, 4, len(owner)).astype(np.int32)
    captions = range(len(owner))
    pairs = {(int(owner[item]), other) for item in captions for other in captions if group[item] == group[other]}
    return EqualCaptions(owner, group), [list(pair) for pair in sorted(pairs)]


@pytest.mark.parametrize("seed", range(5))
def test_groups_of_equal_captions_are_their_pairs(tmp_path, seed: int) -> None:
    truth, pairs = grouped(seed)
    assert truth.n_pairs == len(pairs) and "pairs" not in vars(truth), "counted without making them"
    truth.save(tmp_path / "t.npz")
    loaded = Truth.load(tmp_path / "t.npz")
    assert loaded.pairs.tolist() == pairs and loaded.pairs.dtype == np.int32
    assert (loaded.kind, len(loaded.image_queries), len(loaded.caption_queries)) == ("equal_captions", 0, 0)
    images, captions = np.meshgrid(np.arange(8), np.arange(len(truth.group)), indexing="ij")
    expected = [[[int(i), int(c)] in pairs for c in captions[0]] for i in images[:, 0]]
    assert loaded.contains(images, captions).tolist() == expected
    plain = Truth("equal_captions", truth.pairs, truth.image_queries, truth.caption_queries)
    plain.save(tmp_path / "old.npz")
    assert Truth.load(tmp_path / "old.npz").pairs.tolist() == pairs, "as earlier versions kept them"


def test_thousands_of_equal_captions_stay_small(tmp_path) -> None:
    items = [Item(f"{n}.jpg", f"{n}.jpg", "train", ["a man"]) for n in range(3000)]
    truth = equal_captions(items, "train")
    truth.save(tmp_path / "t.npz")
    assert truth.n_pairs == 9_000_000 and (tmp_path / "t.npz").stat().st_size < 50_000
    items += [Item(f"{n}.jpg", f"{n}.jpg", "train", ["A man!"]) for n in range(3000, 4200)]
    with pytest.raises(UserError, match="4,200 of 4,200 captions of the train split are the same text; got 'a man'"):
        equal_captions(items, "train")


def test_many_equal_captions_are_groups_at_any_size() -> None:
    items = [Item(f"{n}.jpg", f"{n}.jpg", "train", [f"caption {n % 15}", f"own {n}"]) for n in range(18_000)]
    truth = equal_captions(items, "train")
    assert truth.n_pairs == 15 * 1200**2 + 18_000 > 2**24
    images, captions = np.array([0, 0, 0, 7, 7]), 2 * np.array([0, 15, 16, 22, 23])
    assert truth.contains(images, captions).tolist() == [True, True, False, True, False]
    assert truth.contains(images, captions + 1).tolist() == [True, False, False, False, False]
    assert len(truth.keys()[0]) == 36_000 and "pairs" not in vars(truth)


@pytest.mark.parametrize(
    "text", ["Two  DOGS' run, 3x .", "it's 9_to-5 @ $3 a+b^c|d~e`f<g>", "TAB\tand\nline\x0bbreaks", "...", " !? "]
)
def test_english_is_normalised_as_it_always_was(text: str) -> None:
    assert normalise(text) == (" ".join(re.findall(r"[a-z0-9]+", text.lower())) or text.strip())


@pytest.mark.parametrize(
    ("one", "other"),
    [("Straße!", "STRASSE"), ("caf\u00e9", "cafe\u0301"), ("Ｔ恤 ３", "t恤 3"), ("Собака, бежит.", "собака бежит"),
     ("ﬁsh", "fish"), ("foot\u00adball", "football"), ("“dog” — ‘cat’…", "dog cat"), ("Σίσυφος", "ΣΊΣΥΦΟΣ")],
)  # fmt: skip
def test_texts_that_are_the_same(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("3只狗", "3个人"), ("穿T恤的男人", "挂着的白色T恤"), ("2 кошки", "2 автобуса"), ("🐶", "🐱"), ("a 🐶", "a 🐱"),
     ("कि", "की"), ("שָׁלוֹם", "שלום"), ("über", "uber"), ("กา", "กี"), ("!", "?"), ("★", "★★")],
)  # fmt: skip
def test_texts_that_are_not_the_same(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)
