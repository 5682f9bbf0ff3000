"""SigLIP: two towers, trained on texts padded to the full length, which its attention sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fne.encoders.families.two_towers import TwoTowers


class Siglip(TwoTowers):
    """A tower of SigLIP, or of a model with its text tower."""

    padding = "max_length"

    @classmethod
    def matches(cls, config: Mapping[str, Any]) -> bool:
        text = config.get("text_config")
        kinds = {config.get("model_type"), text.get("model_type") if isinstance(text, dict) else None}
        return super().matches(config) and any(str(kind).startswith("siglip") for kind in kinds)
