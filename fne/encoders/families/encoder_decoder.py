"""Encoder-decoders (T5, BART): only the encoder is used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fne.encoders.families.backbone import Backbone
from fne.encoders.families.sentence_encoder import SentenceEncoder
from fne.encoders.families.two_towers import TwoTowers


class EncoderDecoder(Backbone):
    """The encoder of an encoder-decoder of one modality."""

    @classmethod
    def matches(cls, config: Mapping[str, Any], folder: Path) -> bool:
        others = TwoTowers.matches(config, folder) or SentenceEncoder.matches(config, folder)
        return config.get("is_encoder_decoder") is True and not others

    def tower(self, model: Any, config: Any, modality: str, pooling: str | None) -> tuple[Any, Any]:
        model, config = super().tower(model, config, modality, pooling)
        return model.get_encoder(), config
