"""An ``.npz`` file is checked before it is unpacked, and its arrays after."""

from __future__ import annotations

import resource
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fne.utils.arrays import check_npz, read_npz
from fne.utils.errors import UserError
from tests.property.damage import encrypted

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


def rewrite(file: Path, **members: bytes) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)


def array(shape: str, descr: str = "'<i8'", size: int = 0) -> bytes:
    """A file of an array whose header says what it is told."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(size)


def test_named_arrays_are_read_and_no_others(file: Path) -> None:
    result = read_npz(file, KINDS, "again")
    assert [*result] == ["seeds", "b/values"] and result["b/values"].dtype == np.float32
    assert check_npz(file, "again") == ["seeds", "a/skip", "b/values", "rest"]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    "value", [np.zeros((0, 5)), np.array(3), np.array("word"), np.ones((2, 3, 4)), np.array([True])]
)
def test_whatever_numpy_writes_of_numbers_and_text_passes(tmp_path: Path, value: np.ndarray, order: str) -> None:
    np.savez(tmp_path / "a.npz", x=np.asarray(value, order=order))
    assert check_npz(tmp_path / "a.npz", "") == ["x"]


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


@pytest.mark.parametrize(
    "content",
    [
        array("(4,)", size=31),
        array("(1000000000000,)", size=8),
        array("(1000000000000, 0, 99999999999999999999)"),
        array("(4,)", "'|O'", 32),
        array("(4,)", "[('a', '<i8')]", 32),
        array("(-1,)", size=8),
        array("()", "__import__('os')", 8),
        array("(" * 100),
        array("(4,)", size=32)[:20],
        b"\x80\x04K\x01.",
        b"",
    ],
)
def test_headers_that_do_not_fit_are_refused(file: Path, content: bytes) -> None:
    rewrite(file, seeds=content)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match=r"a\.npz: damaged or cut short.*again"):
        read_npz(file, KINDS, "again")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kB"


def test_what_would_unpack_to_far_more_is_not_unpacked(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(file, seeds=np.zeros(100_000, int))
    assert len(read_npz(file, KINDS, "")["seeds"]) == 100_000
    monkeypatch.setattr("fne.utils.arrays.MOST", 10_000)
    with pytest.raises(UserError, match="seeds.npy is no array, a second one, or larger than any"):
        read_npz(file, KINDS, "")


def test_encrypted_twice_named_or_no_archive(file: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(encrypted(whole))
    with pytest.raises(UserError, match="is encrypted"):
        read_npz(file, KINDS, "")
    file.write_bytes(whole)
    with zipfile.ZipFile(file, "a") as archive, pytest.warns(UserWarning):
        archive.writestr("seeds.npy", archive.read("seeds.npy"))
    with pytest.raises(UserError, match="a second one"):
        read_npz(file, KINDS, "")
    np.save(file.with_suffix(".npy"), np.arange(3))
    file.with_suffix(".npy").rename(file)
    with pytest.raises(UserError, match="damaged or cut short"):
        read_npz(file, KINDS, "")
    file.unlink()
    with pytest.raises(UserError, match="no such file; first"):
        read_npz(file, KINDS, "", missing="first")
