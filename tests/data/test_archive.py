"""Unpacking an archive whose SHA-256 was compared: the member arrives whole, or nothing does."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from fne.data.archive import unpack

PICTURE = np.random.default_rng(1).bytes(50_000)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "pictures.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("train2014/", b"")
        members = {"train2014/a.jpg": PICTURE, "train2014/sub/b.jpg": PICTURE[::-1], "train2014.txt": b"no",
                   "val2014/c.jpg": b"no", "dataset_coco.json": b"{}", "dataset_coco.json.txt": b"no"}  # fmt: skip
        for name, content in members.items():
            made.writestr(name, content)
    return path


def files(folder: Path) -> dict[str, bytes]:
    result = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in result}


def test_a_folder_or_a_single_file_arrives_whole_and_alone(archive: Path, tmp_path: Path) -> None:
    unpack(archive, "train2014", tmp_path / "out/images/train2014")
    unpack(archive, "dataset_coco.json", tmp_path / "out/dataset_coco.json")
    assert files(tmp_path / "out") == {
        "images/train2014/a.jpg": PICTURE, "images/train2014/sub/b.jpg": PICTURE[::-1], "dataset_coco.json": b"{}"
    }  # fmt: skip


def test_an_unpacking_that_fails_leaves_nothing(archive: Path, tmp_path: Path) -> None:
    content = bytearray(archive.read_bytes())
    content[content.index(b"sub/b.jpg") + 30_000] ^= 4
    archive.write_bytes(content)
    with pytest.raises(zipfile.BadZipFile):
        unpack(archive, "train2014", tmp_path / "out/train2014")
    assert not files(tmp_path / "out")
