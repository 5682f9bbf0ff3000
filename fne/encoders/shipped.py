"""The pair of tiny encoders that `scenes` is read with: the shipped one, and draws that are pretrained on this machine.

Pretraining gives other weights on other processors, and other weights move scores by more than a training seed does.
So one pair is shipped with the package under a checksum (draw 0), and its features are computed in float64 and rounded
onto a grid, which makes them the same everywhere. Draw k >= 1 is pretrained from seed k where it runs, to measure what
the choice of the pair is worth; its numbers hold for that machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fne.utils.errors import bad_input
from fne.utils.files import sha256_file, sha256_text

GRID = 2.0**-12
"""Features are multiples of it; float32 holds every multiple below 4096 exactly. Between kernels float64 features
differ by up to 4e-15 (measured), so about 3 in 1e11 values lie near enough to a boundary to be rounded otherwise: of
the 5.7 million of the default world the nearest lies 3e-12 from one."""
SHIPPED = Path(__file__).parents[1] / "scenes" / "encoders"
"""The shipped pair: ``image/`` and ``text/``, checkpoint folders of transformers; its model card lies beside them."""
KEYS = "scenes.npy"
"""Beside them: int64 keys of the scenes that the shipped pair was pretrained on."""


@dataclass(frozen=True)
class Recipe:
    """What a pair is pretrained on.

    Args:
        draw: Seed of scenes, captions, pictures, first weights and order.
        scenes: How many.
        captions_per_image: Captions of each, for the text encoder.
        image_size: Pixels a side, for the image encoder.
    """

    draw: int
    scenes: int = 8000
    captions_per_image: int = 5
    image_size: int = 48

    @classmethod
    def of(cls, draw: int, data: Mapping[str, Any]) -> Recipe:
        """The recipe of a draw under the ``data`` section of a study; that of draw 0 is the shipped pair's."""
        if draw == 0:
            return cls(0)
        return cls(draw, data["pretrain"], data["captions_per_image"], data["image_size"])

    @property
    def slug(self) -> str:
        """Name of the pair: its draw, and 8 hex digits of the shipped weights or of what it is pretrained on."""
        told = SHA256 if self.draw == 0 else asdict(self)
        return f"draw{self.draw}-{sha256_text(json.dumps(told, sort_keys=True))[:8]}"


def folder(recipe: Recipe, modality: str) -> Path:
    """Where the checkpoint of one modality lies: in the package, or relative to the project's folder."""
    return SHIPPED / modality if recipe.draw == 0 else Path("resources", "encoders", recipe.slug, modality)


def check_shipped() -> None:
    """Compare the shipped pair with its checksums.

    Raises:
        UserError: A file is missing or was altered.
    """
    for name, expected in SHA256.items():
        file = SHIPPED / name
        if not file.is_file() or sha256_file(file) != expected:
            hint = "install the package again; an encoder of your own is given by encoders.*.checkpoint"
            raise bad_input("a file of the shipped encoders is missing or was altered", file=file, hint=hint)


SHA256: dict[str, str] = {
    "image/config.json": "afa8f764859f9dee17e4f80e5f1548dcfb74145632efa2f24c1f7ecb0887fed8",
    "image/model.safetensors": "1341e7bae0328317212af73563f81f79226704ba797812ad91f366a843bf1a1d",
    "image/preprocessor_config.json": "fca5c18ffaf422b93a5e8376f09db1e0f9eb09f8e453fdb5036d1c90bf3be601",
    "scenes.npy": "a1b2f5f0c3903302b4f25937f2cdf240f876e70b7bf69a7812d47b89321cd0c2",
    "text/config.json": "4b2309d0a69251ffa6a6591b8b0b0bb89307dcf810dd70572f8b4c67b24fdecb",
    "text/model.safetensors": "5a97ec9d37133a399fc1c918d6d8bcca1cdcf7210ab0e5c5f8a46cbe6e247211",
    "text/tokenizer.json": "0868ef792764bb8aad3968dd793597bc69a1ccc4a6995dd9ead1ac3f659963b0",
    "text/tokenizer_config.json": "c6d625784cd54a3811361e879a9c3a30c6966dedfab07a305f56457831085d2f",
}
"""SHA-256 of every file of the shipped pair."""
