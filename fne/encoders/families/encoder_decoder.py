"""Encoder-decoders (T5, BART): only the encoder is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fne.encoders.families.backbone import Backbone
from fne.encoders.families.two_towers import TwoTowers


class EncoderDecoder(Backbone):
    """The encoder of an encoder-decoder of one modality."""

    @classmethod
    def matches(cls, config: Mapping[str, Any]) -> bool:
        return config.get("is_encoder_decoder") is True and not TwoTowers.matches(config)

    def tower(self, model: Any, config: Any, modality: str) -> tuple[Any, Any]:
        model, config = super().tower(model, config, modality)
        return model.get_encoder(), config
