"""Encoders with an embedding of their own: features equal transformers' own functions, or the parts written out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file

from fne.encoders.checkpoints import encoder_digest, find
from fne.encoders.encoders import load
from fne.encoders.families import claim
from fne.utils.errors import UserError
from tests.encoders.conftest import TEXTS, section


def own(folder: Path, **changes: Any) -> dict[str, Any]:
    """A section that leaves everything to the checkpoint."""
    return section(folder, **{"pooling": None, "max_length": None, **changes})


def images() -> list[Image.Image]:
    """Not square, and of another size than the checkpoint's."""
    rng = np.random.default_rng(5)
    return [Image.fromarray(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)) for _ in range(3)]


def encoded(settings: dict[str, Any], modality: str) -> np.ndarray:
    encoder = load(settings, modality)
    if modality == "text":
        return encoder.encode(TEXTS)
    return encoder.encode(np.stack([encoder.prepare(image) for image in images()]))


def by_transformers(folder: Path, modality: str, **padding: Any) -> np.ndarray:
    """``get_image_features`` and ``get_text_features``, item by item."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        if modality == "image":
            processor = transformers.AutoImageProcessor.from_pretrained(folder)
            found = [model.get_image_features(**processor(images=one, return_tensors="pt")) for one in images()]
        else:
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
            rows = [tokenizer([text], return_tensors="pt", **padding) for text in TEXTS]
            names = ("input_ids",) if padding else ("input_ids", "attention_mask")
            found = [model.get_text_features(**{name: row[name] for name in names}) for row in rows]
    return torch.cat([item.pooler_output for item in found]).numpy()


@pytest.mark.parametrize("modality", ["image", "text"])
@pytest.mark.parametrize("family", ["clip", "blip", "siglip"])
def test_features_are_what_transformers_gives(checkpoint: Callable[..., Path], family: str, modality: str) -> None:
    folder = checkpoint(family)
    padding = {"padding": "max_length", "max_length": 40} if family == "siglip" else {}
    requested = by_transformers(folder, modality, **padding)
    made = encoded(own(folder), modality)
    np.testing.assert_allclose(made, requested, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(made, encoded(own(folder, pooling="joint"), modality))
    assert made.shape == (3, claim(folder).width(modality, "joint")) and not np.allclose(made[0], made[1])


def test_only_one_side_is_kept_in_memory(checkpoint: Callable[..., Path]) -> None:
    for side, others in (("image", ("text",)), ("text", ("vision", "visual"))):
        names = {name.split(".")[0] for name, _ in load(own(checkpoint("clip")), side).model.named_parameters()}
        assert len(names) == 2 and not any(name.startswith(others) for name in names)


def test_a_named_pooling_says_that_the_projection_is_left_out(
    checkpoint: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    load(own(checkpoint("clip"), pooling="pooler"), "image")
    assert "projection into the joint space (pooling pooler) is not applied" in capsys.readouterr().err
    load(own(checkpoint("clip")), "image")
    assert "not applied" not in capsys.readouterr().err


def test_siglip_pads_to_its_own_length_by_default(checkpoint: Callable[..., Path]) -> None:
    """And not to a shorter one: its attention sees the padding."""
    encoder = load(own(checkpoint("siglip"), pooling="pooler"), "text")
    assert (encoder.max_length, encoder.padding) == (40, "max_length")
    requested = by_transformers(checkpoint("siglip"), "text", padding="max_length", max_length=40)
    np.testing.assert_allclose(encoder.encode(TEXTS), requested, rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="encoders.text.max_length.*32.*allowed: 40"):
        load(own(checkpoint("siglip"), max_length=32), "text")


def test_a_sentence_encoder_applies_all_its_parts(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    """Mean of the tokens, ``tanh(W x + b)``, L2 norm; without the last parts, the norm and the layer are left out."""
    folder = checkpoint("sentence")
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    dense = load_file(folder / "2_Dense" / "model.safetensors")
    for row, made, plain in zip(
        TEXTS, encoded(own(folder), "text"), encoded(own(folder, pooling="mean"), "text"), strict=True
    ):
        with torch.inference_mode():
            mean = model(**tokenizer([row], return_tensors="pt")).last_hidden_state[0].mean(0)
        np.testing.assert_allclose(plain, mean, rtol=1e-4, atol=1e-5)
        vector = torch.tanh(dense["linear.weight"] @ mean + dense["linear.bias"]).numpy()
        np.testing.assert_allclose(made, vector / np.linalg.norm(vector), rtol=1e-4, atol=1e-5)
    assert claim(folder).width("text", "joint") == 8 and claim(folder).width("text", "mean") == 16
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "sentence_bert_config.json").write_text('{"max_seq_length": 9}')
    assert load(own(copy), "text").max_length == 9


def test_the_weights_of_the_parts_count(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(checkpoint("sentence"), tmp_path / "sentence"))

    def digests() -> list[Any]:
        return [(encoder_digest(each, "text", tmp_path), find(each, "text").record("text"))
                for each in (own(folder), own(folder, pooling="mean"))]  # fmt: skip

    before = digests()
    other = folder / "2_Dense" / "model.safetensors"
    other.write_bytes(other.read_bytes()[:-4] + b"\0\0\0\1")
    (joint, record), plain = digests()
    assert joint != before[0][0] and record != before[0][1] and plain == before[1]


@pytest.mark.parametrize(
    ("file", "content", "saying"),
    [
        ("2_Dense/model.safetensors", None, "no safetensors weights"),
        ("2_Dense/config.json", {"in_features": 16, "out_features": 8, "activation_function": "x.Mish"}, "activation"),
        ("2_Dense/config.json", {"in_features": 16, "out_features": 7}, "not a dense layer"),
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, "pooling cannot be followed.*'max'"),
        ("modules.json", [{"type": "a.Transformer", "path": ""}, {"type": "a.Router", "path": "1"}], "'Router'"),
    ],
)
def test_parts_that_cannot_be_followed_are_named(
    checkpoint: Callable[..., Path], tmp_path: Path, file: str, content: Any, saying: str
) -> None:
    folder = Path(shutil.copytree(checkpoint("sentence"), tmp_path / "sentence"))
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_text(json.dumps(content))
    with pytest.raises(UserError, match=saying):
        load(own(folder), "text")


def test_a_checkpoint_with_one_tower_has_no_joint_embedding(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    for family, modality in (("vit", "image"), ("bert", "text")):
        with pytest.raises(UserError, match=f"encoders.{modality}.pooling.*no embedding of its own"):
            find(own(checkpoint(family), pooling="joint"), modality)
        assert find(own(checkpoint(family)), modality).pooling == "mean"
    folder = Path(shutil.copytree(checkpoint("siglip"), tmp_path / "naflex"))
    settings = json.loads((folder / "config.json").read_text()) | {"model_type": "siglip2"}
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(UserError, match="NaFlex"):
        find(own(folder), "image")
