"""Oracles around any strategy: exact about true false negatives, and without effect where there are none."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from fne.negatives.oracle import exclude_by_truth
from fne.training.engine import Engine
from tests.training import toy

CPU = torch.device("cpu")
BASES = ["hardest", "fne", "random"]


def engine_of(strategy: str, oracle: str, train=None) -> tuple[Engine, list[dict]]:
    """An engine, and the picks of every step of its main phase."""
    base = toy.config(train={"batch_size": 40}, negatives={"strategy": strategy, "oracle": oracle})
    engine = Engine(base, [0, 1], train or toy.split(seed=3), toy.split(seed=5), CPU)
    found: list[dict] = []
    losses = engine.step_of.losses

    def watched(*args, **kwargs):
        total, picks = losses(*args, **{**kwargs, "watch": True})
        if kwargs["main"]:
            found.extend({name: value.clone() for name, value in one.items()} for one in picks)
            found[-1]["candidates"] = args[3]
            found[-1]["batch"] = args[4]
        return total, picks

    engine.step_of.losses = watched
    engine.run(lambda score: None)
    return engine, found


@pytest.mark.parametrize("oracle", ["remove", "only"])
def test_masks_by_plain_loops(oracle: str) -> None:
    generator = torch.Generator().manual_seed(0)
    excluded = torch.rand(2, 5, 9, generator=generator) < 0.3
    known = torch.rand(2, 5, 9, generator=generator) < 0.2
    known[0, 0] = False
    excluded[0, 1] = known[0, 1]  # every true match is excluded anyway
    found = exclude_by_truth(oracle, excluded, known)
    for r in range(2):
        for i in range(5):
            false = [bool(known[r, i, j]) and not bool(excluded[r, i, j]) for j in range(9)]
            for j in range(9):
                if oracle == "remove":
                    expected = bool(excluded[r, i, j]) or bool(known[r, i, j])
                else:
                    expected = not false[j] if any(false) else bool(excluded[r, i, j])
                assert bool(found[r, i, j]) == expected


@pytest.mark.parametrize("strategy", BASES)
def test_remove_never_picks_a_true_false_negative(strategy: str) -> None:
    _, plain = engine_of(strategy, "none")
    assert sum(int((one["false_negative"] == 1)[one["picked"]].sum()) for one in plain) > 0
    _, removed = engine_of(strategy, "remove")
    assert sum(int(one["picked"].sum()) for one in removed) > 0
    assert not any((one["false_negative"] == 1)[one["picked"]].any() for one in removed)


@pytest.mark.parametrize("strategy", BASES)
def test_only_always_picks_one_where_there_is_one(strategy: str) -> None:
    engine, picks = engine_of(strategy, "only")
    dense = engine.train.truth
    seen = 0
    for direction, one in [(at % 2, pick) for at, pick in enumerate(picks)]:
        if "candidates" not in one:
            one = one | {key: picks[picks_index(picks, one) + 1][key] for key in ("candidates", "batch")}
        candidates, batch = one["candidates"], one["batch"]
        for r in range(2):
            for i in range(one["picked"].shape[1]):
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
                    assert one["picked"][r, i] and one["false_negative"][r, i] == 1
    assert seen > 20


def picks_index(picks: list[dict], one: dict) -> int:
    return next(at for at, other in enumerate(picks) if other is one)


@pytest.mark.parametrize("strategy", BASES)
@pytest.mark.parametrize("oracle", ["remove", "only"])
def test_without_false_negatives_nothing_changes(strategy: str, oracle: str) -> None:
    """Prevalence 0: the same picks, the same weights, bit for bit."""
    split = toy.split(seed=3)
    own = torch.zeros(len(split.caption_image), len(split.caption_count), dtype=torch.bool)
    own[torch.arange(len(split.caption_image)), split.caption_image] = True
    bits = torch.nn.functional.pad(own, (0, -own.shape[1] % 8)).reshape(len(own), -1, 8).long()
    bare = dataclasses.replace(split, truth=(bits << torch.arange(8)).sum(dim=-1).to(torch.uint8))
    plain, first = engine_of(strategy, "none", bare)
    wrapped, second = engine_of(strategy, oracle, bare)
    for one, other in zip(first, second, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in ("candidate", "picked", "anchor"))
    for name, value in plain.model.state_dict().items():
        assert torch.equal(value, wrapped.model.state_dict()[name])
