"""Every selection formula against plain loops in float64, one anchor at a time."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from fne.negatives.all import AllNegatives
from fne.negatives.distance_weighted import DistanceWeightedSampling
from fne.negatives.fnc import FalseNegativeAttraction, FalseNegativeCancellation
from fne.negatives.gist import GISTEmbed
from fne.negatives.glofnd import GloFND
from fne.negatives.hardest import HardestNegative
from fne.negatives.random import RandomNegative
from fne.negatives.semi_hard import SemiHardNegative
from fne.negatives.simans import SimANS
from fne.negatives.strategy import Strategy, draw
from fne.negatives.topk_margin import TopKMarginPos
from fne.negatives.topk_perc import TopKPercPos
from fne.study import api as config
from fne.training.step import build_rule
from tests.negatives.released import fne
from tests.projects import Project
from tests.rules import STRATEGIES

Plain = Callable[[list[float], float, list[int], list[float], int], list[float]]
"""Weight of each candidate from its similarities, the positive's, the allowed ones, a teacher's scores, the anchor."""
SHAPE = (6, 10, 12)
COUNT = SHAPE[-1]


def scene(dtype: torch.dtype = torch.float64, seed: int = 2) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """Inputs of ``select`` and a teacher's or guide's scores: no candidate, ties, NaN, positives of any height."""
    rng = np.random.default_rng(seed)
    similarities, scores = (torch.from_numpy(rng.uniform(-0.9, 0.9, SHAPE)).to(dtype) for _ in range(2))
    similarities[1, 0, 0], similarities[2, 0] = torch.nan, torch.nan
    scores[4, 1, 3:7], scores[5, 1], scores[5, 1, 1] = 0.75, 0.9, -0.9
    excluded = torch.from_numpy(rng.random(SHAPE) < 0.3)
    excluded[..., range(SHAPE[1]), range(SHAPE[1])] = True
    excluded[0, 0] = True
    positive = torch.from_numpy(rng.uniform(-0.9, 0.9, SHAPE[:2])).to(dtype)
    uniform = torch.from_numpy(rng.random(SHAPE[:2])).float()
    return {"similarities": similarities, "excluded": excluded, "positive": positive, "uniform": uniform}, scores


def loops(given: dict[str, torch.Tensor]):
    """Place of an anchor, its allowed candidates, its similarities and its positive's, as Python numbers."""
    for place in itertools.product(*map(range, SHAPE[:2])):
        row, out, own = (given[name][place].tolist() for name in ("similarities", "excluded", "positive"))
        yield place, [j for j, s in enumerate(row) if not out[j] and not math.isnan(s)], row, own


def best(values: list[float], among: list[int], sign: int = 1) -> int:
    return max(among, key=lambda j: (sign * values[j], -j))


def one_hot(j: int) -> list[float]:
    return [float(j == k) for k in range(COUNT)]


def nearest(s, to, allowed, scores, i) -> list[float]:
    least = min(abs(s[j] - to) for j in allowed)
    return [float(j in allowed and abs(s[j] - to) == least) for j in range(COUNT)]


def below(keeps: Callable[[float, float], bool]) -> Plain:
    """The hardest candidate that is kept; where none is, the easiest."""

    def weights(s, own, allowed, scores, i):
        kept = [j for j in allowed if keeps(s[j], own)]
        return one_hot(best(s, kept) if kept else best(s, allowed, -1))

    return weights


def each(weight: Callable[[float, float], float]) -> Plain:
    """A weight of each candidate by its similarity alone."""
    return lambda s, own, allowed, scores, i: [weight(s[j], own) if j in allowed else 0.0 for j in range(COUNT)]


def distance(dim: int, low: float, high: float) -> Plain:
    def weight(s: float, own: float) -> float:
        d = max(math.sqrt(2 - 2 * s), low)
        return 0.0 if d >= high else d ** (2 - dim) * (1 - d**2 / 4) ** (-(dim - 3) / 2)

    return each(weight)


def gist(margin: float) -> Plain:
    def weights(s, own, allowed, scores, i):
        limit = scores[i] - margin  # the guide's score of the own pair
        return [float(j in allowed and scores[j] <= limit) for j in range(COUNT)]

    return weights


def fnc(top_k: int, threshold: float) -> Plain:
    def weights(s, own, allowed, scores, i):
        first = sorted(allowed, key=lambda j: (-scores[j], j))[:top_k]
        return [float(j in allowed and not (j in first and scores[j] > threshold)) for j in range(COUNT)]

    return weights


CASES: dict[str, tuple[Strategy, Plain]] = {
    "hardest": (HardestNegative(), lambda s, own, allowed, *_: one_hot(best(s, allowed))),
    "all": (AllNegatives(), each(lambda s, own: 1.0)),
    "random": (RandomNegative(), each(lambda s, own: 1.0)),
    "semi_hard": (SemiHardNegative(), below(lambda s, own: s < own)),
    "topk_margin": (TopKMarginPos(absolute_margin=0.05), below(lambda s, own: s <= own - 0.05)),
    "topk_perc": (TopKPercPos(relative_margin=0.3), below(lambda s, own: s <= own - 0.3 * abs(own))),
    "simans": (SimANS(sharpness=0.5, offset=0.0), each(lambda s, own: math.exp(-0.5 * (s - own) ** 2))),
    "simans_below": (SimANS(sharpness=30.0, offset=-0.2), each(lambda s, own: math.exp(-30 * (s - own + 0.2) ** 2))),
    "simans_steep": (SimANS(sharpness=1e6, offset=-0.1),
                     lambda s, own, *rest: nearest(s, own - 0.1, *rest)),
    "distance_2": (DistanceWeightedSampling(min_distance=0.5, max_distance=1.4, dim=2), distance(2, 0.5, 1.4)),
    "distance_256": (DistanceWeightedSampling(min_distance=0.7, max_distance=1.2, dim=256), distance(256, 0.7, 1.2)),
    **{f"fnc_{k}_{t}": (FalseNegativeCancellation(top_k=k, score_threshold=t), fnc(k, t))
       for k, t in ((1, 0.5), (3, -1.0), (40, -0.3))},
    "gist": (GISTEmbed(guide_margin=0.0), gist(0.0)),
    "gist_margin": (GISTEmbed(guide_margin=0.4), gist(0.4)),
    "fnc_attract": (FalseNegativeAttraction(top_k=3, score_threshold=0.5), fnc(3, 0.5)),
}  # fmt: skip

FALL_BACK = ("semi_hard", "topk", "distance", "gist_margin")
"""Those that keep nothing of what some anchor here may take."""


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", CASES)
def test_weights_and_picks_equal_plain_loops(name: str, dtype: torch.dtype) -> None:
    strategy, plain = CASES[name]
    given, scores = scene(dtype)
    result, fallbacks = strategy.select(**given, **{need: scores for need in strategy.needs}), 0
    for place, allowed, s, own in loops(given):
        assert result.valid[place].item() == bool(allowed)
        if not allowed:
            continue
        expected = np.array(plain(s, own, allowed, scores[place].tolist(), place[1]))
        if result.attracted is not None:
            assert result.attracted[place].tolist() == [j in allowed and not expected[j] for j in range(COUNT)]
        if result.weights is not None:
            if result.fallback is not None:
                assert bool(result.fallback[place]) == (not expected.any())
            if not expected.any() and result.index is not None:
                expected[allowed] = 1.0
            tolerance = 1e-12 if dtype == torch.float64 else 2e-3  # log weights of up to 100 in float32
            weights = result.weights[place].double().numpy()
            np.testing.assert_allclose(weights * expected.sum(), expected * weights.sum(), rtol=tolerance, atol=1e-30)
        if result.index is not None:
            drawn, shares, u = result.index[place].item(), expected / expected.sum(), given["uniform"][place].item()
            assert shares[drawn] > 0
            assert sum(shares[:drawn]) - 1e-5 <= u <= sum(shares[: drawn + 1]) + 1e-5
        fallbacks += int(result.fallback is not None and result.fallback[place])
    assert fallbacks > 0 or not name.startswith(FALL_BACK)


@pytest.mark.parametrize("strategy", [strategy for strategy, _ in CASES.values()], ids=CASES)
def test_a_positive_without_a_value_spoils_no_pick(strategy: Strategy) -> None:
    given, scores = scene(torch.float32)
    given["positive"].fill_(torch.nan)
    result = strategy.select(**given, **{need: scores for need in strategy.needs})
    for place, allowed, *_ in loops(given):
        assert result.index is None or not allowed or result.index[place].item() in allowed
    assert result.weights is None or not result.weights.isnan().any()


def test_a_candidate_on_the_limit_is_kept_by_nv_retriever_and_not_semi_hard() -> None:
    def picked(strategy: Strategy, *similarities: float) -> int:
        row = torch.tensor([similarities], dtype=torch.float64)
        own, half = torch.tensor([0.5], dtype=torch.float64), torch.tensor([0.5])
        return strategy.select(row, torch.zeros_like(row, dtype=torch.bool), own, half).index.item()

    assert picked(SemiHardNegative(), 0.25, 0.5, 0.75) == 0
    assert picked(TopKMarginPos(absolute_margin=0.25), 0.125, 0.25, 0.375) == 1
    assert picked(TopKPercPos(relative_margin=0.5), 0.125, 0.25, 0.375) == 1


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


def test_glofnd_learns_each_threshold_by_adam() -> None:
    share, rate, beta1, beta2, items = 0.2, 0.05, 0.9, 0.98, (12, 14)
    strategy = GloFND(filtered_share=share, threshold_rate=rate, threshold_beta1=beta1, threshold_beta2=beta2)
    strategy.prepare(items, SHAPE[:1], torch.device("cpu"))
    learned = {(r, d, item): [1.0, 0.0, 0.0, 0] for r, d in itertools.product(range(6), (0, 1)) for item in range(14)}
    dropped = 0
    for step in range(60):
        given, direction = scene(seed=step)[0], step % 2
        generator = torch.Generator().manual_seed(step)
        anchor = torch.randint(items[direction], SHAPE[:2], generator=generator)
        result = strategy.select(**given, anchor=anchor, direction=direction)
        rows = [((p[0], direction, int(anchor[p])), p, allowed, s) for p, allowed, s, _ in loops(given)]
        gradients: dict[tuple, list[float]] = {}
        for key, _, allowed, s in rows:
            if allowed:
                above = sum(s[j] > learned[key][0] for j in allowed)
                gradients.setdefault(key, []).append(share - above / len(allowed))
        for key, several in gradients.items():
            threshold, mean, square, count = learned[key]
            g = sum(several) / len(several)
            mean, square, count = beta1 * mean + (1 - beta1) * g, beta2 * square + (1 - beta2) * g * g, count + 1
            move = mean / (1 - beta1**count) / (math.sqrt(square / (1 - beta2**count)) + 1e-8)
            learned[key] = [max(-1.0, min(1.0, threshold - rate * move)), mean, square, count]
        for key, place, allowed, s in rows:
            weights, threshold = result.weights[place].tolist(), learned[key][0]
            for j in range(COUNT):
                if not abs(s[j] - threshold) <= 1e-4:
                    assert weights[j] == float(j in allowed and s[j] <= threshold)
                    dropped += j in allowed and s[j] > threshold
    assert dropped > 50
    for (r, d, item), (threshold, *_, count) in learned.items():
        if item < items[d]:
            assert strategy.state()[f"threshold_{d}"][r, item].item() == pytest.approx(threshold, abs=1e-5)
            assert strategy.state()[f"count_{d}"][r, item].item() == count


def normal(x: float, mean: float, var: float) -> float:
    return math.exp(-((x - mean) ** 2) / (2 * var)) / math.sqrt(2 * math.pi * var)


def slow_weights(given: dict, summary: dict, options: dict) -> np.ndarray:
    """The table of method and docstring, one number at a time."""
    out = np.zeros(SHAPE)
    for place, allowed, s, own in loops(given):
        for j in allowed:
            base = math.exp(-options["tau"] * (s[j] - own) ** 2)
            weight = base
            if options["elimination"] != "none" and summary["pos_count"] > options["min_positives"]:
                pos = normal(s[j], summary["pos_mean"], summary["pos_var"])
                neg = normal(s[j], summary["neg_mean"], summary["neg_var"])
                p = pos / (pos + (1 / options["prior"] - 1) * neg)
                if options["elimination"] == "released":
                    weight = math.exp(-options["tau"] * p) if p > options["posterior_threshold"] else base
                elif options["elimination"] == "power":
                    weight = base * (1 - p) ** options["elimination_power"]
                else:
                    weight = 0.0 if p > options["elimination_threshold"] else base
            if options["cut_down"] == "global" and s[j] <= summary["pos_mean"] - 0.2:
                weight = 0.0
            if options["cut_down"] == "anchor" and s[j] <= own - 0.2:
                weight = 0.0
            out[(*place, j)] = weight
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
    given, _ = scene()
    given["similarities"].nan_to_num_()
    released = {name: key.default for name, key in STRATEGIES["fne"].options.items()}
    options = {**released, **changed, "cut_down": cut_down, "prior": 0.01}
    summary = dict(pos_mean=0.55, pos_var=0.02, neg_mean=0.35, neg_var=0.03, pos_count=count, neg_count=2 * count)
    strategy = fne(**options)
    load(strategy, **summary)
    weights, probability, overridden = strategy.weights(
        *(given[name] for name in ("similarities", "excluded", "positive"))
    )
    expected = slow_weights(given, summary, options)
    np.testing.assert_allclose(weights.numpy(), expected, atol=1e-12)
    if changed["elimination"] == "none":
        assert probability is None and overridden is None
        return
    assert bool((probability > 0).any()) == (count > 200)
    hard = "elimination_threshold" if changed["elimination"] == "threshold" else "posterior_threshold"
    assert torch.equal(overridden, probability > options[hard])
    if count > 200 and options["elimination_threshold"] == 0.02:
        assert 0 < overridden.sum() < overridden.numel(), "both branches were compared"


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
