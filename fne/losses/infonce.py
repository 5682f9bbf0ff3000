"""The softmax loss of CLIP and ALBEF over every kept negative."""

from __future__ import annotations

import torch
from torch import Tensor

from fne.losses.loss import Loss, own_similarity
from fne.negatives.strategy import Selection


class InfoNCE(Loss):
    """``-log e^{s_i+/T} / (e^{s_i+/T} + sum_j w_ij e^{s_ij/T})`` over the negatives j with weights w_ij.

    Candidates of the anchor's own image have weight 0: they are masked, they do not share the target.

    Args:
        temperature: T > 0, fixed; 0.05 by default in the field.

    *Source*: van den Oord et al., 2018; Radford et al., CLIP, ICML 2021.
    """

    def __init__(self, *, temperature: float) -> None:
        self.temperature = temperature

    def __call__(self, anchors: Tensor, candidates: Tensor, selection: Selection) -> Tensor:
        positive = own_similarity(anchors, candidates) / self.temperature
        logits = (anchors @ candidates.transpose(-1, -2)) / self.temperature
        logits = torch.where(selection.weights > 0, logits + selection.weights.clamp(min=1e-38).log(), -torch.inf)
        both = torch.cat([positive.unsqueeze(-1), logits], dim=-1)
        return torch.where(selection.valid, both.logsumexp(dim=-1) - positive, 0)

    def at_collapse(self, selection: Selection) -> Tensor:
        """``log(1 + sum_j w_ij)``."""
        return torch.log1p(selection.weights.sum(dim=-1))

    def shares(self, similarities: Tensor, positive: Tensor, selection: Selection) -> Tensor:
        """``w_ij e^{s_ij/T}``, scaled so that the largest of an anchor is w_ij."""
        logits = (similarities / self.temperature).masked_fill(selection.weights <= 0, -torch.inf)
        top = logits.amax(dim=-1, keepdim=True).clamp(min=-1e30)
        return selection.weights * torch.exp(logits - top)
