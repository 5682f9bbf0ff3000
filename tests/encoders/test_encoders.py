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

from fne.encoders import text_encoder
from fne.encoders.checkpoints import check_sides, find
from fne.encoders.encoders import load
from fne.encoders.families import claim
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


@pytest.mark.parametrize(("family", "size"), [("resnet", 48), ("swin", 64)])
def test_regions_without_a_class_token(checkpoint: Callable[..., Path], family: str, size: int) -> None:
    """A convolutional map, and a hierarchical transformer."""
    folder = checkpoint(family)
    output = plain(folder)(pixel_values=pixels(size))
    hidden = output.last_hidden_state
    close(encode_pictures(folder, level="tokens"), hidden.flatten(2).transpose(1, 2) if hidden.ndim == 4 else hidden)
    close(encode_pictures(folder, pooling="pooler"), output.pooler_output.flatten(1))
    with pytest.raises(UserError, match="no class token"):
        encode_pictures(folder, pooling="cls")


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
    tokens, lengths, unknown = encoder.tokenize([*TEXTS, "a zebra"])
    assert (lengths.tolist(), unknown.tolist()) == ([5, 18, 4, 4], [0, 0, 0, 1])
    assert tokens == encoder.tokenizer([*TEXTS, "a zebra"], truncation=True, max_length=6)["input_ids"]


def test_a_batch_holds_texts_of_about_one_length(
    checkpoint: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(text_encoder.BATCH, "cpu", 12)
    encoder = load(section(checkpoint("bert")), "text")
    tokens = [[1] * length for length in (3, 20, 5, 3, 4, 6, 3, 6)]
    assert [places.tolist() for places in encoder.batches(tokens)] == [[0, 3, 6], [4, 2], [5, 7], [1]]


SQUARE = {"height": 48, "width": 48}
CENTRE = {"image_processor_type": "CLIPImageProcessor", "do_center_crop": True, "crop_size": SQUARE}
PROCESSORS = [
    (True, {}),
    (True, {"resample": 3, "image_mean": [0.48, 0.46, 0.41], "image_std": [0.27, 0.26, 0.28]}),
    (True, {**CENTRE, "size": {"shortest_edge": 48}}),
    (True, {**CENTRE, "do_resize": False}),
    (True, {"do_rescale": False}),
    (False, {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 48}, "crop_pct": 0.9}),
]


@pytest.mark.parametrize(("plain", "settings"), PROCESSORS)
def test_pixels_are_those_of_the_processor(
    checkpoint: Callable[..., Path], tmp_path: Path, plain: bool, settings: dict[str, Any]
) -> None:
    file = "preprocessor_config.json"
    own = json.loads((checkpoint("vit") / file).read_text())
    encoder = load(section(rewritten(checkpoint("vit"), tmp_path / "vit", file, own | settings)), "image")
    assert (encoder.values is not None) == plain
    draw = np.random.default_rng(1)
    for shape in ((48, 48), (31, 97), (300, 211), (1, 7)):
        image = Image.fromarray(draw.integers(0, 256, (*shape, 3), np.uint8))
        expected = encoder.processor(images=image, return_tensors="np")["pixel_values"][0]
        np.testing.assert_array_equal(encoder.prepare(image), expected.astype(np.float32))


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
        result = load(section(checkpoint(family), grid=grid), modality)
        assert {parameter.dtype for parameter in result.model.parameters()} == {torch.float64}
        model = plain(checkpoint(family)).double()
        if modality == "image":
            pictures = np.stack([result.prepare(Image.new("RGB", (60, 50), (value, 99, 3))) for value in (0, 77, 255)])
            requested = model(pixel_values=torch.from_numpy(pictures).double()).last_hidden_state[:, 1:].mean(1)
            made = result.encode(pictures)
        else:
            rows = [result.tokenizer(text, return_tensors="pt") for text in ("a red star", "a star")]
            requested = torch.stack([model(**row).last_hidden_state[0].mean(0) for row in rows])
            made = result.encode(["a red star", "a star"])
        assert made.dtype == np.float32
        for row, exact in zip(made, requested.detach().numpy(), strict=True):
            for value, other in zip(row.tolist(), exact.tolist(), strict=True):
                assert value == round(other / grid) * grid


def refusal(settings: dict[str, Any], modality: str = "image", **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        load(settings, modality, **options)
    return str(caught.value)


def test_a_hub_id_without_network_says_how_to_give_a_folder() -> None:
    said = refusal(section("nobody/no-such-model", revision="v1"))
    assert "no-such-model at revision v1" in said and "local checkpoint folder" in said


def test_values_outside_the_allowed_are_said(checkpoint: Callable[..., Path]) -> None:
    folder = checkpoint("bert")
    assert "3 to 40" in refusal(section(folder, max_length=41), "text")
    assert "no revisions" in refusal(section(folder, revision="main"), "text")
    assert "no encoder is named" in refusal(section(folder) | {"checkpoint": None}, "text")
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


def rewritten(source: Path, target: Path, name: str, content: Any) -> Path:
    """A copy of a checkpoint with another content of one of its files: JSON, or bytes as they are."""
    folder = Path(shutil.copytree(source, target, dirs_exist_ok=True))
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return folder


def pooled_by(folder: Path, target: Path, settings: dict[str, Any], *more: str) -> Path:
    """A checkpoint as sentence-transformers writes it."""
    kinds = ["Transformer", "Pooling", *more]
    parts = [{"idx": at, "name": str(at), "path": f"{at}_{kind}" if at else "", "type": f"sentence_transformers.{kind}"}
             for at, kind in enumerate(kinds)]  # fmt: skip
    rewritten(folder, target, "modules.json", parts)
    return rewritten(folder, target, "1_Pooling/config.json", settings)


def test_the_pooling_that_a_checkpoint_declares_is_required(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    mean = {"word_embedding_dimension": 16, "pooling_mode_cls_token": False, "pooling_mode_mean_tokens": True}
    folder = pooled_by(checkpoint("bert"), tmp_path / "mean", mean)
    np.testing.assert_array_equal(
        load(section(folder), "text").encode(TEXTS), load(section(checkpoint("bert")), "text").encode(TEXTS)
    )
    for pooling in ("cls", "pooler", "mean_all"):
        said = refusal(section(folder, pooling=pooling), "text")
        assert f"encoders.text.pooling: the checkpoint was trained with pooling mean; got '{pooling}'" in said
    load(section(folder, level="tokens", pooling="cls"), "text")
    folder = pooled_by(checkpoint("bert"), tmp_path / "cls", {"pooling_mode_cls_token": True})
    load(section(folder, pooling="cls"), "text")
    assert "allowed: cls" in refusal(section(folder), "text")
    for name, settings in {
        "max": {"pooling_mode_max_tokens": True},
        "mean and max": {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True},
        "weightedmean": {"pooling_mode": "weightedmean"},
    }.items():
        said = refusal(section(pooled_by(checkpoint("bert"), tmp_path / name, settings)), "text")
        assert f"trained with pooling {name}; got 'mean'" in said and "take encoders.text.level tokens" in said
    load(section(pooled_by(checkpoint("bert"), tmp_path / "new", {"pooling_mode": "mean"})), "text")


def test_what_is_downloaded_of_a_checkpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """All of one format, and from sub-folders only what says how to pool."""
    import huggingface_hub
    from huggingface_hub.utils import filter_repo_objects

    requested = {}
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, **given: requested.update(given) or tmp_path)
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(UserError, match="no config.json"):
        find({"checkpoint": "some/model"}, "text")
    there = ["config.json", "vocab.txt", "model.safetensors", "pytorch_model.bin", "1_Pooling/config.json",
             "2_Dense/config.json", "2_Dense/model.safetensors", "onnx/config.json", "onnx/model.onnx"]  # fmt: skip
    chosen = filter_repo_objects(
        there, allow_patterns=requested["allow_patterns"], ignore_patterns=requested["ignore_patterns"]
    )
    assert list(chosen) == ["config.json", "vocab.txt", "model.safetensors", "1_Pooling/config.json",
                            "2_Dense/config.json", "2_Dense/model.safetensors"]  # fmt: skip


def test_layers_after_the_pooling_are_named(
    checkpoint: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mean = {"pooling_mode_mean_tokens": True}
    folder = pooled_by(checkpoint("bert"), tmp_path / "dense", mean, "Dense", "Normalize")
    encoder = load(section(folder), "text")
    assert "dense: its part 2_Dense (Dense) is not applied" in capsys.readouterr().err
    assert encoder.preprocessing()["not_applied"] == ["2_Dense (Dense)"]
    assert "not_applied" not in load(section(checkpoint("bert")), "text").preprocessing()
    shutil.rmtree(folder / "1_Pooling")
    load(section(folder, pooling="cls"), "text")
    assert "1_Pooling (Pooling, whose config.json is missing) is not applied" in capsys.readouterr().err


def test_the_manifest_holds_all_that_changes_pixels(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    settings = {
        "image_processor_type": "EfficientNetImageProcessor", "processor_class": "Nobody", "include_top": False,
        "rescale_offset": True, "size": {"height": 48, "width": 48}, "do_center_crop": False, "resample": 0,
    }  # fmt: skip
    folder = rewritten(checkpoint("vit"), tmp_path / "vit", "preprocessor_config.json", settings)
    summary = load(section(folder), "image").preprocessing()
    assert json.loads(json.dumps(summary)) == {
        "processor": "EfficientNetImageProcessorPil", "backend": "pil", "include_top": False, "rescale_offset": True,
        "do_resize": True, "resample": 0, "do_rescale": True, "rescale_factor": 1 / 255, "do_normalize": True,
        "do_center_crop": False, "size": {"height": 48, "width": 48}, "crop_size": {"height": 289, "width": 289},
        "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
        "decoding": {"mode": "RGB", "background": [255, 255, 255], "orientation": "EXIF", "frame": "first",
                     "deep_grey": "value >> (bits - 8)"},
    }  # fmt: skip
    settings["rescale_factor"] = float("nan")
    said = refusal(section(rewritten(folder, tmp_path / "nan", "preprocessor_config.json", settings)))
    assert "preprocessor_config.json: not valid JSON: NaN is no finite number" in said


def test_towers_of_different_widths_share_no_space(checkpoint: Callable[..., Path], tmp_path: Path) -> None:
    """Read from config.json alone."""

    def check(sections: dict[str, Any], projection: str) -> None:
        check_sides(sections, "finetune.projection", projection, ["linear", "mlp"])

    folders = {family: checkpoint(family) for family in ("vit", "swin", "resnet", "bert", "clip", "siglip")}
    assert [claim(folders[family]).width("image") for family in ("vit", "swin", "resnet", "clip")] == [16, 16, 12, 16]
    assert [claim(folders[family]).width("text") for family in ("bert", "clip", "siglip")] == [16, 16, 16]

    def sections(image: Path, text: Path | str) -> dict[str, Any]:
        return {"image": {"checkpoint": str(image)}, "text": {"checkpoint": str(text)}}

    with pytest.raises(UserError, match="finetune.projection: the encoders share no space: 12 and 16 dimensions; got"):
        check(sections(folders["resnet"], folders["bert"]), "none")
    for given, projection in (
        (sections(folders["resnet"], folders["bert"]), "linear"),
        (sections(folders["vit"], folders["bert"]), "none"),
        (sections(folders["resnet"], "some/hub-id"), "none"),
    ):
        check(given, projection)
    unknown = rewritten(checkpoint("bert"), tmp_path / "unknown", "config.json", {"model_type": "bert"})
    check(sections(folders["resnet"], unknown), "none")
