"""Manifests: what they say about splits, and that an edited one is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fne.data.manifest import Manifest
from fne.utils.errors import UserError


def edited(prepared: Path, folder: Path, change) -> Path:
    """A copy of the manifest with a change to its JSON."""
    content = json.loads((prepared / "manifest.json").read_text())
    change(content)
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder


def test_splits_partition_the_rows(prepared: Path) -> None:
    manifest = Manifest.load(prepared)
    views = [manifest.split(name) for name in ("train", "val", "test")]
    assert np.concatenate([view.image_rows for view in views]).tolist() == list(range(440))
    assert np.concatenate([view.caption_rows for view in views]).tolist() == list(range(3 * 440))
    for view, n in zip(views, (240, 80, 120), strict=True):
        assert len(view.image_rows) == len(view.image_ids) == n
        assert {manifest.image_splits[row] for row in view.image_rows} == {view.name}
        assert view.texts == [manifest.texts[row] for row in view.caption_rows]
        assert view.caption_ids == [manifest.caption_ids[row] for row in view.caption_rows]
        for position, row in zip(view.caption_image, view.caption_rows, strict=True):
            assert view.image_rows[position] == manifest.caption_image[row]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(schema=99), "schema: another schema; got 99; allowed: 1"),
        (lambda c: c.pop("images"), "images: entry is missing"),
        (lambda c: c["captions"]["text"].pop(), "damaged or cut short"),
        (lambda c: c["captions"]["image"].reverse(), "sha256.captions"),
        (lambda c: c["images"]["split"].__setitem__(0, "test"), "sha256.images"),
        (lambda c: c["captions"]["text"].__setitem__(5, "a lie"), "sha256.captions"),
        (lambda c: c["captions"]["id"].__setitem__(5, "other"), "sha256.captions"),
        (lambda c: c["images"]["file"].__setitem__(5, "other.png"), "sha256.images"),
    ],
)
def test_edited_manifest_is_refused(prepared: Path, tmp_path: Path, change, message: str) -> None:
    folder = edited(prepared, tmp_path / "edited", change)
    with pytest.raises(UserError, match=message) as caught:
        Manifest.load(folder)
    assert str(folder / "manifest.json") in str(caught.value)


def test_truth_of_another_run_is_refused(prepared: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    shutil.copy(prepared / "manifest.json", folder)
    shutil.copy(prepared / "truth.val.npz", folder / "truth.test.npz")
    with pytest.raises(UserError, match="not the file the manifest was written with"):
        Manifest.load(folder).truth("test")


def test_fingerprints_follow_what_an_encoder_sees(prepared: Path, tmp_path: Path) -> None:
    manifest = Manifest.load(prepared)
    other_pixels = Manifest.load(edited(prepared, tmp_path / "a", lambda c: c["sha256"].update(pixels="0")))
    assert other_pixels.fingerprint("image") != manifest.fingerprint("image")
    assert other_pixels.fingerprint("text") == manifest.fingerprint("text")
    assert len({manifest.fingerprint(modality) for modality in ("image", "text")}) == 2
    with pytest.raises(KeyError):
        manifest.fingerprint("audio")
