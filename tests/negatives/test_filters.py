"""Rules that drop or relabel suspected false negatives, by plain loops in float64."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from fne.negatives.fnc import FalseNegativeAttraction, FalseNegativeCancellation
from fne.negatives.gist import GISTEmbed
from fne.negatives.glofnd import GloFND


def case(batch: int = 5, count: int = 12, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (2, batch, count)
    result = {name: torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1 for name in ("s", "guide")}
    result["excluded"] = torch.rand(shape, generator=generator) < 0.3
    result["excluded"][..., range(batch), range(batch)] = True
    result["excluded"][1, 2] = True
    result["uniform"] = torch.rand(shape[:2], generator=generator)
    result["positive"] = result["s"].diagonal(dim1=-2, dim2=-1)
    return result


def select(strategy, given, **context):
    return strategy.select(given["s"], given["excluded"], given["positive"], given["uniform"], **context)


@pytest.mark.parametrize("margin", [0.0, 0.4])
def test_gist(margin: float) -> None:
    given, dropped, bare = case(), 0, 0
    given["guide"][0, 1] = 0.9
    given["guide"][0, 1, 1] = -0.9  # every negative of this anchor is nearer to it than its own pair
    result = select(GISTEmbed(guide_margin=margin), given, guide=given["guide"])
    for r, i in itertools.product(range(2), range(5)):
        guide, allowed = given["guide"][r, i].tolist(), [not out for out in given["excluded"][r, i].tolist()]
        near = [s > guide[i] - margin for s in guide]
        kept = [ok and not false for ok, false in zip(allowed, near, strict=True)]
        assert result.weights[r, i].tolist() == [float(item) for item in kept]
        assert bool(result.valid[r, i]) == any(allowed)
        assert bool(result.fallback[r, i]) == (any(allowed) and not any(kept))
        dropped += sum(allowed) - sum(kept)
        bare += any(allowed) and not any(kept)
    assert dropped > 5 and bare > 0 and result.index is None


@pytest.mark.parametrize("top_k", [1, 3, 40])
@pytest.mark.parametrize("threshold", [0.5, -1.0])
def test_fnc(top_k: int, threshold: float) -> None:
    given, options = case(seed=1), {"top_k": top_k, "score_threshold": threshold}
    given["guide"][0, 0, 5:9] = 0.75  # ties
    result = select(FalseNegativeCancellation(**options), given, teacher=given["guide"])
    attracting = select(FalseNegativeAttraction(**options), given, teacher=given["guide"])
    total = 0
    for r, i in itertools.product(range(2), range(5)):
        scores, excluded = given["guide"][r, i].tolist(), given["excluded"][r, i].tolist()
        allowed = [j for j in range(12) if not excluded[j]]
        first = sorted(allowed, key=lambda j, scores=scores: (-scores[j], j))[:top_k]
        false = {j for j in first if scores[j] > threshold}
        total += len(false)
        weights = [float(j in allowed and j not in false) for j in range(12)]
        assert result.weights[r, i].tolist() == attracting.weights[r, i].tolist() == weights
        assert attracting.attracted[r, i].tolist() == [j in false for j in range(12)]
        assert bool(result.fallback[r, i]) == (bool(allowed) and not any(weights))
    assert total > 3 and result.attracted is None and torch.equal(attracting.valid, result.valid)


def test_glofnd_learns_each_threshold_by_adam() -> None:
    share, rate, beta1, beta2 = 0.2, 0.05, 0.9, 0.98
    options = {"filtered_share": share, "threshold_rate": rate, "threshold_beta1": beta1, "threshold_beta2": beta2}
    strategy = GloFND(**options)
    strategy.prepare((4, 6), (2,), torch.device("cpu"))
    mine = {(r, d, item): [1.0, 0.0, 0.0, 0] for r in range(2) for d in range(2) for item in range(6)}
    dropped = 0
    for step in range(60):
        given, direction = case(seed=step), step % 2
        generator = torch.Generator().manual_seed(step)
        anchor = torch.randint((4, 6)[direction], (2, 5), generator=generator)
        result = select(strategy, given, anchor=anchor, direction=direction)
        for r in range(2):
            gradients: dict[int, list[float]] = {}
            for i in range(5):
                threshold = mine[r, direction, int(anchor[r, i])][0]
                allowed = [float(given["s"][r, i, j]) for j in range(12) if not given["excluded"][r, i, j]]
                if allowed:
                    above = sum(s > threshold for s in allowed)
                    gradients.setdefault(int(anchor[r, i]), []).append(share - above / len(allowed))
            for item, several in gradients.items():
                threshold, mean, square, count = mine[r, direction, item]
                g = sum(several) / len(several)
                mean, square, count = beta1 * mean + (1 - beta1) * g, beta2 * square + (1 - beta2) * g * g, count + 1
                move = mean / (1 - beta1**count) / (math.sqrt(square / (1 - beta2**count)) + 1e-8)
                mine[r, direction, item] = [max(-1.0, min(1.0, threshold - rate * move)), mean, square, count]
            for i in range(5):
                threshold = mine[r, direction, int(anchor[r, i])][0]
                for j in range(12):
                    s, excluded = float(given["s"][r, i, j]), bool(given["excluded"][r, i, j])
                    if abs(s - threshold) > 1e-4:
                        assert result.weights[r, i, j] == float(not excluded and s <= threshold)
                        dropped += not excluded and s > threshold
        state = strategy.state()
        for (r, d, item), (threshold, *_, count) in mine.items():
            if item < (4, 6)[d]:
                assert state[f"threshold_{d}"][r, item].item() == pytest.approx(threshold, abs=1e-5)
                assert state[f"count_{d}"][r, item].item() == count
    assert dropped > 50
