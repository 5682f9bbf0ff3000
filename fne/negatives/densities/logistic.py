"""A logistic regression of positive against negative: the posterior itself is fitted, no density."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from fne.negatives.densities.density import Density, Fitted, spread_out
from fne.negatives.statistics import bin_centres

RIDGE = 1e-3
"""Penalty 1/2 RIDGE slope^2 on the standardised slope: keeps it finite where the two samples are separable."""
NEWTON_STEPS = 25
_HALVINGS = (0.0, 1.0, 0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625)


class Logistic(Density):
    """``P(positive | s) = sigmoid(b0 + b1 s)`` by maximum likelihood on binned counts, then corrected for the prior.

    The fit minimises ``sum_k n+_k log(1 + e^(-z_k)) + n-_k log(1 + e^(z_k)) + 1/2 RIDGE b1^2`` over the bins k, with
    ``z_k = b0 + b1 (s_k - mean)/sd``, by Newton's method with halved steps. The sample holds ``n+ : n-``, candidates
    ``pi : 1 - pi``, so by Bayes' rule the log odds are ``z - log(n+/n-) + log(pi/(1 - pi))``.

    *Source*: prior correction of a logistic regression on a sample stratified by class: Prentice and Pyke 1979.
    """

    histograms = True

    def fit(self, summary: dict[str, Tensor]) -> Fitted:
        pos, neg = summary["pos_histogram"], summary["neg_histogram"]
        total = (pos + neg).sum(dim=-1, keepdim=True).clamp(min=1)
        s = bin_centres(pos)
        mean = ((pos + neg) * s).sum(dim=-1, keepdim=True) / total
        sd = (((pos + neg) * (s - mean).square()).sum(dim=-1, keepdim=True) / total).sqrt().clamp(min=1e-6)
        x = (s - mean) / sd
        halvings = torch.tensor(_HALVINGS, dtype=x.dtype, device=x.device)
        intercept = slope = torch.zeros_like(total)
        for _ in range(NEWTON_STEPS):
            z = intercept + slope * x
            p = torch.sigmoid(z)
            residual, weight = p * (pos + neg) - pos, (pos + neg) * p * (1 - p)
            g0, g1 = residual.sum(-1, keepdim=True), (residual * x).sum(-1, keepdim=True) + RIDGE * slope
            h00, h01 = weight.sum(-1, keepdim=True), (weight * x).sum(-1, keepdim=True)
            h11 = (weight * x.square()).sum(-1, keepdim=True) + RIDGE
            determinant = (h00 * h11 - h01.square()).clamp(min=1e-12)
            d0, d1 = (h11 * g0 - h01 * g1) / determinant, (h00 * g1 - h01 * g0) / determinant
            tried0, tried1 = intercept - halvings * d0, slope - halvings * d1  # (..., halvings)
            z = tried0.unsqueeze(-1) + tried1.unsqueeze(-1) * x.unsqueeze(-2)
            cost = (pos.unsqueeze(-2) * softplus(-z) + neg.unsqueeze(-2) * softplus(z)).sum(dim=-1)
            best = (cost + RIDGE / 2 * tried1.square()).argmin(dim=-1, keepdim=True)
            intercept, slope = tried0.gather(-1, best), tried1.gather(-1, best)
        counts = summary["pos_count"].clamp(min=1), summary["neg_count"].clamp(min=1)
        constant = intercept.squeeze(-1) - torch.log(counts[0] / counts[1])
        return {"centre": mean.squeeze(-1), "slope": (slope / sd).squeeze(-1), "constant": constant}

    def log_odds(self, similarities: Tensor, fitted: Fitted, prior: Tensor | float) -> Tensor:
        terms = fitted["centre"], fitted["slope"], fitted["constant"] + prior
        centre, slope, constant = spread_out(similarities, *terms)
        return slope * (similarities - centre) + constant
