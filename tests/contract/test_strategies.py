"""The contract of every registered strategy and loss; a new entry is tested without a new line here."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import math
import random

import pytest
import torch

from fne.checks.contract import check
from fne.negatives.catalog import DENSITIES
from fne.negatives.registry import NEEDS
from fne.negatives.strategy import Selection
from fne.training.step import build_rule
from tests.rules import LOSSES, STRATEGIES

# For each option of a registered class: values that reach every branch. A new option must be named here.
OPTIONS = {
    "tau": [0.5],
    "prior": [1e-4, 0.2],
    "prior_rule": ["fixed", "em"],
    "prior_rate": [0.05, 1.0],
    "prior_floor": [1e-6],
    "prior_ceiling": [0.5],
    "density": list(DENSITIES),
    "population": ["hardest", "batch", "queue"],
    "posterior_threshold": [1e-3],
    "min_positives": [0],
    "margin": [0.2],
    "elimination": ["released", "power", "threshold", "none"],
    "elimination_power": [1.0, 4.0],
    "elimination_threshold": [0.5, 0.0],
    "cut_down": ["global", "anchor", "none"],
    "statistics_mask": ["diagonal", "same_image"],
    "statistics_reset": ["epoch", "never", "ema"],
    "statistics_decay": [0.99],
    "recalibration": ["none", "isotonic", "platt"],
    "recalibration_images": [6],
    "temperature": [0.05],
    "positive_prior": [0.1, 0.0],
    "hardness": [1.0],
    "location": [0.9, 0.5],
    "concentration": [1.0, 0.5],
    "shift": [0.5],
    "pseudo_weight": [0.1],
    "hard_similarity": [0.8, -0.5],
    "hard_weight": [1.5],
    "epsilon": [0.01, 0.5],
    "min_distance": [0.5],
    "max_distance": [1.4],
    "dim": [2, 256],
    "sharpness": [0.5, 500.0],
    "offset": [0.0, -0.1],
    "relative_margin": [0.0, 0.05],
    "absolute_margin": [0.0, 0.05],
    "guide_margin": [0.0, 0.3],
    "top_k": [1, 10],
    "score_threshold": [0.7, -1.0],
    "filtered_share": [1e-4, 0.2],
    "threshold_rate": [0.05, 0.5],
    "threshold_beta1": [0.9],
    "threshold_beta2": [0.98],
    "multi_positive": [False, True],
    "distillation": [0.4, 0.0, 1.0],
}
LEADS = [(), (2,), (2, 3)]
MANY = 64
"""Up to so many combinations of an entry's options are all tested, else every two values of two options meet."""


def variants(registry: dict, section: str) -> list:
    cases = {}
    for name, entry in registry.items():
        keys = list(entry.options) + [key.split(".")[1] for key in entry.shares]
        values = {key: OPTIONS[key] for key in keys}
        few = math.prod(map(len, values.values())) <= MANY
        every = (dict(zip(keys, row, strict=True)) for row in itertools.product(*values.values()))
        for given in every if few else pairwise(entry, values):
            chosen = {key: value if key in reads(entry, given) else None for key, value in given.items()}
            label = "-".join([name, *(str(value) for value in chosen.values() if value is not None)])
            cases[label] = pytest.param(entry, chosen, id=label)
    return list(cases.values())


def reads(entry, given: dict) -> set[str]:
    """The options that are read; the others are None, as in a run."""
    return {*entry.reads(given), *(key.split(".")[1] for key in entry.shares)}


def pairwise(entry, values: dict[str, list]) -> list[dict]:
    """Few rows in which every two values of two options meet where both are read (greedy, the same each time)."""
    rng = random.Random(0)
    pool = [{key: rng.choice(options) for key, options in values.items()} for _ in range(600)]
    met = []
    for row in pool:
        read = sorted(reads(entry, row))
        met.append({(i, row[i], j, row[j]) for i, j in itertools.combinations(read, 2)})
    rows, left = [], set.union(*met)
    while left:
        best = max(range(len(pool)), key=lambda place: len(met[place] & left))
        left -= met[best]
        rows.append(pool[best])
    return rows


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


def assert_honest(selection, excluded, similarities) -> None:
    allowed = ~(excluded | similarities.isnan())
    assert torch.equal(selection.valid, allowed.any(dim=-1))
    if selection.weights is not None:
        assert selection.weights.shape == similarities.shape
        assert not selection.weights.isnan().any()
        assert (selection.weights >= 0).all()
        assert (selection.weights[~allowed] == 0).all()
    if selection.index is not None:
        assert selection.index.dtype == torch.int64
        assert selection.index.shape == similarities.shape[:-1]
        assert ((selection.index >= 0) & (selection.index < similarities.shape[-1])).all()
        picked = allowed.gather(-1, selection.index.unsqueeze(-1)).squeeze(-1)
        assert picked[selection.valid].all()
    else:
        assert selection.weights is not None
    if selection.attracted is not None:
        assert selection.attracted.dtype == torch.bool and not selection.attracted[~allowed].any()
        assert (selection.weights[selection.attracted] == 0).all()
    assert selection.positive_index is None, "only an oracle sets it"


@pytest.mark.parametrize(("entry", "options"), variants(STRATEGIES, "negatives"))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("lead", LEADS)
def test_never_selects_an_excluded_candidate(entry, options, dtype, lead) -> None:
    for batch, count in ((1, 1), (2, 2), (5, 5), (6, 40)):
        strategy = ready(entry, options, lead, batch)
        for seed in range(3):
            _, similarities, excluded, positive, uniform = case(lead, batch, count, dtype, seed)
            context = wanted(strategy.needs, lead, batch, count, direction=seed % 2, seed=seed, dtype=dtype)
            for mask in (excluded, torch.ones_like(excluded), torch.zeros_like(excluded)):
                assert_honest(strategy.select(similarities, mask, positive, uniform, **context), mask, similarities)
            for edge in (0.0, 1 - 2**-24):
                found = strategy.select(similarities, excluded, positive, torch.full_like(uniform, edge), **context)
                assert_honest(found, excluded, similarities)
            tied = torch.full_like(similarities, 0.25)
            assert_honest(strategy.select(tied, excluded, positive, uniform, **context), excluded, tied)
            holes = similarities.clone()
            holes[..., 0] = torch.nan
            spoilt = {k: v.clone() if isinstance(v, torch.Tensor) else v for k, v in context.items()}
            for name in {"teacher", "guide"} & set(spoilt):
                spoilt[name][..., 0] = torch.nan
            assert_honest(strategy.select(holes, excluded, positive, uniform, **spoilt), excluded, holes)


@pytest.mark.parametrize(("entry", "options"), variants(STRATEGIES, "negatives"))
def test_leading_axes_are_independent(entry, options) -> None:
    """Each replicate selects as it would alone, so nothing is reduced over the leading axes."""
    _, similarities, excluded, positive, uniform = case((3,), 6, 20, torch.float32)
    context = wanted(entry.needs, (3,), 6, 20)
    together = ready(entry, options, (3,), 6).select(similarities, excluded, positive, uniform, **context)
    online = case((3,), 6, 6, torch.float32, seed=9)[0]
    for r in range(3):
        strategy = entry.load()(**options)
        strategy.prepare(SIZES, (), torch.device("cpu"))
        taught(strategy, online[r])
        mine = {k: v[r] if isinstance(v, torch.Tensor) else v for k, v in context.items()}
        alone = strategy.select(similarities[r], excluded[r], positive[r], uniform[r], **mine)
        for name in ("index", "weights", "valid", "posterior", "attracted", "fallback"):
            left, right = getattr(together, name), getattr(alone, name)
            assert (left is None) == (right is None)
            if left is not None:
                torch.testing.assert_close(left[r], right)


@pytest.mark.parametrize(("entry", "options"), variants(STRATEGIES, "negatives"))
def test_state_round_trip(entry, options) -> None:
    strategy = ready(entry, options, (2,), 6)
    _, similarities, excluded, positive, uniform = case((2,), 6, 20, torch.float32)
    context = wanted(entry.needs, (2,), 6, 20)
    strategy.select(similarities, excluded, positive, uniform, **context)  # what selecting itself changes is state too
    copy = entry.load()(**options)
    copy.prepare(SIZES, (2,), torch.device("cpu"))
    copy.load_state({key: value.clone() for key, value in strategy.state().items()})
    assert {key: value.shape for key, value in copy.state().items()} == {
        key: value.shape for key, value in strategy.state().items()
    }
    left = strategy.select(similarities, excluded, positive, uniform, **context)
    right = copy.select(similarities, excluded, positive, uniform, **context)
    assert all(torch.equal(value, copy.state()[key]) for key, value in strategy.state().items())
    for name in ("index", "weights", "attracted"):
        if getattr(left, name) is not None:
            assert torch.equal(getattr(left, name), getattr(right, name))


@pytest.mark.parametrize(("entry", "options"), variants(STRATEGIES, "negatives"))
def test_does_not_change_its_inputs(entry, options) -> None:
    strategy = ready(entry, options, (2,), 6)
    inputs = case((2,), 6, 20, torch.float32)[1:]
    context = wanted(entry.needs, (2,), 6, 20)
    given = [*inputs, *(value for value in context.values() if isinstance(value, torch.Tensor))]
    before = [value.clone() for value in given]
    strategy.select(*inputs, **context)
    assert all(torch.equal(a, b) for a, b in zip(given, before, strict=True))


@pytest.mark.parametrize(("entry", "options"), variants(STRATEGIES, "negatives"))
def test_the_same_inputs_give_the_same_selection(entry, options) -> None:
    inputs, context = case((2,), 6, 20, torch.float32)[1:], wanted(entry.needs, (2,), 6, 20)
    one, two = (ready(entry, options, (2,), 6).select(*inputs, **context) for _ in range(2))
    for name in ("index", "weights", "posterior", "attracted"):
        left, right = getattr(one, name), getattr(two, name)
        assert (left is None and right is None) or torch.equal(left, right)


@pytest.mark.gpu
@pytest.mark.parametrize(("entry", "options"), variants(STRATEGIES, "negatives"))
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


@pytest.mark.parametrize(("entry", "options"), variants(STRATEGIES, "negatives"))
def test_never_waits_for_the_device(entry, options) -> None:
    """A meta tensor has no values, so whatever would copy one from the device (``item``, ``nonzero``) fails here."""
    strategy = entry.load()(**options)
    strategy.prepare(SIZES, (2,), torch.device("meta"))
    strategy.start_epoch()
    online, *inputs = (value.to("meta") for value in case((2,), 6, 20, torch.float32))
    strategy.observe(online, torch.ones_like(online, dtype=torch.bool))
    context = wanted(entry.needs, (2,), 6, 20, device="meta")
    assert strategy.select(*inputs, **context).valid.shape == (2, 6)


@pytest.mark.parametrize(("entry", "options"), variants(LOSSES, "loss"))
@pytest.mark.parametrize("lead", LEADS)
def test_loss_gradient_is_finite_and_equals_a_finite_difference(entry, options, lead) -> None:
    loss = entry.load()(**options)
    generator = torch.Generator().manual_seed(3)
    for kind in entry.negatives:
        name = next(name for name, s in STRATEGIES.items() if kind in s.negatives)
        strategy_entry = STRATEGIES[name]
        keys = list(strategy_entry.options) + [key.split(".")[1] for key in strategy_entry.shares]
        strategy = ready(strategy_entry, {key: OPTIONS[key][0] for key in keys}, lead, 4)
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


@pytest.mark.parametrize(("entry", "options"), variants(STRATEGIES, "negatives"))
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


@pytest.mark.parametrize(("entry", "options"), variants(LOSSES, "loss"))
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


@pytest.mark.parametrize("name", [*STRATEGIES, *LOSSES])
def test_every_registered_rule_keeps_the_contract_that_rules_from_outside_are_held_to(name: str) -> None:
    section = "negatives" if name in STRATEGIES else "loss"
    entry = {**STRATEGIES, **LOSSES}[name]
    keys = [*entry.options, *(key.split(".")[1] for key in entry.shares)]
    assert len(check(entry, section, {key: OPTIONS[key][0] for key in keys}, name)) >= 8


def test_every_option_is_a_keyword_of_its_class() -> None:
    for registry in (STRATEGIES, LOSSES):
        for name, entry in registry.items():
            expected = {*entry.options, *(key.split(".")[1] for key in entry.shares)}
            parameters = inspect.signature(entry.load()).parameters
            assert set(parameters) == expected, name
            assert all(p.default is inspect.Parameter.empty for p in parameters.values()), "defaults stand in base.yaml"


def test_the_catalogs_name_what_the_classes_need() -> None:
    for registry in (STRATEGIES, LOSSES):
        for name, entry in registry.items():
            assert tuple(entry.needs) == tuple(entry.load().needs), name
            assert set(entry.needs) <= set(NEEDS), name


def test_build_rule_passes_every_option() -> None:
    config = {
        "negatives": {"strategy": "fne", "oracle": "remove", **{k: OPTIONS[k][0] for k in STRATEGIES["fne"].options}},
        "loss": {"kind": "triplet", "margin": 0.3},
    }
    rule = build_rule(config)
    assert (rule.strategy.margin, rule.loss.margin, rule.strategy.tau) == (0.3, 0.3, 0.5)
    assert rule.oracle == "remove"
