"""What a family of densities must offer: a fit to running statistics and the posterior of being a false negative."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from fne.negatives.statistics import BINS, WIDTH, bin_of
from fne.negatives.strategy import at_least_float32

Fitted = dict[str, Tensor]
"""Parameters of a fit, float64, of the leading shape ``...``; tables have a last axis ``BINS``."""


class Density(ABC):
    """Base class of the families: ``p(s) = f+(s) pi / (f+(s) pi + f-(s) (1 - pi))``; holds no state.

    f+ is fitted on reliable positives, f- on a population of negatives, pi is the prior probability of a false
    negative. A family is two steps, since both directions of a training step share one fit.

    Attributes:
        histograms: Whether the fit needs histograms beside the moments.
    """

    histograms = False

    @abstractmethod
    def fit(self, summary: dict[str, Tensor]) -> Fitted:
        """Fit to statistics, as :meth:`~fne.negatives.statistics.PairStatistics.summary` gives them."""

    @abstractmethod
    def log_odds(self, similarities: Tensor, fitted: Fitted, prior: Tensor | float) -> Tensor:
        """``log f+(s) - log f-(s) + prior``, of the shape and dtype of the similarities, in memory of its own.

        Args:
            similarities: (..., B, C), float32 or float64.
            fitted: What :meth:`fit` returned.
            prior: ``log(pi / (1 - pi))``, a number or float64 of shape ``...``.
        """

    def probability(self, similarities: Tensor, fitted: Fitted, prior: Tensor | float) -> Tensor:
        """Probability (..., B, C) that a candidate is a false negative, of the dtype of ``similarities``.

        Args:
            similarities: (..., B, C) cosine.
            fitted: What :meth:`fit` returned.
            prior: pi in (0, 1), a number or float64 of shape ``...``; the release's is 1/10000.
        """
        odds = -math.log(1 / prior - 1) if isinstance(prior, float) else -torch.log(1 / prior - 1)
        return self.log_odds(at_least_float32(similarities), fitted, odds).sigmoid_().to(similarities.dtype)


def spread_out(like: Tensor, *values: Tensor) -> tuple[Tensor, ...]:
    """Parameters (...) as (..., 1, 1) of the dtype of ``like`` (..., B, C)."""
    return torch.stack(values).to(like.dtype)[..., None, None].unbind()


def step_at(table: Tensor, similarities: Tensor) -> Tensor:
    """The table's value (..., BINS) in the bin of each similarity (..., B, C)."""
    return _take(table.to(similarities.dtype), bin_of(similarities))


def interpolated(table: Tensor, similarities: Tensor) -> Tensor:
    """The table (..., BINS), linear between centres of bins and constant beyond, at similarities (..., B, C)."""
    table = table.to(similarities.dtype)
    place = ((similarities.nan_to_num(0.0) + 1) / WIDTH - 0.5).clamp(0, BINS - 1)
    low = place.floor().clamp(max=BINS - 2).long()
    return torch.lerp(_take(table, low), _take(table, low + 1), place - low)


def _take(table: Tensor, index: Tensor) -> Tensor:
    return table.gather(-1, index.flatten(-2)).reshape(index.shape)
