"""The debiased contrastive loss: InfoNCE less the false negatives that a known share of candidates must be."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from fne.losses.dense import Dense, log_sum, log_weights, number
from fne.negatives.strategy import Selection


class DebiasedContrastiveLoss(Dense):
    """``-log e_+ / (e_+ + G)`` with ``G = max((sum_j w_ij e_j - N t e_+) / (1 - t), N e^{-1/T})``, ``e = e^{s/T}``.

    N = sum_j w_ij is the number of negatives. The floor is the least that N candidates can sum up to; an anchor on it
    has no gradient from its negatives. With t = 0 it is InfoNCE.

    *Freedom*: the release sums over both views and modalities of the batch (2B - 2 negatives); here over the
    negatives of the other modality. Same-image candidates are no negatives.

    Args:
        temperature: T > 0; 0.5.
        positive_prior: t, the share of an anchor's candidates that match it, 0 <= t < 1; 0.1 (one of ten classes).

    *Source*: Chuang et al., Debiased Contrastive Learning, NeurIPS 2020, with one positive.
    """

    name = "dcl"
    reads = ("loss.temperature", "loss.positive_prior")

    def __init__(self, *, temperature: float = 0.05, positive_prior: float = 0.1) -> None:
        self.temperature, self.positive_prior = temperature, positive_prior

    def of(self, similarities: Tensor, positive: Tensor, weights: Tensor) -> Tensor:
        # All in logarithms and relative to e_+, so that no temperature overflows.
        prior, count = self.positive_prior, weights.sum(dim=-1)
        total = self.total(similarities, positive, log_weights(weights), count)
        excess = total - (count * prior).log()
        rest = (-torch.expm1(-excess.clamp(min=torch.finfo(excess.dtype).tiny))).log()
        debiased = torch.where(excess > 0, total + rest, -torch.inf) - math.log1p(-prior)
        floor = count.log() - (1 + positive) / self.temperature
        return softplus(torch.maximum(debiased, floor))

    def total(self, similarities: Tensor, positive: Tensor, log_weights: Tensor, count: Tensor) -> Tensor:
        """``log sum_j w_ij e_j / e_+``.

        Args:
            similarities: (..., B, C).
            positive: (..., B).
            log_weights: (..., B, C), minus infinity on what is no negative.
            count: (..., B), N.
        """
        return log_sum(similarities, positive, 1 / self.temperature, log_weights)

    def at_collapse(self, selection: Selection, **context: Any) -> Tensor:
        """``log(1 + N)``, whatever t."""
        return torch.log1p(number(selection))
