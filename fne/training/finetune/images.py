"""From an image to the square of pixels that an encoder is trained or evaluated on. Pillow and numpy only."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from fne.encoders.image_encoder import ImageEncoder, resized

Draw = np.random.Generator
GREY = (128, 128, 128)
MAGNITUDES = 10
_TRIES = 10


@dataclass(frozen=True)
class Transform:
    """How images become pixels.

    Args:
        size: Pixels a side.
        crop: ``random_resized`` or ``none``.
        crop_area: Least share of the image that a random crop keeps.
        flip: Mirror half of the training images.
        operations: RandAugment operations drawn for each training image.
        magnitude: Of each operation, 0 to 10.
        own: How an image becomes pixels at evaluation; None: it is squashed to the square.
    """

    size: int
    crop: str
    crop_area: float
    flip: bool
    operations: int
    magnitude: int
    own: Callable[[Image.Image], np.ndarray] | None = None

    @classmethod
    def of(cls, section: dict[str, Any], encoder: ImageEncoder) -> Transform:
        """From section ``finetune`` of a resolved config; an option that is not read there counts as 0.

        Without an ``image_size``, size and evaluation are those of the encoder's checkpoint.
        """
        size = section["image_size"]
        return cls(
            size=encoder.own_size() if size is None else size,
            crop=section["crop"],
            crop_area=section.get("crop_area", 1.0),
            flip=section["flip"],
            operations=section["randaugment_operations"],
            magnitude=section.get("randaugment_magnitude", 0),
            own=functools.partial(resized, encoder.processor) if size is None else None,
        )

    def training(self, image: Image.Image, draw: Draw) -> np.ndarray:
        """Pixels (3, size, size) uint8 of an augmented RGB image: crop, flip, then RandAugment.

        *Source*: Szegedy et al., CVPR 2015 (crop); Cubuk et al., RandAugment, 2020.
        """
        box = random_box(image.size, self.crop_area, draw) if self.crop == "random_resized" else None
        image = image.resize((self.size, self.size), Image.Resampling.BICUBIC, box=box)
        if self.flip and draw.random() < 0.5:
            image = ImageOps.mirror(image)
        for index in draw.integers(len(OPERATIONS), size=self.operations):
            image = OPERATIONS[index](image, self.magnitude / MAGNITUDES, draw)
        return _array(image)

    def evaluation(self, image: Image.Image) -> np.ndarray:
        """Pixels (3, size, size) uint8 of an RGB image, squashed to the square or as the checkpoint has it."""
        if self.own is not None:
            return self.own(image)
        return _array(image.resize((self.size, self.size), Image.Resampling.BICUBIC))


def _array(image: Image.Image) -> np.ndarray:
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def random_box(size: tuple[int, int], least: float, draw: Draw) -> tuple[float, float, float, float]:
    """A random part of an image: area uniform in [least, 1] of it, log of the ratio uniform in log [3/4, 4/3].

    After ten draws that do not fit, the whole image.

    Args:
        size: Width and height.
        least: Least share of the area.
        draw: Randomness.

    Returns:
        Left, upper, right, lower.
    """
    width, height = size
    for _ in range(_TRIES):
        area = width * height * draw.uniform(least, 1.0)
        ratio = math.exp(draw.uniform(math.log(3 / 4), math.log(4 / 3)))
        w, h = math.sqrt(area * ratio), math.sqrt(area / ratio)
        if w <= width and h <= height:
            left, upper = draw.uniform(0, width - w), draw.uniform(0, height - h)
            return left, upper, left + w, upper + h
    return 0.0, 0.0, float(width), float(height)


def _affine(matrix: Callable[[float, int], tuple[float, ...]], largest: float) -> Callable:
    def operation(image: Image.Image, level: float, draw: Draw) -> Image.Image:
        amount = level * largest * (1 if draw.random() < 0.5 else -1)
        coefficients = matrix(amount, image.width)
        return image.transform(
            image.size, Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR, fillcolor=GREY
        )

    return operation


def _enhance(kind: Callable) -> Callable:
    return lambda image, level, draw: kind(image).enhance(0.1 + 1.8 * level)


def _rotate(image: Image.Image, level: float, draw: Draw) -> Image.Image:
    degrees = 30 * level * (1 if draw.random() < 0.5 else -1)
    return image.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=GREY)


OPERATIONS: tuple[Callable[[Image.Image, float, Draw], Image.Image], ...] = (
    lambda image, level, draw: image,
    lambda image, level, draw: ImageOps.autocontrast(image),
    lambda image, level, draw: ImageOps.equalize(image),
    _enhance(ImageEnhance.Brightness),
    _enhance(ImageEnhance.Sharpness),
    _affine(lambda amount, side: (1, amount, 0, 0, 1, 0), 0.3),  # shear
    _affine(lambda amount, side: (1, 0, 0, amount, 1, 0), 0.3),
    _affine(lambda amount, side: (1, 0, amount * side, 0, 1, 0), 0.1),  # translation
    _affine(lambda amount, side: (1, 0, 0, 0, 1, amount * side), 0.1),
    _rotate,
)
"""The geometric and photometric operations that leave colours what a caption calls them."""
