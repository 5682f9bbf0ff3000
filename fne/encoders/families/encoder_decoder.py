"""Encoder-decoders (T5, BART): only the encoder is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fne.encoders.families.backbone import Backbone


class EncoderDecoder(Backbone):
    """The encoder of an encoder-decoder."""

    @classmethod
    def matches(cls, config: Mapping[str, Any]) -> bool:
        return config.get("is_encoder_decoder") is True

    def tower(self, model: Any, config: Any, modality: str) -> tuple[Any, Any]:
        model, config = super().tower(model, config, modality)
        return model.get_encoder(), config
