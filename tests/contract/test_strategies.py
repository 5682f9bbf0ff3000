"""The contract of every registered strategy and loss; a new entry is tested without a new line here."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from torch.nn.functional import normalize

from fne.checks import loss as loss_checks
from fne.checks import strategy as checks
from fne.checks.contract import check
from fne.negatives.registry import Entry
from fne.negatives.strategy import Selection, Strategy
from fne.steps.check import combinations
from fne.study.library import Library
from tests.projects import ROOT
from tests.rules import LOSSES, STRATEGIES


def variants(registry: dict[str, Entry]) -> list:
    """Every rule under every combination of its options that is tried."""
    base = Library(ROOT).base
    rows = [(entry, given) for entry in registry.values() for given in combinations(entry, base)]
    return [pytest.param(entry, given, id="-".join([entry.name, *map(str, given.values())])) for entry, given in rows]


def moved(given: checks.Case, device: str) -> checks.Case:
    """The same inputs on another device."""

    def to(value):
        return value.to(device) if isinstance(value, torch.Tensor) else value

    context = {name: to(value) for name, value in given.context.items()}
    return checks.Case(given.label, to(given.online), to(given.same_image), tuple(map(to, given.inputs)), context)


def built(entry: Entry, options: dict, device: str = "cpu") -> Strategy:
    strategy = entry.load()(**options)
    strategy.prepare(checks.ITEMS, (2,), torch.device(device))
    return strategy


@pytest.mark.parametrize(("entry", "options"), [*variants(STRATEGIES), *variants(LOSSES)])
def test_every_rule_keeps_the_contract(entry: Entry, options: dict) -> None:
    """Losses in every precision, strategies in one: they are tried under hundreds of combinations."""
    assert len(check(entry, entry.section, options, entry.name, quick=entry.section == "negatives")) >= 8


@pytest.mark.gpu
@pytest.mark.parametrize(("entry", "options"), variants(STRATEGIES))
def test_a_gpu_makes_the_same_picks(entry: Entry, options: dict) -> None:
    given = [moved(checks.case((2,), 6, 40), device) for device in ("cpu", "cuda")]
    here, there = (checks.select(checks.shown(built(entry, options, str(x.online.device)), x), x) for x in given)
    assert torch.equal(here.valid, there.valid.cpu())
    if here.index is not None:
        assert torch.equal(here.index[here.valid], there.index.cpu()[here.valid])
    for name in ("weights", "attracted"):
        if getattr(here, name) is not None:
            torch.testing.assert_close(getattr(there, name).cpu(), getattr(here, name))


@pytest.mark.parametrize(("entry", "options"), variants(STRATEGIES))
def test_never_waits_for_the_device(entry: Entry, options: dict) -> None:
    """A meta tensor has no values, so whatever would copy one from the device (``item``, ``nonzero``) fails here."""
    given, strategy = moved(checks.case((2,), 6, 20), "meta"), built(entry, options, "meta")
    strategy.start_epoch()
    strategy.observe(given.online, given.same_image)
    assert checks.select(strategy, given).valid.shape == (2, 6)


@pytest.mark.parametrize(("entry", "options"), variants(LOSSES))
def test_the_own_pair_named_as_the_positive_changes_nothing(entry: Entry, options: dict) -> None:
    """What another positive costs is part of the contract."""
    for kind in entry.negatives:
        loss, given = entry.load()(**options), loss_checks.case((2,), kind, torch.float64)
        own = dataclasses.replace(given.selection, positive_index=torch.arange(4).expand(2, 4))
        assert torch.equal(
            loss_checks.value(loss, dataclasses.replace(given, selection=own)), loss_checks.value(loss, given)
        )


ROUNDING = 4e-7
"""The most by which two places of a product or a batch were seen to round the same embedding otherwise."""


@pytest.mark.parametrize(
    ("pairs", "queue", "dim"), [(128, 0, 32), (128, 256, 256), (5, 12, 33), (3, 30, 32), (33, 96, 12)]
)
def test_products_round_one_embedding_by_no_more_than_that(pairs: int, queue: int, dim: int) -> None:
    """Pair i + half is pair i, and half of the queue copies the batch; ragged products round otherwise."""
    generator = torch.Generator().manual_seed(pairs + queue)
    half, origin = pairs // 2, torch.arange(pairs + queue)
    origin[half : 2 * half] = origin[:half]
    origin[pairs + queue - queue // 2 :] = origin[torch.randint(pairs, (queue // 2,), generator=generator)]
    image, text = (normalize(torch.randn(2, pairs + queue, dim, generator=generator), dim=-1) for _ in range(2))
    for anchors, others in ((image, text), (text, image)):
        others = normalize(anchors + others, dim=-1)[:, origin]
        similarities = anchors[:, :pairs] @ others.transpose(-1, -2)
        assert (similarities - similarities[..., origin]).abs().max() <= ROUNDING


@pytest.mark.parametrize(("entry", "options"), variants(STRATEGIES))
def test_rounding_does_not_decide_about_an_exact_twin_of_the_positive(entry, options) -> None:
    """Each anchor has one candidate with its positive's embedding, some in the batch and some in the queue."""
    given = checks.case((2,), 6, 40)
    similarities, excluded, positive, uniform = given.inputs
    columns = torch.tensor([3, 4, 10, 20, 30, 39]).expand(2, 6).unsqueeze(-1)
    excluded[..., range(6), range(6)] = True
    excluded.scatter_(-1, columns, False)
    similarities.diagonal(dim1=-2, dim2=-1).copy_(positive)
    result = []
    for off in (0.0, ROUNDING, -ROUNDING):
        twins = similarities.scatter(-1, columns, (positive + off).unsqueeze(-1))
        seen = dict(given.context)
        for name in ("teacher", "guide"):
            own = seen[name].diagonal(dim1=-2, dim2=-1)
            seen[name] = seen[name].scatter(-1, columns, (own + off).unsqueeze(-1))
        item = dataclasses.replace(given, inputs=(twins, excluded, positive, uniform), context=seen)
        result.append(vars(checks.select(checks.shown(built(entry, options), item), item)))
    exact, *others = result
    for other, name in itertools.product(others, ("index", "weights", "valid", "attracted", "fallback")):
        assert (exact[name] is None) == (other[name] is None)
        if exact[name] is not None:
            torch.testing.assert_close(exact[name], other[name], rtol=0, atol=1e-4, msg=name)


# Without a margin the twin lies on the kink of the hinge, where any rounding decides.
# Without a margin the twin lies on the kink of the hinge, where any rounding decides.
@pytest.mark.parametrize(("entry", "options"), [case for case in variants(LOSSES) if case.values[1].get("margin") != 0])
def test_rounding_does_not_decide_what_an_exact_twin_of_the_positive_costs(entry, options) -> None:
    """Value and gradient of a loss, each anchor with one such candidate, some in the batch and some in the queue."""
    loss, generator = entry.load()(**options), torch.Generator().manual_seed(4)
    anchors, candidates = (normalize(torch.randn(2, n, 24, generator=generator), dim=-1) for n in (6, 40))
    columns = torch.tensor([3, 10, 11, 0, 30, 39])
    candidates[:, 3] = candidates[:, 0]
    candidates[:, columns] = candidates[:, :6].clone()
    anchors = normalize(anchors + candidates[:, :6], dim=-1)
    excluded, valid = torch.eye(6, 40, dtype=torch.bool).expand(2, 6, 40), torch.ones(2, 6, dtype=torch.bool)
    context = checks.context((2,), 6, 40, torch.float32, 0)
    context = {name: context[name] for name in loss.needs}
    double = {k: v.double() if torch.is_tensor(v) and v.is_floating_point() else v for k, v in context.items()}
    for kind in entry.negatives:
        if kind == "one":
            result = Selection(columns.expand(2, 6), None, valid)
        else:
            attracted = (torch.rand(2, 6, 40, generator=generator) < 0.2) & ~excluded if kind == "attracted" else None
            weights = (~excluded if attracted is None else ~(excluded | attracted)).float()
            result = Selection(None, weights, valid, attracted=attracted)
        seen = []
        for off in (0.0, ROUNDING, -ROUNDING, None):  # None: without rounding, in float64
            twins = candidates.clone()
            twins[:, columns] += (off or 0.0) * anchors
            kind_of = torch.float32 if off is not None else torch.float64
            given = anchors.to(kind_of, copy=True).requires_grad_(), twins.to(kind_of).requires_grad_()
            cost = loss(*given, result, **(context if off is not None else double))
            seen.append([cost, *torch.autograd.grad(cost.sum(), given)])
        for cost, *gradients in seen[1:]:
            torch.testing.assert_close(cost.float(), seen[0][0], rtol=0, atol=1e-4)
            for gradient, exact in zip(gradients, seen[0][1:], strict=True):
                torch.testing.assert_close(gradient.float(), exact, rtol=0, atol=1e-3)
