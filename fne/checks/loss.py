"""The contract of a loss; :mod:`fne.checks.contract` runs it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from fne.checks.contract import LEADS, ONCE, Breach, Promise, calling, demand, replicate, same, unchanged
from fne.checks.strategy import context
from fne.losses.loss import Loss, positive_of
from fne.negatives.all import AllNegatives
from fne.negatives.random import RandomNegative
from fne.negatives.strategy import Selection

DTYPES = (torch.float64, torch.float32, torch.bfloat16)


@dataclass(frozen=True)
class Case:
    """Embeddings (..., B, D) and (..., C, D), a selection among them, and words for what they are.

    The last anchor has no negative.
    """

    label: str
    anchors: Tensor
    candidates: Tensor
    selection: Selection
    context: dict[str, Any]

    def needed(self, loss: Loss) -> dict[str, Any]:
        """What a loss needs beside embeddings and selection."""
        return {name: self.context[name] for name in loss.needs}

    def part(self, place: tuple[int, ...]) -> Case:
        """One replicate."""
        selection = replace(self.selection, **replicate(vars(self.selection), place))
        return Case(self.label, self.anchors[place], self.candidates[place], selection, replicate(self.context, place))


def case(lead: tuple[int, ...], negatives: str, dtype: torch.dtype, seed: int = 3, batch: int = 4) -> Case:
    """Random embeddings of seven candidates and a selection of one of them for an anchor, or of all.

    Args:
        lead: Leading axes.
        negatives: ``one``, ``all`` or ``attracted``.
        dtype: Of the embeddings.
        seed: Of the generator.
        batch: B.

    >>> given = case((), "one", torch.float64)
    >>> given.label, tuple(given.anchors.shape), tuple(given.candidates.shape)
    ('one negative, float64, shape (4, 7)', (4, 5), (7, 5))
    """
    generator = torch.Generator().manual_seed(seed)
    anchors, candidates = (
        normalize(torch.randn(*lead, count, 5, dtype=torch.float64, generator=generator), dim=-1).to(dtype)
        for count in (batch, batch + 3)
    )
    similarities = anchors @ candidates.transpose(-1, -2)
    excluded = torch.zeros_like(similarities, dtype=torch.bool)
    excluded[..., range(batch), range(batch)] = True
    excluded[..., batch - 1, :] = True
    excluded[..., 0, -1] = True  # may serve as the positive
    uniform = torch.rand(*lead, batch, generator=generator)
    strategy = RandomNegative() if negatives == "one" else AllNegatives()
    selection = strategy.select(similarities, excluded, positive_of(similarities, None), uniform)
    if negatives == "attracted":
        assert selection.weights is not None
        suspects = (similarities > 0.3) & (selection.weights > 0)
        selection = replace(selection, weights=selection.weights.masked_fill(suspects, 0), attracted=suspects)
    label = f"{negatives} negative{'' if negatives == 'one' else 's'}, {str(dtype).removeprefix('torch.')}"
    return Case(
        f"{label}, shape {tuple(similarities.shape)}",
        anchors,
        candidates,
        selection,
        context(lead, batch, batch + 3, dtype, seed),
    )


def value(loss: Loss, given: Case) -> Tensor:
    """The loss of each anchor."""
    with calling("__call__", given.label):
        result = loss(given.anchors, given.candidates, given.selection, **given.needed(loss))
    demand(isinstance(result, Tensor), f"gave {type(result).__name__}, no tensor", given.label)
    shape = given.anchors.shape[:-1]
    demand(result.shape == shape, f"has shape {tuple(result.shape)}, not {tuple(shape)}", given.label)
    return result


def promises(make: Callable[[], Loss], negatives: tuple[str, ...], quick: bool) -> Iterator[Promise]:
    """What a loss promises.

    Args:
        make: Builds a fresh one.
        negatives: What it says it can take: ``one``, ``all`` or both.
        quick: A few inputs only.
    """
    leads, dtypes = (LEADS[:2], DTYPES[1:2]) if quick else (LEADS, DTYPES)
    given = [case(lead, kind, dtype) for lead, kind, dtype in itertools.product(leads, negatives, dtypes)]
    relabelled = [case((), kind, torch.float64, seed) for kind, seed in itertools.product(negatives, range(4))]
    precise = [case(lead, kind, torch.float64) for lead, kind in itertools.product(LEADS[:2], negatives)]

    def each(over: list[Case]) -> Iterator[tuple[Loss, Case]]:
        return ((make(), item) for item in over)

    def built() -> None:
        with calling("__init__", "its options"):
            make()

    yield "is built from its options", built, ONCE
    yield "gives every anchor a finite number", _finite, each(given)
    yield "an anchor without negatives costs nothing", _free, each(given)
    yield "the same inputs give the same loss, and stay as they are", _pure, each(given)
    yield "its gradient is finite and equals a finite difference (float64)", _gradient, each(precise)
    yield "at_collapse is its value where all embeddings are equal", _collapse, each(precise)
    if {"all", "attracted"} & {*negatives}:
        over = [item for item in given if item.selection.index is None]
        yield "shares are finite, not negative, and zero without weight", _shares, each(over)
    yield "its positive is the candidate that the selection names", _relabelled, each(relabelled)
    several = [item for item in given if item.anchors.ndim > 2]
    yield "no replicate depends on another (leading axes)", _independent, each(several)
    if make().per_anchor:
        yield (
            "an anchor depends on its own row alone (per_anchor)",
            _alone,
            each([i for i in several if i.anchors.ndim == 3]),
        )


def _finite(loss: Loss, given: Case) -> None:
    result = value(loss, given)
    demand(result.dtype.is_floating_point, f"is {result.dtype}, not floating point", given.label)
    demand(result.isfinite(), "the loss is NaN or infinite", given.label)


def _free(loss: Loss, given: Case) -> None:
    demand(value(loss, given)[..., -1] == 0, "the loss is not zero", given.label)


def _gradient(loss: Loss, given: Case) -> None:
    anchors, candidates = (item.clone().requires_grad_() for item in (given.anchors, given.candidates))
    inputs = anchors, candidates
    with calling("backward", given.label):
        result = loss(anchors, candidates, given.selection, **given.needed(loss)).sum()
        (result + 0 * sum(item.sum() for item in inputs)).backward()
    finite = all(item.grad is not None and item.grad.isfinite().all() for item in inputs)
    demand(finite, "the gradient is NaN or infinite", given.label)
    needed = given.needed(loss)
    try:
        torch.autograd.gradcheck(lambda a, c: loss(a, c, given.selection, **needed), inputs, eps=1e-6, atol=1e-4)
    except RuntimeError as error:
        text = " ".join(str(error).split())[:300]
        raise Breach(f"it differs: {text} ({given.label})") from error


def _collapse(loss: Loss, given: Case) -> None:
    same_direction = torch.zeros_like(given.anchors)
    same_direction[..., 0] = 1
    candidates = torch.zeros_like(given.candidates)
    candidates[..., 0] = 1
    collapsed = value(loss, replace(given, anchors=same_direction, candidates=candidates))
    with calling("at_collapse", given.label):
        declared = loss.at_collapse(given.selection, **given.needed(loss))
    demand(declared.shape == collapsed.shape, f"has shape {tuple(declared.shape)}", given.label)
    agree = torch.isclose(declared.double(), collapsed.double(), rtol=1e-4, atol=1e-6)
    demand(agree, "it is another number", given.label)


def _shares(loss: Loss, given: Case) -> None:
    similarities = given.anchors @ given.candidates.transpose(-1, -2)
    with calling("shares", given.label):
        result = loss.shares(similarities, positive_of(similarities, None), given.selection, **given.needed(loss))
    demand(result.shape == similarities.shape, f"has shape {tuple(result.shape)}", given.label)
    demand(result.isfinite() & (result >= 0), "a share is NaN, infinite or negative", given.label)
    assert given.selection.weights is not None
    demand((result == 0) | (given.selection.weights > 0), "a candidate without weight has a share", given.label)


def _pure(loss: Loss, given: Case) -> None:
    tensors = {"anchors": given.anchors, "candidates": given.candidates} | vars(given.selection)
    with unchanged(tensors, given.label):
        demand(same(value(loss, given), value(loss, given)), "the second call gives another loss", given.label)


def _relabelled(loss: Loss, given: Case) -> None:
    """The first anchor with its last candidate as the positive costs what it costs with the two exchanged.

    What else the loss needs is the same for both, so that it is free to take either's.
    """
    last = given.candidates.shape[-2] - 1
    order = torch.arange(last + 1)
    order[0], order[last] = last, 0
    index = torch.arange(given.anchors.shape[-2]).expand(given.anchors.shape[:-1]).clone()
    index[..., 0] = last
    parts = {name: given.context[name].clone() for name in ("teacher", "guide", "same_image")}
    for item in parts.values():
        item[..., last] = item[..., 0]
    given = replace(given, context=given.context | parts)
    named = value(loss, replace(given, selection=replace(given.selection, positive_index=index)))
    dense = {name: getattr(given.selection, name) for name in ("weights", "attracted")}
    moved = {name: item[..., order] for name, item in dense.items() if item is not None}
    if given.selection.index is not None:
        moved["index"] = order[given.selection.index]
    exchanged = replace(given, candidates=given.candidates[..., order, :], selection=replace(given.selection, **moved))
    demand(same(named[..., 0], value(loss, exchanged)[..., 0]), "the named positive is not what it takes", given.label)


def _alone(loss: Loss, given: Case) -> None:
    where = slice(None), slice(1, 3)
    some = replace(given.part(where), candidates=given.candidates)  # type: ignore[arg-type]  # slices
    own = torch.arange(1, 3).expand(some.anchors.shape[:-1])
    some = replace(some, selection=replace(some.selection, positive_index=own))
    demand(same(value(loss, given)[where], value(loss, some)), "two anchors alone cost something else", given.label)


def _independent(loss: Loss, given: Case) -> None:
    together = value(loss, given)
    for place in itertools.product(*map(range, given.anchors.shape[:-2])):
        alone = value(loss, given.part(place))
        demand(same(together[place], alone), f"replicate {place} differs from the same one alone", given.label)
