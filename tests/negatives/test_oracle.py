"""Oracles around any strategy: exact about true false negatives, and without effect where there are none."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch

from fne.negatives.oracle import draw_positive, exclude_by_truth
from fne.training.engine import Engine
from tests.rules import LOSSES, STRATEGIES
from tests.training import toy

ORACLES = ["remove", "relabel", "only"]


def engine_of(strategy: str | None, oracle: str, train=None, loss: str | None = None) -> tuple[Engine, list]:
    """A finished engine, and what the steps of its main phase saw."""
    config = toy.config(train={"batch_size": 40}, **toy.rule(strategy, loss, oracle=oracle))
    engine = Engine(config, [0, 1], train or toy.split(seed=3), toy.split(seed=5), toy.CPU)
    return engine, [step for step in toy.watched(engine) if step.main]


@pytest.mark.parametrize("oracle", ORACLES)
def test_masks_by_plain_loops(oracle: str) -> None:
    generator = torch.Generator().manual_seed(0)
    excluded = torch.rand(2, 5, 9, generator=generator) < 0.3
    known = torch.rand(2, 5, 9, generator=generator) < 0.2
    known[0, 0] = False
    excluded[0, 1] = known[0, 1]  # every true match is excluded anyway
    result = exclude_by_truth(oracle, excluded, known)
    for r, i in itertools.product(range(2), range(5)):
        out, true = excluded[r, i].tolist(), known[r, i].tolist()
        false = [is_true and not is_out for is_true, is_out in zip(true, out, strict=True)]
        if oracle != "only":
            expected = [is_out or is_true for is_true, is_out in zip(true, out, strict=True)]
        else:
            expected = [not is_false for is_false in false] if any(false) else out
        assert result[r, i].tolist() == expected


def test_the_positive_is_drawn_uniformly_by_plain_loops() -> None:
    generator = torch.Generator().manual_seed(1)
    excluded = torch.rand(2, 4, 9, generator=generator) < 0.3
    excluded[..., range(4), range(4)] = True
    known = torch.rand(2, 4, 9, generator=generator) < 0.3
    known[0, 0] = False
    draws = torch.arange(840) / 840 + 1e-4
    result = torch.stack([draw_positive(excluded, known, torch.full((2, 4), float(u))) for u in draws])
    for r, i in itertools.product(range(2), range(4)):
        may = [j for j in range(9) if j == i or (bool(known[r, i, j]) and not bool(excluded[r, i, j]))]
        counts = torch.bincount(result[:, r, i], minlength=9).tolist()
        assert sum(counts[j] for j in may) == 840
        assert all(abs(counts[j] - 840 / len(may)) <= 1 for j in may)
        assert may == [i] or (r, i) != (0, 0)


@pytest.mark.parametrize("strategy", ["hardest", "fne", "all", "fnc_attract"])
def test_remove_and_relabel_never_pick_a_true_false_negative(strategy: str) -> None:
    def picked(oracle: str) -> torch.Tensor:
        picks = [item for step in engine_of(strategy, oracle)[1] for item in step.picks]
        return torch.cat([item["false_negative"][item["picked"]] for item in picks])

    assert (picked("none") == 1).any()
    for oracle in ("remove", "relabel"):
        result = picked(oracle)
        assert len(result) > 0 and not (result == 1).any()


def test_relabel_trains_on_drawn_positives() -> None:
    """In a real step the loss of each anchor is the hinge between its drawn positive and its pick, by plain loops."""
    engine, steps = engine_of("hardest", "relabel")
    truth, moved = toy.relevant(engine.train), 0
    for step, r in itertools.product(steps, range(2)):
        batch, candidates, expected = step.context.batch, step.context.candidates, 0.0
        sides = (step.context.image, candidates.text), (step.context.text, candidates.image)
        for direction, i in itertools.product((0, 1), range(40)):
            (anchors, others), item = sides[direction], step.picks[direction]
            image, caption = batch.image_row[r, i].expand(len(others[r])), candidates.caption_row[r]
            if direction:
                image, caption = candidates.image_row[r], batch.caption_row[r, i].expand(len(others[r]))
            true = truth[image, caption] & (image >= 0) & (caption >= 0)
            true &= candidates.image_row[r] != batch.image_row[r, i]
            may = [j for j in range(len(others[r])) if j == i or true[j]]
            match = may[int(float(batch.relabel[r, direction, i]) * len(may))]
            moved += match != i
            positive = float(anchors[r, i].detach().double() @ others[r, match].detach().double())
            assert item["positive_similarity"][r, i].item() == pytest.approx(positive, abs=1e-5)
            expected += max(0.0, 0.2 + float(item["similarity"][r, i]) - positive)
        assert step.total[r].item() == pytest.approx(expected / 40, abs=1e-4)
    assert moved > 20


RULES = [(name, None) for name in STRATEGIES] + [(None, name) for name in LOSSES]


@pytest.mark.parametrize("rule", RULES, ids=[strategy or f"loss-{loss}" for strategy, loss in RULES])
def test_without_false_negatives_nothing_changes(rule: tuple[str | None, str | None]) -> None:
    """Prevalence 0: the same picks, the same weights, bit for bit, whatever the strategy, the loss and the oracle."""
    strategy, loss = rule
    split = toy.split(seed=3)
    own = split.caption_image.unsqueeze(-1) == torch.arange(len(split.caption_count))
    bare = dataclasses.replace(split, truth=toy.packed(own))
    plain, before = engine_of(strategy, "none", bare, loss)
    for oracle in ORACLES:
        wrapped, after = engine_of(strategy, oracle, bare, loss)
        pairs = [
            pair for steps in zip(before, after, strict=True) for pair in zip(*(s.picks for s in steps), strict=True)
        ]
        for (item, other), name in itertools.product(pairs, ("candidate", "picked", "anchor", "positive_similarity")):
            assert torch.equal(item[name], other[name]), (oracle, name)
        for name, value in plain.model.state_dict().items():
            assert torch.equal(value, wrapped.model.state_dict()[name]), (oracle, name)
        assert [row["val_rsum"] for row in plain.curves] == [row["val_rsum"] for row in wrapped.curves]
