"""The contract of a selection strategy; :mod:`fne.checks.contract` runs it."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from fne.checks.contract import LEADS, ONCE, Breach, Promise, calling, demand, replicate, same, unchanged
from fne.negatives.strategy import Selection, Strategy, usable

DTYPES = (torch.float32, torch.bfloat16, torch.float64)
SIZES = ((1, 1), (2, 2), (5, 5), (6, 40))
ITEMS = (50, 90)
"""Images and captions of the training split that the inputs are said to be of."""
RELEVANT = 0.5
"""Cosine above which a pair is said to be relevant."""
EDGES = (0.0, 1 - 2**-24)
"""The least and the greatest draw."""


@dataclass(frozen=True)
class Case:
    """Inputs of one call of ``select`` (all that a rule may need), of ``observe`` before it, and words for them."""

    label: str
    online: Tensor
    same_image: Tensor
    inputs: tuple[Tensor, ...]
    context: dict[str, Any] = field(default_factory=dict)

    @property
    def allowed(self) -> Tensor:
        """(..., B, C) bool: what may be selected."""
        return usable(self.inputs[0], self.inputs[1])


def case(lead: tuple[int, ...], batch: int, count: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Case:
    """Random cosines, positives and draws; two of five candidates are excluded.

    Args:
        lead: Leading axes.
        batch: B.
        count: C.
        dtype: Of the similarities.
        seed: Of the generator.

    >>> given = case((), batch=2, count=5)
    >>> given.label, tuple(given.allowed.shape)
    ('random; float32, shape (2, 5)', (2, 5))
    """
    generator = torch.Generator().manual_seed(seed)
    online = torch.rand(*lead, batch, batch, generator=generator) * 1.4 - 0.6 + torch.eye(batch) * 0.3
    similarities = (torch.rand(*lead, batch, count, generator=generator) * 1.6 - 0.6).to(dtype)
    excluded = torch.rand(*lead, batch, count, generator=generator) < 0.4
    positive = (torch.rand(*lead, batch, generator=generator) * 0.5 + 0.3).to(dtype)
    uniform = torch.rand(*lead, batch, generator=generator)
    own = torch.eye(batch, dtype=torch.bool).expand(online.shape).clone()
    words = f"random; {str(dtype).removeprefix('torch.')}, shape {tuple(similarities.shape)}"
    parts = context(lead, batch, count, dtype, seed)
    return Case(words, online.to(dtype), own, (similarities, excluded, positive, uniform), parts)


def context(lead: tuple[int, ...], batch: int, count: int, dtype: torch.dtype, seed: int) -> dict[str, Any]:
    """All of :data:`fne.negatives.registry.NEEDS`, at random.

    Args:
        lead, batch, count, dtype, seed: As of :func:`case`; an odd seed means captions as anchors.
    """
    generator = torch.Generator().manual_seed(100 + seed)
    direction = seed % 2
    return {
        "teacher": (torch.rand(*lead, batch, count, generator=generator) * 2 - 1).to(dtype),
        "guide": (torch.rand(*lead, batch, count, generator=generator) * 2 - 1).to(dtype),
        "anchor": torch.randint(ITEMS[direction], (*lead, batch), generator=generator),
        "direction": direction,
        "same_image": torch.eye(batch, count, dtype=torch.bool).expand(*lead, batch, count).clone(),
    }


def cases(lead: tuple[int, ...], batch: int, count: int, dtype: torch.dtype) -> Iterator[Case]:
    """Everything a strategy may meet: nothing or all excluded, ties, NaN, the first and the last draw."""
    for seed in range(3):
        yield (plain := case(lead, batch, count, dtype, seed))
    similarities, excluded, positive, uniform = plain.inputs
    holes = similarities.clone()
    holes[..., 0] = torch.nan
    others = {
        "everything excluded": (similarities, torch.ones_like(excluded), positive, uniform),
        "nothing excluded": (similarities, torch.zeros_like(excluded), positive, uniform),
        "ties": (torch.full_like(similarities, 0.25), excluded, positive, uniform),
        "NaN": (holes, excluded, positive, uniform),
        **{f"draw {e:g}": (similarities, excluded, positive, torch.full_like(uniform, e)) for e in EDGES},
    }
    for label, inputs in others.items():
        parts = dict(plain.context)
        for name in ("teacher", "guide") if label == "NaN" else ():
            parts[name] = parts[name].clone()
            parts[name][..., 0] = torch.nan
        yield Case(plain.label.replace("random", label), plain.online, plain.same_image, inputs, parts)


def fresh(make: Callable[[], Strategy], given: Case) -> Strategy:
    """A new strategy that was prepared for the data."""
    strategy = make()
    with calling("prepare", given.label):
        strategy.prepare(ITEMS, tuple(given.inputs[0].shape[:-2]), torch.device("cpu"))
    return strategy


def shown(strategy: Strategy, given: Case) -> Strategy:
    """Let a strategy begin an epoch and see a batch; before it one in which it is calibrated, if it wants to be."""
    if strategy.calibration_images:
        with calling("calibrate", given.label), torch.no_grad():
            strategy.start_epoch()
            strategy.observe(given.online, given.same_image)
            strategy.calibrate(given.online, (given.online > RELEVANT) | given.same_image)
    with calling("observe", given.label), torch.no_grad():
        strategy.start_epoch()
        strategy.observe(given.online, given.same_image)
    return strategy


def select(strategy: Strategy, given: Case) -> Selection:
    """What it selects."""
    with calling("select", given.label), torch.no_grad():
        result = strategy.select(*given.inputs, **{name: given.context[name] for name in strategy.needs})
    demand(isinstance(result, Selection), f"select returned {type(result).__name__}, no Selection", given.label)
    return result


def promises(make: Callable[[], Strategy], negatives: tuple[str, ...], quick: bool) -> Iterator[Promise]:
    """What a strategy promises.

    Args:
        make: Builds a fresh one.
        negatives: How many negatives it says an anchor gets, ``("one",)`` or ``("all",)``.
        quick: A few inputs only.
    """
    answers: list[tuple[Case, Selection]] = []

    def answered() -> None:
        with calling("__init__", "its options"):
            make()
        leads, dtypes, sizes = (LEADS[:2], DTYPES[:1], ((1, 1), (6, 20))) if quick else (LEADS, DTYPES, SIZES)
        for lead, dtype, (batch, count) in itertools.product(leads, dtypes, sizes):
            strategy = fresh(make, case(lead, batch, count, dtype))
            for given in cases(lead, batch, count, dtype):
                answers.append((given, select(shown(strategy, given), given)))

    yield "answers every input with a Selection", answered, ONCE
    shaped = functools.partial(_shaped, negatives=negatives)
    yield "its tensors have the right shapes and types", shaped, answers
    yield "an anchor is valid exactly where some candidate may be selected", _valid, answers
    yield "never picks an excluded candidate, nor a NaN", _picks, answers
    yield "weights are finite, not negative, and zero on what is excluded", _weights, answers
    yield "a posterior is a probability", _posterior, answers
    yield "the same draws give the same selection", _deterministic, [(make,)]
    yield "no replicate depends on another (leading axes)", _independent, [(make,)]
    if (one := make()).per_anchor:
        yield "an anchor depends on its own row alone, and nothing is learnt in select (per_anchor)", _alone, [(make,)]
    yield "its inputs stay as they are", _unchanged, [(make,)]
    yield "its state is all that it remembers", _resumes, [(make,)]
    if one.per_anchor and one.even and not one.needs:
        yield "selects for both directions at once as for each (per_anchor, even)", _both, [(make,)]


def _shaped(given: Case, result: Selection, negatives: tuple[str, ...]) -> None:
    whole = given.inputs[0].shape
    if result.index is None and result.weights is None:
        raise Breach(f"gives neither index nor weights ({given.label})")
    says = "one" if result.index is not None else "all" if result.attracted is None else "attracted"
    demand(says in negatives, f"says that it gives {negatives[0]!r} negatives, but gives {says!r}", given.label)
    demand(result.positive_index is None, "sets positive_index, which only an oracle may", given.label)
    for name, shape, dtype in (
        ("index", whole[:-1], torch.int64),
        ("valid", whole[:-1], torch.bool),
        ("weights", whole, None),
        ("posterior", whole, None),
        ("overridden", whole, torch.bool),
        ("attracted", whole, torch.bool),
        ("fallback", whole[:-1], torch.bool),
    ):
        value = getattr(result, name)
        if value is None and name != "valid":
            continue
        demand(isinstance(value, Tensor), f"{name} is {type(value).__name__}, no tensor", given.label)
        demand(value.shape == shape, f"{name} has shape {tuple(value.shape)}, not {tuple(shape)}", given.label)
        right = value.dtype.is_floating_point if dtype is None else value.dtype == dtype
        demand(right, f"{name} is {value.dtype}, not {dtype or 'floating point'}", given.label)


def _valid(given: Case, result: Selection) -> None:
    demand(result.valid == given.allowed.any(dim=-1), "valid is wrong", given.label)


def _picks(given: Case, result: Selection) -> None:
    if result.index is None:
        return
    inside = (result.index >= 0) & (result.index < given.inputs[0].shape[-1])
    demand(inside, "the index is outside the candidates", given.label)
    picked = given.allowed.gather(-1, result.index.unsqueeze(-1)).squeeze(-1)
    demand(picked | ~result.valid, "picked a candidate that is excluded", given.label)


def _weights(given: Case, result: Selection) -> None:
    if result.weights is None:
        return
    demand(~result.weights.isnan(), "a weight is NaN", given.label)
    demand(result.weights.isfinite(), "a weight is infinite", given.label)
    demand(result.weights >= 0, "a weight is negative", given.label)
    demand((result.weights == 0) | given.allowed, "an excluded candidate has a weight", given.label)
    if result.attracted is not None:
        demand(given.allowed | ~result.attracted, "an excluded candidate is attracted", given.label)
        demand((result.weights == 0) | ~result.attracted, "an attracted candidate has a weight", given.label)


def _posterior(given: Case, result: Selection) -> None:
    if result.posterior is not None:
        inside = (result.posterior >= 0) & (result.posterior <= 1)
        demand(inside | ~given.allowed, "the posterior is not within 0 to 1", given.label)


def _same(left: Selection, right: Selection, given: Case, where: tuple[int, ...], how: str) -> None:
    demand(same(left.valid[where], right.valid), f"{how}: valid differs", given.label)
    demand((left.index is None) == (right.index is None), f"{how}: the picks differ", given.label)
    if left.index is not None and right.index is not None:
        picks = left.index[where].masked_fill(~right.valid, 0)
        demand(same(picks, right.index.masked_fill(~right.valid, 0)), f"{how}: the picks differ", given.label)
    for name in ("weights", "posterior", "attracted", "fallback"):
        value = getattr(left, name)
        agree = same(None if value is None else value[where], getattr(right, name))
        demand(agree, f"{how}: {name} differs", given.label)


def _deterministic(make: Callable[[], Strategy]) -> None:
    for seed in range(3):
        given = case((2,), 6, 20, seed=seed)
        first, second = (select(shown(fresh(make, given), given), given) for _ in range(2))
        _same(first, second, given, (), "two fresh ones, given the same")


def _independent(make: Callable[[], Strategy]) -> None:
    for lead in ((3,), (2, 2)):
        given = case(lead, 6, 20)
        together = select(shown(fresh(make, given), given), given)
        for place in itertools.product(*map(range, lead)):
            inputs = tuple(value[place] for value in given.inputs)
            parts = replicate(given.context, place)
            alone = Case(given.label, given.online[place], given.same_image[place], inputs, parts)
            result = select(shown(fresh(make, alone), alone), alone)
            _same(together, result, given, place, f"replicate {place} differs from the same one alone")


def _alone(make: Callable[[], Strategy]) -> None:
    given, where = case((2,), 6, 20), (slice(None), slice(2, 5))
    both = [shown(fresh(make, given), given) for _ in range(2)]
    inputs = tuple(value[where] for value in given.inputs)
    some = Case(given.label, given.online, given.same_image, inputs, replicate(given.context, where))  # type: ignore[arg-type]  # slices
    whole, part = select(both[0], given), select(both[1], some)
    _same(whole, part, given, where, "three of six anchors alone")  # type: ignore[arg-type]  # slices
    left, right = (strategy.state() for strategy in both)
    agree = left.keys() == right.keys() and all(same(value, right[name]) for name, value in left.items())
    demand(agree, "its state depends on the anchors that it selects for", given.label)


def _both(make: Callable[[], Strategy]) -> None:
    given = [case((3,), 8, 20, seed=seed) for seed in range(2)]  # three replicates: no axis passes for another
    first, second = (shown(fresh(make, given[0]), given[0]) for _ in range(2))
    inputs = tuple(torch.stack(parts) for parts in zip(*(one.inputs for one in given), strict=True))
    whole = select(first, Case(given[0].label, given[0].online, given[0].same_image, inputs, {}))
    for direction, one in enumerate(given):
        _same(whole, select(second, one), one, (direction,), "both directions at once")


def _unchanged(make: Callable[[], Strategy]) -> None:
    given = case((2,), 6, 20)
    tensors = {"online": given.online, "same_image": given.same_image}
    tensors |= dict(zip(("similarities", "excluded", "positive", "uniform"), given.inputs, strict=True))
    with unchanged(given.context | tensors, given.label):
        select(shown(fresh(make, given), given), given)


def _resumes(make: Callable[[], Strategy]) -> None:
    strategy = fresh(make, case((2,), 6, 20))
    for seed in range(3):
        given = case((2,), 6, 20, seed=seed)
        select(shown(strategy, given), given)
    with calling("state", "after three steps"):
        state = strategy.state()
    flat = isinstance(state, dict) and all(isinstance(value, Tensor) for value in state.values())
    demand(flat, "state is no flat dict of tensors", "after three steps")
    copy = fresh(make, given)
    with calling("load_state", "what state gave"):
        copy.load_state({name: value.clone() for name, value in state.items()})
    for seed in range(3, 6):
        given = case((2,), 6, 20, seed=seed)
        for item in (strategy, copy):
            if seed > 3:
                item.observe(given.online, given.same_image)
        _same(select(strategy, given), select(copy, given), given, (), "one that took over the state goes on otherwise")
