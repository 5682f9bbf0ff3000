"""A loop of one's own with the library: the engine's picks and weights, state, evaluation mode, and what is refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fne
from fne.losses.triplet import TripletLoss
from fne.negatives.all import AllNegatives
from fne.negatives.registry import registered
from fne.training.context import Guide
from fne.training.data import EpochPlan
from fne.training.engine import Engine, learning_rate
from fne.training.learner import HeadLearner
from fne.training.step import Batch, build_rule
from tests.training import toy

SEED, COLUMNS = 3, ("step", "direction", "anchor", "candidate")
DENSE = {name for name, entry in registered("negatives").items() if entry.negatives != ("one",)}
RULES = {
    name: sections
    for name, sections in toy.RULES.items()
    if name != "relabel" and sections.get("memory", {}).get("kind") != "bank" and "recalibration" not in str(sections)
}
"""Those that need neither truth nor a bank of the whole epoch."""


def queue(section: dict[str, Any], dim: int) -> fne.MemoryQueue | None:
    if section["kind"] == "none":
        return None
    return fne.MemoryQueue(section["size"], dim, initial=section["initial"], seed=SEED)


def by_hand(config: dict[str, Any]) -> tuple[HeadLearner, list[tuple]]:
    """Train as a loop of one's own would; picks of the main phase: step, direction, ids of anchors and of picks."""
    train, settings, memory = toy.split(), config["train"], config["memory"]
    learner = HeadLearner(config, [SEED], train, toy.CPU)
    optimizer = torch.optim.AdamW(learner.parameter_groups(settings["weight_decay"]), fused=True)
    rule, held = build_rule(config), queue(memory, learner.dim)
    sizes = len(train.caption_count), len(train.caption_image)
    warmup = fne.MatchingLoss(AllNegatives(), TripletLoss(margin=config["warmup"]["margin"]), seed=SEED)
    criterion = fne.MatchingLoss(rule.strategy, rule.loss, held, seed=SEED, sizes=sizes)
    slow = fne.MomentumEncoder(learner.model, memory["momentum"]) if memory["kind"] == "momentum" else None
    guide, step, picks = None, 0, []
    steps = len(train.caption_count) // settings["batch_size"]
    for epoch in range(settings["epochs"]):
        plan = EpochPlan.draw(train, [SEED], epoch, settings["batch_size"], settings["epoch_unit"])
        main = epoch >= config["warmup"]["epochs"]
        (criterion if main else warmup).start_epoch(epoch)
        if main and guide is None and "guide" in criterion.needs:
            guide = Guide(learner, train)
        for inputs, drawn in zip(learner.inputs(plan, 0), plan.batches(), strict=True):
            batch = Batch(*drawn)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(settings, step, settings["epochs"] * steps) * group["factor"]
            image, text = (side[0] for side in learner.embed(inputs, batch, step))
            ids = batch.image_row[0], batch.caption_row[0]
            past = None if slow is None else tuple(side[0] for side in learner.embed_past(slow.model, inputs))
            if main:
                judge = None if guide is None else (guide.image[0][ids[0]], guide.text[0][ids[1]])
                loss = criterion(image, text, *ids, momentum=past, guide=judge)
                picks += [(step, d, *ids, *criterion.picks[d]) for d in range(len(criterion.picks))]
            else:
                loss = warmup(image, text, *ids)
                if held is not None and memory["fill"] == "always":
                    entering = past or (image.detach(), text.detach())
                    held.push(*(side[None] for side in (*entering, *ids)), step)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            learner.clip(settings["gradient_clip"])
            optimizer.step()
            if slow is not None:
                slow.update(learner.model)
            step += 1
    return learner, picks


@pytest.mark.parametrize("sections", RULES.values(), ids=RULES)
def test_a_loop_of_ones_own_makes_the_engines_picks(sections) -> None:
    config = toy.config(**sections)
    engine = toy.run(Engine(config, [SEED], toy.split(), toy.split(seed=5), toy.CPU))
    learner, picks = by_hand(config)
    for name, value in engine.model.state_dict().items():
        torch.testing.assert_close(learner.model.state_dict()[name], value, rtol=1e-4, atol=1e-6, msg=name)
    if config["negatives"]["strategy"] in DENSE:
        return
    log, expected = engine.picks.columns(), {}
    for *place, candidate in zip(*(log[name].tolist() for name in COLUMNS), strict=True):
        expected[tuple(place)] = max(candidate, -1)
    here = {
        (step, direction, anchor): max(candidate, -1)
        for step, direction, image, text, picked_image, picked_text in picks
        for anchor, candidate in zip(
            *(side.tolist() for side in ((text, picked_image) if direction else (image, picked_text))), strict=True
        )
    }
    watched = {place: candidate for place, candidate in expected.items() if place[0] >= 5}  # after the warm-up
    assert len(watched) >= 96 and {place: here[place] for place in watched} == watched


def batch(size: int = 16, dim: int = 12, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(seed)
    image = torch.randn(size, dim, generator=draws)
    return image, image + torch.randn(size, dim, generator=draws), torch.arange(size) // 2


def criterion(**options: Any) -> fne.MatchingLoss:
    rule = fne.FalseNegativeElimination(min_positives=4)
    return fne.MatchingLoss(rule, fne.TripletLoss(), fne.MemoryQueue(40, dim=12), **options)


def test_resumed_from_its_state_it_goes_on_as_before(tmp_path: Path) -> None:
    def losses(module: fne.MatchingLoss, first: int, last: int) -> list[float]:
        return [float(module(*batch(seed=at))) for at in range(first, last)]

    whole, stopped = criterion(), criterion()
    expected = losses(whole, 0, 6)
    losses(stopped, 0, 3)
    torch.save(stopped.state_dict(), tmp_path / "state.pt")
    resumed, passed_on = criterion(seed=9), criterion()
    passed_on.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    resumed.load_state_dict(passed_on.state_dict())
    assert losses(resumed, 3, 6) == expected[3:]
    assert torch.equal(resumed.memory.ring.slots.image, whole.memory.ring.slots.image)


def test_an_epoch_begins_the_same_after_a_resume() -> None:
    whole, resumed = criterion(), criterion()
    whole(*batch())
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    for module in (whole, resumed):
        module.start_epoch(1)
        module(*batch(seed=1))
    assert torch.equal(whole.rule.strategy.state()["pos_count"], resumed.rule.strategy.state()["pos_count"])


def test_pairs_without_ids_are_never_the_same_image() -> None:
    module = criterion()
    for size in (16, 5, 16):  # the last batch of an epoch is smaller
        module(*batch(size)[:2])
    assert sorted(module.memory.ring.slots.image_row[0].tolist()) == [-2, -2, -2, *range(37)]


def test_evaluation_learns_nothing_and_uses_no_draw() -> None:
    module = criterion()
    module(*batch())
    before = copy.deepcopy(module.state_dict())
    module.eval()(*batch(seed=1))
    torch.testing.assert_close(module.state_dict(), before, rtol=0, atol=0)


def test_half_precision_is_computed_in_single() -> None:
    image, text, ids = batch()
    half = image.bfloat16().requires_grad_(), text.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = criterion()(*half, ids)
    loss.backward()
    assert loss.dtype == torch.float32 and half[0].grad is not None
    torch.testing.assert_close(loss, criterion()(half[0].float(), half[1].float(), ids))


def test_every_negative_under_a_scale_is_twice_the_loss_of_clip() -> None:
    image, text, _ = batch()
    module = fne.MatchingLoss(fne.AllNegatives(), fne.InfoNCE())
    logits = 30 * torch.nn.functional.cosine_similarity(image[:, None], text[None], dim=-1)
    both = [torch.nn.functional.cross_entropy(side, torch.arange(16)) for side in (logits, logits.T)]
    torch.testing.assert_close(module(image, text, scale=30.0) / 2, sum(both) / 2)


def test_a_learned_scale_takes_the_place_of_the_temperature() -> None:
    module = fne.MatchingLoss(fne.AllNegatives(), fne.InfoNCE(temperature=0.1))
    scale = torch.tensor(10.0, requires_grad=True)
    learned = module(*batch(), scale=scale)
    torch.testing.assert_close(learned, module(*batch()))
    learned.backward()
    assert scale.grad != 0
    with pytest.raises(ValueError, match="TripletLoss has no temperature"):
        criterion()(*batch(), scale=scale)


def test_a_batch_that_is_not_finite_leaves_no_trace() -> None:
    clean, other = criterion(), criterion()
    for at in range(6):
        image, text, ids = batch(seed=at)
        assert clean(image, text, ids + 8 * at) == other(image, text, ids + 8 * at)
        broken = image.index_fill(0, torch.tensor(3), float("inf" if at % 2 else "nan"))
        assert other(broken, text, ids + 8 * at).isnan()
    for one, two in zip(clean.state_dict().values(), other.state_dict().values(), strict=True):
        assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("kind", [np.uint16, np.uint32, np.uint64, np.int8])
def test_ids_are_any_integers(kind: type) -> None:
    image, text, ids = batch()
    assert criterion()(image, text, ids.numpy().astype(kind)) == criterion()(image, text, ids)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (
            lambda i, t, ids: fne.MatchingLoss(fne.AllNegatives(), fne.SelectivelyContrastiveTripletLoss()),
            "AllNegatives",
        ),
        (lambda i, t, ids: fne.MatchingLoss(fne.HardestNegative, fne.TripletLoss), "objects"),
        (lambda i, t, ids: fne.MatchingLoss(fne.GloFND(), fne.InfoNCE()), "sizes="),
        (
            lambda i, t, ids: fne.MatchingLoss(fne.GloFND(), fne.InfoNCE(), sizes=(9, 9))(i, t, ids, ids + 2),
            "below 9 .* 2 to 9",
        ),
        (lambda i, t, ids: fne.MatchingLoss(fne.GISTEmbed(), fne.InfoNCE())(i, t, ids), "guide="),
        (lambda i, t, ids: criterion()(i, t[:3], ids), r"text embeddings are \(16, D\)"),
        (lambda i, t, ids: criterion()(i[:, :5], t[:, :5], ids), "dim=12"),
        (lambda i, t, ids: criterion()(i, t, ids[:3]), "3 ids for 16 pairs"),
        (lambda i, t, ids: criterion()(i, t, ids - 5), "not negative"),
        (lambda i, t, ids: criterion()(i, t, ids.float()), "integer"),
        (lambda i, t, ids: criterion()(i, t, [f"{n}.jpg" for n in ids]), "integer"),
        (lambda i, t, ids: criterion()(i.numpy(), t, ids), "image embeddings are a .* tensor, got ndarray"),
        (lambda i, t, ids: criterion()(i[:0], t[:0]), r"B >= 1"),
        (lambda i, t, ids: criterion()(i[0, 0], t, ids), r"image embeddings are \(B >= 1, D\)"),
        (lambda i, t, ids: criterion()(i, t, ids, momentum=i), "momentum= takes two"),
        (lambda i, t, ids: criterion()(i, t, ids, momentum=(i[:, :5], t[:, :5])), r"\(16, 5\), \(16, 12\)"),
        (
            lambda i, t, ids: fne.MatchingLoss(fne.HardestNegative(), fne.TripletLoss(), 64),
            "MemoryQueue or None, got 64",
        ),
        (lambda i, t, ids: fne.MomentumEncoder(torch.nn.Linear(4, 4)).update(torch.nn.Linear(4, 1)), "or shape"),
        (lambda i, t, ids: fne.MemoryQueue(0, 3), "size >= 1"),
        (lambda i, t, ids: fne.MomentumEncoder(torch.nn.Linear(1, 1), 2.0), "between 0 and 1"),
    ],
)
def test_what_does_not_fit_is_refused(call, error: str) -> None:
    with pytest.raises((ValueError, TypeError), match=error):
        call(*batch())
