"""Encoders as their families really are: causal towers, RoBERTa's positions, SigLIP's padding, CLIP's shared space."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as t

from fne.encoders.encoders import load
from fne.study import paths
from fne.study.api import resolve
from fne.training.finetune.towers import Towers
from tests.cases.conftest import corpus, refusal, save, tower, verb
from tests.encoders.conftest import TEXTS, build_model, section
from tests.projects import ROOT, Project

VISION = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24,
          "image_size": 48, "patch_size": 16}  # fmt: skip


@pytest.mark.parametrize("family", ["clip", "gpt2"])
def test_a_causal_text_tower_has_no_class_token(tmp_path: Path, family: str) -> None:
    """Refused at load, since training on one constant vector seems to work."""
    sizes = {"n_positions": 40, "n_embd": 16, "n_layer": 1, "n_head": 2, "bos_token_id": 2, "eos_token_id": 3}
    model = build_model("clip") if family == "clip" else t.GPT2Model(t.GPT2Config(vocab_size=40, **sizes))
    folder = save(tmp_path / family, model, 40)
    said = refusal(load, section(folder, pooling="cls", max_length=32), "text", about=("cls", "class token"))
    assert said, "one vector for all captions would be stored"


def test_the_positions_that_roberta_cannot_use_are_not_allowed(tmp_path: Path) -> None:
    """Its positions begin at padding_idx + 1: of 42 with padding_idx 0 only 41 may be used, and a long text needs all.

    Today 42 passes the load and a long caption ends the extraction with a traceback.
    """
    torch.manual_seed(0)
    model = t.RobertaModel(t.RobertaConfig(**tower(max_position_embeddings=42, type_vocab_size=1)))
    folder = save(tmp_path / "roberta", model, 10**30)
    assert load(section(folder, max_length=41), "text").encode(["a red star " * 20]).shape == (1, 16)
    assert refusal(load, section(folder, max_length=42), "text", about=("max_length",)), "42 is said to be allowed"


def test_siglip_is_padded_as_it_was_trained(project: Project, tmp_path: Path) -> None:
    """Under the defaults: the features of the model's own padding, or a refusal that says which length it wants."""
    torch.manual_seed(0)
    text = tower(max_position_embeddings=64, projection_size=16)
    model = t.SiglipModel(t.SiglipConfig(text_config=text, vision_config=VISION)).eval()
    folder = save(tmp_path / "siglip", model, 64)
    words = t.AutoTokenizer.from_pretrained(folder)(TEXTS, padding="max_length", max_length=64, return_tensors="pt")
    with torch.no_grad():
        wanted = model.text_model(input_ids=words["input_ids"]).pooler_output.numpy()
    default = project.read("base")["encoders"]["text"]
    found: list[np.ndarray] = []

    def encode() -> None:
        given = {**default, "checkpoint": str(folder), "pooling": "pooler"}
        found.append(load(given, "text").encode(TEXTS))

    if not refusal(encode, about=("max_length",)):
        np.testing.assert_allclose(found[0], wanted, rtol=1e-4, atol=1e-5)


def test_clip_is_trained_from_its_own_shared_space(project: Project, tmp_path: Path) -> None:
    """Towers of different width, as ViT-B/32's, meet in its projections: used, or ``check`` says that they are not."""
    torch.manual_seed(0)
    text = tower(hidden_size=24, max_position_embeddings=40)
    config = t.CLIPConfig(text_config=text, vision_config=VISION, projection_dim=8)
    given = {"checkpoint": str(save(tmp_path / "clip", t.CLIPModel(config), 40)), "pooling": "pooler"}
    project.edit(
        "studies/smoke",
        regime="finetune",
        data=corpus(tmp_path / "corpus", "a star"),
        encoders={"image": given, "text": {**given, "max_length": 16}},
        set={"finetune": {"image_size": 48, "projection": "none", "precision": "float32"}},
        variants=["hardest_in_batch", "infonce"],
        block=1,
    )
    if refusal(verb, "check", "smoke", root=project.root, about=("own projection",)):
        return
    study, made = project.load("smoke"), []
    sections = {side: paths.encoder(study, side, ROOT) for side in paths.MODALITIES}

    def build() -> None:
        made.append(Towers(resolve(study, "infonce"), sections, 0))

    said = refusal(build, about=("share no space",))
    assert not said, said
    assert made[0].dim == 8
