"""The triplet loss with a margin, over one picked negative or summed over all."""

from __future__ import annotations

import torch
from torch import Tensor

from fne.losses.loss import Loss, pick, positive_of, positive_similarity
from fne.negatives.strategy import Selection


class TripletLoss(Loss):
    """``[m + s_ij - s_i+]_+`` for the picked j, or ``sum_j w_ij [m + s_ij - s_i+]_+`` where every negative is kept.

    Args:
        margin: m, in units of cosine; 0.2 in VSE++ and FNE.

    *Source*: Schroff et al., FaceNet, CVPR 2015; Faghri et al., VSE++, BMVC 2018.
    """

    name = "triplet"
    negatives = ("one", "all")
    reads_candidates = False
    reads = ("loss.margin",)

    def __init__(self, *, margin: float = 0.2) -> None:
        self.margin = margin

    def __call__(self, anchors: Tensor, candidates: Tensor, selection: Selection) -> Tensor:
        if selection.index is not None:
            positive = positive_similarity(anchors, candidates, selection.positive_index)
            negative = (anchors * pick(candidates, selection.index)).sum(dim=-1)
            loss = (self.margin + negative - positive).clamp(min=0)
        else:
            similarities = anchors @ candidates.transpose(-1, -2)
            positive = positive_of(similarities, selection.positive_index)
            hinge = (self.margin + similarities - positive.unsqueeze(-1)).clamp(min=0)
            loss = (hinge * selection.weights).sum(dim=-1)  # type: ignore[operator]
        return torch.where(selection.valid, loss, 0)

    def at_collapse(self, selection: Selection) -> Tensor:
        """``m`` for one negative, ``m sum_j w_ij`` for all."""
        if selection.index is not None:
            return self.margin * selection.valid.float()
        return self.margin * selection.weights.sum(dim=-1)  # type: ignore[union-attr]

    def shares(self, similarities: Tensor, positive: Tensor, selection: Selection) -> Tensor:
        """``w_ij`` where the hinge is active, else 0."""
        return selection.weights * (self.margin + similarities > positive.unsqueeze(-1))  # type: ignore[operator]
