"""Encoders: features equal a direct forward pass of the plain model; what cannot be used is said."""

from __future__ import annotations

import hashlib
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

from fne.encoders.encoders import load
from fne.encoders.pooling import masked_mean
from fne.utils.errors import UserError
from tests.encoders.conftest import TEXTS, section


def pictures(n: int = 3) -> list[Image.Image]:
    rng = np.random.default_rng(5)
    return [Image.fromarray(rng.integers(0, 256, (48, 48, 3), dtype=np.uint8)) for _ in range(n)]


def encode_pictures(folder: Path, **changes: Any) -> np.ndarray:
    encoder = load(section(folder, **changes), "image")
    return encoder.encode(np.stack([encoder.prepare(picture) for picture in pictures()]))


def pixels(size: int = 48) -> torch.Tensor:
    """The same pictures, by hand: x / 127.5 - 1."""
    scaled = [np.asarray(picture.resize((size, size), Image.BILINEAR), np.float32) for picture in pictures()]
    return torch.from_numpy(np.stack(scaled) / 127.5 - 1).permute(0, 3, 1, 2)


def plain(folder: Path) -> Any:
    return transformers.AutoModel.from_pretrained(folder).eval()


def close(got: np.ndarray, wanted: torch.Tensor) -> None:
    np.testing.assert_allclose(got, wanted.detach().numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("family", "special"), [("vit", 1), ("dinov2-registers", 4)])
def test_image_poolings(checkpoint: Callable[..., Path], family: str, special: int) -> None:
    folder = checkpoint(family)
    output = plain(folder)(pixel_values=pixels())
    hidden = output.last_hidden_state
    assert hidden.shape[1] == 9 + special
    close(encode_pictures(folder), sum(hidden[:, special + patch] for patch in range(9)) / 9)
    close(encode_pictures(folder, pooling="cls"), hidden[:, 0])
    close(encode_pictures(folder, pooling="pooler"), output.pooler_output)
    close(encode_pictures(folder, level="tokens"), hidden[:, special:])


def test_a_convolutional_map_becomes_regions(checkpoint: Callable[..., Path]) -> None:
    folder = checkpoint("resnet")
    output = plain(folder)(pixel_values=pixels())
    grid = output.last_hidden_state
    assert grid.ndim == 4 and grid.shape[3] > 1
    close(encode_pictures(folder), grid.mean((2, 3)))
    tokens = encode_pictures(folder, level="tokens")
    side = grid.shape[3]
    for row in range(side):
        for column in range(side):
            close(tokens[:, row * side + column], grid[:, :, row, column])
    close(encode_pictures(folder, pooling="pooler"), output.pooler_output.flatten(1))
    with pytest.raises(UserError, match="no class token"):
        encode_pictures(folder, pooling="cls")


def test_a_hierarchical_transformer_has_regions_only(checkpoint: Callable[..., Path]) -> None:
    folder = checkpoint("swin")
    hidden = plain(folder)(pixel_values=pixels(64)).last_hidden_state
    assert hidden.shape[1] < (64 // 4) ** 2
    close(encode_pictures(folder, level="tokens"), hidden)
    with pytest.raises(UserError, match="no class token"):
        encode_pictures(folder, pooling="cls")


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_two_towers(checkpoint: Callable[..., Path], family: str) -> None:
    folder = checkpoint(family)
    model = plain(folder)
    output = model.vision_model(pixel_values=pixels())
    patches = output.last_hidden_state[:, -9:]
    close(encode_pictures(folder), patches.mean(1))
    close(encode_pictures(folder, pooling="pooler"), output.pooler_output)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    encoder = load(section(folder, pooling="pooler", max_length=40), "text")
    for text, got in zip(TEXTS, encoder.encode(TEXTS), strict=True):
        if family == "clip":
            alone = tokenizer([text], return_tensors="pt")
            wanted = model.text_model(input_ids=alone["input_ids"], attention_mask=alone["attention_mask"])
        else:  # trained on full-length padding without a mask
            alone = tokenizer([text], return_tensors="pt", padding="max_length", max_length=40)
            wanted = model.text_model(input_ids=alone["input_ids"])
        close(got, wanted.pooler_output[0])


def test_text_poolings_do_not_see_padding(checkpoint: Callable[..., Path]) -> None:
    folder = checkpoint("bert")
    model, tokenizer = plain(folder), transformers.AutoTokenizer.from_pretrained(folder)
    made = {
        (level, pooling): load(section(folder, level=level, pooling=pooling, max_length=40), "text").encode(TEXTS)
        for level, pooling in (("pooled", "mean"), ("pooled", "cls"), ("pooled", "pooler"), ("tokens", "mean"))
    }
    for row, text in enumerate(TEXTS):
        alone = model(**tokenizer([text], return_tensors="pt"))
        hidden = alone.last_hidden_state[0]
        assert len(hidden) == len(text.split()) + 2
        close(made["pooled", "mean"][row], sum(hidden) / len(hidden))
        close(made["pooled", "cls"][row], hidden[0])
        close(made["pooled", "pooler"][row], alone.pooler_output[0])
        close(made["tokens", "mean"][row], hidden)


def test_texts_are_cut_at_max_length(checkpoint: Callable[..., Path]) -> None:
    encoder = load(section(checkpoint("bert"), max_length=6, level="tokens"), "text")
    assert [len(tokens) for tokens in encoder.encode(TEXTS)] == [5, 6, 4]
    assert encoder.count([*TEXTS, "a zebra"]) == ([5, 18, 4, 4], [0, 0, 0, 1])


def test_masked_mean_is_the_mean_over_the_words_that_are_there() -> None:
    rng = np.random.default_rng(0)
    tokens, mask = (
        rng.normal(size=(4, 5, 3)),
        np.array([[1, 1, 1, 1, 1], [1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 1, 0, 1, 0]]),
    )
    got = masked_mean(torch.from_numpy(tokens), torch.from_numpy(mask)).numpy()
    for row in range(4):
        kept = [tokens[row, place] for place in range(5) if mask[row, place]]
        np.testing.assert_allclose(got[row], sum(kept) / len(kept))


def test_a_frozen_encoder_is_in_eval_mode_without_gradients(checkpoint: Callable[..., Path]) -> None:
    encoder = load(section(checkpoint("resnet")), "image")
    assert not any(module.training for module in encoder.model.modules())
    assert not any(parameter.requires_grad for parameter in encoder.model.parameters())
    assert {parameter.dtype for parameter in encoder.model.parameters()} == {torch.float32}


def test_the_record_names_weights_and_configuration(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    folder = checkpoint("vit")
    record = load(section(folder), "image").record()
    assert (record["checkpoint"], record["revision"], record["config_class"]) == ("vit", None, "ViTConfig")
    assert record["sha256"] == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    model = plain(folder)
    model.save_pretrained(tmp_path / "vit", max_shard_size="10KB")
    shutil.copy(folder / "preprocessor_config.json", tmp_path / "vit")
    assert len(list((tmp_path / "vit").glob("*.safetensors"))) > 1
    sharded = load(section(tmp_path / "vit"), "image")
    assert sharded.record()["sha256"] != record["sha256"]
    np.testing.assert_array_equal(encode_pictures(tmp_path / "vit"), encode_pictures(folder))


def test_features_on_a_grid_are_float64_results_rounded(checkpoint: Callable[..., Path]) -> None:
    grid = 2.0**-12
    for family, modality in (("vit", "image"), ("bert", "text")):
        found = load(section(checkpoint(family), grid=grid), modality)
        assert {parameter.dtype for parameter in found.model.parameters()} == {torch.float64}
        model = plain(checkpoint(family)).double()
        if modality == "image":
            pictures = np.stack([found.prepare(Image.new("RGB", (60, 50), (value, 99, 3))) for value in (0, 77, 255)])
            wanted = model(pixel_values=torch.from_numpy(pictures).double()).last_hidden_state[:, 1:].mean(1)
            made = found.encode(pictures)
        else:
            rows = [found.tokenizer(text, return_tensors="pt") for text in ("a red star", "a star")]
            wanted = torch.stack([model(**row).last_hidden_state[0].mean(0) for row in rows])
            made = found.encode(["a red star", "a star"])
        assert made.dtype == np.float32
        for row, exact in zip(made, wanted.detach().numpy(), strict=True):
            for value, other in zip(row.tolist(), exact.tolist(), strict=True):
                assert value == round(other / grid) * grid


def refusal(settings: dict[str, Any], modality: str = "image", **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        load(settings, modality, **options)
    return str(caught.value)


@pytest.mark.parametrize("name", ["/no/such/folder", "./no-such", "~/no/such", "a/b/c"])
def test_a_missing_folder_is_said(name: str) -> None:
    said = refusal(section(name))
    assert "encoders.image.checkpoint: no such folder" in said and repr(name) in said


def test_a_hub_id_without_network_says_how_to_give_a_folder() -> None:
    said = refusal(section("nobody/no-such-model", revision="v1"))
    assert "no-such-model at revision v1" in said and "local checkpoint folder" in said


def test_values_outside_the_allowed_are_said(checkpoint: Callable[..., Path]) -> None:
    folder = checkpoint("bert")
    assert "did you mean 'mean'" in refusal(section(folder, pooling="meen"), "text")
    assert "encoders.text.level" in refusal(section(folder, level="words"), "text")
    assert "float32" in refusal(section(folder, dtype="bfloat16"), "text")
    assert "3 to 40" in refusal(section(folder, max_length=41), "text")
    assert "no revisions" in refusal(section(folder, revision="main"), "text")
    assert "no encoder is named" in refusal(section(folder) | {"checkpoint": None}, "text")
    assert "allowed: cpu, cuda" in refusal(section(folder), "text", device="tpu")
    if not torch.cuda.is_available():
        assert "no CUDA device" in refusal(section(folder), "text", device="cuda")


def test_an_encoder_of_the_other_modality_is_refused(checkpoint: Callable[..., Path]) -> None:
    assert "not an encoder of images" in refusal(section(checkpoint("bert")), "image")
    assert "not an encoder of texts" in refusal(section(checkpoint("vit")), "text")


def test_a_pooler_that_was_never_trained_is_refused(checkpoint: Callable[..., Path]) -> None:
    folder = checkpoint("vit-without-pooler")
    load(section(folder), "image")
    assert "lacks weights" in refusal(section(folder, pooling="pooler"))


def test_folders_that_are_no_checkpoints(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    def copy(name: str) -> Path:
        return Path(shutil.copytree(checkpoint("vit"), tmp_path / name))

    folder = copy("no-config")
    (folder / "config.json").unlink()
    assert "no config.json" in refusal(section(folder))
    folder = copy("pickled")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "no safetensors weights" in refusal(section(folder))
    folder = copy("no-processor")
    (folder / "preprocessor_config.json").unlink()
    assert "no image processor" in refusal(section(folder))
    folder = copy("cut")
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "cannot use this checkpoint" in refusal(section(folder))
    folder = copy("unknown")
    (folder / "config.json").write_text(json.dumps({"model_type": "no-such-model"}))
    assert "cannot use this checkpoint" in refusal(section(folder))
    folder = copy("half")
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    lost = next(name for name in weights if name.endswith("layernorm.weight"))
    del weights[lost]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "lacks weights of its own model (1 in all)" in refusal(section(folder))
    folder = copy("shards")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "gone.safetensors"}}))
    assert "shard of the weights is missing" in refusal(section(folder))


def test_a_processor_that_does_not_fit_the_model_is_said_before_any_work(
    checkpoint: Callable[..., Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(checkpoint("vit"), tmp_path / "vit"))
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps({**settings, "size": {"height": 32, "width": 32}}))
    assert "cannot use this checkpoint" in refusal(section(folder))


@pytest.mark.needs_shared
def test_mobilenet_of_real_pictures_equals_a_direct_forward_pass(shared: Path) -> None:
    folder = shared / "encoders" / "mobilenet_v2_1.0_224"
    paths = sorted((shared / "data" / "flickr8k" / "images").glob("*.jpg"))[:4]
    images = [Image.open(path).convert("RGB") for path in paths]
    encoder = load(section(folder), "image")
    got = encoder.encode(np.stack([encoder.prepare(image) for image in images]))
    model = transformers.MobileNetV2Model.from_pretrained(folder).eval()
    scaled = np.stack([np.asarray(image, np.float32) for image in images]) / 127.5 - 1  # they are 224 x 224
    with torch.inference_mode():
        output = model(torch.from_numpy(scaled).permute(0, 3, 1, 2).contiguous())
    assert got.shape == (4, 1280) and got.min() >= 0
    np.testing.assert_allclose(got, output.last_hidden_state.mean((2, 3)).numpy(), rtol=1e-3, atol=2e-4)
    cosines = np.sum(got * output.pooler_output.numpy(), 1) / np.linalg.norm(got, axis=1)
    np.testing.assert_allclose(cosines / np.linalg.norm(output.pooler_output.numpy(), axis=1), 1, atol=1e-6)
