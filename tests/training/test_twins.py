"""Exact twins of the own pairs, equal captions or images of other images: rounding does not decide about them.

That no rule decides by differences of this size is part of the contract (:mod:`tests.contract.test_strategies`).
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from fne.negatives.catalog import MEMORIES
from fne.negatives.strategy import Selection
from fne.training.data import Items, Split
from fne.training.engine import Engine
from tests.contract.test_strategies import ROUNDING
from tests.training import toy

CPU = toy.CPU
SIZES = [(128, 0, 32), (128, 256, 256), (5, 12, 33), (3, 30, 32), (33, 96, 12)]
"""Batch, queue and width; a product of few rows, or of a ragged number of columns, rounds equal columns otherwise."""


@pytest.mark.parametrize(("pairs", "queue", "dim"), SIZES)
def test_places_of_a_product_round_one_embedding_by_no_more_than_the_contract_allows(
    pairs: int, queue: int, dim: int
) -> None:
    """Pair i + half is pair i, and half of the queue copies the batch."""
    generator = torch.Generator().manual_seed(pairs + queue)
    half, origin = pairs // 2, torch.arange(pairs + queue)
    origin[half : 2 * half] = origin[:half]
    origin[pairs + queue - queue // 2 :] = origin[torch.randint(pairs, (queue // 2,), generator=generator)]
    image, text = (normalize(torch.randn(2, pairs + queue, dim, generator=generator), dim=-1) for _ in range(2))
    for anchors, others in ((image, text), (text, image)):
        others = normalize(anchors + others, dim=-1)[:, origin]
        similarities = anchors[:, :pairs] @ others.transpose(-1, -2)
        assert (similarities - similarities[..., origin]).abs().max() <= ROUNDING


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
    select, met, seen = engine.rule.strategy.select, 0, []

    def spy(similarities: Tensor, *inputs: Tensor, **context: Tensor) -> Selection:
        seen.append((similarities.double(), select(similarities, *inputs, **context)))
        return seen[-1][1]

    engine.rule.strategy.select = spy
    engine.run(lambda score: None)
    for exact, result in seen:
        positive = exact.diagonal(dim1=-2, dim2=-1)
        chosen = exact.gather(-1, result.index.unsqueeze(-1)).squeeze(-1)
        kept = result.valid & ~result.fallback
        assert (chosen < positive - 4e-7)[kept].all()
        near = ((exact - positive.unsqueeze(-1)).abs() < 4e-7).sum(dim=-1) > 1
        met += int((near & kept).sum())
    assert met > 50
