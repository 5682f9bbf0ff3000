"""Ground truth: storing, packing, looking up, and refusing what is not one."""

from __future__ import annotations

import numpy as np
import pytest

from fne.data.truth import Truth, prevalence, sorted_pairs
from fne.utils.errors import UserError


def random_truth(n_images: int, n_captions: int, seed: int) -> tuple[Truth, np.ndarray]:
    matrix = np.random.default_rng(seed).random((n_images, n_captions)) < 0.2
    pairs = np.argwhere(matrix).astype(np.int32)
    everything = np.arange(n_images, dtype=np.int32), np.arange(n_captions, dtype=np.int32)
    return Truth("exact", pairs, *everything), matrix


@pytest.mark.parametrize("n_images", [1, 7, 8, 9, 20])
def test_packed_bits_equal_the_matrix(n_images: int) -> None:
    truth, matrix = random_truth(n_images, 13, n_images)
    bits = truth.packed(truth.pairs, n_images, 13)
    assert bits.shape == (13, (n_images + 7) // 8) and bits.dtype == np.uint8
    for caption in range(13):
        for image in range(8 * bits.shape[1]):
            expected = image < n_images and matrix[image, caption]
            assert bool(bits[caption, image // 8] >> (image % 8) & 1) == expected


def test_contains_equals_the_matrix() -> None:
    truth, matrix = random_truth(9, 11, 4)
    images, captions = np.meshgrid(np.arange(9), np.arange(11), indexing="ij")
    np.testing.assert_array_equal(truth.contains(images, captions), matrix)
    np.testing.assert_array_equal(truth.contains(np.array(3), np.arange(11)), matrix[3])


def test_contains_without_pairs_is_false() -> None:
    nobody = np.zeros(0, np.int32)
    truth = Truth("equal_captions", np.zeros((0, 2), np.int32), nobody, nobody)
    assert not truth.contains(np.arange(4), np.arange(4)).any()


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


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (np.array([[0, 1], [0, 0]], np.int32), "not sorted"),
        (np.array([[0, 1], [0, 1]], np.int32), "not sorted"),
        (np.array([[1, 0], [0, 5]], np.int32), "not sorted"),
        (np.array([[-1, 0]], np.int32), "negative"),
        (np.array([[0, 1]], np.int64), "int32"),
        (np.array([0, 1], np.int32), "int32"),
    ],
)
def test_malformed_pairs_are_refused_on_loading(tmp_path, pairs: np.ndarray, message: str) -> None:
    nobody = np.zeros(0, np.int32)
    Truth("exact", pairs, nobody, nobody).save(tmp_path / "t.npz")
    with pytest.raises(UserError, match=message) as caught:
        Truth.load(tmp_path / "t.npz")
    assert "t.npz: pairs" in str(caught.value)


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


def test_sorted_pairs_sorts_and_drops_repeats() -> None:
    result = sorted_pairs(np.array([[1, 0], [0, 9], [1, 0], [0, 2]]))
    assert result.dtype == np.int32
    assert result.tolist() == [[0, 2], [0, 9], [1, 0]]


def test_prevalence_leaves_own_pairs_out() -> None:
    # 4 images with 2 captions each: 8 own pairs, 24 others, of which 6 are relevant.
    assert prevalence(8 + 6, 4, 8) == 6 / 24
    assert prevalence(8, 4, 8) == 0
    assert prevalence(3, 1, 3) == 0
