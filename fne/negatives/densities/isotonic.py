"""An isotonic regression of positive against negative: the posterior may only rise with the similarity."""

from __future__ import annotations

import torch
from torch import Tensor

from fne.negatives.densities.density import Density, Fitted, step_at

SOME = 1e-6
"""A bin that holds less than this is empty: of faded counts, differences of sums leave rounding behind."""


class Isotonic(Density):
    """``P(positive | s) = g(s)``, the increasing step function nearest to the binned counts, corrected for the prior.

    With n_k counts and y_k the share of positives in bin k, g minimises ``sum_k n_k (y_k - g_k)^2`` over increasing g.
    It is what pool-adjacent-violators gives, in its closed form ``g_k = max_{a <= k} min_{b >= k} mean of y over a..b``
    (weighted by n), which has no loop. An empty bin takes the value of the next occupied one, beyond the last that of
    the last. By Bayes' rule the odds are ``g/(1 - g) n-/n+ pi/(1 - pi)``; where g is 0 or 1 so is the posterior.

    *Source*: Barlow, Bartholomew, Bremner and Brunk 1972 (min-max formula); Zadrozny and Elkan, KDD 2002 (calibration).
    """

    histograms = True

    def fit(self, summary: dict[str, Tensor]) -> Fitted:
        pos, neg = summary["pos_histogram"], summary["neg_histogram"]
        share = _increasing(pos, pos + neg).clamp(0, 1)
        counts = summary["pos_count"].clamp(min=1), summary["neg_count"].clamp(min=1)
        return {"log_ratio": torch.logit(share) - torch.log(counts[0] / counts[1]).unsqueeze(-1)}

    def log_odds(self, similarities: Tensor, fitted: Fitted, prior: Tensor | float) -> Tensor:
        table = fitted["log_ratio"]
        return step_at(table + (prior.unsqueeze(-1) if isinstance(prior, Tensor) else prior), similarities)


def _increasing(hits: Tensor, counts: Tensor) -> Tensor:
    """The max-min formula over all intervals of bins at once: (..., K) hits and counts -> (..., K)."""
    before = [torch.nn.functional.pad(values.cumsum(dim=-1), (1, 0)) for values in (hits, counts)]
    # Entry (a, b): the sum over the bins a..b; nonsense below the diagonal, where a > b.
    inside, number = (sums[..., None, 1:] - sums[..., :-1, None] for sums in before)
    mean = torch.where(number > SOME, inside / number.clamp(min=SOME), torch.inf)
    least = mean.flip(-1).cummin(dim=-1).values.flip(-1)  # over b >= k, for every a
    least = torch.where(least.isinf(), -torch.inf, least)  # nothing from a on: no candidate for the maximum
    rows = torch.arange(hits.shape[-1], device=hits.device)
    least = least.masked_fill(rows.unsqueeze(-1) > rows, -torch.inf)  # a <= k
    return least.amax(dim=-2)
