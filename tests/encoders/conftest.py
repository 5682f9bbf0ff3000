"""A small prepared world and untrained encoders built from configs, saved as checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

DATA = {
    "dataset": "scenes",
    "seed": 0,
    "train": 20,
    "val": 6,
    "test": 6,
    "captions_per_image": 5,
    "prevalence": 0.0,
    "image_size": 48,
}


TEXTS = ["a red star", "two small blue circles left of a large green cross at the top left on snow", "a star"]


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared data set of 32 pictures and 160 captions."""
    from fne.scenes.prepare import run

    folder = tmp_path_factory.mktemp("prepared") / "scenes"
    run(DATA, folder)
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Callable[..., Path]:
    """Save (once) a tiny untrained model of a family with its processor: ``checkpoint("vit")`` is its folder."""
    base = tmp_path_factory.mktemp("checkpoints")

    def make(family: str) -> Path:
        folder = base / family
        if not folder.exists():
            from fne.data.manifest import Manifest
            from fne.scenes.pretrain_image import _write_processor
            from fne.scenes.pretrain_text import build_tokenizer

            build_model(family if family != "sentence" else "bert").save_pretrained(folder)
            _write_processor(folder, 48 if family != "swin" else 64)
            if family == "sentence":
                write_parts(folder)
            build_tokenizer([*Manifest.load(prepared).column("text"), *TEXTS, "blue circle two stars"]).save_pretrained(
                folder
            )
        return folder

    return make


def write_parts(folder: Path) -> None:
    """What sentence-transformers writes beside a model: mean pooling, a dense layer of 16 x 8, a normalisation."""
    import torch
    from safetensors.torch import save_file

    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Dense": "Dense", "3_Normalize": "Normalize"}
    parts = [{"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
             for at, (path, kind) in enumerate(kinds.items())]  # fmt: skip
    (folder / "modules.json").write_text(json.dumps(parts))
    settings = {
        "1_Pooling": {"word_embedding_dimension": 16, "pooling_mode_mean_tokens": True},
        "2_Dense": {"in_features": 16, "out_features": 8, "bias": True,
                    "activation_function": "torch.nn.modules.activation.Tanh"},
    }  # fmt: skip
    for path, content in settings.items():
        (folder / path).mkdir()
        (folder / path / "config.json").write_text(json.dumps(content))
    draw = torch.Generator().manual_seed(3)
    weights = {"linear.weight": torch.randn(8, 16, generator=draw), "linear.bias": torch.randn(8, generator=draw)}
    save_file(weights, folder / "2_Dense" / "model.safetensors")


def build_model(family: str) -> Any:
    """A tiny model with seeded random weights."""
    import torch
    import transformers as t

    vision = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
              "image_size": 48, "patch_size": 16}  # fmt: skip
    text = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
            "vocab_size": 120, "max_position_embeddings": 40, "pad_token_id": 0}  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        if family == "vit":
            return t.ViTModel(t.ViTConfig(**vision))
        if family == "vit-without-pooler":
            return t.ViTModel(t.ViTConfig(**vision), add_pooling_layer=False)
        if family == "dinov2-registers":
            config = t.Dinov2WithRegistersConfig(**{**vision, "num_register_tokens": 3})
            return t.Dinov2WithRegistersModel(config)
        if family == "swin":
            config = t.SwinConfig(
                image_size=64, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4
            )
            return t.SwinModel(config)
        if family == "resnet":
            return t.ResNetModel(t.ResNetConfig(embedding_size=8, hidden_sizes=[8, 12], depths=[1, 1]))
        if family == "bert":
            return t.BertModel(t.BertConfig(**text))
        if family == "clip":
            ends = {"bos_token_id": 2, "eos_token_id": 3}
            return t.CLIPModel(t.CLIPConfig(vision_config=vision, text_config={**text, **ends}, projection_dim=8))
        if family == "t5":
            return t.T5Model(t.T5Config(vocab_size=120, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2))
        if family == "siglip":
            return t.SiglipModel(t.SiglipConfig(vision_config=vision, text_config=text))
        if family == "blip":
            ends = {"bos_token_id": 2, "eos_token_id": 3, "sep_token_id": 3}
            wide = {**vision, "initializer_range": 0.02}
            return t.BlipModel(t.BlipConfig(vision_config=wide, text_config={**text, **ends}, projection_dim=8))
    raise ValueError(family)


def section(folder: Path, **changes: Any) -> dict[str, Any]:
    """A config section for an encoder."""
    return {
        "checkpoint": str(folder),
        "revision": None,
        "level": "pooled",
        "pooling": "mean",
        "dtype": "float32",
        **changes,
    }
