"""Two normals: the family of the release."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from fne.negatives.densities.density import Density, Fitted, spread_out
from fne.negatives.strategy import arrays

TINY = torch.finfo(torch.float32).tiny


class Normal(Density):
    """``f = N(mean, variance)``, one for the positives and one for the negatives.

    The log odds are the quadratic ``a s^2 + b s + c`` with ``a = (1/var- - 1/var+)/2``, ``b = mu+/var+ - mu-/var-`` and
    ``c = (mu-^2/var- - mu+^2/var+)/2 + log(var-/var+)/2 + log(pi/(1 - pi))``, which never divide 0 by 0.
    With unequal variances the posterior need not be monotone in s.

    *Source*: Li et al., ACM MM 2023.
    """

    def fit(self, summary: dict[str, Tensor]) -> Fitted:
        moments = [summary[f"{side}_{of}"] for side in ("pos", "neg") for of in ("mean", "var")]
        if (few := arrays(*moments)) is None:
            return _quadratic(torch, *moments)
        # Of one number a seed, numpy takes two thirds of the time.
        return {name: torch.as_tensor(value) for name, value in _quadratic(np, *few).items()}

    def log_odds(self, similarities: Tensor, fitted: Fitted, prior: Tensor | float) -> Tensor:
        centre, a, b, c = spread_out(similarities, *self.around_mean(fitted, prior))
        shifted = similarities - centre
        return (a * shifted).add_(b).mul_(shifted).add_(c)

    def around_mean(self, fitted: Fitted, prior: Tensor | float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """mu+ and the coefficients of the log odds as a quadratic in ``s - mu+``, from the square down; (...) each."""
        return fitted["centre"], fitted["a"], fitted["b"], fitted["lift"] + (fitted["c"] + prior)


def _quadratic(of: Any, pos_mean: Any, pos_var: Any, neg_mean: Any, neg_var: Any) -> dict[str, Any]:
    """The coefficients of the log odds, but for the prior, from moments (...) that are tensors or arrays ``of``."""
    pos_var, neg_var = (of.clip(variance, TINY, None) for variance in (pos_var, neg_var))
    pos_square, neg_square = pos_mean * pos_mean, neg_mean * neg_mean
    a, b = (1 / neg_var - 1 / pos_var) / 2, pos_mean / pos_var - neg_mean / neg_var
    c = (neg_square / neg_var - pos_square / pos_var) / 2 + of.log(neg_var / pos_var) / 2
    # Centred in float64, so that a quadratic in float32 does not cancel large terms.
    return {"centre": pos_mean, "a": a, "b": b + 2 * a * pos_mean, "lift": a * pos_square + b * pos_mean, "c": c}
