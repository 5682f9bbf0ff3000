"""The rivals that pick one negative, against plain loops in float64, and what the config refuses of them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from fne.negatives.distance_weighted import DistanceWeightedSampling
from fne.negatives.semi_hard import SemiHardNegative
from fne.negatives.simans import SimANS
from fne.negatives.strategy import Strategy
from fne.negatives.topk_margin import TopKMarginPos
from fne.negatives.topk_perc import TopKPercPos
from fne.study import api as config
from fne.training.step import build_rule
from tests.projects import Project

THRESHOLDS = {
    "semi_hard": (SemiHardNegative(), lambda s, own: s < own),
    "topk_margin": (TopKMarginPos(absolute_margin=0.05), lambda s, own: s <= own - 0.05),
    "topk_perc": (TopKPercPos(relative_margin=0.3), lambda s, own: s <= own - 0.3 * abs(own)),
}


def scene(dtype: torch.dtype, rows: int = 60, count: int = 9, seed: int = 2):
    """Few candidates and positives of every height: some rows keep nothing, one row has no candidate at all."""
    rng = np.random.default_rng(seed)
    similarities = torch.from_numpy(rng.uniform(-0.9, 0.9, (rows, count))).to(dtype)
    similarities[1, 0], similarities[2] = torch.nan, torch.nan
    excluded = torch.from_numpy(rng.random((rows, count)) < 0.3)
    excluded[0] = True
    positive = torch.from_numpy(rng.uniform(-0.9, 0.9, rows)).to(dtype)
    return similarities, excluded, positive, torch.from_numpy(rng.random(rows)).float()


def loops(similarities: torch.Tensor, excluded: torch.Tensor, positive: torch.Tensor):
    """Row number, allowed candidates, similarities and the positive's, as Python floats."""
    for i, (row, out, own) in enumerate(zip(similarities.tolist(), excluded.tolist(), positive.tolist(), strict=True)):
        yield i, [j for j, s in enumerate(row) if not out[j] and not math.isnan(s)], row, own


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", THRESHOLDS)
def test_thresholds_equal_plain_loops(name: str, dtype: torch.dtype) -> None:
    strategy, keeps = THRESHOLDS[name]
    similarities, excluded, positive, uniform = scene(dtype, rows=400)
    result = strategy.select(similarities, excluded, positive, uniform)
    fallbacks = 0
    for i, allowed, s, own in loops(similarities, excluded, positive):
        kept = [j for j in allowed if keeps(s[j], own)]
        assert result.valid[i].item() == bool(allowed)
        assert result.fallback[i].item() == (bool(allowed) and not kept)
        if kept:
            assert result.index[i].item() == max(kept, key=lambda j, s=s: s[j])
        elif allowed:
            assert result.index[i].item() == min(allowed, key=lambda j, s=s: s[j])
            fallbacks += 1
    assert 10 < fallbacks < 200


def test_a_candidate_on_the_limit_is_kept_by_nv_retriever_and_not_semi_hard() -> None:
    def picked(strategy: Strategy, *similarities: float) -> int:
        row = torch.tensor([similarities], dtype=torch.float64)
        own, half = torch.tensor([0.5], dtype=torch.float64), torch.tensor([0.5])
        return strategy.select(row, torch.zeros_like(row, dtype=torch.bool), own, half).index.item()

    assert picked(SemiHardNegative(), 0.25, 0.5, 0.75) == 0
    assert picked(TopKMarginPos(absolute_margin=0.25), 0.125, 0.25, 0.375) == 1
    assert picked(TopKPercPos(relative_margin=0.5), 0.125, 0.25, 0.375) == 1


def distance_weight(s: float, dim: int, low: float, high: float) -> float:
    distance = max(math.sqrt(2 - 2 * s), low)
    if distance >= high:
        return 0.0
    return distance ** (2 - dim) * (1 - distance**2 / 4) ** (-(dim - 3) / 2)


WEIGHTS = {
    "simans": (SimANS(sharpness=0.5, offset=0.0), lambda s, own: math.exp(-0.5 * (s - own) ** 2)),
    "simans_below": (SimANS(sharpness=30.0, offset=-0.2), lambda s, own: math.exp(-30 * (s - own + 0.2) ** 2)),
    "distance_2": (DistanceWeightedSampling(min_distance=0.5, max_distance=1.4, dim=2),
                   lambda s, own: distance_weight(s, 2, 0.5, 1.4)),
    "distance_3": (DistanceWeightedSampling(min_distance=0.5, max_distance=2.0, dim=3),
                   lambda s, own: distance_weight(s, 3, 0.5, 2.0)),
    "distance_256": (DistanceWeightedSampling(min_distance=0.7, max_distance=1.2, dim=256),
                     lambda s, own: distance_weight(s, 256, 0.7, 1.2)),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_and_draws_equal_plain_loops(name: str, dtype: torch.dtype) -> None:
    strategy, weight = WEIGHTS[name]
    similarities, excluded, positive, uniform = scene(dtype, count=7)
    result = strategy.select(similarities, excluded, positive, uniform)
    for i, allowed, s, own in loops(similarities, excluded, positive):
        expected = np.array([weight(s[j], own) if j in allowed else 0.0 for j in range(len(s))])
        assert result.valid[i].item() == bool(allowed)
        assert result.fallback[i].item() == (bool(allowed) and not expected.any())
        if not expected.any():
            expected = np.array([float(j in allowed) for j in range(len(s))])
        weights = result.weights[i].double().numpy()
        tolerance = 1e-12 if dtype == torch.float64 else 1e-3  # log weights of up to 100 in float32
        np.testing.assert_allclose(weights * expected.sum(), expected * weights.sum(), rtol=tolerance, atol=1e-30)
        if allowed:
            cumulative = np.cumsum(expected) / expected.sum()
            drawn, u = result.index[i].item(), uniform[i].item()
            assert expected[drawn] > 0
            assert (cumulative[drawn - 1] if drawn else 0) - 1e-5 <= u <= cumulative[drawn] + 1e-5
    assert result.fallback.any().item() == (name in ("distance_2", "distance_256"))


def test_simans_whose_weights_are_all_tiny_picks_the_most_ambiguous_negative() -> None:
    similarities, excluded, positive, uniform = scene(torch.float32)
    steep = SimANS(sharpness=1e6, offset=-0.1).select(similarities, excluded, positive, uniform)
    for i, allowed, s, own in loops(similarities, excluded, positive):
        if allowed:
            assert steep.index[i].item() == min(allowed, key=lambda j, s=s, own=own: abs(s[j] - own + 0.1))


@pytest.mark.parametrize("strategy", [s for s, _ in [*THRESHOLDS.values(), *WEIGHTS.values()]])
def test_a_positive_without_a_value_spoils_no_pick(strategy: Strategy) -> None:
    similarities, excluded, positive, uniform = scene(torch.float32)
    result = strategy.select(similarities, excluded, torch.full_like(positive, torch.nan), uniform)
    for i, allowed, *_ in loops(similarities, excluded, positive):
        assert not allowed or result.index[i].item() in allowed
    assert result.weights is None or not result.weights.isnan().any()


def test_distance_weighted_reads_the_width_of_the_embedding(tmp_path: Path) -> None:
    project, finetune = Project(tmp_path), {"finetune.projection": "linear"}
    project.edit("studies/paper", variants=["distance_weighted"], baseline="distance_weighted")
    nothing = ["distance_weighted", "negatives.min_distance", "negatives.max_distance"]
    project.fails(overrides={"negatives.min_distance": 1.5}, saying=nothing)
    for regime, given in (("head", {}), ("finetune", finetune)):
        project.edit("studies/paper", regime=regime)
        study = project.load(**given, **{"model.dim": 48})
        assert build_rule(config.resolve(study, "distance_weighted")).strategy.dim == 48
    project.fails(saying=["distance_weighted", "negatives.strategy", "model.dim", "finetune.projection"])
