"""Losses that are a function of the similarities to every kept negative: what each of them need not write itself."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from fne.losses.loss import Loss, positive_of
from fne.negatives.strategy import Selection


class Dense(Loss):
    """Base class of the losses over similarities; the value at collapse and the shares follow from :meth:`of`.

    An anchor whose strategy left it no weight at all costs nothing.
    """

    @abstractmethod
    def of(self, similarities: Tensor, positive: Tensor, weights: Tensor, **context: Any) -> Tensor:
        """Loss of each anchor.

        Args:
            similarities: (..., B, C), in float32 or float64.
            positive: (..., B) similarity to the positive; what depends on its order among the others allows for
                :data:`~fne.negatives.strategy.TIE`.
            weights: (..., B, C) >= 0, zero on what is no negative of the anchor; no row is all zero.
            context: What ``needs`` names.

        Returns:
            (..., B).
        """

    def __call__(self, anchors: Tensor, candidates: Tensor, selection: Selection, **context: Any) -> Tensor:
        similarities = _precise(anchors @ candidates.transpose(-1, -2))
        positive = positive_of(similarities, selection.positive_index)
        weights, some = _weights(selection)
        return torch.where(some, self.of(similarities, positive, weights, **context), 0)

    def at_collapse(self, selection: Selection, **context: Any) -> Tensor:
        """The loss itself where every cosine is 1."""
        weights, some = _weights(selection)
        ones = torch.ones_like(weights)
        return torch.where(some, self.of(ones, ones[..., 0], weights, **context), 0)

    def shares(self, similarities: Tensor, positive: Tensor, selection: Selection, **context: Any) -> Tensor:
        """``[d loss / d s_ij]_+``: a negative that the loss pulls closer has no share in what pushes away."""
        with torch.enable_grad():
            free = _precise(similarities).detach().requires_grad_()
            weights, some = _weights(selection)
            loss = torch.where(some, self.of(free, _precise(positive), weights, **context), 0)
            (gradient,) = torch.autograd.grad(loss.sum(), free)
        return gradient.clamp(min=0)


def log_weights(weights: Tensor) -> Tensor:
    """``log w_ij``, minus infinity where w_ij = 0."""
    return torch.where(weights > 0, weights.clamp(min=torch.finfo(weights.dtype).tiny).log(), -torch.inf)


def _precise(values: Tensor) -> Tensor:
    """At least float32: sums and logarithms over thousands of candidates do not fit eight bits."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _weights(selection: Selection) -> tuple[Tensor, Tensor]:
    """The weights and which anchors have some; one on every candidate of the others, whose loss must be finite."""
    weights = _precise(selection.weights)  # type: ignore[arg-type]
    some = selection.valid & (weights > 0).any(dim=-1)
    return torch.where(some.unsqueeze(-1), weights, 1), some
