"""The Bayesian contrastive loss: negatives reweighted by how likely their rank is for a hard true negative."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from fne.losses.dense import Dense, log_sum, log_weights, number
from fne.negatives.strategy import Selection


class BayesianContrastiveLoss(Dense):
    """``-log e_+ / (e_+ + sum_j w_ij omega_ij e_j)``, ``e = e^{s/T}``, omega a function of the negative's rank only.

    Model: a true and a false negative are two draws from an anchor's base distribution F (density f), the true one
    the less similar with probability alpha, the encoder's AUC. So a true negative has the density
    ``2 [alpha (1 - F) + (1 - alpha) F] f``, the lesser or the greater of two, a false one the same with alpha and
    1 - alpha exchanged. With a share t+ of false negatives and t- = 1 - t+ the mixture has

        u = a c^2 + b c,  c = F,  a = (1 - 2 alpha) (t- - t+),  b = 2 (alpha t- + (1 - alpha) t+),  a + b = 1,

    and u is known: the empirical distribution function, rank_ij / N. Hence ``c = 2u / (b + sqrt(b^2 + 4 a u))``, the
    usual root written so that a = 0 needs no case. Hard true negatives tilt the two components by 1 - beta and beta:

        h(c) = 2 [alpha (1 - beta) (1 - c) + (1 - alpha) beta c] / [alpha (1 - beta) + (1 - alpha) beta],
        omega = h(c) / (2 t- [alpha (1 - c) + (1 - alpha) c] + 2 t+ [(1 - alpha) (1 - c) + alpha c]).

    The mean of omega over u is 1. With beta = 1/2 h is the density of true negatives, so omega only debiases; with
    alpha = beta = 1/2 the loss is InfoNCE.

    *Freedoms*: ranks are among the anchor's negatives (the release also counts the anchor itself and its positive);
    ties rank in order of position, so that a collapsed model has the same weights as any other; ranks weigh w_ij.
    No gradient through omega, as in the release, whose ranks have none either.

    Args:
        temperature: T > 0; 0.5.
        positive_prior: t+, 0 <= t+ < 1; 0.1.
        location: alpha, 0.5 <= alpha < 1; 0.9.
        concentration: beta, 0 < beta <= 1; 1.

    *Source*: Liu & Wang, Bayesian Self-Supervised Contrastive Learning, arXiv:2301.11673, and its release
    (liubin06/BCL, the formula of its criterion); rederived.
    """

    name = "bcl"
    estimates = "probability"
    reads = ("loss.temperature", "loss.positive_prior")

    def __init__(
        self,
        *,
        temperature: float = 0.05,
        positive_prior: float = 0.1,
        location: Annotated[
            float,
            Field(ge=0.5, lt=1),
            "alpha of bcl (Liu & Wang 2023): how often a true negative ranks below a false one",
        ] = 0.9,
        concentration: Annotated[
            float, Field(gt=0, le=1), "beta of bcl: 0.5 debiases only, 1 looks at hard true negatives alone"
        ] = 1.0,
    ) -> None:
        self.temperature, self.positive_prior = temperature, positive_prior
        self.location, self.concentration = location, concentration

    def of(self, similarities: Tensor, positive: Tensor, weights: Tensor) -> Tensor:
        weights = weights * self.importance(_distribution(similarities.detach(), weights))
        return softplus(log_sum(similarities, positive, 1 / self.temperature, log_weights(weights)))

    def at_collapse(self, selection: Selection, **context: Any) -> Tensor:
        """``log(1 + sum_j w_ij omega_ij)``, ranks in order of position."""
        weights: Tensor = selection.weights  # type: ignore[assignment]  # dense
        below = weights.cumsum(dim=-1)
        total = (weights * self.importance(below / below[..., -1:])).sum(dim=-1)
        return torch.where(number(selection) > 0, torch.log1p(total), 0)

    def _base(self, u: Tensor) -> Tensor:
        """c = F, the base distribution function, where u is that of the mixture."""
        a, b = self._mixture
        return 2 * u / (b + _root(a, b, u))

    @property
    def _mixture(self) -> tuple[float, float]:
        """a and b."""
        alpha, false, true = self.location, self.positive_prior, 1 - self.positive_prior
        return (1 - 2 * alpha) * (true - false), 2 * (alpha * true + (1 - alpha) * false)

    def false_negative_probability(self, similarities: Tensor, weights: Tensor) -> Tensor:
        """The model's posterior: ``t+ [(1 - alpha)(1 - c) + alpha c]`` over the mixture; the loss never forms it.

        Args:
            similarities: (..., B, C).
            weights: (..., B, C) of the anchor's negatives, 0 for what is none.
        """
        c, alpha, false = self._base(_distribution(similarities, weights)), self.location, self.positive_prior
        odd, even = false * ((1 - alpha) * (1 - c) + alpha * c), (1 - false) * (alpha * (1 - c) + (1 - alpha) * c)
        return odd / (odd + even)

    def importance(self, u: Tensor) -> Tensor:
        """omega of a candidate that a share u of the negatives does not exceed, 0 < u <= 1; any shape."""
        a, b = self._mixture
        lesser, greater = self.location * (1 - self.concentration), (1 - self.location) * self.concentration
        root = _root(a, b, u)  # twice the mixture's density over f, b/2 + a c
        slope, level = ((2 * part / (lesser + greater)) for part in (greater - lesser, lesser))
        return (u * (2 * slope)).div_(root + b).add_(level).div_(root)


def _root(a: float, b: float, u: Tensor) -> Tensor:
    """``sqrt(b^2 + 4 a u)``."""
    return (u * (4 * a)).add_(b * b).clamp_(min=0).sqrt_()


def _distribution(similarities: Tensor, weights: Tensor) -> Tensor:
    """(..., B, C) in (0, 1]: the empirical distribution function of an anchor's negatives at each of them."""
    order = _order(similarities.masked_fill(weights <= 0, math.inf))
    below = weights.gather(-1, order).cumsum(dim=-1)
    return torch.empty_like(weights).scatter_(-1, order, below.div_(below[..., -1:].clone()))


def _order(values: Tensor) -> Tensor:
    """(..., C) int64: positions in ascending order of their values, ties in order of position."""
    if values.device.type != "cpu" or values.dtype != torch.float32:
        return values.argsort(dim=-1, stable=True)
    # Value and position in one integer: numpy's vectorised sort of these is stable and several times as fast.
    bits = values.numpy().view(np.int32)
    keys = (bits ^ ((bits >> 31) & 0x7FFFFFFF)).astype(np.int64)
    keys <<= 32
    keys |= np.arange(values.shape[-1])
    keys.sort(axis=-1)
    keys &= 0xFFFFFFFF
    return torch.from_numpy(keys)
