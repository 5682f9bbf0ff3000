"""Oracles around any strategy: exact about true false negatives, and without effect where there are none."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from fne.negatives.oracle import draw_positive, exclude_by_truth
from fne.training.engine import Engine
from tests.rules import LOSSES, STRATEGIES
from tests.training import toy

CPU = torch.device("cpu")
BASES = ["hardest", "fne", "random", "all", "fnc_attract", "gist"]
ORACLES = ["remove", "relabel", "only"]


def engine_of(
    strategy: str | None, oracle: str, train=None, loss: str | None = None, images: int = 80
) -> tuple[Engine, list[dict]]:
    """An engine, and the picks of every step of its main phase."""
    rule = toy.rule(strategy, loss)
    rule["negatives"]["oracle"] = oracle
    config = toy.config(train={"batch_size": 40}, **rule)
    engine = Engine(config, [0, 1], train or toy.split(images, seed=3), toy.split(seed=5), CPU)
    result: list[dict] = []
    losses = engine.step_of.losses

    def watched(rule, context, moment):
        total, picks = losses(rule, context, dataclasses.replace(moment, keep=True))
        if moment.main:
            seen = {"total": total.detach(), "candidates": context.candidates, "batch": context.batch}
            seen |= {"anchors": [context.image.detach(), context.text.detach()]}
            result.extend({name: value.clone() for name, value in item.items()} | seen for item in picks)
        return total, picks if moment.keep else []

    engine.step_of.losses = watched
    engine.run(lambda score: None)
    return engine, result


@pytest.mark.parametrize("oracle", ORACLES)
def test_masks_by_plain_loops(oracle: str) -> None:
    generator = torch.Generator().manual_seed(0)
    excluded = torch.rand(2, 5, 9, generator=generator) < 0.3
    known = torch.rand(2, 5, 9, generator=generator) < 0.2
    known[0, 0] = False
    excluded[0, 1] = known[0, 1]  # every true match is excluded anyway
    result = exclude_by_truth(oracle, excluded, known)
    for r in range(2):
        for i in range(5):
            false = [bool(known[r, i, j]) and not bool(excluded[r, i, j]) for j in range(9)]
            for j in range(9):
                if oracle in ("remove", "relabel"):
                    expected = bool(excluded[r, i, j]) or bool(known[r, i, j])
                else:
                    expected = not false[j] if any(false) else bool(excluded[r, i, j])
                assert bool(result[r, i, j]) == expected


def test_the_positive_is_drawn_uniformly_by_plain_loops() -> None:
    generator = torch.Generator().manual_seed(1)
    excluded = torch.rand(2, 4, 9, generator=generator) < 0.3
    excluded[..., range(4), range(4)] = True
    known = torch.rand(2, 4, 9, generator=generator) < 0.3
    known[0, 0] = False
    draws = torch.arange(840) / 840 + 1e-4
    result = torch.stack([draw_positive(excluded, known, torch.full((2, 4), float(u))) for u in draws])
    for r in range(2):
        for i in range(4):
            may = [j for j in range(9) if j == i or (bool(known[r, i, j]) and not bool(excluded[r, i, j]))]
            counts = [int((result[:, r, i] == j).sum()) for j in range(9)]
            assert sum(counts[j] for j in may) == 840
            assert all(abs(counts[j] - 840 / len(may)) <= 1 for j in may)
            assert may == [i] or (r, i) != (0, 0)


@pytest.mark.parametrize("strategy", BASES)
@pytest.mark.parametrize("oracle", ["remove", "relabel"])
def test_remove_and_relabel_never_pick_a_true_false_negative(strategy: str, oracle: str) -> None:
    _, plain = engine_of(strategy, "none")
    assert sum(int((item["false_negative"] == 1)[item["picked"]].sum()) for item in plain) > 0
    _, removed = engine_of(strategy, oracle)
    assert sum(int(item["picked"].sum()) for item in removed) > 0
    assert not any((item["false_negative"] == 1)[item["picked"]].any() for item in removed)


@pytest.mark.parametrize("strategy", BASES[:4])  # the others may drop what the oracle leaves them
def test_only_always_picks_one_where_there_is_one(strategy: str) -> None:
    engine, picks = engine_of(strategy, "only")
    dense = engine.train.truth
    seen = 0
    for direction, item in [(at % 2, pick) for at, pick in enumerate(picks)]:
        candidates, batch = item["candidates"], item["batch"]
        for r in range(2):
            for i in range(item["picked"].shape[1]):
                image = int(batch.image_row[r, i])
                others = candidates.caption_row[r] if direction == 0 else candidates.image_row[r]
                holds = False
                for j in range(len(others)):
                    other, owner = int(others[j]), int(candidates.image_row[r, j])
                    if other < 0 or owner == image:
                        continue
                    c, n = (other, image) if direction == 0 else (int(batch.caption_row[r, i]), other)
                    holds |= bool((int(dense[c, n // 8]) >> (n % 8)) & 1)
                if holds:
                    seen += 1
                    assert item["picked"][r, i] and item["false_negative"][r, i] == 1
    assert seen > 20


def test_relabel_trains_on_drawn_positives() -> None:
    """In a real step the loss of each anchor is the hinge between its drawn positive and its pick, by plain loops."""
    engine, picks = engine_of("hardest", "relabel")
    moved = 0
    for both in zip(picks[::2], picks[1::2], strict=True):
        batch, candidates = both[0]["batch"], both[0]["candidates"]
        for r in range(2):
            expected = 0.0
            for direction, item in enumerate(both):
                anchors, others = item["anchors"][direction], (candidates.text, candidates.image)[direction].detach()
                for i in range(40):
                    may = []
                    for j in range(others.shape[1]):
                        row = (int(batch.image_row[r, i]), int(candidates.caption_row[r, j]))
                        if direction:
                            row = (int(candidates.image_row[r, j]), int(batch.caption_row[r, i]))
                        own_image = candidates.image_row[r, j] == batch.image_row[r, i]
                        true = min(row) >= 0 and int(engine.train.truth[row[1], row[0] // 8]) >> (row[0] % 8) & 1
                        if j == i or (true and not own_image):
                            may.append(j)
                    match = may[int(float(batch.relabel[r, direction, i]) * len(may))]
                    moved += match != i
                    positive = float(anchors[r, i].double() @ others[r, match].double())
                    negative = float(item["similarity"][r, i])
                    assert item["positive_similarity"][r, i].item() == pytest.approx(positive, abs=1e-5)
                    expected += max(0.0, 0.2 + negative - positive)
            assert both[0]["total"][r].item() == pytest.approx(expected / 40, abs=1e-4)
    assert moved > 20


RULES = [(name, None) for name in STRATEGIES] + [(None, name) for name in LOSSES]


@pytest.mark.parametrize("rule", RULES, ids=[strategy or f"loss-{loss}" for strategy, loss in RULES])
def test_without_false_negatives_nothing_changes(rule: tuple[str | None, str | None]) -> None:
    """Prevalence 0: the same picks, the same weights, bit for bit, whatever the strategy, the loss and the oracle."""
    strategy, loss = rule
    split = toy.split(seed=3)
    own = torch.zeros(len(split.caption_image), len(split.caption_count), dtype=torch.bool)
    own[torch.arange(len(split.caption_image)), split.caption_image] = True
    bits = torch.nn.functional.pad(own, (0, -own.shape[1] % 8)).reshape(len(own), -1, 8).long()
    bare = dataclasses.replace(split, truth=(bits << torch.arange(8)).sum(dim=-1).to(torch.uint8))
    plain, first = engine_of(strategy, "none", bare, loss)
    for oracle in ORACLES:
        wrapped, second = engine_of(strategy, oracle, bare, loss)
        for item, other in zip(first, second, strict=True):
            for name in ("candidate", "picked", "anchor", "similarity", "positive_similarity"):
                assert torch.equal(item[name], other[name]), (oracle, name)
        for name, value in plain.model.state_dict().items():
            assert torch.equal(value, wrapped.model.state_dict()[name]), (oracle, name)
        keys = [key for key in plain.curves[0] if key.startswith("val_")]
        assert [[row[key] for key in keys] for row in plain.curves] == [
            [row[key] for key in keys] for row in wrapped.curves
        ]
