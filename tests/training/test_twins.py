"""A real step whose batch and queue hold exact twins of the own pairs: equal captions, or pictures, of other images."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from fne.losses.loss import Loss
from fne.losses.pcmepp_pseudo import PseudoPositiveLoss
from fne.losses.triplet import TripletLoss
from fne.negatives.all import AllNegatives
from fne.negatives.catalog import MEMORIES
from fne.negatives.memory.kind import Candidates
from fne.negatives.semi_hard import SemiHardNegative
from fne.negatives.strategy import Selection, Strategy
from fne.training.context import Context, Guide
from fne.training.data import Items, Split
from fne.training.engine import Engine
from fne.training.step import Batch, Moment, Rule
from tests.training import toy

CPU = torch.device("cpu")
SIZES = [(128, 0, 32), (128, 256, 256), (5, 12, 33), (3, 30, 32), (33, 96, 12)]
"""Batch, queue and width; a product of few rows, or of a ragged number of columns, rounds equal columns otherwise."""


class Watched(Loss):
    """A loss that remembers, per direction, what it was given and what it gave."""

    def __init__(self, loss: Loss) -> None:
        self.loss, self.needs, self.seen = loss, loss.needs, []

    def __call__(self, anchors: Tensor, candidates: Tensor, selection: Selection, **context) -> Tensor:
        value = self.loss(anchors, candidates, selection, **context)
        self.seen.append((anchors.detach().double(), candidates.detach().double(), selection, value.detach()))
        return value

    def at_collapse(self, selection: Selection, **context) -> Tensor:
        return self.loss.at_collapse(selection, **context)

    def shares(self, *given, **context) -> Tensor:
        return self.loss.shares(*given, **context)


def doubled(pairs: int, queue: int, dim: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Images and texts (2, pairs + queue, dim); pair i + half is pair i, and half of the queue copies the batch."""
    half, origin = pairs // 2, torch.arange(pairs + queue)
    origin[half : 2 * half] = origin[:half]
    copies = torch.randint(pairs, (queue // 2,), generator=generator)
    origin[pairs + queue - len(copies) :] = origin[copies]
    shape = (2, pairs + queue, dim)
    image, text = (normalize(torch.randn(shape, generator=generator), dim=-1) for _ in range(2))
    return image[:, origin], normalize(image + text, dim=-1)[:, origin]


def run(
    strategy: Strategy, loss: Loss, size: tuple[int, int, int], *, momentum: bool, oracle: str = "none"
) -> list[tuple[Tensor, Tensor, Tensor, Tensor, Selection]]:
    """What the rule made of a step, per direction.

    Returns:
        Exact similarities (2, B, C), those of the positives (2, B), exact twins (2, B, C) bool without what is
        excluded, the losses (2, B), and the selection.
    """
    pairs, queue, dim = size
    generator = torch.Generator().manual_seed(pairs + queue)
    split = toy.split(images=pairs + queue, seed=3)
    sides = doubled(pairs, queue, dim, generator)
    online = [side[:, :pairs].clone().requires_grad_() for side in sides]
    image, text = (
        side if momentum else torch.cat([mine, side[:, pairs:]], dim=1)
        for mine, side in zip(online, sides, strict=True)
    )
    rows = torch.arange(pairs + queue).expand(2, -1)
    captions = split.first_caption[rows]
    candidates = Candidates(image, text, rows, captions, torch.full_like(rows, -1) if queue else None)
    draws = torch.rand(2, 2, pairs, generator=generator)
    batch = Batch(rows[:, :pairs], captions[:, :pairs], draws, draws.long(), draws.flip(-1))
    guide = Guide.__new__(Guide)
    guide.image, guide.text = sides[0], torch.zeros(2, len(split.caption_image), dim)
    guide.text.scatter_(1, captions.unsqueeze(-1).expand(-1, -1, dim), sides[1])
    watched = Watched(loss)
    step = Engine(toy.config(), [0, 1], split, split, CPU).step_of
    context = Context(*online, batch, candidates, guide=guide)
    losses, _ = step.losses(Rule(strategy, watched, oracle), context, Moment(0, main=True, watch=True, keep=True))
    losses.sum().backward()
    found = []
    for anchors, items, selection, value in watched.seen:
        index = selection.positive_index
        if index is None:
            index = torch.arange(pairs).expand(2, pairs)
        positives = items.gather(1, index.unsqueeze(-1).expand(-1, -1, dim))
        twins = (items.unsqueeze(1) == positives.unsqueeze(2)).all(dim=-1)
        excluded = torch.eye(pairs, pairs + queue, dtype=torch.bool).scatter(-1, index, True)
        exact = (anchors.unsqueeze(2) * items.unsqueeze(1)).sum(dim=-1)
        found.append((exact, exact.gather(-1, index.unsqueeze(-1)).squeeze(-1), twins & ~excluded, value, selection))
    return found


CASES = [(size, momentum) for size in SIZES for momentum in (False, True)]


@pytest.mark.parametrize("oracle", ["none", "relabel"])
@pytest.mark.parametrize(("size", "momentum"), CASES)
def test_semi_hard_never_picks_an_exact_twin_where_there_is_anything_less_similar(size, momentum, oracle) -> None:
    anchors = 0
    for exact, positive, twins, _, found in run(
        SemiHardNegative(), TripletLoss(margin=0.2), size, momentum=momentum, oracle=oracle
    ):
        less = (exact < positive.unsqueeze(-1) - 2e-6).any(dim=-1)
        picked = twins.gather(-1, found.index.unsqueeze(-1)).squeeze(-1)
        assert not (picked & less).any()
        anchors += int((twins.any(dim=-1) & less).sum())
    assert anchors >= size[0]


@pytest.mark.parametrize(("size", "momentum"), CASES)
def test_every_exact_twin_is_a_pseudo_positive(size, momentum) -> None:
    """With logits of at least 100, ``softplus(l) - l`` of a pseudo-positive is zero and l of any other is not."""
    temperature, shift = 0.01, -2.0
    plain, pseudo = (
        run(
            AllNegatives(),
            PseudoPositiveLoss(temperature=temperature, shift=shift, pseudo_weight=alpha),
            size,
            momentum=momentum,
        )
        for alpha in (0.0, 1.0)
    )
    for (exact, positive, twins, without, found), (*_, value, _) in zip(plain, pseudo, strict=True):
        weights = found.weights.double()
        logits = (exact - shift) / temperature
        others = (exact < positive.unsqueeze(-1)) & ~twins
        expected = (logits * others * weights).sum(dim=-1) / (1 + weights.sum(dim=-1))
        torch.testing.assert_close((value - without).double(), expected, rtol=1e-4, atol=1e-3)
        assert (twins & (weights > 0)).any()


@pytest.mark.parametrize("kind", MEMORIES)
def test_semi_hard_over_whole_epochs(kind: str) -> None:
    """Each picture and its caption exist twice; without dropout, twins that meet in a batch have equal embeddings."""

    def split(seed: int) -> Split:
        given = toy.split(images=40, seed=seed)
        image = given.image.values.repeat(2, 1)
        text = given.text.values[given.first_caption].repeat(2, 1)
        rows, ones = torch.arange(80), torch.ones(80, dtype=torch.int64)
        return Split(
            image=Items(image, None), text=Items(text, None), caption_image=rows, first_caption=rows,
            caption_count=ones, truth=None,
        )  # fmt: skip

    options = {"size": 40, "momentum": 0.9, "initial": "empty", "fill": "after_warmup", "refresh": None}
    sections = toy.rule("semi_hard") | {"model": {"dropout_image": 0.0, "dropout_text": 0.0}}
    config = toy.config(**sections) | {"memory": {"kind": kind, **{k: options[k] for k in MEMORIES[kind].options}}}
    engine = Engine(config, [0, 3], split(0), split(5), CPU)
    watched = Watched(engine.rule.loss)
    engine.rule = dataclasses.replace(engine.rule, loss=watched)
    engine.run(lambda score: None)
    met = 0
    for anchors, items, found, _ in watched.seen:
        exact = anchors @ items.transpose(-1, -2)
        positive = exact.diagonal(dim1=-2, dim2=-1)
        chosen = exact.gather(-1, found.index.unsqueeze(-1)).squeeze(-1)
        kept = found.valid & ~found.fallback
        assert (chosen < positive - 4e-7)[kept].all()
        near = ((exact - positive.unsqueeze(-1)).abs() < 4e-7).sum(dim=-1) > 1
        met += int((near & kept).sum())
    assert met > 50
