"""Losses that are a function of the similarities to every kept negative: what each of them need not write itself."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd import Function

from fne.losses.loss import Loss, pick, positive_of
from fne.negatives.strategy import Selection, arrays


class Dense(Loss):
    """Base class of the losses over similarities; gradient, shares and the value at collapse follow from :meth:`of`.

    Similarities are computed once and differentiated at once: the gradient of the losses with respect to them is both
    what the shares are and, by two products, the gradient of the embeddings.

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
        with torch.no_grad():
            similarities = anchors @ candidates.transpose(-1, -2)
        if torch.is_grad_enabled():
            return self.with_shares(anchors, candidates, similarities, selection, **context)[0]
        positive = positive_of(similarities, selection.positive_index)
        return self._losses(_precise(similarities), _precise(positive), selection, context)

    def with_shares(
        self, anchors: Tensor, candidates: Tensor, similarities: Tensor, selection: Selection, **context: Any
    ) -> tuple[Tensor, Tensor]:
        """The losses (..., B) of a call and their :meth:`shares`, where the similarities (..., B, C) are known."""
        index = selection.positive_index
        losses, pushes, pulls = self._differentiated(similarities, positive_of(similarities, index), selection, context)
        if index is None:
            index = torch.arange(anchors.shape[-2], device=anchors.device).expand_as(losses)
        return _Products.apply(losses, index, anchors, candidates, pushes, pulls), self.pushing(pushes, selection)

    def at_collapse(self, selection: Selection, **context: Any) -> Tensor:
        """The loss itself where every cosine is 1."""
        ones = torch.ones_like(_precise(selection.weights))  # type: ignore[arg-type]  # of a dense selection
        return self._losses(ones, ones[..., 0], selection, context)

    def shares(self, similarities: Tensor, positive: Tensor, selection: Selection, **context: Any) -> Tensor:
        """``[d loss / d s_ij]_+``: a negative that the loss pulls closer has no share in what pushes away."""
        return self.pushing(self._differentiated(similarities, positive, selection, context)[1], selection)

    def parts(self, selection: Selection, context: dict[str, Any]) -> dict[str, Any]:
        """What :meth:`of` gets beside similarities and weights."""
        return context

    def pushing(self, gradient: Tensor, selection: Selection) -> Tensor:
        """The shares (..., B, C) where the gradient of the losses with respect to the negatives is known."""
        return gradient.clamp(min=0)

    def _losses(self, similarities: Tensor, positive: Tensor, selection: Selection, context: dict[str, Any]) -> Tensor:
        weights, some = _weights(selection)
        return torch.where(some, self.of(similarities, positive, weights, **self.parts(selection, context)), 0)

    def _differentiated(
        self, similarities: Tensor, positive: Tensor, selection: Selection, context: dict[str, Any]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The losses (..., B), and their gradients with respect to similarities and positive.

        The losses carry a gradient of their own where the loss has a temperature that is learned.
        """
        learned = any(isinstance(part, Tensor) and part.requires_grad for part in vars(self).values())
        with torch.enable_grad():
            free, own = (_precise(part).detach().requires_grad_() for part in (similarities, positive))
            losses = self._losses(free, own, selection, context)
            pushes, pulls = torch.autograd.grad(losses.sum(), (free, own), retain_graph=learned, materialize_grads=True)
        return losses if learned else losses.detach(), pushes, pulls


class _Products(Function):
    """Losses (..., B) whose gradients with respect to the similarities are known; backward: two products.

    Takes losses, the index of the positives (..., B), anchors, candidates, and the gradients: ``pushes`` (..., B, C) of
    the negatives, ``pulls`` (..., B) of the positives.
    """

    @staticmethod
    def forward(ctx: Any, losses: Tensor, index: Tensor, anchors: Tensor, *others: Tensor) -> Tensor:
        ctx.save_for_backward(index, anchors, *(part.to(anchors.dtype) for part in others))
        return losses.view_as(losses)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        _only_first()
        index, anchors, candidates, pushes, pulls = ctx.saved_tensors
        factor, pulls = upstream.unsqueeze(-1).to(anchors.dtype), pulls.unsqueeze(-1)
        to_anchors = to_candidates = None
        if ctx.needs_input_grad[2]:
            to_anchors = factor * (pushes @ candidates + pulls * pick(candidates, index))
        if ctx.needs_input_grad[3]:
            weighed = factor * anchors
            to_candidates = pushes.transpose(-1, -2) @ weighed
            to_candidates.scatter_add_(-2, index.unsqueeze(-1).expand_as(anchors), pulls * weighed)
        return upstream, None, to_anchors, to_candidates, None, None


class _LogSum(Function):
    """See :func:`log_sum`; one pass of exp for the value and its gradient."""

    @staticmethod
    def forward(ctx: Any, similarities: Tensor, scale: float, log_weights: Tensor) -> Tensor:
        logits = torch.add(log_weights, similarities, alpha=scale)
        parts = logits.softmax(dim=-1)
        ctx.save_for_backward(parts)
        ctx.scale = scale
        return logits.amax(dim=-1) - parts.amax(dim=-1).log()

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        _only_first()
        (parts,) = ctx.saved_tensors
        return parts * (ctx.scale * upstream).unsqueeze(-1), None, None


def log_sum(similarities: Tensor, positive: Tensor, scale: float | Tensor, log_weights: Tensor) -> Tensor:
    """(..., B): ``log sum_j w_ij e^(scale (s_ij - s_i+))``, differentiable by all but the weights.

    Args:
        similarities: (..., B, C).
        positive: (..., B); the sum is relative to it, so that no temperature overflows.
        scale: Such as 1/T; a tensor where T is learned.
        log_weights: (..., B, C), see :func:`log_weights`; no row is all minus infinity.
    """
    if isinstance(scale, Tensor):
        return _LogSum.apply((similarities - positive.unsqueeze(-1)) * scale, 1.0, log_weights)
    return _LogSum.apply(similarities, scale, log_weights) - scale * positive


def _only_first() -> None:
    """Refuse a second derivative, which would leave out how the kept gradient itself depends on the similarities."""
    if torch.is_grad_enabled():
        raise RuntimeError("losses over all similarities have no second derivative (create_graph=True)")


def log_weights(weights: Tensor) -> Tensor:
    """``log w_ij``, minus infinity where w_ij = 0: with many of these, numpy takes a thirtieth of the time."""
    if (one := arrays(weights)) is None:
        return weights.log()
    with np.errstate(divide="ignore"):
        return torch.from_numpy(np.log(one[0]))


def number(selection: Selection) -> Tensor:
    """(..., B): ``N = sum_j w_ij``, zero where the selection is not valid."""
    return selection.weights.sum(dim=-1) * selection.valid  # type: ignore[union-attr]


def _precise(values: Tensor) -> Tensor:
    """At least float32: sums and logarithms over thousands of candidates do not fit eight bits."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def _weights(selection: Selection) -> tuple[Tensor, Tensor]:
    """The weights and which anchors have some; one on every candidate of the others, whose loss must be finite."""
    weights = _precise(selection.weights)  # type: ignore[arg-type]
    some = number(selection) > 0
    if some.is_cpu and some.all():
        return weights, some
    return weights + ~some.unsqueeze(-1), some
