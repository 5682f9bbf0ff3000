"""Two Beta densities: cosines live on an interval, normals do not."""

from __future__ import annotations

import torch
from torch import Tensor

from fne.negatives.densities.density import Density, Fitted, spread_out

LEAST_VARIANCE = 1e-10
"""A variance of cosines below it counts as it: float32 could not tell such similarities apart."""
EDGE = 1e-6
"""A similarity nearer to -1 or 1 counts as this near, where a Beta density may be zero or infinite."""


class Beta(Density):
    """``f = Beta(alpha, beta)`` of ``x = (s + 1)/2``, fitted by moments.

    With m and v the mean and variance of x: ``k = m (1 - m)/v - 1``, ``alpha = m k``, ``beta = (1 - m) k``. The log
    odds are ``(alpha+ - alpha-) log x + (beta+ - beta-) log(1 - x) - log B(alpha+, beta+) + log B(alpha-, beta-)
    + log(pi/(1 - pi))``.

    *Source*: the method of moments of the Beta distribution (Johnson, Kotz and Balakrishnan 1995, chapter 25).
    """

    def fit(self, summary: dict[str, Tensor]) -> Fitted:
        pos_alpha, pos_beta = _by_moments(summary["pos_mean"], summary["pos_var"])
        neg_alpha, neg_beta = _by_moments(summary["neg_mean"], summary["neg_var"])
        centre = summary["pos_mean"].clamp(-1 + EDGE, 1 - EDGE)
        first, second = pos_alpha - neg_alpha, pos_beta - neg_beta
        x = (centre + 1) / 2
        constant = first * x.log() + second * (1 - x).log()
        constant = constant - _log_beta(pos_alpha, pos_beta) + _log_beta(neg_alpha, neg_beta)
        return {"centre": centre, "first": first, "second": second, "constant": constant}

    def log_odds(self, similarities: Tensor, fitted: Fitted, prior: Tensor | float) -> Tensor:
        # Centred on mu+ in float64: log x = log(centre of x) + log1p((s - mu+)/(1 + mu+)), and log(1 - x) alike.
        terms = (fitted["centre"], fitted["first"], fitted["second"], fitted["constant"] + prior)
        centre, first, second, constant = spread_out(similarities, *terms)
        shifted = similarities.clamp(-1 + EDGE, 1 - EDGE) - centre
        low, high = torch.log1p(shifted / (1 + centre)), torch.log1p(-shifted / (1 - centre))
        return first * low + second * high + constant


def _by_moments(mean: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
    m = ((mean + 1) / 2).clamp(EDGE / 2, 1 - EDGE / 2)
    limit = m * (1 - m)  # the variance of a coin: no distribution on [0, 1] has more
    v = torch.minimum((variance / 4).clamp(min=LEAST_VARIANCE / 4), limit * (1 - 1e-6))
    k = limit / v - 1
    return m * k, (1 - m) * k


def _log_beta(alpha: Tensor, beta: Tensor) -> Tensor:
    return torch.lgamma(alpha) + torch.lgamma(beta) - torch.lgamma(alpha + beta)
