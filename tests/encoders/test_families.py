"""What every family of encoders promises: which checkpoints are its own, what it needs, features as the model gives."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

import fne
from fne.encoders import families as package
from fne.encoders.encoders import load
from fne.encoders.families import claim, families
from fne.encoders.families.backbone import Backbone
from fne.encoders.families.encoder_decoder import EncoderDecoder
from fne.encoders.families.sentence_encoder import SentenceEncoder
from fne.encoders.families.siglip import Siglip
from fne.encoders.families.two_towers import TwoTowers
from fne.results.code import EXTRACT, Code
from fne.study.api import load_study, resolve
from fne.utils import definitions
from tests.encoders.conftest import TEXTS, section
from tests.projects import ROOT

MADE: dict[type[Backbone], dict[str, tuple[str, ...]]] = {
    Backbone: {"vit": ("image",), "dinov2-registers": ("image",), "resnet": ("image",), "bert": ("text",)},
    EncoderDecoder: {"t5": ("text",)},
    TwoTowers: {"clip": ("image", "text"), "blip": ("image", "text")},
    Siglip: {"siglip": ("image", "text")},
    SentenceEncoder: {"sentence": ("text",)},
}
"""Of each family the tiny checkpoints that :func:`tests.encoders.conftest.build_model` makes, with their modalities."""
CASES = [(family, name, side) for family, names in MADE.items() for name, sides in names.items() for side in sides]
CONFIG = resolve(load_study("smoke", root=ROOT), "fne")
CASE = pytest.mark.parametrize(("family", "name", "modality"), CASES)


def own_output(folder: Path, family: type[Backbone], modality: str) -> list[np.ndarray]:
    """The last hidden states of three items one by one, from the plain model: regions of an image, tokens of a text."""
    model: Any = transformers.AutoModel.from_pretrained(folder).eval()
    if issubclass(family, TwoTowers):
        model = model.vision_model if modality == "image" else model.text_model
    if family is EncoderDecoder:
        model = model.encoder
    with torch.inference_mode():
        if modality == "image":
            made = [model(pixel_values=torch.from_numpy(pixels(value)))[0][0] for value in range(3)]
            return [item.flatten(1).T.numpy() if item.ndim == 3 else item[-9:].numpy() for item in made]
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        full = {"padding": "max_length", "max_length": 40} if family is Siglip else {}
        rows = [tokenizer([text], return_tensors="pt", **full) for text in TEXTS]
        masks = [{} if family is Siglip else {"attention_mask": row["attention_mask"]} for row in rows]
        made = [model(input_ids=row["input_ids"], **mask)[0][0] for row, mask in zip(rows, masks, strict=True)]
        return [item[row["attention_mask"][0].bool()].numpy() for item, row in zip(made, rows, strict=True)]


def pixels(seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, 256, (1, 3, 48, 48)).astype(np.float32)
    return values / 127.5 - 1


def features(folder: Path, modality: str, **changes: Any) -> Any:
    encoder = load(section(folder, max_length=40, **changes), modality)
    return encoder.encode(np.concatenate([pixels(seed) for seed in range(3)]) if modality == "image" else TEXTS)


def test_every_family_has_a_tiny_checkpoint() -> None:
    assert set(families()) == set(MADE), "make a tiny checkpoint of the new family in conftest.py, and name it in MADE"


@CASE
def test_a_checkpoint_is_of_one_family(
    checkpoint: Callable[..., Path], family: type[Backbone], name: str, modality: str
) -> None:
    folder = checkpoint(name)
    assert type(claim(folder)) is family
    config = json.loads((folder / "config.json").read_text())
    claims = {each for each in families() if each.matches(config, folder)}
    assert claims == {each for each in families() if issubclass(family, each)}


@CASE
def test_features_are_those_of_the_model_itself(
    checkpoint: Callable[..., Path], family: type[Backbone], name: str, modality: str
) -> None:
    folder = checkpoint(name)
    requested = own_output(folder, family, modality)
    tokens, pooled = features(folder, modality, level="tokens"), features(folder, modality)
    assert len(tokens) == len(pooled) == 3 and np.isfinite(pooled).all()
    assert pooled.shape == (3, claim(folder).width(modality))
    for alone, row, vector in zip(requested, tokens, pooled, strict=True):
        np.testing.assert_allclose(row, alone, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(vector, alone.mean(0), rtol=1e-4, atol=1e-5)


TOY = '''
"""Half of a plain backbone."""

from fne.encoders.families.backbone import Backbone


class Half(Backbone):
    @classmethod
    def matches(cls, config, folder):
        return config["model_type"] == "vit"

    def image(self, *given, **options):
        return super().image(*given, **options) / 2
'''


def test_a_file_is_a_family(checkpoint: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = features(checkpoint("vit"), "image")
    (tmp_path / "half.py").write_text(TOY)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    families.cache_clear()
    try:
        np.testing.assert_array_equal(features(checkpoint("vit"), "image"), plain / 2)
        assert type(claim(checkpoint("bert"))) is Backbone
    finally:
        families.cache_clear()
        sys.modules.pop("fne.encoders.families.half", None)


def test_an_edit_of_a_family_extracts_again_what_it_embeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And trains whole encoders again, of which any family may be one; heads on stored features never."""
    folder = tmp_path / "fne"
    shutil.copytree(Path(fne.__file__).parent, folder, ignore=shutil.ignore_patterns("*.safetensors", "*.pyc"))
    monkeypatch.setattr(definitions, "PACKAGES", tmp_path)

    def digests() -> dict[str, str]:
        code = Code(tmp_path)
        result = {each.__name__: code.of([*EXTRACT, each.target()]) for each in families()}
        return result | {regime: code.training(CONFIG | {"regime": regime}) for regime in ("head", "finetune")}

    for file, changed in {
        "siglip": {"Siglip", "finetune"},
        "encoder_decoder": {"EncoderDecoder", "finetune"},
        "two_towers": {"TwoTowers", "Siglip", "EncoderDecoder", "SentenceEncoder", "finetune"},
        "backbone": {"Backbone", "TwoTowers", "Siglip", "EncoderDecoder", "SentenceEncoder", "finetune"},
    }.items():
        before, edited = digests(), folder / "encoders" / "families" / f"{file}.py"
        edited.write_text(edited.read_text().replace("return ", "return 0 or ", 1))
        after = digests()
        assert {each for each in before if before[each] != after[each]} == changed


def test_what_is_read_before_a_model_is_loaded_needs_no_torch() -> None:
    code = (
        "import sys; from fne.encoders import checkpoints, shipped, store, writer\n"
        "from fne.encoders.families import families\n"
        "families(); assert not {'torch', 'transformers', 'PIL', 'huggingface_hub'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
