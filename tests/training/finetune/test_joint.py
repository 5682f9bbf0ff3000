"""Encoders that share a space, in both regimes: the scores before training, and every way of training them further."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors import safe_open

from fne.data.manifest import Manifest
from fne.results.records import read_run
from fne.scenes.pretrain_image import _write_processor
from fne.scenes.pretrain_text import build_tokenizer
from fne.steps import evaluate, extract, prepare, rank
from fne.steps import train as job
from fne.study import paths
from fne.study.api import Study, data_section, load_study
from fne.training.embed import embed_split
from fne.utils.errors import UserError
from tests.encoders.conftest import build_model
from tests.projects import ROOT
from tests.training import toy
from tests.training.finetune.conftest import engine_of

STUDY = """
title: Joint
question: What is training worth?
regime: {regime}
data: {{dataset: custom, annotations: {root}/captions.json, images: {root}/images}}
encoders:
  image: {{checkpoint: {checkpoint}}}
  text: {{checkpoint: {checkpoint}}}
set:
{own}
  train: {{epochs: 3, batch_size: 8, learning_rate: 1.0e-3, lr_warmup_steps: 0}}
  warmup: {{epochs: 1}}
tuned: null
variants: [{variants}]
seeds: [0]
block: 1
baseline: infonce
primary: {{metric: rsum, protocol: own}}
"""
OWN = {"head": "  model: {head: {head}}", "finetune": "  finetune: {precision: float32, randaugment_operations: 0}"}
SPLITS = {"train": 32, "val": 10, "test": 12}
HAS_PEFT = importlib.util.find_spec("peft") is not None
needs_peft = pytest.mark.extra("peft")
without_peft = pytest.mark.skipif(HAS_PEFT, reason="the package peft is there")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images that are not square, captions that all differ, and tiny random CLIP and SigLIP checkpoints."""
    root, rng = tmp_path_factory.mktemp("joint"), np.random.default_rng(1)
    shutil.copytree(ROOT / "ablations", root / "ablations")
    (root / "images").mkdir()
    words = [f"{letter}{number}" for letter in "abcde" for number in range(8)]
    rows: list[dict[str, str]] = []
    for split, count in SPLITS.items():
        for number in range(count):
            name = f"{split}{number}.png"
            pixels = rng.integers(0, 256, (5, 7, 3), dtype=np.uint8)
            Image.fromarray(pixels).resize((84, 60), Image.Resampling.NEAREST).save(root / "images" / name)
            rows += [{"image": name, "caption": " ".join(rng.permutation(words)[: 3 + place]), "split": split}
                     for place in range(2)]  # fmt: skip
    (root / "captions.json").write_text(json.dumps(rows))
    for family in ("clip", "siglip", "vit"):
        folder, model = root / family, build_model(family)
        if family == "clip":  # towers of different widths, as of ViT-B/32
            model.config.text_config.hidden_size = 24
            torch.manual_seed(3)
            model = transformers.CLIPModel(model.config)
        model.save_pretrained(folder)
        _write_processor(folder, 48)
        build_tokenizer([row["caption"] for row in rows]).save_pretrained(folder)
    crop = {"height": 48, "width": 48}
    transformers.CLIPImageProcessor(size={"shortest_edge": 48}, crop_size=crop).save_pretrained(root / "clip")
    return root


def study_of(
    root: Path,
    regime: str,
    family: str = "clip",
    head: str = "residual",
    variants: str = "infonce, infonce_buffer, hardest_in_batch",
    **changes: Any,
) -> Study:
    """The study of a regime and a checkpoint, its data prepared, with dotted changes."""
    name, own = f"{regime}_{family}", OWN[regime].replace("{head}", head)
    text = STUDY.format(root=root, regime=regime, checkpoint=root / family, own=own, variants=variants)
    (root / "ablations" / "studies" / f"{name}.yaml").write_text(text)
    study = load_study(name, {key.replace("__", "."): value for key, value in changes.items()}, root)
    if not (root / paths.data_folder(study)).exists():
        prepare.run(data_section(study), root / paths.data_folder(study))
    for side in paths.MODALITIES if regime == "head" else ():
        out = root / paths.features_folder(study, side)
        if not out.exists():
            extract.run(root / paths.data_folder(study), paths.encoder(study, side, root), side, out, 1)
    return study


def recalls_by_hand(root: Path, study: Study, family: str) -> dict[tuple[str, str], float]:
    """R@K of the test split: transformers' features item by item, cosines, ranks by counting."""
    model = transformers.AutoModel.from_pretrained(root / family).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(root / family)
    tokenizer = transformers.AutoTokenizer.from_pretrained(root / family)
    padding = {"padding": "max_length", "max_length": 40} if family == "siglip" else {}
    manifest = Manifest.load(root / paths.data_folder(study))
    view = manifest.split("test")
    with torch.inference_mode():
        pictures = [Image.open(file).convert("RGB") for file in manifest.image_paths(view.name)]
        image = [model.get_image_features(**processor(images=one, return_tensors="pt")) for one in pictures]
        tokens = [tokenizer(text, return_tensors="pt", **padding)["input_ids"] for text in view.texts]
        text = [model.get_text_features(input_ids=ids) for ids in tokens]
    sides = [np.concatenate([one.pooler_output.double().numpy() for one in side]) for side in (image, text)]
    image, text = (side / np.linalg.norm(side, axis=1, keepdims=True) for side in sides)
    similar = image @ text.T
    best = {
        "i2t": [min((row > row[own]).sum() for own in np.flatnonzero(view.caption_image == number))
                for number, row in enumerate(similar)],
        "t2i": [(column > column[view.caption_image[number]]).sum() for number, column in enumerate(similar.T)],
    }  # fmt: skip
    found = {(way, f"r{k}"): float(np.mean(np.array(ranks) < k)) for way, ranks in best.items() for k in (1, 5, 10)}
    return found | {("both", "rsum"): sum(found.values())}


@pytest.mark.parametrize("family", ["clip", "siglip"])
@pytest.mark.parametrize("regime", ["head", "finetune"])
def test_the_scores_before_training_are_those_of_transformers_and_numpy(
    project: Path, regime: str, family: str
) -> None:
    study = study_of(project, regime, family)
    assert study.variants == ("zero_shot", "infonce", "infonce_buffer", "hardest_in_batch")
    assert study.trained == study.variants[1:] and study.compared == ("infonce_buffer", "hardest_in_batch")
    job.run(study, "zero_shot", "0", project, 1, "cpu")
    rank.run(study, "zero_shot", "0", "test", project, 1, "cpu")
    evaluate.run(study, "zero_shot", "0", "test", project)
    rows = json.loads((project / paths.metrics(study, "zero_shot", "0", "test")).read_text())["rows"]
    made = {(row["direction"], row["metric"]): row["value"] for row in rows if row["protocol"] == "own"}
    for key, value in recalls_by_hand(project, study, family).items():
        assert made[key] == pytest.approx(value), key


def test_it_is_shown_only_where_both_sides_share_a_space(project: Path) -> None:
    study_of(project, "head")
    for changes in ({"encoders.text.pooling": "pooler"}, {"variants": "infonce,hardest_in_batch"}):
        assert "zero_shot" not in load_study("head_clip", changes, project, complete=False).variants


@pytest.mark.parametrize("head", ["none", "linear", "residual"])
def test_heads_begin_at_the_embedding_of_the_encoders(project: Path, head: str) -> None:
    study = study_of(project, "head", head=head)
    engine = engine_of(study, "infonce", project)
    for side, features in (("image", engine.val.image), ("text", engine.val.text)):
        unit = torch.nn.functional.normalize(features.take(torch.arange(len(features)))[0], dim=-1)
        made = dict(zip(("image", "text"), engine.learner.embed_split(engine.val), strict=True))[side]
        torch.testing.assert_close(made[0], unit)
    begin = {name: value.clone() for name, value in engine.model.state_dict().items()}
    toy.run(engine)
    moved = {name for name, value in engine.model.state_dict().items() if not torch.equal(value, begin[name])}
    assert bool(moved) == (head != "none") and not any("unused" in name for name in moved)


def test_a_trained_head_is_read_back(project: Path) -> None:
    study = study_of(project, "head")
    job.run(study, "infonce", "0", project, 1, "cpu")
    ((_, image, _),) = embed_split(study, "infonce", "0", "val", project)
    zero = engine_of(study, "zero_shot", project)
    plain = zero.learner.embed_split(zero.val)[0][0]
    assert image.shape == plain.shape == (10, 8) and not torch.allclose(image, plain)
    toy.assert_resumes(lambda: engine_of(study, "infonce_buffer", project), (3, 7), project / "resumes")


def weights_of(root: Path, study: Study, variant: str) -> set[str]:
    with safe_open(root / paths.run_folder(study, variant, "0") / "weights.safetensors", framework="np") as file:
        return {*file.keys()}


@pytest.mark.parametrize("part", ["whole", "blocks", "projections", pytest.param("lora", marks=needs_peft)])
def test_every_way_of_training_changes_its_part_alone_and_is_read_back(project: Path, part: str) -> None:
    """And begins at the scores before training."""
    study = study_of(project, "finetune", finetune__part=part)
    engine, zero = engine_of(study, "infonce", project), engine_of(study, "zero_shot", project)
    for made, plain in zip(engine.learner.embed_split(engine.val), zero.learner.embed_split(zero.val), strict=True):
        torch.testing.assert_close(made, plain)
    begin = {name: value.clone() for name, value in engine.model.state_dict().items()}
    toy.run(engine)
    state = engine.model.state_dict()
    moved = {name for name, value in state.items() if not torch.equal(value, begin[name])}
    expected = {
        "whole": lambda name: True,
        "blocks": lambda name: ".layers.1." in name or "post_layernorm" in name or "final_layer_norm" in name
        or "_projection" in name,
        "projections": lambda name: "_projection" in name,
        "lora": lambda name: "lora_" in name,
    }  # fmt: skip
    never = {name for name in state if "k_proj.bias" in name}  # softmax does not see it
    assert moved | never == {name for name in state if expected[part](name)} | never
    job.run(study, "infonce", "0", project, 1, "cpu")
    assert weights_of(project, study, "infonce") == {name for name in state if expected[part](name)}
    engine.model.load_state_dict(engine.best)
    ((_, image, text),) = embed_split(study, "infonce", "0", "val", project)
    for made, trained in zip((image, text), engine.learner.embed_split(engine.val), strict=True):
        torch.testing.assert_close(made, trained[0])


@pytest.mark.parametrize("part", ["whole", "blocks", "projections", pytest.param("lora", marks=needs_peft)])
def test_resume_is_bit_equal(project: Path, tmp_path: Path, part: str) -> None:
    study = study_of(project, "finetune", "siglip" if part == "projections" else "clip", finetune__part=part)
    toy.assert_resumes(lambda: engine_of(study, "infonce", project), (5, 9), tmp_path)


def learned(project: Path, **changes: Any) -> Study:
    changes["finetune__temperature"] = "learned"
    return study_of(project, "finetune", variants="infonce, infonce_buffer", **changes)


def test_a_learned_temperature_trains_at_its_own_rate_once_the_loss_has_one(project: Path, tmp_path: Path) -> None:
    made = {}
    for factor in (1.0, 5.0):
        engine = engine_of(learned(project, finetune__temperature_factor=factor), "infonce", project)
        assert engine.rule.loss.temperature is engine.model.temperature
        toy.run(engine, 4)
        assert engine.model.temperature.item() == pytest.approx(0.05)  # the warm-up's hinges have none
        toy.run(engine, 5)
        made[factor] = engine.model.temperature.item() - 0.05
    assert abs(made[1.0]) > 1e-4 and made[5.0] == pytest.approx(5 * made[1.0], rel=1e-3)
    study = learned(project)
    toy.assert_resumes(lambda: engine_of(study, "infonce", project), (6,), tmp_path)
    job.run(study, "infonce", "0", project, 1, "cpu")
    assert "temperature" in weights_of(project, study, "infonce")
    assert read_run(project / paths.run_folder(study, "infonce", "0") / "run.json")["config"]["loss"] == {
        "kind": "infonce", "temperature": 0.05, "multi_positive": False}  # fmt: skip
    assert len(list(embed_split(study, "infonce", "0", "val", project))) == 1


def test_the_gradient_of_a_temperature_is_that_of_the_loss(project: Path) -> None:
    """``dL/dT`` by a difference quotient."""
    engine = engine_of(learned(project, warmup__epochs=0, train__optimizer="adam"), "infonce", project)
    found, losses = [], engine.step_of.losses

    def spy(rule: Any, context: Any, moment: Any) -> Any:
        values = []
        with torch.no_grad():
            for shift in (1e-3, -1e-3):
                engine.model.temperature.add_(shift)
                values.append(losses(rule, context, moment)[0].item())
                engine.model.temperature.sub_(shift)
        found.append((values[0] - values[1]) / 2e-3)
        return losses(rule, context, moment)

    engine.step_of.losses = spy
    engine.learner.clip = lambda limit: found.append(engine.model.temperature.grad.item())
    toy.run(engine, 1)
    assert found[1] == pytest.approx(found[0], rel=0.02)


def test_parts_train_at_their_own_rates(project: Path) -> None:
    study = study_of(project, "finetune", finetune__joint_factor=0.1, train__weight_decay=0.0)
    engine = engine_of(study, "infonce", project)
    begin = {name: value.clone() for name, value in engine.model.state_dict().items()}
    toy.run(engine, 1)
    change = {name: (value - begin[name]).abs().max().item() for name, value in engine.model.state_dict().items()}
    assert change["image.backbone.visual_projection.weight"] == pytest.approx(1e-4, rel=0.01)
    assert change["image.backbone.vision_model.post_layernorm.weight"] == pytest.approx(1e-3, rel=0.01)


@pytest.mark.parametrize(
    ("changes", "saying"),
    [
        ({"finetune__temperature": "learned"}, "finetune.temperature.*'triplet' has no temperature"),
        ({"finetune__part": "lora", "finetune__lora_modules": ["q_prj"]}, "finetune.lora_modules.*q_prj.*q_proj"),
        pytest.param({"finetune__part": "lora", "finetune__lora_modules": ["fc1", "token_embedding"]},
                     "finetune.lora_modules: is no linear module; got 'token_embedding'.*fc1", marks=needs_peft),
        ({"finetune__image_size": 8}, "finetune.image_size.*takes no images of this size.*got 8.*null: 48"),
        pytest.param({"finetune__part": "lora"}, "finetune.part.*needs the package peft", marks=without_peft),
        ({"encoders__image__pooling": "pooler"}, "share no space: 16 and 8.*encoders.image.pooling: joint"),
        ({"encoders__image__checkpoint": "vit", "encoders__text__checkpoint": "vit"}, "has one tower"),
        ({"finetune__part": "blocks", "finetune__blocks": 3}, "finetune.blocks.*3.*1 to 2"),
        ({"finetune__part": "projections", "encoders__image__checkpoint": "vit", "finetune__projection": "linear"},
         "finetune.part.*projections.*whole"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_before_any_step(project: Path, changes: dict[str, Any], saying: str) -> None:
    study_of(project, "finetune")
    changes = {key.replace("__", "."): str(project / value) if key.endswith("checkpoint") else value
               for key, value in changes.items()}  # fmt: skip
    with pytest.raises(UserError, match=saying):
        engine_of(load_study("finetune_clip", changes, project), "infonce", project)


def test_in_frozen_epochs_the_checkpoints_own_projections_train(project: Path) -> None:
    engine = engine_of(study_of(project, "finetune", finetune__frozen_epochs=1), "infonce", project)
    begin = {name: value.clone() for name, value in engine.model.state_dict().items()}
    for stop, frozen in ((4, True), (5, False)):
        toy.run(engine, stop)
        moved = {name for name, value in engine.model.state_dict().items() if not torch.equal(value, begin[name])}
        assert moved and all("_projection" in name for name in moved) == frozen
