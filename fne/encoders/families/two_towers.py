"""Models of an image tower and a text tower (CLIP, BLIP): each is an encoder, with its own projection or without."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fne.encoders.families.backbone import Backbone, positions
from fne.encoders.pooling import JOINT
from fne.utils.errors import bad_input

if TYPE_CHECKING:
    import torch

_SIDES = {"image": "vision", "text": "text"}
_PREFIXES = {"image": ("vision_", "visual_"), "text": ("text_",)}
"""How the modules of a side are called."""


class TwoTowers(Backbone):
    """One tower of two. With pooling ``joint`` its feature is what the model's own ``get_*_features`` gives."""

    @classmethod
    def matches(cls, config: Mapping[str, Any], folder: Path) -> bool:
        return {"vision_config", "text_config"} <= config.keys()

    def own_pooling(self, modality: str) -> str:
        return JOINT

    def part(self, modality: str) -> Mapping[str, Any]:
        part = self.config[f"{_SIDES[modality]}_config"]
        return part if isinstance(part, dict) else {}

    def width(self, modality: str, pooling: str | None = None) -> int | None:
        if pooling != JOINT:
            return super().width(modality, pooling)
        width = self.config.get("projection_dim")
        return width if type(width) is int else None

    def not_applied(self, pooling: str | None) -> list[str]:
        plain = [] if pooling in (None, JOINT) else [f"projection into the joint space (pooling {pooling})"]
        return [*super().not_applied(pooling), *plain]

    def tower(self, model: Any, config: Any, modality: str, pooling: str | None) -> tuple[Any, Any]:
        side = _SIDES[modality]
        if pooling == JOINT:
            if not hasattr(model, f"get_{modality}_features"):
                key = f"encoders.{modality}.pooling"
                problem = f"{type(model).__name__} has no joint embedding (get_{modality}_features)"
                raise bad_input(problem, file=self.folder, key=key, value=pooling, allowed=["mean", "cls", "pooler"])
            other = _PREFIXES["text" if modality == "image" else "image"]
            unread = [name for name, _ in model.named_children() if name.startswith(other)]
            for name in [*unread, *(name for name, _ in model.named_parameters(recurse=False))]:
                delattr(model, name)  # the other side, and the temperature
            return model, getattr(config, f"{side}_config")
        tower = getattr(model, f"{side}_model", None)
        if tower is None:
            raise bad_input(f"the two-tower model has no {side} tower of its own", file=self.folder)
        return tower, getattr(config, f"{side}_config")

    def projections(self, model: torch.nn.Module, modality: str) -> list[torch.nn.Module]:
        return [part for name, part in model.named_children() if name != f"{_SIDES[modality]}_model"]

    def image(
        self, model: Any, config: Any, pixels: torch.Tensor, pooling: str | None, *, interpolates: bool = False
    ) -> torch.Tensor:
        if pooling != JOINT:
            return super().image(model, config, pixels, pooling, interpolates=interpolates)
        return _embedding(model.get_image_features(pixel_values=pixels, **positions(config, pixels, interpolates)))

    def text(
        self, model: Any, ids: torch.Tensor, mask: torch.Tensor, pooling: str | None, *, whole_mask: bool = False
    ) -> torch.Tensor:
        if pooling != JOINT:
            return super().text(model, ids, mask, pooling, whole_mask=whole_mask)
        return _embedding(model.get_text_features(input_ids=ids, **self.masked(ids, mask, whole_mask)))


def _embedding(output: Any) -> torch.Tensor:
    """The projected embedding (B, D): transformers 5 returns it in an output, its ``pooler_output``."""
    return getattr(output, "pooler_output", output)
