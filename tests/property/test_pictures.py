"""Pictures and archives with one change: a result, or one error that names the file; nothing outside the folder."""

from __future__ import annotations

import functools
import io
import stat
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fne.data.archive import unpack
from fne.data.decoding import FORMATS, read_rgb
from fne.data.images import verify_images
from fne.utils.errors import UserError

MODES = ("RGB", "L", "P", "RGBA", "LA", "PA", "1", "CMYK", "I;16", "I", "F", "YCbCr", "LAB")
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 9, 4), np.uint8)

pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow warns of damaged tags


@functools.cache
def pictures() -> list[bytes]:
    """A small picture of every mode in every format that has it, upright and turned."""
    found = []
    for form in FORMATS:
        for mode in MODES:
            for turn in (1, 6):
                exif, buffer = Image.Exif(), io.BytesIO()
                exif[274] = turn
                try:
                    in_mode(mode).save(buffer, form, exif=exif.tobytes())
                except (OSError, KeyError, ValueError):  # not in this format
                    continue
                found.append(buffer.getvalue())
    assert len(found) > 80
    return found


def in_mode(mode: str) -> Image.Image:
    if mode in ("I;16", "I", "F"):
        return Image.fromarray((PIXELS[..., 0] * 257.0).astype({"I;16": "<u2", "I": "<i4", "F": "<f4"}[mode]))
    whole = Image.fromarray(PIXELS, "RGBA")
    return Image.new("LAB", (9, 12)) if mode == "LAB" else whole if mode == "PA" else whole.convert(mode)


@st.composite
def changed(draw: st.DrawFn, sound: bytes) -> bytes:
    """Four fifths: the content with one byte changed, cut, or with bytes more or less; else garbage."""
    kind = draw(st.sampled_from(["head", "byte", "cut", "more", "garbage"]))
    if kind == "garbage":
        return draw(st.binary(max_size=64))
    at = draw(st.integers(0, min(len(sound), 160 if kind == "head" else len(sound)) - 1))
    if kind in ("head", "byte"):
        return sound[:at] + bytes([draw(st.integers(0, 255))]) + sound[at + 1 :]
    if kind == "cut":
        return sound[:at] + sound[at + draw(st.sampled_from([1, 2, 8, len(sound)])) :]
    return sound[:at] + draw(st.binary(max_size=8)) + sound[at:]


@given(st.data())
def test_a_picture_is_decoded_or_named(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """``prepare`` says of each what the extraction would say, and the same."""
    content = data.draw(changed(data.draw(st.sampled_from(pictures()))))
    file = Path(tmp_path_factory.getbasetemp()) / "picture"
    file.write_bytes(content)
    try:
        image = read_rgb(file)
    except UserError as error:
        assert str(file) in str(error) and "\n" not in str(error)
        with pytest.raises(UserError, match=r"1 of 1 images are unreadable or cut short: picture \("):
            verify_images(file.parent, [file.name])
    else:
        assert image.mode == "RGB" and len(verify_images(file.parent, [file.name])[0]) == 32


PARTS = st.sampled_from(["train", "Train", "a.jpg", "A.JPG", "..", ".", "", "C:", "nul", "b.", "b ", "ü", "u\u0308",
                         "tmp", "x\\..\\y", "\\\\host", "a\0b", "~", "x" * 250, "sub"])  # fmt: skip
NAMES = st.one_of(st.lists(PARTS, min_size=1, max_size=4).map("/".join), st.text(max_size=6))
KINDS = st.sampled_from([0, stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])


def archive(members: list[tuple[str, int]]) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        warnings.simplefilter("ignore")
        for name, kind in [("train/a.jpg", 0), ("train/sub/b.jpg", 0), *members]:
            info = zipfile.ZipInfo(name)
            info.filename = info.orig_filename = name
            info.external_attr = (kind | 0o777) << 16
            made.writestr(info, b"content of " + name.encode())
    return buffer.getvalue()


def unpacked(base: Path, content: bytes) -> None:
    """All or nothing, and nothing anywhere else."""
    place = base / "unpacked"
    outer, file = place / "outer", place / "pictures.zip"
    target = outer / "images" / "train"
    for old in sorted(outer.rglob("*"), reverse=True):
        old.rmdir() if old.is_dir() else old.unlink()
    outer.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    before = sorted(place.iterdir())
    try:
        unpack(file, "train", target)
    except UserError as error:
        assert str(file) in str(error) and "\n" not in str(error)
        assert not any(one.is_file() for one in outer.rglob("*"))
    else:
        assert target.is_dir()
        assert all(target in one.parents for one in outer.rglob("*") if one.is_file())
        assert not any(one.is_symlink() for one in outer.rglob("*"))
    assert sorted(place.iterdir()) == before and not (outer.parent / "tmp").exists()


@given(st.lists(st.tuples(NAMES, KINDS), max_size=3))
def test_names_and_kinds_of_members(tmp_path_factory: pytest.TempPathFactory, members: list[tuple[str, int]]) -> None:
    try:
        content = archive(members)
    except (UnicodeEncodeError, ValueError):  # zipfile itself writes no lone surrogates
        return
    unpacked(tmp_path_factory.getbasetemp(), content)


@given(st.data())
def test_an_archive_with_one_change(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    unpacked(tmp_path_factory.getbasetemp(), data.draw(changed(archive([("train/ü/c.jpg", 0)]))))
