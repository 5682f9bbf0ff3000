"""SigLIP and SigLIP 2: two towers, trained on texts padded to the full length, which their attention sees."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fne.encoders.families.two_towers import TwoTowers
from fne.encoders.pooling import JOINT
from fne.utils.errors import bad_input

if TYPE_CHECKING:
    import torch


class Siglip(TwoTowers):
    """A tower of SigLIP, or of a model with its text tower. Its projections are the heads of its towers."""

    padding = "max_length"

    @classmethod
    def matches(cls, config: Mapping[str, Any], folder: Path) -> bool:
        text = config.get("text_config")
        kinds = {config.get("model_type"), text.get("model_type") if isinstance(text, dict) else None}
        return super().matches(config, folder) and any(str(kind).startswith("siglip") for kind in kinds)

    def check(self, section: Mapping[str, Any], modality: str) -> None:
        super().check(section, modality)
        if modality == "image" and self.config.get("model_type") == "siglip2":
            hint = "take a SigLIP 2 checkpoint of a fixed resolution (its model_type is siglip)"
            raise bad_input("images of variable resolution (NaFlex) are not read", file=self.folder / "config.json",
                            key="model_type", value="siglip2", hint=hint)  # fmt: skip

    def width(self, modality: str, pooling: str | None = None) -> int | None:
        width = self.part(modality).get("projection_size") if pooling == JOINT else None
        return width if type(width) is int else super().width(modality)

    def not_applied(self, pooling: str | None) -> list[str]:
        return super().not_applied(JOINT if pooling == "pooler" else pooling)  # its pooler is its projection

    def projections(self, model: torch.nn.Module, modality: str) -> list[torch.nn.Module]:
        return [module for name, module in model.named_modules() if name.endswith("_model.head")]
