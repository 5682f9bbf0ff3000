"""Models of an image tower and a text tower (CLIP, BLIP): each is an encoder of its own; projections are not used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fne.encoders.families.backbone import Backbone
from fne.utils.errors import bad_input

_SIDES = {"image": "vision", "text": "text"}


class TwoTowers(Backbone):
    """One tower of two."""

    @classmethod
    def matches(cls, config: Mapping[str, Any]) -> bool:
        return {"vision_config", "text_config"} <= config.keys()

    def part(self, modality: str) -> Mapping[str, Any]:
        part = self.config[f"{_SIDES[modality]}_config"]
        return part if isinstance(part, dict) else {}

    def tower(self, model: Any, config: Any, modality: str) -> tuple[Any, Any]:
        side = _SIDES[modality]
        tower = getattr(model, f"{side}_model", None)
        if tower is None:
            raise bad_input(f"the two-tower model has no {side} tower of its own", file=self.folder)
        return tower, getattr(config, f"{side}_config")
