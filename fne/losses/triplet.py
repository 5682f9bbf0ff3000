"""The triplet loss with a margin, over one picked negative or summed over all."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from fne.losses.dense import Dense, number
from fne.losses.loss import pick, positive_similarity
from fne.negatives.strategy import Selection


class TripletLoss(Dense):
    """``[m + s_ij - s_i+]_+`` for the picked j, or ``sum_j w_ij [m + s_ij - s_i+]_+`` where every negative is kept.

    Args:
        margin: m, in units of cosine; 0.2 in VSE++ and FNE.

    *Source*: Schroff et al., FaceNet, CVPR 2015; Faghri et al., VSE++, BMVC 2018.
    """

    name = "triplet"
    negatives = ("one", "all")
    reads = ("loss.margin",)

    def __init__(self, *, margin: float = 0.2) -> None:
        self.margin = margin

    def __call__(self, anchors: Tensor, candidates: Tensor, selection: Selection, **context: Any) -> Tensor:
        if selection.index is None:
            return super().__call__(anchors, candidates, selection)
        positive = positive_similarity(anchors, candidates, selection.positive_index)
        negative = (anchors * pick(candidates, selection.index)).sum(dim=-1)
        return torch.where(selection.valid, (self.margin + negative - positive).clamp(min=0), 0)

    def of(self, similarities: Tensor, positive: Tensor, weights: Tensor) -> Tensor:
        hinge = (similarities - (positive - self.margin).unsqueeze(-1)).clamp(min=0)
        return (hinge * weights).sum(dim=-1)

    def at_collapse(self, selection: Selection, **context: Any) -> Tensor:
        """``m`` for one negative, ``m sum_j w_ij`` for all."""
        if selection.index is not None:
            return self.margin * selection.valid.float()
        return self.margin * number(selection)
