"""The engine: replicates, resume, what a step computes, selection, plans and diagnostics."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fne.training import checkpoint
from fne.training.data import EpochPlan, Standardiser, rescale
from fne.training.engine import Engine, learning_rate
from fne.training.heads import DualEncoder
from fne.training.step import clip_gradients
from fne.utils.errors import UserError
from tests.training import toy

CPU = toy.CPU


def picks(engine: Engine) -> dict[str, torch.Tensor]:
    return engine.picks.columns()


@pytest.mark.parametrize("sections", toy.RULES.values(), ids=toy.RULES)
def test_a_replicate_equals_its_seed_alone(sections) -> None:
    block = toy.trained([0, 3, 8], **sections)
    together = picks(block)
    for r, seed in enumerate(block.seeds):
        alone = toy.trained([seed], **sections)
        for name, value in alone.model.state_dict().items():
            torch.testing.assert_close(block.model.state_dict()[name][r], value[0], rtol=1e-3, atol=1e-5)
        mine, own = together["seed"] == seed, picks(alone)
        for name in ("anchor", "candidate", "direction", "step", "false_negative", "from_queue"):
            assert torch.equal(together[name][mine], own[name]), name
        assert block.best_epoch[r] == alone.best_epoch[0]


@pytest.mark.parametrize("sections", toy.RULES.values(), ids=toy.RULES)
def test_resume_is_bit_equal_at_any_step(sections, tmp_path: Path) -> None:
    def make() -> Engine:
        return Engine(toy.config(**sections), [1, 2], toy.split(), toy.split(seed=5), CPU)

    whole = toy.assert_resumes(make, (1, 5, 7, 11, 19), tmp_path)
    assert whole.total_steps == 20 and whole.state().get("strategy/map_fitted", torch.ones(1)).all()


def test_a_checkpoint_of_another_run_is_set_aside_with_a_note(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    engine = toy.trained([1], stop=3)
    checkpoint.save(engine, tmp_path, {"digest": "a", "seeds": [1]})
    saved = (tmp_path / checkpoint.NAME).read_bytes()
    assert checkpoint.load(engine, tmp_path, {"digest": "b", "seeds": [1]}) is False
    assert "is of another run (digest 'a', now 'b'): set aside as" in capsys.readouterr().err
    assert (tmp_path / checkpoint.ASIDE).read_bytes() == saved and not (tmp_path / checkpoint.NAME).exists()


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    engine = toy.trained([1], stop=3)
    checkpoint.save(engine, tmp_path, {"digest": "a", "seeds": [1]})
    path = tmp_path / checkpoint.NAME
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match="not a readable checkpoint"):
        checkpoint.load(engine, tmp_path, {"digest": "a", "seeds": [1]})


def test_no_pick_is_ever_of_the_anchors_own_image_and_the_truth_of_picks_is_looked_up() -> None:
    false_negatives = 0
    for sections in toy.RULES.values():
        engine = toy.trained([0, 1], **sections)
        owner, result = engine.train.caption_image, picks(engine)
        assert len(result["anchor"]) > 50
        for direction in range(2):
            of = result["direction"] == direction
            anchor, candidate = result["anchor"][of], result["candidate"][of]
            image, caption = (anchor, candidate) if direction == 0 else (candidate, anchor)
            assert (owner[caption] != image).all()
            for i, c, fn in zip(image.tolist(), caption.tolist(), result["false_negative"][of].tolist(), strict=True):
                assert fn == int(engine.train.truth[c, i // 8]) >> (i % 8) & 1
        false_negatives += int(result["false_negative"].sum())
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
    fine = toy.trained([0, 1])
    engine = Engine(toy.config(), [0, 1], toy.split(), toy.split(seed=5), CPU)
    with torch.no_grad():
        engine.model.image.first.weight[1].fill_(math.nan)
    engine.run(lambda score: None)
    assert engine.best_epoch.tolist()[1] == -1
    for name, value in fine.best.items():
        assert torch.equal(engine.best[name][0], value[0])


def test_training_learns_and_the_alarm_is_silent() -> None:
    engine = toy.trained([0], train={"epochs": 8})
    assert engine.curves[-1]["val_rsum"] > 2 * engine.curves[0]["val_rsum"] or engine.curves[-1]["val_rsum"] > 4
    assert not any(row["collapsed"] for row in engine.curves)


def test_the_collapse_alarm_rings_when_everything_looks_alike() -> None:
    sections = toy.config(train={"learning_rate": 1e-12}, memory={"kind": "none"})
    engine = Engine(sections, [0], toy.split(), toy.split(seed=5), CPU)
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
    assert torch.equal(plan.image_row[1], again.image_row[0]) and torch.equal(plan.uniform[1], again.uniform[0])
    for r in range(2):
        assert sorted(plan.image_row[r].flatten().tolist()) == list(range(80))
        assert torch.equal(split.caption_image[plan.caption_row[r]], plan.image_row[r])
    other = EpochPlan.draw(split, [0], 3, 16, "images")
    assert not torch.equal(other.image_row[0], plan.image_row[0])
    captions = EpochPlan.draw(split, [0], 0, 16, "captions")
    rows = captions.caption_row.flatten().tolist()
    assert len(set(rows)) == len(rows) == len(split.caption_image) // 16 * 16
    assert torch.equal(split.caption_image[captions.caption_row], captions.image_row)


def test_every_caption_of_an_image_is_drawn_in_time() -> None:
    split = toy.split()
    seen = set()
    for epoch in range(60):
        seen.update(EpochPlan.draw(split, [0], epoch, 16, "images").caption_row.flatten().tolist())
    assert seen == set(range(len(split.caption_image)))


def test_learning_rate_by_hand() -> None:
    settings = {"learning_rate": 2.0, "lr_warmup_steps": 4, "schedule": "cosine"}
    assert [learning_rate(settings, step, 12) for step in (0, 3)] == [0.5, 2.0]
    assert learning_rate(settings, 8, 12) == pytest.approx(1.0)
    assert learning_rate({**settings, "schedule": "constant"}, 8, 12) == 2.0
    assert 0 < learning_rate(settings, 11, 12) < 0.1


def test_clipping_is_per_replicate() -> None:
    model = DualEncoder("mlp", 3, 4, 5, 6, [torch.Generator().manual_seed(s) for s in (1, 2)])
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
        parameter.grad[1] *= 1e-3
    before = [p.grad.clone() for p in model.parameters()]
    clip_gradients(model, 2.0)
    norms = [math.sqrt(sum(float(p.grad[r].double().square().sum()) for p in model.parameters())) for r in (0, 1)]
    assert norms[0] == pytest.approx(2.0, rel=1e-4)
    assert all(torch.equal(p.grad[1], g[1]) for p, g in zip(model.parameters(), before, strict=True))


def test_standardiser_by_numpy_and_constant_features() -> None:
    values = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) * 3 + 2
    values[:, 2] = 7.0
    result = Standardiser.fit(values)(values).numpy()
    expected = (values.numpy() - values.numpy().mean(0)) / np.where(
        values.numpy().std(0) > 1e-6, values.numpy().std(0), 1
    )
    np.testing.assert_allclose(result, expected, atol=1e-5)


def test_power_rescaling_by_loops_and_within_the_standardiser() -> None:
    values = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)) * 3
    values[3] = 0.0
    expected = []
    for row in values.tolist():
        rooted = [math.copysign(math.sqrt(abs(x)), x) for x in row]
        norm = math.sqrt(sum(x * x for x in rooted)) or 1.0
        expected.append([x / norm for x in rooted])
    np.testing.assert_allclose(rescale(values, "power").numpy(), expected, atol=1e-6)
    plain = np.asarray(expected)
    result = Standardiser.fit(values, rule="power")(values).numpy()
    np.testing.assert_allclose(result, (plain - plain.mean(0)) / plain.std(0), atol=1e-5)
    assert torch.equal(rescale(values, "none"), values)


def test_attention_head_trains_and_ignores_padding() -> None:
    sections = toy.config(model={"head": "attention"})
    train, val = toy.split(tokens=True), toy.split(seed=5, tokens=True)
    engine = Engine(sections, [0, 1], train, val, CPU)
    engine.run(lambda score: None)
    assert engine.curves[-1]["val_rsum"] > engine.curves[0]["val_rsum"]
    x = torch.randn(2, 3, 4, 14, generator=torch.Generator().manual_seed(3))
    mask = torch.tensor([True, True, False, False]).expand(2, 3, 4)
    changed = x.clone()
    changed[:, :, 2:] = 100.0
    torch.testing.assert_close(engine.model.image(x, mask), engine.model.image(changed, mask))
    torch.testing.assert_close(engine.model.image(x, mask), engine.model.image(x[:, :, :2], mask[:, :, :2]))


def test_the_histograms_count_every_pick_of_the_main_phase_and_its_truth() -> None:
    """What the figure of false-negative picks is drawn from, recounted from the picks of every step."""
    engine = Engine(toy.config(), [0, 1], toy.split(), toy.split(seed=5), CPU)
    expected: dict[tuple[int, int, str, int], list[int]] = {}
    original = engine.step_of.losses

    def spy(rule, context, moment):
        losses, kept = original(rule, context, replace(moment, keep=True))
        for direction, result in enumerate(kept if moment.main else []):
            for r in range(2):
                for i in range(result["anchor"].shape[1]):
                    if not result["picked"][r, i]:
                        continue
                    anchor, candidate = int(result["anchor"][r, i]), int(result["candidate"][r, i])
                    image, caption = (anchor, candidate) if direction == 0 else (candidate, anchor)
                    truth = int(engine.train.truth[caption, image // 8]) >> (image % 8) & 1
                    at = math.floor((float(result["similarity"][r, i]) + 1) / 0.05)
                    epoch = moment.step // engine.steps
                    count = expected.setdefault((r, epoch, ("i2t", "t2i")[direction], min(39, at)), [0, 0])
                    count[0] += 1
                    count[1] += truth
        return losses, kept if moment.keep else []

    engine.step_of.losses = spy
    engine.run(lambda score: None)
    result = {
        (r, row["epoch"], row["direction"], round((row["bin_low"] + 1) / 0.05)): [row["picks"], row["false_negatives"]]
        for r in range(2)
        for row in engine.diagnostics.audit_rows(r)
        if row["picks"]
    }
    assert result == expected
    assert sum(count[1] for count in expected.values()) > 10
