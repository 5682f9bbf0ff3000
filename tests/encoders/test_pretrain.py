"""Pretraining: what is a fact, the same weights from the same data, and folders that load like any other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from fne.encoders.encoders import load
from fne.encoders.shipped import GRID, Recipe
from fne.scenes import pretrain_text
from fne.scenes.captions import caption_scene, full_form
from fne.scenes.draw import Chooser
from fne.scenes.labels import FACTS, form_facts, scene_facts
from fne.scenes.logic import FIELDS
from fne.scenes.optimise import fact_loss, fact_scores, pretrain_scenes
from fne.scenes.world import Scene
from fne.steps import pretrain
from tests.encoders.conftest import section

FEW, LEARN = Recipe(0, 40), Recipe(0, 120)


def true_of(fact: tuple[Any, ...], scene: Scene) -> bool:
    """The definition of every kind of fact, one object at a time."""
    columns = [(item.size, item.colour, item.shape, item.row, item.col) for item in scene.objects]
    kind = fact[0]
    if kind == "is":
        return any(column[fact[1]] == fact[2] for column in columns)
    if kind == "both":
        return any(column[fact[1]] == fact[2] and column[fact[3]] == fact[4] for column in columns)
    if kind == "number":
        return sum(column[fact[2]] == fact[3] for column in columns) == fact[1]
    if kind == "count":
        return len(scene.objects) == fact[1]
    return scene.background == fact[1]


def test_scene_facts_are_exactly_the_true_ones() -> None:
    assert len(set(FACTS)) == len(FACTS)
    pairs = sum(len(a) * len(b) for i, a in enumerate(FIELDS) for b in FIELDS[i + 1 :])
    assert len(FACTS) == sum(map(len, FIELDS)) + pairs + 3 * (8 + 6) + 3 + 4
    for scene in pretrain_scenes(FEW):
        facts = scene_facts(scene)
        assert facts == {fact for fact in FACTS if true_of(fact, scene)}


def test_captions_state_only_true_facts_and_a_full_one_states_the_most() -> None:
    choose = Chooser(np.random.default_rng(0))
    declared = 0
    for scene in pretrain_scenes(LEARN):
        for _ in range(10):
            _, form = caption_scene(scene, choose)
            facts = form_facts(form)
            assert facts and all(true_of(fact, scene) for fact in facts)
            declared += len(facts)
        assert {fact for fact in scene_facts(scene) if fact[0] != "number"} == form_facts(full_form(scene))
    assert declared > 10 * 10 * 120


def test_fact_loss_and_scores() -> None:
    rng = np.random.default_rng(0)
    logits, facts = rng.normal(size=(5, 7)), rng.random((5, 7)) < 0.4
    loss = 0.0
    for row in range(5):
        for fact in range(7):
            p = 1 / (1 + np.exp(-logits[row, fact]))
            loss -= np.log(p if facts[row, fact] else 1 - p) / 5
    assert fact_loss(torch.from_numpy(logits), torch.from_numpy(facts)).item() == pytest.approx(loss)
    summary = logits > 0
    scores = fact_scores(torch.from_numpy(logits), torch.from_numpy(facts))
    hits = sum(summary[i, j] and facts[i, j] for i in range(5) for j in range(7))
    assert scores == {"fact_precision": hits / summary.sum(), "fact_recall": hits / facts.sum()}
    assert fact_scores(torch.full((2, 3), -1.0), torch.zeros(2, 3, dtype=torch.bool)) == {
        "fact_precision": 0,
        "fact_recall": 0,
    }


def test_neighbour_loss_looks_the_right_way() -> None:
    words = torch.tensor([[7, 8, 9, 0], [5, 6, 0, 0]])
    for offset in (-2, -1, 1, 2):
        logits = torch.zeros(2, 4, 12)
        for row in range(2):
            for place in range(4):
                if 0 <= place + offset < 4:
                    logits[row, place, words[row, place + offset]] = 50.0
        assert pretrain_text._neighbour_loss(logits, words, offset).item() == pytest.approx(0, abs=1e-6)
        assert pretrain_text._neighbour_loss(logits, words, -offset).item() > 1


@pytest.mark.parametrize("modality", ["image", "text"])
def test_pretraining_twice_gives_the_same_weights_and_a_checkpoint_like_any_other(
    tmp_path: Path, modality: str
) -> None:
    before = torch.random.get_rng_state()
    folders = [tmp_path / name / modality for name in ("one", "two")]
    for folder in folders:
        pretrain.run(LEARN, folder, modality, 1)
    assert torch.equal(before, torch.random.get_rng_state())
    weights = [(folder / "model.safetensors").read_bytes() for folder in folders]
    assert weights[0] == weights[1]
    pretrain.run(replace(LEARN, draw=1), folders[1], modality, 1)
    assert (folders[1] / "model.safetensors").read_bytes() != weights[0]
    summary = json.loads((folders[0] / "pretraining.json").read_text())
    assert summary["modality"] == modality and Recipe(**summary["recipe"]) == LEARN
    assert all(0 <= value <= 1 for name, value in summary["held_out"].items() if name != "masked_word_loss")
    model = transformers.AutoModel.from_pretrained(folders[0])
    assert type(model) is (transformers.ViTModel if modality == "image" else transformers.BertModel)
    assert not any((folder / "pytorch_model.bin").exists() for folder in folders)
    encoder = load(section(folders[0], max_length=32, grid=GRID), modality)
    assert encoder.record()["checkpoint"] == modality
    modes = {path.stat().st_mode & 0o777 for path in folders[0].iterdir()}
    assert len(modes) == 1


def test_the_encoders_learn_something(tmp_path: Path) -> None:
    """With a sixteenth of the usual scenes: better than naming the most frequent class."""
    for modality in ("image", "text"):
        pretrain.run(Recipe(0, 500), tmp_path / modality, modality, 1)
    image, text = (
        json.loads((tmp_path / name / "pretraining.json").read_text())["held_out"] for name in ("image", "text")
    )
    assert image["background_accuracy"] > 0.9
    assert image["cell_accuracy"] > 0.675  # two thirds of the cells are empty
    assert image["object_accuracy"] > 0.05  # one of 96 by chance
    # to say of every caption that it names something small and something large recalls .062 of its facts
    assert text["fact_precision"] > 0.6 and text["fact_recall"] > 0.08
