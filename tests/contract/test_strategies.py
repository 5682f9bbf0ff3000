"""The contract of every registered strategy and loss; a new entry is tested without a new line here."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from fne.checks.contract import check
from fne.negatives.registry import NEEDS, Entry
from fne.negatives.strategy import Selection
from fne.steps.check import combinations
from fne.study.library import Library
from fne.training.step import build_rule
from tests.projects import ROOT
from tests.rules import LOSSES, STRATEGIES

LEADS = [(), (2,), (2, 3)]


def variants(registry: dict[str, Entry]) -> list:
    """Every rule under every combination of its options that is tried."""
    base, cases = Library(ROOT).base, []
    for name, entry in registry.items():
        for given in combinations(entry, base):
            label = "-".join([name, *map(str, given.values())])
            cases.append(pytest.param(entry, given, id=label))
    return cases


def case(lead: tuple[int, ...], batch: int, count: int, dtype: torch.dtype, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    online = torch.rand(*lead, batch, batch, generator=generator) * 1.4 - 0.6
    online = online + torch.eye(batch) * 0.3
    similarities = (torch.rand(*lead, batch, count, generator=generator) * 1.6 - 0.6).to(dtype)
    excluded = torch.rand(*lead, batch, count, generator=generator) < 0.4
    positive = (torch.rand(*lead, batch, generator=generator) * 0.5 + 0.3).to(dtype)
    uniform = torch.rand(*lead, batch, generator=generator)
    return online, similarities, excluded, positive, uniform


SIZES = (50, 90)


def wanted(needs, lead, batch, count, excluded=None, *, direction=0, seed=0, dtype=torch.float32, device="cpu"):
    """What ``needs`` names, at random; the first candidates are of the anchors' own images."""
    generator = torch.Generator().manual_seed(100 + seed)
    same = torch.eye(batch, count, dtype=torch.bool).expand(*lead, batch, count)
    if excluded is not None:
        same = same | (excluded & (torch.rand(excluded.shape, generator=generator) < 0.5))
    everything = {
        "teacher": (torch.rand(*lead, batch, count, generator=generator) * 2 - 1).to(dtype),
        "guide": (torch.rand(*lead, batch, count, generator=generator) * 2 - 1).to(dtype),
        "anchor": torch.randint(SIZES[direction], (*lead, batch), generator=generator),
        "direction": direction,
        "same_image": same,
    }
    assert set(needs) <= set(everything) == set(NEEDS)
    chosen = {name: everything[name] for name in needs}
    return {name: value.to(device) if isinstance(value, torch.Tensor) else value for name, value in chosen.items()}


def ready(entry, options, lead, batch, device="cpu"):
    strategy = entry.load()(**options)
    strategy.prepare(SIZES, lead, torch.device(device))
    taught(strategy, case(lead, batch, batch, torch.float32, seed=9)[0].to(device))
    return strategy


def taught(strategy, online) -> None:
    """One epoch of one batch, after one in which a strategy that wants to be calibrated was."""
    own = torch.eye(online.shape[-1], dtype=torch.bool, device=online.device).expand(online.shape)
    if strategy.calibration_images:
        strategy.start_epoch()
        strategy.observe(online, own)
        strategy.calibrate(online, own | (online > 0.4))
    strategy.start_epoch()
    strategy.observe(online, own)


@pytest.mark.parametrize(("entry", "options"), [*variants(STRATEGIES), *variants(LOSSES)])
def test_every_rule_keeps_the_contract(entry: Entry, options: dict) -> None:
    assert len(check(entry, entry.section, options, entry.name, quick=True)) >= 8


@pytest.mark.gpu
@pytest.mark.parametrize(("entry", "options"), variants(STRATEGIES))
def test_a_gpu_makes_the_same_picks(entry, options) -> None:
    inputs, context = case((2,), 6, 40, torch.float32)[1:], wanted(entry.needs, (2,), 6, 40)
    here = ready(entry, options, (2,), 6).select(*inputs, **context)
    moved = {k: v.cuda() if isinstance(v, torch.Tensor) else v for k, v in context.items()}
    there = ready(entry, options, (2,), 6, "cuda").select(*(value.cuda() for value in inputs), **moved)
    assert torch.equal(here.valid, there.valid.cpu())
    if here.index is not None:
        assert torch.equal(here.index[here.valid], there.index.cpu()[here.valid])
    for name in ("weights", "attracted"):
        if getattr(here, name) is not None:
            torch.testing.assert_close(getattr(there, name).cpu(), getattr(here, name))


@pytest.mark.parametrize(("entry", "options"), variants(STRATEGIES))
def test_never_waits_for_the_device(entry, options) -> None:
    """A meta tensor has no values, so whatever would copy one from the device (``item``, ``nonzero``) fails here."""
    strategy = entry.load()(**options)
    strategy.prepare(SIZES, (2,), torch.device("meta"))
    strategy.start_epoch()
    online, *inputs = (value.to("meta") for value in case((2,), 6, 20, torch.float32))
    strategy.observe(online, torch.ones_like(online, dtype=torch.bool))
    context = wanted(entry.needs, (2,), 6, 20, device="meta")
    assert strategy.select(*inputs, **context).valid.shape == (2, 6)


@pytest.mark.parametrize(("entry", "options"), variants(LOSSES))
@pytest.mark.parametrize("lead", LEADS)
def test_loss_gradient_is_finite_and_equals_a_finite_difference(entry, options, lead) -> None:
    loss = entry.load()(**options)
    generator = torch.Generator().manual_seed(3)
    for kind in entry.negatives:
        name = next(name for name, s in STRATEGIES.items() if kind in s.negatives)
        strategy = ready(STRATEGIES[name], {}, lead, 4)
        anchors, candidates = (
            torch.nn.functional.normalize(torch.randn(*lead, n, 5, dtype=torch.float64, generator=generator), dim=-1)
            for n in (4, 7)
        )
        similarities = anchors @ candidates.transpose(-1, -2)
        excluded = torch.zeros_like(similarities, dtype=torch.bool)
        excluded[..., range(4), range(4)] = True
        excluded[..., 3, :] = True
        context = wanted({*strategy.needs, *loss.needs}, lead, 4, 7, excluded, dtype=torch.float64)
        seen, told = ({name: context[name] for name in one.needs} for one in (strategy, loss))
        positive, uniform = similarities.diagonal(dim1=-2, dim2=-1), torch.rand(*lead, 4, generator=generator)
        selection = strategy.select(similarities, excluded, positive, uniform, **seen)
        index = torch.tensor([2, 1, 6, 3]).expand(*lead, 4)  # what the oracle makes a positive is barred
        barred = excluded.scatter(-1, index.unsqueeze(-1), True)
        relabelled = strategy.select(similarities, barred, positive, uniform, **seen)
        for given in (selection, dataclasses.replace(relabelled, positive_index=index)):
            value = loss(anchors, candidates, given, **told)
            assert value.shape == (*lead, 4)
            assert (value[..., 3] == 0).all(), "an anchor without a negative costs nothing"
            assert loss.at_collapse(given, **told).shape == (*lead, 4)
            inputs = (anchors.requires_grad_(), candidates.requires_grad_())
            assert torch.autograd.gradcheck(
                lambda a, c, s=given, t=told: loss(a, c, s, **t), inputs, eps=1e-6, atol=1e-4
            )
        own = dataclasses.replace(selection, positive_index=torch.arange(4).expand(*lead, 4))
        assert torch.equal(loss(anchors, candidates, own, **told), loss(anchors, candidates, selection, **told))


ROUNDING = 4e-7
"""The most by which two places of a product or a batch were seen to round the same embedding otherwise."""


@pytest.mark.parametrize(("entry", "options"), variants(STRATEGIES))
def test_rounding_does_not_decide_about_an_exact_twin_of_the_positive(entry, options) -> None:
    """Each anchor has one candidate with its positive's embedding, some in the batch and some in the queue."""
    _, similarities, excluded, positive, uniform = case((2,), 6, 40, torch.float32)
    context = wanted(entry.needs, (2,), 6, 40)
    columns = torch.tensor([3, 4, 10, 20, 30, 39]).expand(2, 6).unsqueeze(-1)
    excluded[..., range(6), range(6)] = True
    excluded.scatter_(-1, columns, False)
    similarities.diagonal(dim1=-2, dim2=-1).copy_(positive)
    found = []
    for off in (0.0, ROUNDING, -ROUNDING):
        twins = similarities.scatter(-1, columns, (positive + off).unsqueeze(-1))
        seen = dict(context)
        for name in {"teacher", "guide"} & set(seen):
            own = seen[name].diagonal(dim1=-2, dim2=-1)
            seen[name] = seen[name].scatter(-1, columns, (own + off).unsqueeze(-1))
        strategy = ready(entry, options, (2,), 6)
        found.append(strategy.select(twins, excluded, positive, uniform, **seen))
    exact, *others = found
    for other in others:
        for name in ("index", "weights", "valid", "attracted", "fallback"):
            left, right = getattr(exact, name), getattr(other, name)
            assert (left is None) == (right is None)
            if left is not None:
                torch.testing.assert_close(left, right, rtol=0, atol=1e-4, msg=name)


# Without a margin the twin lies on the kink of the hinge, where any rounding decides.
@pytest.mark.parametrize(("entry", "options"), [case for case in variants(LOSSES) if case.values[1].get("margin") != 0])
def test_rounding_does_not_decide_what_an_exact_twin_of_the_positive_costs(entry, options) -> None:
    """Value and gradient of a loss, each anchor with one such candidate, some in the batch and some in the queue."""
    loss, generator = entry.load()(**options), torch.Generator().manual_seed(4)
    anchors, candidates = (
        torch.nn.functional.normalize(torch.randn(2, n, 24, generator=generator), dim=-1) for n in (6, 40)
    )
    columns = torch.tensor([3, 10, 11, 0, 30, 39])
    candidates[:, 3] = candidates[:, 0]
    candidates[:, columns] = candidates[:, :6].clone()
    anchors = torch.nn.functional.normalize(anchors + candidates[:, :6], dim=-1)
    excluded = torch.eye(6, 40, dtype=torch.bool).expand(2, 6, 40)
    context = wanted(loss.needs, (2,), 6, 40)
    for kind in entry.negatives:
        if kind == "one":
            found = Selection(columns.expand(2, 6), None, torch.ones(2, 6, dtype=torch.bool))
        else:
            attracted = (torch.rand(2, 6, 40, generator=generator) < 0.2) & ~excluded if kind == "attracted" else None
            weights = (~excluded if attracted is None else ~(excluded | attracted)).float()
            found = Selection(None, weights, torch.ones(2, 6, dtype=torch.bool), attracted=attracted)
        costs, gradients = [], []
        for off in (0.0, ROUNDING, -ROUNDING):
            moved = candidates.clone()
            moved[:, columns] += off * anchors
            given = anchors.clone().requires_grad_(), moved.requires_grad_()
            costs.append(loss(*given, found, **context))
            gradients.append(torch.autograd.grad(costs[-1].sum(), given))
        double = (anchors.double().requires_grad_(), candidates.double().requires_grad_())
        told = {
            k: v.double() if isinstance(v, torch.Tensor) and v.is_floating_point() else v for k, v in context.items()
        }
        costs.append(loss(*double, found, **told))
        gradients.append(torch.autograd.grad(costs[-1].sum(), double))
        for cost, gradient in zip(costs[1:], gradients[1:], strict=True):
            torch.testing.assert_close(cost.float(), costs[0], rtol=0, atol=1e-4)
            for one, other in zip(gradient, gradients[0], strict=True):
                torch.testing.assert_close(one.float(), other, rtol=0, atol=1e-3)


def test_the_catalogs_name_what_the_classes_need() -> None:
    for registry in (STRATEGIES, LOSSES):
        for name, entry in registry.items():
            assert tuple(entry.needs) == tuple(entry.load().needs), name
            assert set(entry.needs) <= set(NEEDS), name


def test_build_rule_passes_every_option() -> None:
    config = {
        "negatives": {"strategy": "fne", "oracle": "remove", "tau": 0.75},
        "loss": {"kind": "triplet", "margin": 0.3},
    }
    rule = build_rule(config)
    assert (rule.strategy.weighting.margin, rule.loss.margin, rule.strategy.weighting.tau) == (0.3, 0.3, 0.75)
    assert rule.oracle == "remove"
