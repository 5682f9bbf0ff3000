"""The parts of the regime ``finetune``, each against plain arithmetic."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from fne.training.distributed import World
from fne.training.engine import Engine, learning_rate, validates
from fne.training.finetune.captions import clean
from fne.training.finetune.images import OPERATIONS, Transform, random_box
from fne.training.finetune.learner import embed_split
from fne.training.finetune.loading import EVALUATED, Job
from fne.utils.errors import UserError
from tests.training.finetune.conftest import engine_of, save_checkpoint
from tests.training.toy import CPU
from tests.training.toy import run as steps


def weights(engine: Engine) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in engine.model.state_dict().items()}


@pytest.mark.parametrize(
    ("variant", "changes", "tolerance"),
    [
        ("fne", {"finetune__chunk": 4}, 2e-5),
        ("infonce", {"finetune__chunk": 4}, 2e-5),
        ("hardest_in_batch", {"finetune__gradient_checkpointing": True}, 1e-6),
        ("hardest_in_batch", {"finetune__attention": "eager"}, 1e-4),
    ],
)
def test_saving_memory_and_eager_attention_change_no_gradient(project, load, variant, changes, tolerance) -> None:
    """Warm-up and main phase; without dropout, since chunks draw their own."""
    plain = steps(engine_of(load(finetune__dropout="never"), variant, project), 6)
    other = steps(engine_of(load(finetune__dropout="never", **changes), variant, project), 6)
    attention = other.model.text.backbone.config._attn_implementation
    assert attention == changes.get("finetune__attention", "sdpa")
    for name, value in weights(plain).items():
        torch.testing.assert_close(weights(other)[name], value, rtol=1e-3, atol=tolerance, msg=name)


def test_bfloat16_computes_and_keeps_weights_in_float32(project, load) -> None:
    engine = steps(engine_of(load(finetune__precision="bfloat16"), "fne", project), 5)
    assert {value.dtype for value in engine.model.parameters()} == {torch.float32}
    image, text = engine.learner.embed_split(engine.val)
    assert image.dtype == text.dtype == torch.float32 and image.isfinite().all()
    plain = steps(engine_of(load(), "fne", project), 5)
    assert not torch.equal(plain.learner.embed_split(plain.val)[0], image)


@pytest.mark.parametrize(("trained", "moving"), [("image", {"image"}), ("text", {"text"}), ("none", set())])
def test_frozen_backbones_do_not_move_and_their_features_are_kept(project, load, trained, moving) -> None:
    study = load(finetune__trained=trained, finetune__projection="linear")
    before = weights(engine_of(study, "hardest_in_batch", project))
    engine = steps(engine_of(study, "hardest_in_batch", project), 5)  # one validation lies behind it
    moved = {name for name, value in weights(engine).items() if not torch.equal(value, before[name])}
    assert {name.split(".")[0] for name in moved if ".backbone." in name} == moving
    assert {name.split(".")[0] for name in moved if ".projection." in name} == {"image", "text"}
    assert set(engine.learner.kept[id(engine.val)]) == {"image", "text"} - moving
    fresh = embed_split(engine.model, engine.val, CPU, None)
    for kept, other in zip(engine.learner.embed_split(engine.val), fresh, strict=True):
        assert torch.equal(kept[0], other)
    engine.learner.model.set_mode(training=True, norms="train", trained=trained)
    assert {side for side in ("image", "text") if getattr(engine.model, side).backbone.training} == moving


@pytest.mark.parametrize("chunk", [None, 8])
def test_features_of_frozen_backbones_are_computed_once_a_step(project, load, chunk) -> None:
    """The momentum towers take them over; the result is that of computing them again, bit for bit."""
    study = load(finetune__trained="image", finetune__projection="linear", finetune__chunk=chunk)
    shared = engine_of(study, "fne", project)
    calls = []
    pool = shared.model.text.pool
    shared.model.text.pool = lambda *inputs: (calls.append(1), pool(*inputs))[1]
    again = engine_of(study, "fne", project)
    again.learner.frozen = []
    for engine in (shared, again):
        steps(engine, 7)
    assert len(calls) == 7 * (16 // (chunk or 16)) + 1 + 120 // 256  # and one validation
    for name, value in weights(again).items():
        assert torch.equal(value, weights(shared)[name]), name


def test_captions_sorted_by_length_give_the_features_of_one_padded_batch(project, load, monkeypatch) -> None:
    monkeypatch.setattr("fne.training.finetune.loading.ALIKE", 5)
    engine = engine_of(load(finetune__trained="image", finetune__projection="linear"), "fne", project)
    learner, tower = engine.learner, engine.model.text
    job = Job(range(16), [EVALUATED] * 16, range(3, 19), False)
    (batch,) = engine.train.batches([job], CPU)
    widths = [ids.shape[1] for _, ids, _ in batch.alike()]
    assert learner.sorts_captions and widths == sorted(widths) and widths[0] < widths[-1] == batch.ids.shape[1]
    with torch.no_grad():
        torch.testing.assert_close(learner._pool(tower, "text", batch), tower.pool(batch.ids, batch.mask))
    assert not engine_of(load(), "fne", project).learner.sorts_captions


def test_evaluation_gives_every_caption_its_own_embedding(project, load) -> None:
    """Captions are embedded in order of length; each must come back to its place."""
    engine = engine_of(load(), "fne", project)
    tokens, tower = engine.val.tokens, engine.model.text.eval()
    with torch.no_grad():
        alone = torch.cat([tower(*tokens.batch([row], True)[:2]) for row in range(len(tokens))])
    torch.testing.assert_close(engine.learner.embed_split(engine.val)[1][0], alone)


def test_backbones_thaw_after_their_frozen_epochs(project, load) -> None:
    engine = engine_of(load(finetune__projection="linear", finetune__frozen_epochs=1), "hardest_in_batch", project)
    before = weights(engine)
    for stop, frozen in ((4, True), (5, False)):
        after = weights(steps(engine, stop))
        assert all(torch.equal(after[name], before[name]) for name in before if ".backbone." in name) == frozen


def test_projections_train_at_their_own_rate(project, load) -> None:
    engine = steps(engine_of(load(finetune__projection="linear", finetune__projection_factor=7.0), "fne", project), 2)
    rate = learning_rate(engine.config["train"], 1, engine.total_steps)
    for group in engine.optimizer.param_groups:
        assert group["lr"] == pytest.approx(rate * group["factor"])
    factors = {id(p): group["factor"] for group in engine.optimizer.param_groups for p in group["params"]}
    assert {factors[id(p)] for p in engine.model.image.projection.parameters()} == {7.0}
    assert {factors[id(p)] for p in engine.model.text.backbone.parameters()} == {1.0}
    decay = {id(p): group["weight_decay"] for group in engine.optimizer.param_groups for p in group["params"]}
    assert all((decay[id(p)] > 0) == (p.ndim > 1) for p in engine.model.parameters())


def test_masks_are_given_whole_where_a_model_takes_them(project, load) -> None:
    """A BERT under fused attention does; a causal text tower or eager attention keeps the plain mask."""
    save_checkpoint(project, "clip")
    clip = {f"encoders__{side}__checkpoint": str(project / "checkpoints" / "clip") for side in ("image", "text")}
    for changes in ({"finetune__attention": "eager"}, clip):
        assert not engine_of(load(**changes), "fne", project).model.text.encoder.whole_masks
    plain = engine_of(load(), "fne", project)
    assert plain.model.text.encoder.whole_masks
    ids, mask, _ = plain.train.tokens.batch(range(6), False)
    with torch.no_grad():
        plain.model.eval()
        whole = plain.model.text(ids, mask)
        plain.model.text.encoder.whole_masks = False
        torch.testing.assert_close(plain.model.text(ids, mask), whole, atol=1e-6, rtol=1e-5)


def test_batch_norms_keep_their_statistics_unless_requested(project, load) -> None:
    resnet = {"encoders__image__checkpoint": str(project / "checkpoints" / "resnet"), "finetune__projection": "linear"}
    for norms in ("eval", "train"):
        study = load(**resnet, finetune__norms=norms)
        before, engine = weights(engine_of(study, "fne", project)), steps(engine_of(study, "fne", project), 2)
        running, after = [name for name in before if "running_mean" in name], weights(engine)
        assert running and all(torch.equal(before[name], after[name]) for name in running) == (norms == "eval")
        for name, value in engine.memory.encoder.state_dict().items():
            if "running" in name:
                assert torch.equal(value, after[name]), "the momentum encoder's norms follow"


@pytest.mark.parametrize("dropout", ["always", "never", "until_first_validation"])
def test_when_dropout_is_on(project, load, dropout) -> None:
    engine = engine_of(load(finetune__dropout=dropout, train__validations=2), "hardest_in_batch", project)
    result = []
    original = engine.learner.embed
    engine.learner.embed = lambda *a: (original(*a), result.append(engine.model.text.backbone.training))[0]
    engine.run(lambda score: None)
    first = {"always": 12, "never": 0, "until_first_validation": 2}[dropout]
    assert result == [True] * first + [False] * (12 - first)


@pytest.mark.parametrize(("steps", "number", "at"), [(46, 1, [45]), (46, 3, [15, 30, 45]), (4, 2, [1, 3])])
def test_validations_are_evenly_spaced(steps: int, number: int, at: list[int]) -> None:
    assert [step for step in range(steps) if validates(step, steps, number)] == at


def test_evaluation_pads_only_where_padding_counts(project, load) -> None:
    """Masked means do not depend on the batch; the release's mean over all positions does."""
    masked = engine_of(load(), "fne", project)
    short, long = masked.train.tokens.batch([0, 1], False), masked.train.tokens.batch(range(20), False)
    assert long[0].shape[1] == max(long[2]) and long[1].sum(dim=1).tolist() == long[2]
    masked.model.eval()
    with torch.no_grad():
        alone, among = masked.model.text(*short[:2]), masked.model.text(*long[:2])[:2]
    torch.testing.assert_close(alone, among, atol=1e-5, rtol=1e-4)
    released = engine_of(load(encoders__text__pooling="mean_all"), "fne", project)
    limit, (ids, mask, _) = 40, released.train.tokens.batch([0], True)  # the positions of the tiny BERT
    assert released.train.tokens.batch([0], False)[0].shape[1] < ids.shape[1] == limit
    released.model.eval()
    with torch.no_grad():
        hidden = released.model.text.backbone(input_ids=ids, attention_mask=mask).last_hidden_state[0].double()
        result = released.model.text(ids, mask)[0].double()
    expected = sum(hidden[t] for t in range(limit)) / limit
    torch.testing.assert_close(result, expected / expected.norm(), atol=1e-5, rtol=1e-4)


def test_augmentation_is_a_function_of_its_key(project, load) -> None:
    split = engine_of(load(finetune__randaugment_operations=2), "fne", project).train
    jobs = [Job([0, 1], [5, 6], [0], False), Job([1, 0], [6, 5], [0], False), Job([0], [7], [0], False)]
    first, second, third = split.batches(jobs, CPU, workers=0)
    assert torch.equal(first.pixels, second.pixels.flip(0)) and not torch.equal(first.pixels[:1], third.pixels)
    assert torch.equal(first.pixels, next(split.batches(jobs, CPU, workers=2)).pixels)
    (plain,) = split.batches([Job.plain([0], [0])], CPU, workers=0)
    image = Image.open(split.files[0]).convert("RGB").resize((48, 48), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(plain.pixels[0].permute(1, 2, 0).numpy(), np.asarray(image))
    written = json.loads((project / "checkpoints" / "vit" / "preprocessor_config.json").read_text())
    mean, std = (torch.tensor(written[key]).reshape(3, 1, 1) for key in ("image_mean", "image_std"))
    expected = (plain.pixels[0].double() / 255 - mean) / std
    torch.testing.assert_close(split.normalised(plain.pixels)[0].double(), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_missing_image_is_one_clear_error(project, load, tmp_path, workers) -> None:
    split = engine_of(load(), "fne", project).train
    split.files[0] = tmp_path / "missing.png"
    with pytest.raises(UserError, match="missing.png"):
        list(split.batches([Job.plain([0], [0])], CPU, workers=workers))


@pytest.mark.parametrize("size", [(100, 100), (30, 90), (640, 480)])
@pytest.mark.parametrize("least", [0.08, 0.5, 1.0])
def test_random_boxes_lie_within_the_image_and_keep_their_share(size, least) -> None:
    draw = np.random.default_rng(0)
    for _ in range(50):
        left, upper, right, lower = random_box(size, least, draw)
        assert 0 <= left < right <= size[0] + 1e-9 and 0 <= upper < lower <= size[1] + 1e-9
        assert least - 1e-9 <= (right - left) * (lower - upper) / (size[0] * size[1]) <= 1 + 1e-9


@pytest.mark.parametrize("number", range(len(OPERATIONS)))
def test_operations_keep_size_and_mode_and_change_with_their_level(number) -> None:
    noise = np.random.default_rng(1).integers(0, 200, (40, 40, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    result = [OPERATIONS[number](image, level, np.random.default_rng(3)) for level in (0.0, 0.4, 1.0)]
    assert all(item.size == image.size and item.mode == "RGB" for item in result)
    levelled = number >= 3  # identity, autocontrast and equalize have no level
    assert levelled == (np.asarray(result[1]) != np.asarray(result[2])).any()
    if number == 0 or number >= 5:
        np.testing.assert_array_equal(np.asarray(result[0]), noise)


def test_transforms_without_randomness_squash_only() -> None:
    section = {"image_size": 32, "crop": "none", "flip": False, "randaugment_operations": 0}
    transform = Transform.of(section, None)
    image = Image.fromarray(np.random.default_rng(2).integers(0, 255, (50, 70, 3), dtype=np.uint8))
    np.testing.assert_array_equal(transform.training(image, np.random.default_rng(0)), transform.evaluation(image))
    flipped = Transform.of(section | {"flip": True}, None)
    seen = [flipped.training(image, np.random.default_rng(seed)) for seed in range(20)]
    mirrored = sum((item == transform.evaluation(image)[:, :, ::-1]).all() for item in seen)
    assert 4 < mirrored < 16


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A man's  hat , red-and-blue/green .", "a mans hat red and blue green"),
        ("Caf\u00e9 \u2014 na\u00efve", "caf\u00e9 na\u00efve"),
    ],
)
def test_clean_captions(text, expected) -> None:
    assert clean(text) == expected


def test_a_batch_that_processes_cannot_share_is_refused() -> None:
    assert [World(rank, 4).share(16) for rank in (0, 3)] == [slice(0, 4), slice(12, 16)]
    with pytest.raises(UserError, match="train.batch_size.*3 processes.*16"):
        World(0, 3).share(16)


@pytest.mark.parametrize(
    ("image", "text"),
    [("swin", "bert"), ("resnet", "bert"), ("dinov2-registers", "bert"), ("clip", "clip"), ("siglip", "siglip")],
)
def test_backbones_of_every_family_train_through_one_seam(project, load, image, text) -> None:
    """Also at another size than the checkpoint's: positions are interpolated where the model has any."""
    for family in {image, text}:
        save_checkpoint(project, family)
    changes = {"encoders__image__checkpoint": str(project / "checkpoints" / image),
               "encoders__text__checkpoint": str(project / "checkpoints" / text), "encoders__text__max_length": 40,
               "finetune__projection": "linear", "finetune__image_size": 64}  # fmt: skip
    engine = engine_of(load(**changes), "fne", project)
    before = weights(engine)
    after = weights(steps(engine, 6))
    for side in ("image", "text"):
        moved = [name for name in before if name.startswith(f"{side}.backbone") and (before[name] != after[name]).any()]
        assert len(moved) > 3, side
    result = engine.learner.embed_split(engine.val)
    assert result[0].shape == (1, 24, 256) and result[1].shape == (1, 120, 256)
