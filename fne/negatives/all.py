"""Every negative: what the dense losses (sum of hinges, InfoNCE) are trained against."""

from __future__ import annotations

from torch import Tensor

from fne.negatives.strategy import Selection, Strategy, any_of, as_numbers, usable


class AllNegatives(Strategy):
    """Keep every j in N_i with weight 1: sum of hinges with the triplet loss, InfoNCE with the softmax loss.

    *Source*: Kiros et al., 2014 (sum of hinges, VSE0 in Faghri et al. 2018); van den Oord et al., 2018 (InfoNCE).
    """

    name = "all"
    negatives = "all"

    def select(self, similarities: Tensor, excluded: Tensor, positive: Tensor, uniform: Tensor) -> Selection:
        allowed = usable(similarities, excluded)
        return Selection(index=None, weights=as_numbers(allowed, similarities.dtype), valid=any_of(allowed))
