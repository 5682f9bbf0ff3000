"""One decoder: whatever a picture's file is, its pixels are those a viewer shows, or it is refused by name."""

from __future__ import annotations

import io
import struct
import unicodedata
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from fne.data.decoding import FORMATS, RULES, Undecodable, decode, read_rgb
from fne.data.images import verify_images
from fne.data.text_files import say_nearest
from fne.utils.errors import UserError

RAMP = np.tile(np.linspace(0, 65535, 256).astype(np.uint16), (4, 1))
COLOUR = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 14
WHITE = [255, 255, 255]


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def pixels(content: bytes) -> np.ndarray:
    image = decode(content)
    assert image.mode == "RGB"
    return np.asarray(image)


def png(depth: int, channels: int, row: bytes, clear: tuple[int, ...]) -> bytes:
    """A PNG of one row whose colour ``clear`` is transparent."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    size = struct.pack(">IIBBBBB", len(row) * 8 // (depth * channels), 1, depth, {1: 0, 3: 2}[channels], 0, 0, 0)
    parts = chunk(b"IHDR", size) + chunk(b"tRNS", struct.pack(f">{channels}H", *clear))
    return b"\x89PNG\r\n\x1a\n" + parts + chunk(b"IDAT", zlib.compress(b"\0" + row)) + chunk(b"IEND", b"")


def tiff(bits: int, photometric: int, row: bytes) -> bytes:
    """A grey TIFF of one row."""
    longs = {256: len(row) * 8 // bits, 257: 1, 273: 8 + 2 + 9 * 12 + 4, 278: 1, 279: len(row)}
    shorts = {258: bits, 259: 1, 262: photometric, 277: 1}
    tags = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in longs.items()]
    tags += [struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in shorts.items()]
    return b"II*\0" + struct.pack("<IH", 8, 9) + b"".join(sorted(tags, key=lambda tag: tag[:2])) + bytes(4) + row


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_read(form: str) -> None:
    plain = saved(Image.fromarray(COLOUR), form)
    with Image.open(io.BytesIO(plain)) as opened:
        assert decode(plain).tobytes() == opened.convert("RGB").tobytes()


@pytest.mark.parametrize(
    ("form", "order"), [("PNG", "<u2"), ("PPM", "<u2"), ("JPEG2000", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2")]
)
def test_16_bits_become_their_high_byte(form: str, order: str) -> None:
    result = pixels(saved(Image.fromarray(RAMP.astype(order)), form))
    np.testing.assert_array_equal(result, np.repeat((RAMP >> 8)[..., None], 3, 2))


def test_the_bits_of_a_tiff_are_those_it_says() -> None:
    assert pixels(tiff(12, 1, b"\xff\xf0\x80"))[0, :, 0].tolist() == [255, 8]
    assert pixels(tiff(16, 1, b"\xff\xff\x00\x80"))[0, :, 0].tolist() == [255, 128]
    assert pixels(tiff(16, 0, b"\xff\xff\x00\x80"))[0, :, 0].tolist() == [0, 127], "white is zero"


def test_a_tiff_whose_strips_do_not_cover_it() -> None:
    """Pillow leaves the rest black."""
    content = tiff(8, 1, b"\xff\xff\xff\xff")
    assert pixels(content).min() == 255
    for rows in (2, 2000):
        with pytest.raises(Undecodable, match="do not cover"):
            decode(content.replace(struct.pack("<HHII", 257, 4, 1, 1), struct.pack("<HHII", 257, 4, 1, rows)))


@pytest.mark.parametrize("kind", [np.int32, np.float32, np.int16])
def test_numbers_without_a_range_are_refused_before_anything_is_extracted(tmp_path: Path, kind: type) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    image = Image.fromarray((RAMP >> 1).astype(kind) if kind != np.int16 else (RAMP >> 1).astype(np.int32))
    image.save(tmp_path / "b.tif")
    mode = "F" if kind == np.float32 else "I"
    with pytest.raises(UserError, match=rf"1 of 2 images .*b\.tif \(mode {mode} of TIFF .*as a PNG of 16"):
        verify_images(tmp_path, ["a.png", "b.tif"])
    with pytest.raises(UserError, match=rf"b\.tif: image cannot be decoded \(mode {mode} "):
        read_rgb(tmp_path / "b.tif")


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_is_the_background(form: str, mode: str) -> None:
    """The colours that a drawing program left under its transparent parts are nobody's picture."""
    image = Image.fromarray(np.array([[[9, 90, 200, 0], [9, 90, 200, 255]]], np.uint8)).convert(mode)
    result = pixels(saved(image, form, **({"lossless": True} if form == "WEBP" else {})))[0]
    assert RULES["background"] == WHITE == result[0].tolist()
    if form != "AVIF":
        assert result[1].tolist() == np.asarray(image.convert("RGB"))[0, 1].tolist()


def test_transparent_colours_of_palettes_and_keys() -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putpixel((1, 0), 1)
    for form, clear in (("GIF", 0), ("PNG", 0), ("PNG", bytes([0, 255]))):
        assert pixels(saved(palette, form, transparency=clear)).tolist() == [[WHITE, [40, 50, 60]]]
    assert pixels(png(8, 3, bytes([1, 2, 3, 4, 5, 6]), (1, 2, 3))).tolist() == [[WHITE, [4, 5, 6]]]
    assert pixels(png(16, 3, struct.pack(">6H", 1000, 2000, 3000, 40000, 1, 2), (1000, 2000, 3000))).tolist() == [
        [WHITE, [156, 0, 0]]
    ]
    assert pixels(png(8, 1, bytes([7, 8]), (7,)))[0, :, 0].tolist() == [255, 8]
    assert pixels(png(4, 1, bytes([0x12]), (1,)))[0, :, 0].tolist() == [255, 34]
    assert pixels(png(1, 1, bytes([0x0F]), (0,)))[0, :, 0].tolist() == [255] * 8
    assert pixels(png(16, 1, struct.pack(">2H", 300, 301), (300,)))[0, :, 0].tolist() == [255, 1]


@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG", "WEBP", "MPO", "AVIF"])
@pytest.mark.parametrize("turn", range(10))
def test_pictures_stand_upright(form: str, turn: int) -> None:
    """As the camera says with EXIF; 0 and 9 mean nothing."""
    exif = Image.Exif()
    exif[274] = turn
    content = saved(Image.fromarray(COLOUR), form, exif=exif.tobytes())
    with Image.open(io.BytesIO(content)) as opened:
        requested = np.asarray(ImageOps.exif_transpose(opened))
    np.testing.assert_array_equal(pixels(content), requested)
    np.testing.assert_array_equal(np.asarray(ImageOps.exif_transpose(decode(content))), requested, "and stay so")
    assert requested.shape[:2] == ((3, 2) if 5 <= turn <= 8 else (2, 3))


def test_too_many_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(COLOUR).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    for call in (lambda: verify_images(tmp_path, ["a.png"]), lambda: read_rgb(tmp_path / "a.png")):
        with pytest.raises(UserError, match=r"a\.png.*3 x 2 pixels, more than 5"):
            call()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2)
    with pytest.raises(UserError, match="exceeds limit"):
        read_rgb(tmp_path / "a.png")


def test_a_missing_picture_names_the_one_that_is_meant(tmp_path: Path) -> None:
    (tmp_path / "Sub").mkdir()
    for name in ("Straße.JPG", unicodedata.normalize("NFD", "Sub/Ünï.png"), "000124.jpg"):
        Image.fromarray(COLOUR).save(tmp_path / name)
    for given, meant in (
        ("straße.jpg", "Straße.JPG"),
        (unicodedata.normalize("NFC", "Sub/Ünï.png"), unicodedata.normalize("NFD", "Sub/Ünï.png")),
    ):
        if (tmp_path / given).exists():
            pytest.skip("this file system knows one name only")
        with pytest.raises(UserError, match="1 of 1 images are missing") as caught:
            verify_images(tmp_path, [given], "to get them: ask")
        assert f"did you mean {Path(meant).name!r}?" in str(caught.value)
        with pytest.raises(UserError, match="image is missing; did you mean"):
            read_rgb(tmp_path / given)
    assert say_nearest(tmp_path / "no" / "b.jpg") is None
    with pytest.raises(UserError, match="000123.jpg; to get them: ask"):
        verify_images(tmp_path, ["000123.jpg"], "to get them: ask")
