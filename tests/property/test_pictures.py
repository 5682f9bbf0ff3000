"""Pictures with one change: decoded, or one error that names the file."""

from __future__ import annotations

import functools
import io
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fne.data.decoding import FORMATS, read_rgb
from fne.data.images import verify_images
from fne.utils.errors import UserError
from tests.property.damage import changed

MODES = ("RGB", "L", "P", "RGBA", "LA", "PA", "1", "CMYK", "I;16", "I", "F", "YCbCr", "LAB")
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 9, 4), np.uint8)

pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow warns of damaged tags


@functools.cache
def pictures() -> list[bytes]:
    """A small picture of every mode in every format that has it, upright and turned."""
    result = []
    for form in FORMATS:
        for mode in MODES:
            for turn in (1, 6):
                exif, buffer = Image.Exif(), io.BytesIO()
                exif[274] = turn
                try:
                    in_mode(mode).save(buffer, form, exif=exif.tobytes())
                except (OSError, KeyError, ValueError):  # not in this format
                    continue
                result.append(buffer.getvalue())
    assert len(result) > 80
    return result


def in_mode(mode: str) -> Image.Image:
    if mode in ("I;16", "I", "F"):
        return Image.fromarray((PIXELS[..., 0] * 257.0).astype({"I;16": "<u2", "I": "<i4", "F": "<f4"}[mode]))
    whole = Image.fromarray(PIXELS, "RGBA")
    return Image.new("LAB", (9, 12)) if mode == "LAB" else whole if mode == "PA" else whole.convert(mode)


@given(seed=st.integers(0, 2**32 - 1))
def test_a_picture_is_decoded_or_named(tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """``prepare`` says of each what the extraction would say, and the same."""
    draw = random.Random(seed)
    content = changed(draw.choice(pictures()), "", draw)
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
