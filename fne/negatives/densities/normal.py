"""Two normals: the family of the release."""

from __future__ import annotations

import torch
from torch import Tensor

from fne.negatives.densities.density import Density, Fitted, spread_out


class Normal(Density):
    """``f = N(mean, variance)``, one for the positives and one for the negatives.

    The log odds are the quadratic ``a s^2 + b s + c`` with ``a = (1/var- - 1/var+)/2``, ``b = mu+/var+ - mu-/var-`` and
    ``c = (mu-^2/var- - mu+^2/var+)/2 + log(var-/var+)/2 + log(pi/(1 - pi))``, which never divide 0 by 0.
    With unequal variances the posterior need not be monotone in s.

    *Source*: Li et al., ACM MM 2023.
    """

    def fit(self, summary: dict[str, Tensor]) -> Fitted:
        floor = torch.finfo(torch.float32).tiny
        pos_mean, neg_mean = summary["pos_mean"], summary["neg_mean"]
        pos_var, neg_var = summary["pos_var"].clamp(min=floor), summary["neg_var"].clamp(min=floor)
        a, b = (1 / neg_var - 1 / pos_var) / 2, pos_mean / pos_var - neg_mean / neg_var
        c = (neg_mean**2 / neg_var - pos_mean**2 / pos_var) / 2 + torch.log(neg_var / pos_var) / 2
        # Centred in float64, so that a quadratic in float32 does not cancel large terms.
        return {"centre": pos_mean, "a": a, "b": b + 2 * a * pos_mean, "lift": a * pos_mean**2 + b * pos_mean, "c": c}

    def log_odds(self, similarities: Tensor, fitted: Fitted, prior: Tensor | float) -> Tensor:
        centre, a, b, c = (spread_out(term, similarities) for term in self.around_mean(fitted, prior))
        shifted = similarities - centre
        return (a * shifted).add_(b).mul_(shifted).add_(c)

    def around_mean(self, fitted: Fitted, prior: Tensor | float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """mu+ and the coefficients of the log odds as a quadratic in ``s - mu+``, from the square down; (...) each."""
        return fitted["centre"], fitted["a"], fitted["b"], fitted["lift"] + (fitted["c"] + prior)
