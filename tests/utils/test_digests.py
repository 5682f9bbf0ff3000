"""Remembered digests: the file decides, never its name; what cannot be trusted is worked out again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from fne.utils.digests import Remembered


def old(file: Path, content: bytes) -> Path:
    """A file that was written a while ago."""
    file.write_bytes(content)
    os.utime(file, ns=(10**18, 10**18))
    return file


@pytest.fixture
def aged(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if every file had been written long ago (its time of status cannot be set)."""
    monkeypatch.setattr("fne.utils.digests.YOUNG", -1e9)


@pytest.mark.usefixtures("aged")
def test_a_file_is_read_once_and_again_when_it_changes(tmp_path: Path) -> None:
    file, read = old(tmp_path / "a", b"one"), []

    def make(path: Path) -> str:
        read.append(path.read_bytes())
        return read[-1].decode()

    for content in (b"one", b"two"):  # of one size, and with the same time of content
        old(file, content)
        for _ in range(2):
            remembered = Remembered(tmp_path / "kept.json", made_by="test")
            assert remembered.get(file, make) == content.decode()
            remembered.save()
    assert read == [b"one", b"two"]
    assert Remembered(tmp_path / "kept.json", made_by="another").get(file, make) == "two" and len(read) == 3


@pytest.mark.usefixtures("aged")
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-3],
        lambda content: content.replace(b"one", b"two"),
        lambda content: json.dumps({"schema": 1, "made_by": "sha256", "values": {"a": 5}}).encode(),
        lambda content: b"",
    ],
)
def test_a_file_that_was_cut_or_edited_is_forgotten(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    remembered = Remembered(tmp_path / "kept.json")
    assert remembered.get(old(tmp_path / "a", b"one"), lambda _: "one") == "one"
    remembered.save()
    assert Remembered(tmp_path / "kept.json").get(tmp_path / "a", lambda _: "three") == "one"
    (tmp_path / "kept.json").write_bytes(damage((tmp_path / "kept.json").read_bytes()))
    assert Remembered(tmp_path / "kept.json").get(tmp_path / "a", lambda _: "three") == "three"
