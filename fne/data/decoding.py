"""One decoder for all pictures: what is verified is what is extracted, trained on and shown, by the same rules."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fne.data.text_files import say_nearest
from fne.utils.errors import bad_input

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
"""What is read: formats of pictures. Pillow knows others, which call programs or hold measurements."""
BACKGROUND = (255, 255, 255)
"""What shows through where a picture is transparent."""
RULES: dict[str, Any] = {
    "mode": "RGB",
    "background": list(BACKGROUND),
    "orientation": "EXIF",
    "frame": "first",
    "deep_grey": "value >> (bits - 8)",
}
"""How a file becomes pixels, as stores of features record it."""

_BROKEN = (OSError, SyntaxError, ValueError, EOFError, RuntimeError, LookupError, TypeError, AttributeError,
           ArithmeticError, AssertionError, MemoryError, struct.error, zlib.error)  # fmt: skip
"""What Pillow's readers raise over damaged files; caught around calls of Pillow alone."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""By EXIF's orientation, what puts a picture upright."""
_ORIENTATION, _BITS, _PHOTOMETRIC, _WHITE_IS_ZERO = 274, 258, 262, 0


class Undecodable(Exception):
    """A file that is no picture, or one whose pixels nobody can know; the message says why."""


def read_rgb(path: Path) -> Image.Image:
    """Decode one image file to RGB, upright and opaque, as :data:`RULES` say.

    Raises:
        UserError: The file is missing, truncated, no image, or of a mode without a known range.
    """
    try:
        return decode(path.read_bytes())
    except FileNotFoundError:
        raise bad_input("image is missing", file=path, hint=say_nearest(path, cutoff=1.0)) from None
    except OSError as error:
        raise bad_input(f"image cannot be read ({error.strerror})", file=path) from None
    except Undecodable as error:
        raise bad_input(f"image cannot be decoded ({error})", file=path) from None


def decode(content: bytes) -> Image.Image:
    """Decode the content of an image file to RGB, as :data:`RULES` say.

    Raises:
        Undecodable: It is truncated, no image, too large, or of a mode without a known range.
    """
    image = _loaded(content)
    turn = _turn(image)
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        image = _grey(image)
    elif image.format == "PNG" and image.mode in ("L", "RGB") and "transparency" in image.info:
        _scale_key(image, bits=content[24])
    image = image if turn is None else image.transpose(turn)
    try:
        if image.has_transparency_data:
            opaque = image.convert({"La": "LA"}.get(image.mode, image.mode)).convert("RGBA")
            image = Image.alpha_composite(Image.new("RGBA", opaque.size, (*BACKGROUND, 255)), opaque)
        image = image if image.mode == "RGB" else image.convert("RGB")
    except ValueError:
        raise Undecodable(f"mode {image.mode} cannot become RGB") from None
    image.info = {}  # else what comes after might turn it, or hide its colours, once more
    return image


def _loaded(content: bytes) -> Image.Image:
    """The first frame, decoded."""
    try:
        image = Image.open(io.BytesIO(content), formats=_formats())
        size, boxes = image.width * image.height, [tile[1] or (0, 0, *image.size) for tile in image.tile]
        if size <= (Image.MAX_IMAGE_PIXELS or float("inf")):
            image.load()
            # of a TIFF with too few strips Pillow leaves the rest black
            covered = sum((right - left) * (low - top) for left, top, right, low in boxes)
            if image.format == "TIFF" and covered < size:
                raise ValueError("its strips do not cover it")
            return image
    except Image.UnidentifiedImageError:
        raise Undecodable(f"not an image, or of none of the formats {', '.join(FORMATS)}") from None
    except (*_BROKEN, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Undecodable(" ".join(str(error).split()) or type(error).__name__) from None
    raise Undecodable(f"{image.width} x {image.height} pixels, more than {Image.MAX_IMAGE_PIXELS}")


@functools.cache
def _formats() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]  # not every Pillow reads AVIF


def _grey(image: Image.Image) -> Image.Image:
    """A picture of more than 8 bits a pixel in 8, its high ones, where the format says how many it has."""
    tags = getattr(image, "tag_v2", {})
    deep = image.mode.startswith("I;") if image.format == "TIFF" else image.mode != "F"
    if not deep:
        hint = "numbers without a known range: save it in 8 bits a pixel, or as a PNG of 16"
        raise Undecodable(f"mode {image.mode} of {image.format} has {hint}")
    # PNG, PGM and JPEG 2000 are scaled to 16 bits when they are read; a TIFF may have 12
    grey = (np.asarray(image) >> (int(tags[_BITS][0]) - 8 if _BITS in tags else 8)).astype(np.uint8)
    made = Image.fromarray(255 - grey if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else grey)
    if isinstance(clear := image.info.get("transparency"), int):
        made.putalpha(Image.fromarray(np.where(np.asarray(image) == clear, 0, 255).astype(np.uint8)))
    return made


def _scale_key(image: Image.Image, bits: int) -> None:
    """The colour that stands for transparent has as many bits as the file, the pixels beside it have 8."""
    key = image.info["transparency"]
    if bits in (2, 4, 16):
        values = [value >> 8 if bits == 16 else value * 255 // (2**bits - 1) for value in np.atleast_1d(key).tolist()]
        image.info["transparency"] = values[0] if isinstance(key, int) else tuple(values)


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What puts it upright, where its EXIF data say so and can be read. (Pillow itself turns a TIFF.)"""
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except _BROKEN:
        return None
