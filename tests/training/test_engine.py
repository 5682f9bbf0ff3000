"""The engine: replicates, resume, what a step computes, selection, plans and diagnostics."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch

from fne.steps.train import together
from fne.training import checkpoint, step
from fne.training.data import EpochPlan, Items, Split, Standardiser, rescale
from fne.training.engine import Engine, learning_rate
from fne.training.heads import DualEncoder
from fne.training.step import clip_gradients
from fne.utils.errors import UserError
from fne.utils.seeding import torch_stream
from tests.training import toy


def engine_of(**sections: dict) -> Engine:
    """Of two seeds, not yet run."""
    return Engine(toy.config(**sections), [0, 1], toy.split(), toy.split(seed=5), toy.CPU)


@pytest.mark.parametrize("sections", toy.RULES.values(), ids=toy.RULES)
def test_a_replicate_equals_its_seed_alone(sections) -> None:
    block = toy.trained([0, 3, 8], **sections)
    together = block.picks.columns()
    for r, seed in enumerate(block.seeds):
        alone = toy.trained([seed], **sections)
        for name, value in alone.model.state_dict().items():
            torch.testing.assert_close(block.model.state_dict()[name][r], value[0], rtol=1e-3, atol=1e-5)
        mine, own = together["seed"] == seed, alone.picks.columns()
        for name in ("anchor", "candidate", "direction", "step", "false_negative", "from_queue"):
            assert torch.equal(together[name][mine], own[name]), name
        assert block.best_epoch[r] == alone.best_epoch[0]


def even_split(seed: int = 0) -> Split:
    """A toy split of features of a width that vectorised loops leave nothing of."""
    split = toy.split(seed=seed)
    made = torch.Generator().manual_seed(7)
    wide = [
        (items.values @ torch.randn(items.values.shape[1], 32, generator=made)) for items in (split.image, split.text)
    ]
    image, text = (Items(values, torch.arange(len(values))) for values in wide)
    return replace(split, image=image, text=text)


EVEN = {"model": {"hidden": 64, "dim": 32}, "train": {"batch_size": 32}, "memory": {"size": 53}}


@pytest.mark.parametrize("sections", [*toy.RULES.values(), {"negatives": {"density": "kde"}}], ids=[*toy.RULES, "kde"])
def test_seeds_that_train_together_on_a_cpu_are_bit_equal_to_seeds_alone(sections) -> None:
    torch.set_num_threads(1)
    sections = {name: {**sections.get(name, {}), **EVEN.get(name, {})} for name in {*sections, *EVEN}}
    config = {"regime": "head", **toy.config(**sections)}
    seeds, train, val = [0, 3, 8], even_split(), even_split(5)
    chosen = config["negatives"]
    apart = config["memory"]["kind"] == "bank" or chosen["strategy"] == "gist"  # the whole split for each seed
    apart |= chosen["recalibration"] != "none" or chosen["density"] != "normal"  # tables of odd sizes
    expected = [[seed] for seed in seeds] if apart else [seeds]
    assert together(seeds, config, train, val, toy.CPU) == expected
    whole = toy.run(Engine(config, seeds, train, val, toy.CPU))
    picked = whole.picks.columns()
    for r, seed in enumerate(seeds):
        alone = toy.run(Engine(config, [seed], train, val, toy.CPU))
        for name, value in alone.best.items():
            assert torch.equal(whole.best[name][r], value[0]), name
        assert [row for row in whole.curves if row["seed"] == seed] == alone.curves
        for name, column in alone.picks.columns().items():
            np.testing.assert_array_equal(picked[name][picked["seed"] == seed], column, name)


@pytest.mark.parametrize(
    "change",
    [{"model": {"dim": 40}}, {"model": {"hidden": 50}}, {"train": {"batch_size": 24}}, {"memory": {"size": 10**6}}],
    ids=str,
)  # fmt: skip
def test_seeds_of_odd_sizes_or_of_many_pairs_train_apart(change) -> None:
    torch.set_num_threads(1)
    config = toy.config(**{name: {**section, **change.get(name, {})} for name, section in EVEN.items()})
    split = even_split()
    assert together([0, 1], {"regime": "head", **config}, split, split, toy.CPU) == [[0], [1]]
    assert together([0, 1], {"regime": "finetune", **config}, split, split, toy.CPU) == [[0], [1]]


def test_seeds_whose_weights_would_differ_train_apart(monkeypatch) -> None:
    torch.set_num_threads(1)
    config, split, product = {"regime": "head", **toy.config(**EVEN)}, even_split(), torch.baddbmm
    monkeypatch.setattr(torch, "baddbmm", lambda b, x, w: product(b, x, w) * (1 + 1e-6 * (len(x) > 1)))
    assert together([0, 1], config, split, split, toy.CPU) == [[0], [1]]


@pytest.mark.parametrize("sections", toy.RULES.values(), ids=toy.RULES)
def test_resume_is_bit_equal_at_any_step(sections, tmp_path: Path) -> None:
    whole = toy.assert_resumes(lambda: engine_of(**sections), (1, 5, 7, 11, 19), tmp_path)
    assert whole.total_steps == 20 and whole.state().get("strategy/map_fitted", torch.ones(1)).all()


@pytest.mark.parametrize("sections", toy.RULES.values(), ids=toy.RULES)
def test_both_directions_at_once_train_as_one_after_the_other(sections, monkeypatch: pytest.MonkeyPatch) -> None:
    sections = sections | {"memory": sections.get("memory", {}) | {"size": 48}}  # 16 anchors with 64 candidates
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    at_once = mock.patch.object(step.Step, "select_both", autospec=True, side_effect=step.Step.select_both)
    with at_once as counted:
        both = toy.trained([0, 1], **sections)
    assert bool(counted.call_count) == (both.rule.selects_both or both.warmup.selects_both)
    monkeypatch.setattr(step, "BOTH", 0)
    each = toy.trained([0, 1], **sections)
    for name, value in each.state().items():
        torch.testing.assert_close(both.state()[name], value, rtol=0, atol=0, equal_nan=True, msg=name)


def test_a_checkpoint_of_another_run_is_set_aside_and_a_damaged_one_refused(tmp_path: Path, capsys) -> None:
    engine, path = toy.trained([1], stop=3), tmp_path / checkpoint.NAME
    checkpoint.save(engine, tmp_path, {"digest": "a"})
    saved = path.read_bytes()
    assert checkpoint.load(engine, tmp_path, {"digest": "b"}) is False
    assert "digest 'a', now 'b'" in capsys.readouterr().err
    assert (tmp_path / checkpoint.ASIDE).read_bytes() == saved and not path.exists()
    path.write_bytes(saved[:200])
    with pytest.raises(UserError, match=checkpoint.NAME):
        checkpoint.load(engine, tmp_path, {"digest": "a"})


def test_no_pick_is_ever_of_the_anchors_own_image_and_the_truth_of_picks_is_looked_up() -> None:
    false_negatives = 0
    for sections in toy.RULES.values():
        engine = toy.trained([0, 1], **sections)
        result = engine.picks.columns()
        assert len(result["anchor"]) > 50
        pairs = result["anchor"], result["candidate"]
        image, caption = (torch.where(result["direction"] == 0, *of) for of in (pairs, pairs[::-1]))
        assert (engine.train.caption_image[caption] != image).all()
        truth = toy.relevant(engine.train)[image, caption]
        assert torch.equal(result["false_negative"].int(), truth.int())
        false_negatives += int(truth.sum())
    assert false_negatives > 50


def test_selection_keeps_the_best_main_epoch_of_each_replicate() -> None:
    engine = toy.trained([0, 1, 2])
    for r, seed in enumerate(engine.seeds):
        rows = [row for row in engine.curves if row["seed"] == seed and row["phase"] == "main"]
        best = max(rows, key=lambda row: row["val_rsum"])
        assert engine.best_epoch[r] == best["epoch"] and engine.best_score[r] == best["val_rsum"]
    last = toy.trained([0], train={"selection": "last"})
    assert last.best_epoch[0] == 3
    assert all(torch.equal(last.best[k], v) for k, v in last.model.state_dict().items())


def test_a_diverged_replicate_is_never_selected_and_harms_no_other() -> None:
    fine, engine = toy.trained([0, 1]), engine_of()
    with torch.no_grad():
        engine.model.image.first.weight[1].fill_(math.nan)
    engine.run(lambda score: None)
    assert engine.best_epoch.tolist()[1] == -1
    for name, value in fine.best.items():
        assert torch.equal(engine.best[name][0], value[0])


def test_training_learns_and_the_collapse_alarm_rings_only_when_everything_looks_alike() -> None:
    learns = toy.trained([0], train={"epochs": 8})
    assert learns.curves[-1]["val_rsum"] > 2 * learns.curves[0]["val_rsum"]
    assert not any(row["collapsed"] for row in learns.curves)
    engine = engine_of(train={"learning_rate": 1e-12}, memory={"kind": "none"})
    with torch.no_grad():
        for side in (engine.model.image, engine.model.text):
            side.second.weight.zero_()
            side.second.bias.fill_(1.0)
    engine.run(lambda score: None)
    assert all(row["collapsed"] for row in engine.curves)


def test_plans_cover_every_image_once_and_pair_variants() -> None:
    split = toy.split()
    plan = EpochPlan.draw(split, [0, 7], 2, 16, "images")
    again = EpochPlan.draw(split, [7], 2, 16, "images")
    for both, alone in zip(plan.batches(), again.batches(), strict=True):
        assert all(torch.equal(part[1], other[0]) for part, other in zip(both, alone, strict=True))
    for r in range(2):
        assert sorted(plan.image_row[r].flatten().tolist()) == list(range(80))
        assert torch.equal(split.caption_image[plan.caption_row[r]], plan.image_row[r])
    epochs = [EpochPlan.draw(split, [0], epoch, 16, "images") for epoch in range(60)]
    assert not torch.equal(epochs[3].image_row[0], plan.image_row[0])
    seen = {row for epoch in epochs for row in epoch.caption_row.flatten().tolist()}
    assert seen == set(range(len(split.caption_image))), "every caption is drawn in time"
    captions = EpochPlan.draw(split, [0], 0, 16, "captions")
    rows = captions.caption_row.flatten().tolist()
    assert len(set(rows)) == len(rows) == len(split.caption_image) // 16 * 16
    assert torch.equal(split.caption_image[captions.caption_row], captions.image_row)


@pytest.mark.parametrize("unit", ["images", "captions"])
def test_an_epochs_draws_are_those_of_its_streams_in_whatever_stretches(unit: str, monkeypatch) -> None:
    split, seeds = toy.split(), [0, 7]
    monkeypatch.setattr("fne.training.data.STRETCH", 3)
    plan = EpochPlan.draw(split, seeds, 2, 8, unit)
    steps = plan.image_row.shape[1]
    assert plan.image_row.dtype == plan.caption_row.dtype == torch.int32 and steps >= 7
    shape = (steps, 2, 8)
    expected = {
        "sampler": [torch.rand(shape, generator=torch_stream(seed, "sampler", 2)) for seed in seeds],
        "dropout": [
            torch.randint(-(2**63), 2**63 - 1, shape, generator=torch_stream(seed, "dropout", 2)) for seed in seeds
        ],
        "relabel": [torch.rand(shape, generator=torch_stream(seed, "relabel", 2)) for seed in seeds],
    }
    for first in (0, 1, 3, 5):  # a resumed run begins within an epoch
        batches = list(plan.batches(first))
        assert len(batches) == steps - first
        for at, (image, caption, *draws) in enumerate(batches, start=first):
            assert torch.equal(image, plan.image_row[:, at]) and image.dtype == torch.int64
            assert torch.equal(split.caption_image[caption], image)
            for values, drawn in zip(expected.values(), draws, strict=True):
                assert torch.equal(torch.stack([value[at] for value in values]), drawn)


def test_learning_rate_by_hand() -> None:
    settings = {"learning_rate": 2.0, "lr_warmup_steps": 4, "schedule": "cosine"}
    assert [learning_rate(settings, step, 12) for step in (0, 3)] == [0.5, 2.0]
    assert learning_rate(settings, 8, 12) == pytest.approx(1.0) and 0 < learning_rate(settings, 11, 12) < 0.1
    assert learning_rate({**settings, "schedule": "constant"}, 8, 12) == 2.0
    settings |= {"lr_warmup_steps": 0, "schedule": "milestones", "milestones": [5, 15], "decay": 0.1, "epochs": 25}
    rates = [learning_rate(settings, step, 250) for step in (0, 49, 50, 149, 150, 249)]
    assert rates == pytest.approx([2, 2, 0.2, 0.2, 0.02, 0.02])


def test_clipping_is_per_replicate() -> None:
    model = DualEncoder("mlp", 3, 4, 5, 6, [torch.Generator().manual_seed(s) for s in (1, 2)])
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
        parameter.grad[1] *= 1e-3
    before = [p.grad.clone() for p in model.parameters()]
    clip_gradients(list(model.parameters()), 2.0)
    norms = [math.sqrt(sum(float(p.grad[r].double().square().sum()) for p in model.parameters())) for r in (0, 1)]
    assert norms[0] == pytest.approx(2.0, rel=1e-4)
    assert all(torch.equal(p.grad[1], g[1]) for p, g in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize("rule", ["none", "power"])
def test_rescaling_and_standardising_equal_numpy(rule: str) -> None:
    values = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)) * 3 + 2
    values[3], values[:, 2] = 0.0, 7.0
    plain = values.numpy()
    if rule == "power":
        plain = np.sign(plain) * np.sqrt(abs(plain))
        plain = plain / np.linalg.norm(plain, axis=1, keepdims=True)
    np.testing.assert_allclose(rescale(values, rule).numpy(), plain, atol=1e-6)
    spread = plain.std(0)
    expected = (plain - plain.mean(0)) / np.where(spread > 1e-6, spread, 1)  # a constant feature is not divided
    np.testing.assert_allclose(
        Standardiser.fit(Items(values, torch.arange(len(values))), rule, chunk=7)(values).numpy(), expected, atol=1e-5
    )


def test_attention_head_trains_and_ignores_padding() -> None:
    splits = toy.split(tokens=True), toy.split(seed=5, tokens=True)
    engine = toy.run(Engine(toy.config(model={"head": "attention"}), [0, 1], *splits, toy.CPU))
    assert engine.curves[-1]["val_rsum"] > engine.curves[0]["val_rsum"]
    x = torch.randn(2, 3, 4, 14, generator=torch.Generator().manual_seed(3))
    mask = torch.tensor([True, True, False, False]).expand(2, 3, 4)
    changed = x.clone()
    changed[:, :, 2:] = 100.0
    torch.testing.assert_close(engine.model.image(x, mask), engine.model.image(changed, mask))
    torch.testing.assert_close(engine.model.image(x, mask), engine.model.image(x[:, :, :2], mask[:, :, :2]))


def test_the_histograms_count_every_pick_of_the_main_phase_and_its_truth() -> None:
    """What the figure of false-negative picks is drawn from, recounted from a log of every pick."""
    engine = toy.trained([0, 1], audit={"picks": "full"})
    picks = engine.picks.columns()
    expected: dict[tuple, list[int]] = {}
    for seed, epoch, direction, s, truth in zip(
        *(picks[name].tolist() for name in ("seed", "epoch", "direction", "similarity", "false_negative")), strict=True
    ):
        if epoch >= 1:
            place = (seed, epoch, ("i2t", "t2i")[direction], min(39, math.floor((s + 1) / 0.05)))
            count = expected.setdefault(place, [0, 0])
            count[0] += 1
            count[1] += truth
    result = {
        (r, row["epoch"], row["direction"], round((row["bin_low"] + 1) / 0.05)): [row["picks"], row["false_negatives"]]
        for r in range(2)
        for row in engine.diagnostics.audit_rows(r)
        if row["picks"]
    }
    assert result == expected and sum(count[1] for count in expected.values()) > 10
