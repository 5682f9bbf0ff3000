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
        mean, variance = (torch.stack([summary[f"{side}_{of}"] for side in ("pos", "neg")]) for of in ("mean", "var"))
        variance, squares = variance.clamp(min=torch.finfo(torch.float32).tiny), mean**2
        # Of both at once: of so few numbers an operation costs as much as of one.
        inverse, weighed, squared = ((part / variance).unbind() for part in (1, mean, squares))
        a, b = (inverse[1] - inverse[0]) / 2, weighed[0] - weighed[1]
        c = (squared[1] - squared[0]) / 2 + torch.log(variance[1] / variance[0]) / 2
        # Centred in float64, so that a quadratic in float32 does not cancel large terms.
        return {"centre": mean[0], "a": a, "b": b + 2 * a * mean[0], "lift": a * squares[0] + b * mean[0], "c": c}

    def log_odds(self, similarities: Tensor, fitted: Fitted, prior: Tensor | float) -> Tensor:
        centre, a, b, c = spread_out(similarities, *self.around_mean(fitted, prior))
        shifted = similarities - centre
        return (a * shifted).add_(b).mul_(shifted).add_(c)

    def around_mean(self, fitted: Fitted, prior: Tensor | float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """mu+ and the coefficients of the log odds as a quadratic in ``s - mu+``, from the square down; (...) each."""
        return fitted["centre"], fitted["a"], fitted["b"], fitted["lift"] + (fitted["c"] + prior)
