"""Losses that are a function of the similarities to every kept negative: what each of them need not write itself."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from fne.losses.loss import Loss, own_similarity
from fne.negatives.strategy import Selection


class Dense(Loss):
    """Base class of the losses over similarities; the value at collapse and the shares follow from :meth:`of`."""

    @abstractmethod
    def of(self, similarities: Tensor, positive: Tensor, weights: Tensor) -> Tensor:
        """Loss of each anchor.

        Args:
            similarities: (..., B, C), in float32 or float64.
            positive: (..., B) similarity to the own pair.
            weights: (..., B, C) >= 0, zero on what is no negative of the anchor; no row is all zero.

        Returns:
            (..., B).
        """

    def __call__(self, anchors: Tensor, candidates: Tensor, selection: Selection) -> Tensor:
        similarities = _precise(anchors @ candidates.transpose(-1, -2))
        positive = _precise(own_similarity(anchors, candidates))
        return torch.where(selection.valid, self.of(similarities, positive, _weights(selection)), 0)

    def at_collapse(self, selection: Selection) -> Tensor:
        """The loss itself where every cosine is 1."""
        weights = _weights(selection)
        ones = torch.ones_like(weights)
        return torch.where(selection.valid, self.of(ones, ones[..., 0], weights), 0)

    def shares(self, similarities: Tensor, positive: Tensor, selection: Selection) -> Tensor:
        """``[d loss / d s_ij]_+``: a negative that the loss pulls closer has no share in what pushes away."""
        with torch.enable_grad():
            free = _precise(similarities).detach().requires_grad_()
            loss = torch.where(selection.valid, self.of(free, _precise(positive), _weights(selection)), 0)
            (gradient,) = torch.autograd.grad(loss.sum(), free)
        return gradient.clamp(min=0)


def log_weights(weights: Tensor) -> Tensor:
    """``log w_ij``, minus infinity where w_ij = 0."""
    return torch.where(weights > 0, weights.clamp(min=torch.finfo(weights.dtype).tiny).log(), -torch.inf)


def _precise(values: Tensor) -> Tensor:
    """At least float32: sums and logarithms over thousands of candidates do not fit eight bits."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _weights(selection: Selection) -> Tensor:
    """The weights, one on every candidate of an anchor without negatives, whose loss must be finite to be dropped."""
    return torch.where(selection.valid.unsqueeze(-1), _precise(selection.weights), 1)
