"""How likely FNE draws a candidate, given the probability that it is a false negative."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fne.negatives.strategy import TIE, above, at_least_float32


@dataclass(frozen=True)
class Weighting:
    """Sampling weights w of candidates, as :class:`~fne.negatives.fne.FalseNegativeElimination` tabulates them.

    Args:
        tau: Sharpness, per squared cosine.
        elimination: ``released``, ``power``, ``threshold`` or ``none``.
        limit: p above which a weight is set by it (``released``, ``threshold``) or counts as such (``power``).
        power: k of ``power``, no unit.
        cut_down: ``global``, ``anchor`` or ``none``.
        margin: How far below the positive easy candidates begin, in units of cosine.

    *Source*: Li et al., ACM MM 2023: the released rule; ``power`` with k = 1 is its abstract, ``threshold`` is ours.
    """

    tau: float
    elimination: str
    limit: float
    power: float
    cut_down: str
    margin: float

    def __call__(
        self, similarities: Tensor, positive: Tensor, probability: Tensor | None, easy: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """The unnormalised weights (..., B, C), excluded candidates not yet masked, and the mask of those that p set.

        Args:
            similarities: (..., B, C).
            positive: (..., B) cosine of each anchor with its positive.
            probability: (..., B, C) p, or None before any statistics: no weight is set by it, and the mask is None.
            easy: What :meth:`easy` gives; None where it has none, or the candidates that it leaves are given alone.
        """
        weights = torch.exp(-self.tau * (similarities - positive.unsqueeze(-1)).square())
        overridden = None
        if probability is not None:
            overridden = above(probability, self.limit)
            if self.elimination == "released":
                weights = torch.where(overridden, torch.exp(-self.tau * probability), weights)
            elif self.elimination == "power":
                weights = weights * (1 - probability) ** self.power
            else:
                weights = weights.masked_fill(overridden, 0)
        if easy is not None:
            weights = weights.masked_fill(similarities <= easy.unsqueeze(-1), 0)
        return weights, overridden

    def easy(self, positive: Tensor, pos_mean: Tensor | None) -> Tensor | None:
        """(..., B) or (..., 1): the similarity up to which a candidate has weight 0; None: there is none."""
        if self.cut_down == "anchor":
            return at_least_float32(positive) - self.margin + TIE
        if self.cut_down == "global" and pos_mean is not None:
            return (pos_mean - self.margin).to(positive.dtype).unsqueeze(-1)
        return None
