"""What the CPU works out on few candidates, or in numpy, is what the formulas give on all of them, to the last bit."""

from __future__ import annotations

from dataclasses import fields
from unittest import mock

import numpy as np
import pytest
import torch

from fne.losses import dense
from fne.negatives import fne as rule
from fne.negatives import strategy as seam
from fne.negatives.densities import normal
from fne.negatives.fne import FalseNegativeElimination
from fne.negatives.strategy import Selection, Strategy
from fne.training.data import PairSet
from fne.training.diagnostics import BINS, Diagnostics
from tests.negatives.test_formulas import scene
from tests.rules import STRATEGIES

LEAD, B, C = (2,), 8, 416
RULES = {
    "released": {},
    "abstract": {"elimination": "power"},
    "steep": {"elimination": "power", "elimination_power": 2.5, "tau": 50.0},
    "threshold": {"elimination": "threshold"},
    "anchor": {"cut_down": "anchor"},
    "none": {"elimination": "none"},
    **{density: {"density": density} for density in ("tied", "beta", "kde", "logistic", "isotonic")},
    "mapped": {"recalibration": "platt"},
}


def inputs(seed: int, ties: bool) -> tuple[torch.Tensor, ...]:
    """Few candidates near the positive; of the first anchors all are excluded, easy, NaN, alike, or near at the end."""
    rng = np.random.default_rng(seed)
    s = rng.normal(0, 0.1, (*LEAD, B, C)) + (rng.random((*LEAD, B, C)) < 0.05) * rng.uniform(0.2, 0.7, (*LEAD, B, C))
    if ties:
        s = s.round(1)
    excluded = rng.random(s.shape) < 0.1
    excluded[0, 0], s[0, 1], s[1, 0], s[1, 1], s[1, 1, :120] = True, -0.5, np.nan, 0.0, 0.6
    s[1, 2], s[1, 2, -1], excluded[1, 2, -1] = -0.1, 0.6, False
    s[rng.random(s.shape) < 0.01] = np.nan
    uniform = rng.choice([0.0, 1 - 2**-24, *rng.random(6)], (*LEAD, B))
    parts = (torch.from_numpy(part) for part in (s.clip(-1, 1), excluded, rng.uniform(0.3, 0.7, (*LEAD, B)), uniform))
    return tuple(part.float() if part.is_floating_point() else part for part in parts)


def trained(options: dict) -> FalseNegativeElimination:
    made, (online, own) = FalseNegativeElimination(min_positives=4, prior=0.01, **options), batch()
    for _ in range(2):
        made.observe(online, own)
    made.calibrate(online, (online > 0.4) | own)
    return made


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    own = torch.eye(40, dtype=torch.bool).expand(*LEAD, 40, 40)
    noise = torch.randn(*LEAD, 40, 40, generator=torch.Generator().manual_seed(1))
    return 0.1 * noise + own * 0.45, own


def same(left: Selection, right: Selection) -> None:
    for part in fields(Selection):
        one, other = getattr(left, part.name), getattr(right, part.name)
        if part.name == "index" and one is not None:
            one, other = one.masked_fill(~left.valid, 0), other.masked_fill(~right.valid, 0)
        assert (one is None) == (other is None), part.name
        if one is not None:
            torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True, msg=part.name)


@pytest.mark.parametrize("options", RULES.values(), ids=RULES)
def test_fne_weighs_the_survivors_of_its_cut_down_as_it_weighs_all(options: dict) -> None:
    for seed in range(20):
        check_fne(trained(options), inputs(seed, ties=seed % 2 == 0))


def check_fne(made: FalseNegativeElimination, given_: tuple[torch.Tensor, ...]) -> None:
    with mock.patch.object(rule, "few", wraps=rule.few) as few, torch.no_grad():
        result = made.select(*given_)
        made.watched = False
        pick = made.select(*given_)
        assert few.call_count == 2 and rule.few(*given_[:2], torch.full((1, 1), 0.2)) is not None
    made.watched = True
    with mock.patch.object(rule, "few", return_value=None), mock.patch.object(seam, "arrays", return_value=None):
        plain = made.select(*given_)
    same(result, plain)
    same(Selection(pick.index, None, pick.valid, fallback=pick.fallback),
         Selection(plain.index, None, plain.valid, fallback=plain.fallback))  # fmt: skip


@pytest.mark.parametrize("name", [name for name, entry in STRATEGIES.items() if "one" in entry.negatives])
def test_every_rule_of_one_negative_picks_in_numpy_as_in_torch(name: str) -> None:
    made: Strategy = STRATEGIES[name].load()()
    for seed in range(20):
        given_ = inputs(seed, ties=seed % 2 == 0)
        result = made.select(*given_)
        with mock.patch.object(seam, "arrays", return_value=None):
            same(result, made.select(*given_))


@pytest.mark.parametrize("name", [name for name, entry in STRATEGIES.items() if "one" not in entry.negatives])
def test_every_rule_of_all_negatives_keeps_in_numpy_what_it_keeps_in_torch(name: str) -> None:
    for seed in range(20):
        given_, results = inputs(seed, ties=seed % 2 == 0), []
        other, anchor = inputs(seed + 100, ties=True)[0], torch.arange(B).expand(*LEAD, B)
        known = {"teacher": other, "guide": other, "anchor": anchor, "direction": 0}
        for arrays in ({"wraps": seam.arrays}, {"return_value": None}):
            made: Strategy = STRATEGIES[name].load()()
            made.prepare((B, B), LEAD, torch.device("cpu"))
            with mock.patch.object(seam, "arrays", **arrays) as called:
                results.append(made.select(*given_, **{need: known[need] for need in made.needs}))
            assert called.called
        same(*results)


def test_fits_logarithms_and_counts_in_numpy_are_those_in_torch() -> None:
    summary = trained({}).statistics.summary()
    weights = torch.tensor([0.0, 1.0, 0.3, 1e-30]).repeat(2, 3, 5)
    fitted, logarithms = normal.Normal().fit(summary), dense.log_weights(weights)
    with mock.patch.object(normal, "arrays", return_value=None), mock.patch.object(dense, "arrays", return_value=None):
        torch.testing.assert_close(normal.Normal().fit(summary), fitted, rtol=1e-13, atol=0)
        torch.testing.assert_close(dense.log_weights(weights), logarithms, rtol=1e-6, atol=0)
    assert logarithms[..., ::4].isneginf().all() and torch.equal(seam.count(weights > 0), (weights > 0).sum(-1))
    for limit in (0.3, torch.tensor([0.3, 1.0, 0.0]).reshape(3, 1)):
        assert torch.equal(seam.above(weights, limit), weights > limit)


@pytest.mark.parametrize("grouped", [False, True])
def test_pairs_among_anchors_and_candidates_are_those_of_a_look_at_each(grouped: bool) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        group = torch.from_numpy(rng.integers(0, 30, 60)) if grouped else None
        keys = torch.from_numpy(np.unique((rng.integers(0, 20, 90) << 32) + rng.integers(0, 30 if grouped else 60, 90)))
        pairs = PairSet(keys, group)
        images, captions = (torch.from_numpy(rng.integers(-2, count, (n,))) for count, n in ((20, 40), (60, 70)))
        expected = pairs.contains(*torch.broadcast_tensors(images[:, None], captions))
        assert torch.equal(pairs.among(images, captions, by_caption=False), expected) and expected.any()
        assert torch.equal(pairs.among(captions, images, by_caption=True), expected.T)


@pytest.mark.parametrize("count", [7, 300_001])
def test_histograms_of_few_and_of_many_similarities_count_each_once(count: int) -> None:
    rng = np.random.default_rng(1)
    values = torch.from_numpy(rng.uniform(-1.001, 1.001, (2, count))).float()
    values[0, :3] = torch.tensor([1.0, -1.0, torch.nan])
    for share in (0.02, 0.9):
        counted = torch.from_numpy(rng.random((2, count)) < share)
        diagnostics = Diagnostics(2, 1, torch.device("cpu"), None)  # type: ignore[arg-type]  # no truth
        diagnostics.add_histogram("candidates", 0, values, counted)
        for r in range(2):
            bins = np.floor((values[r].numpy() + np.float32(1)) / np.float32(0.05))
            expected = np.bincount(np.nan_to_num(bins).clip(0, BINS - 1).astype(int)[counted[r]], minlength=BINS)
            assert diagnostics.histogram["candidates"][0, 0, r].tolist() == expected.tolist()


def test_a_scene_of_every_oddity_is_one_of_these() -> None:
    given_ = scene(torch.float32)[0]
    with mock.patch.object(seam, "arrays", return_value=None):
        plain = FalseNegativeElimination(cut_down="anchor").select(**given_)
    same(FalseNegativeElimination(cut_down="anchor").select(**given_), plain)
