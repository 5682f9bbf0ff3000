"""The seam between the engine and what it remembers: the candidates of a step, before and after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


class PairRows(Protocol):
    """The pairs of a batch, or of an epoch's plan.

    Attributes:
        image_row, caption_row: (R, B) positions in the training split; of a plan (R, steps, B).
    """

    @property
    def image_row(self) -> Tensor: ...
    @property
    def caption_row(self) -> Tensor: ...


class Embedder(Protocol):
    """What is trained, as far as a memory needs it; :class:`fne.training.learner.Learner` is one.

    Attributes:
        model: The online encoder.
        dim: D, width of an embedding.
    """

    model: torch.nn.Module
    dim: int

    def momentum_copy(self) -> torch.nn.Module:
        """A copy of the encoder that no optimiser trains."""
        ...

    def embed_past(self, encoder: torch.nn.Module, inputs: Any) -> tuple[Tensor, Tensor]:
        """(R, B, D) images and captions of a batch under a momentum copy, without gradient."""
        ...

    def embed_pairs(self, image_row: Tensor, caption_row: Tensor) -> tuple[Tensor, Tensor]:
        """(R, N, D) images and captions of many pairs under the online encoder, without gradient."""
        ...


EMPTY, RANDOM = -1, -2
"""Image ids of slots that hold nothing, and of slots that hold the random unit vectors a queue may start from."""


@dataclass(frozen=True)
class Candidates:
    """The candidates of both directions; the first B are the batch.

    Args:
        image, text: (R, C, D), the candidates of captions and of images.
        image_row, caption_row: (R, C) positions in the training split, negative for slots that hold no pair.
        entered: (R, C) step at which a candidate was embedded, -1 for the batch; None where there is only the batch.
    """

    image: Tensor
    text: Tensor
    image_row: Tensor
    caption_row: Tensor
    entered: Tensor | None = None

    def behind(self, batch: Candidates) -> Candidates:
        """These candidates with a batch in the place of the first B, where it is written; nothing else is copied.

        They are valid until the next batch is written. Where the batch carries a gradient, so do they.
        """
        sides = [_write(mine, own) for mine, own in ((self.image, batch.image), (self.text, batch.text))]
        for rows, own in ((self.image_row, batch.image_row), (self.caption_row, batch.caption_row)):
            rows[:, : own.shape[1]] = own
        return Candidates(sides[0], sides[1], self.image_row, self.caption_row, self.entered)


def _write(block: Tensor, batch: Tensor) -> Tensor:
    if batch.requires_grad and torch.is_grad_enabled():
        return _InFront.apply(batch, block)
    block[:, : batch.shape[1]] = batch
    return block


class _InFront(torch.autograd.Function):
    """A block with a batch written into its first places; the gradient of those is the batch's."""

    @staticmethod
    def forward(ctx: Any, batch: Tensor, block: Tensor) -> Tensor:  # type: ignore[override]
        ctx.count = batch.shape[1]
        block[:, : ctx.count] = batch
        return block.detach()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradient[:, : ctx.count], None


class Memory:
    """The kind ``none``, and base class of the others: the candidates are the batch's own online embeddings.

    In every step the engine calls :meth:`prepare` (main phase only), :meth:`candidates` and :meth:`after_step`, in
    this order.

    Args:
        learner: What is trained; embeds what a memory holds.
        seeds: R seeds.
        device: Where everything lives.

    Attributes:
        past: Embeddings (R, B, D) of the step's images and captions under a momentum encoder, between
            :meth:`candidates` and the next step; None where no such encoder embeds them.
    """

    past: tuple[Tensor, Tensor] | None = None

    def __init__(self, learner: Embedder, seeds: Sequence[int], device: torch.device) -> None:
        self.learner, self.seeds, self.device = learner, seeds, device

    def prepare(self, plan: PairRows, at: int, step: int) -> None:
        """Called before a step of the main phase embeds its batch.

        Args:
            plan: Of the epoch.
            at: Number of the step within it.
            step: The global step.
        """

    def candidates(self, image: Tensor, text: Tensor, inputs: Any, batch: PairRows, *, main: bool) -> Candidates:
        """The candidates of a step.

        Args:
            image, text: (R, B, D) online embeddings of the batch, with gradient.
            inputs: What they were made from.
            batch: The pairs.
            main: Whether the main phase has begun; in the warm-up the candidates are the batch for every kind.
        """
        return Candidates(image, text, batch.image_row, batch.caption_row)

    def after_step(self, batch: PairRows, step: int) -> None:
        """Called once the parameters are updated.

        Args:
            batch: The pairs of the step.
            step: Its number.
        """

    def state(self) -> dict[str, Tensor]:
        """What must be saved for an exact resume: a flat dict of tensors."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what :meth:`state` returned."""
        if state:
            raise ValueError(f"{type(self).__name__} has no state, got {sorted(state)}")


def build_memory(section: dict[str, Any], learner: Embedder, seeds: Sequence[int], device: torch.device) -> Memory:
    """The memory that a config's section ``memory`` names."""
    from fne.negatives.catalog import MEMORIES

    entry = MEMORIES[section["kind"]]
    return entry.load()(learner, seeds, device, **{option: section[option] for option in entry.options})
