"""Pictures that lie outside the project: a verb works on those that were prepared, or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fne.data import pictures, readers
from fne.data.manifest import Manifest
from fne.steps import prepare
from fne.utils.errors import UserError
from tests.data.conftest import Corpus


@pytest.fixture
def prepared(corpus: Corpus) -> tuple[dict, Path]:
    """The data section of a corpus, and where it was prepared."""
    prepare.run(corpus.write(), corpus.folder / "resources/tiny-1")
    return corpus.data, corpus.folder / "resources/tiny-1"


def first(data: dict) -> Path:
    return min(Path(data["images"]).iterdir())


def other(file: Path) -> bytes:
    """A picture with as many bytes as a file."""
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    return bytes(content)


def overwritten_with_its_time(file: Path) -> None:
    stat = os.stat(file)
    file.write_bytes(other(file))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def replaced(file: Path) -> None:
    new = file.with_name("new")
    new.write_bytes(other(file))
    os.replace(new, file)


@pytest.mark.parametrize("edit", [overwritten_with_its_time, replaced])
def test_a_picture_replaced_in_place_is_refused(prepared: tuple[dict, Path], edit: Callable[[Path], None]) -> None:
    data, folder = prepared
    Manifest.open(folder)
    size = first(data).stat().st_size
    edit(first(data))
    assert first(data).stat().st_size == size
    with pytest.raises(UserError, match=rf"{first(data).name}: a picture is another one than was prepared; .*prepare"):
        Manifest.open(folder)


def test_copies_with_other_times_are_read_once(prepared: tuple[dict, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    data, folder = prepared
    images = Path(data["images"])
    shutil.copytree(images, images.with_name("copy"))
    shutil.rmtree(images)
    shutil.move(images.with_name("copy"), images)
    read = []
    real = pictures.sha256_file
    monkeypatch.setattr(pictures, "sha256_file", lambda file: read.append(file) or real(file))
    Manifest.open(folder)
    assert len(read) == len(list(images.iterdir()))
    Manifest.open(folder)
    assert len(read) == len(list(images.iterdir())), "known now"


@pytest.mark.parametrize("damage", [
    lambda file: file.unlink(),
    lambda file: file.write_bytes(file.read_bytes()[:-9]),
    lambda file: np.savez(file, stamps=np.zeros((1, 4), np.int64), digests=np.zeros((1, 32), np.uint8)),
])  # fmt: skip
def test_damaged_notes_are_refused(prepared: tuple[dict, Path], damage: Callable[[Path], None]) -> None:
    _, folder = prepared
    damage(folder / pictures.NAME)
    with pytest.raises(UserError, match=r"pictures\.npz: (no such|damaged|is not of this).*run `fne prepare` again"):
        Manifest.open(folder)


def test_a_corpus_that_changes_while_it_is_read_is_refused(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    data, verify = corpus.write(), readers.verify_images

    def edited(*arguments: object) -> list[bytes]:
        digests = verify(*arguments)
        Image.new("RGB", (9, 9)).save(first(data))
        return digests

    monkeypatch.setattr(readers, "verify_images", edited)
    with pytest.raises(UserError, match="pictures changed while they were read"):
        prepare.run(data, corpus.folder / "resources/tiny-1")
    assert not (corpus.folder / "resources/tiny-1").exists()
