"""Every selection formula against plain loops in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fne.negatives.all import AllNegatives
from fne.negatives.hardest import HardestNegative
from fne.negatives.random import RandomNegative
from fne.negatives.statistics import PairStatistics
from fne.negatives.strategy import draw
from tests.negatives.released import fne, moments
from tests.rules import STRATEGIES


def normal(x: float, mean: float, var: float) -> float:
    return math.exp(-((x - mean) ** 2) / (2 * var)) / math.sqrt(2 * math.pi * var)


def scene(batch: int = 7, count: int = 60, seed: int = 1):
    rng = np.random.default_rng(seed)
    similarities = rng.uniform(-0.3, 0.9, (batch, count))
    excluded = rng.random((batch, count)) < 0.15
    excluded[range(batch), range(batch)] = True
    return similarities, excluded, rng.uniform(0.3, 0.8, batch)


def slow_weights(similarities, excluded, positive, summary, options) -> np.ndarray:
    """The table of method and docstring, one number at a time."""
    out = np.zeros_like(similarities)
    for i in range(len(similarities)):
        for j in range(similarities.shape[1]):
            s = similarities[i, j]
            base = math.exp(-options["tau"] * (s - positive[i]) ** 2)
            weight = base
            if options["elimination"] != "none" and summary["pos_count"] > options["min_positives"]:
                pos = normal(s, summary["pos_mean"], summary["pos_var"])
                neg = normal(s, summary["neg_mean"], summary["neg_var"])
                p = pos / (pos + (1 / options["prior"] - 1) * neg)
                if options["elimination"] == "released":
                    weight = math.exp(-options["tau"] * p) if p > options["posterior_threshold"] else base
                elif options["elimination"] == "power":
                    weight = base * (1 - p) ** options["elimination_power"]
                else:
                    weight = 0.0 if p > options["elimination_threshold"] else base
            if options["cut_down"] == "global" and s <= summary["pos_mean"] - 0.2:
                weight = 0.0
            if options["cut_down"] == "anchor" and s <= positive[i] - 0.2:
                weight = 0.0
            out[i, j] = 0.0 if excluded[i, j] else weight
    return out


def load(strategy, **summary: float) -> None:
    strategy.statistics.load_summary({k: torch.tensor(float(v), dtype=torch.float64) for k, v in summary.items()})


@pytest.mark.parametrize(
    "changed",
    [
        {"elimination": "released"},
        {"elimination": "none"},
        *({"elimination": "power", "elimination_power": k} for k in (1.0, 4.0)),
        *({"elimination": "threshold", "elimination_threshold": t} for t in (0.02, 0.5)),
    ],
)
@pytest.mark.parametrize("cut_down", ["global", "anchor", "none"])
@pytest.mark.parametrize("count", [150, 201])
def test_fne_weights(changed: dict, cut_down: str, count: int) -> None:
    similarities, excluded, positive = scene()
    released = {name: key.default for name, key in STRATEGIES["fne"].options.items()}
    options = {**released, **changed, "cut_down": cut_down, "prior": 0.01}
    summary = dict(pos_mean=0.55, pos_var=0.02, neg_mean=0.35, neg_var=0.03, pos_count=count, neg_count=2 * count)
    strategy = fne(**options)
    load(strategy, **summary)
    weights, probability, overridden = strategy.weights(*map(torch.from_numpy, (similarities, excluded, positive)))
    expected = slow_weights(similarities, excluded, positive, summary, options)
    np.testing.assert_allclose(weights.numpy(), expected, atol=1e-12)
    if changed["elimination"] == "none":
        assert probability is None and overridden is None
        return
    assert bool((probability > 0).any()) == (count > 200)
    hard = "elimination_threshold" if changed["elimination"] == "threshold" else "posterior_threshold"
    assert torch.equal(overridden, probability > options[hard])
    if count > 200 and options["elimination_threshold"] == 0.02:
        assert 0 < overridden.sum() < overridden.numel(), "both branches were compared"


def test_statistics_equal_plain_loops_over_two_batches_and_reset() -> None:
    rng, statistics, batches = np.random.default_rng(4), PairStatistics(), []
    for _ in range(2):
        s = rng.uniform(-1, 1, (9, 9))
        s[range(9), range(9)] += 1.2 * (rng.random(9) < 0.7)
        statistics.update(torch.from_numpy(s), torch.eye(9, dtype=torch.bool))
        batches.append(s.tolist())
    summary = statistics.summary()
    for side, (count, mean, variance) in moments(batches).items():
        assert summary[f"{side}_count"].item() == count >= 4
        assert summary[f"{side}_mean"].item() == pytest.approx(mean, abs=1e-12)
        assert summary[f"{side}_var"].item() == pytest.approx(variance, abs=1e-12)
    statistics.reset()
    assert statistics.summary() is None


def test_same_image_statistics_ignore_other_captions_of_the_image() -> None:
    s = torch.tensor([[0.9, 0.8, 0.1], [0.8, 0.95, 0.2], [0.1, 0.2, 0.9]], dtype=torch.float64)
    same = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    result = {}
    for mask in ("diagonal", "same_image"):
        strategy = fne(statistics_mask=mask)
        strategy.observe(s, same)
        result[mask] = strategy.statistics.summary()["neg_mean"].item()
    assert result["diagonal"] == pytest.approx((0.8 * 4 + 0.2 * 2) / 6)
    assert result["same_image"] == pytest.approx((0.1 * 2 + 0.2 * 4) / 6)


@pytest.mark.parametrize(("reset", "forgets"), [("epoch", True), ("never", False), ("ema", False)])
def test_statistics_are_reset_each_epoch_only_where_requested(reset: str, forgets: bool) -> None:
    strategy = fne(statistics_reset=reset)
    strategy.observe(torch.eye(3).double(), torch.eye(3, dtype=torch.bool))
    strategy.start_epoch()
    assert (strategy.statistics.summary() is None) == forgets


def test_draw_follows_the_weights() -> None:
    weights, n = torch.tensor([[0.0, 3.0, 1.0, 0.0, 4.0, 0.0]]), 80_000
    uniform = (torch.arange(n, dtype=torch.float64) + 0.5).div(n).float()
    share = torch.bincount(draw(weights.expand(n, -1), uniform), minlength=6) / n
    torch.testing.assert_close(share, weights[0] / 8, atol=1e-4, rtol=0)
    assert draw(weights, torch.tensor([0.0])).item() == 1
    assert draw(weights, torch.tensor([1 - 2**-24])).item() == 4


def test_an_all_zero_row_of_fne_takes_its_hardest_negative() -> None:
    strategy = fne()
    load(strategy, pos_mean=0.9, pos_var=0.01, neg_mean=0.3, neg_var=0.01, pos_count=300, neg_count=600)
    similarities = torch.tensor([[0.9, 0.2, 0.5, 0.4]])
    excluded = torch.tensor([[True, False, False, False]])
    selection = strategy.select(similarities, excluded, torch.tensor([0.9]), torch.tensor([0.3]))
    assert selection.fallback.item() and selection.index.item() == 2


def test_hardest_random_and_all_equal_their_definitions() -> None:
    similarities, excluded, positive = scene(seed=5)
    excluded[3] = True
    tensors = [torch.from_numpy(x) for x in (similarities, excluded, positive)]
    uniform = torch.linspace(0, 0.999, len(similarities))
    picked = HardestNegative().select(*tensors, uniform)
    dense = AllNegatives().select(*tensors, uniform)
    chance = RandomNegative().select(*tensors, uniform)
    for i in range(len(similarities)):
        allowed = [j for j in range(similarities.shape[1]) if not excluded[i, j]]
        assert bool(picked.valid[i]) == bool(allowed)
        assert [j for j in range(similarities.shape[1]) if dense.weights[i, j] == 1] == allowed
        if allowed:
            assert picked.index[i].item() == max(allowed, key=lambda j, i=i: similarities[i, j])
            assert chance.index[i].item() == allowed[int(uniform[i].item() * len(allowed))]
