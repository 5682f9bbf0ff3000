"""An ``.npz`` file is checked before it is unpacked, and its arrays after."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fne.utils.arrays import check_npz, read_npz
from fne.utils.errors import UserError

KINDS = {"seeds": ("iu", 1), "*/skip": None, "*/values": ("f", 2)}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    arrays = {
        "seeds": np.arange(3),
        "a/skip": np.array("x"),
        "b/values": np.ones((3, 2), np.float32),
        "rest": np.ones(1),
    }
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    return tmp_path / "a.npz"


def test_named_arrays_are_read_and_no_others(file: Path) -> None:
    result = read_npz(file, KINDS, "again")
    assert [*result] == ["seeds", "b/values"] and result["b/values"].dtype == np.float32
    assert check_npz(file, "again") == ["seeds", "a/skip", "b/values", "rest"]


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        ({"none": ("f", 1)}, "none: array is missing"),
        ({"seeds": ("f", 1)}, "seeds: array of another kind; got 'int64, 1 dimensions'; allowed: floats, 1 dimensions"),
        ({"b/*": ("f", 1)}, "b/values: array of another kind"),
    ],
)
def test_arrays_of_another_kind_are_named(file: Path, kinds: dict, words: str) -> None:
    with pytest.raises(UserError, match=rf"a\.npz: {words}.*again"):
        read_npz(file, kinds, "again")


def test_what_would_unpack_to_far_more_is_not_unpacked(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(file, seeds=np.zeros(100_000, int))
    assert len(read_npz(file, KINDS, "")["seeds"]) == 100_000
    monkeypatch.setattr("fne.utils.arrays.MOST", 10_000)
    with pytest.raises(UserError, match="it would unpack to far more than its size"):
        read_npz(file, KINDS, "")
