"""The triplet loss with selectively hard negatives: the hardest, or all where its gradient would vanish."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from fne.losses.dense import Dense, number
from fne.negatives.strategy import Selection


class SelHNLoss(Dense):
    """``mean_j [m + s_ij - s_i+]_+`` where ``|s_i+ - max_j s_ij| < eps``, else ``[m + max_j s_ij - s_i+]_+``.

    The mean is over the negatives (weighted by w_ij), most of them usually without loss. Where own pair and hardest
    negative are equally similar, both encoders' gradients of the hardest triplet are near zero early in training.

    Args:
        margin: m, in units of cosine; 0.2.
        epsilon: eps, in units of cosine; 0.01.

    *Source*: Li et al., Selectively Hard Negative Mining for Alleviating Gradient Vanishing in Image-Text Matching
    (RVSE++), IEEE TCSVT, 2024 (arXiv:2303.00181); eps as in the release (AAA-Zheng/RVSEPP).
    """

    name = "selhn"
    reads = ("loss.margin",)

    def __init__(
        self,
        *,
        margin: float = 0.2,
        epsilon: Annotated[
            float,
            Field(ge=0, le=2),
            "of selhn (RVSE++, Li et al. 2024): the mean hinge where s_i+ and the hardest negative are this close",
        ] = 0.01,
    ) -> None:
        self.margin, self.epsilon = margin, epsilon

    def of(self, similarities: Tensor, positive: Tensor, weights: Tensor) -> Tensor:
        hardest = similarities.masked_fill(weights <= 0, -torch.inf).amax(dim=-1)
        alone = (self.margin + hardest - positive).clamp(min=0)
        hinges = (similarities - (positive - self.margin).unsqueeze(-1)).clamp(min=0)
        together = (weights * hinges).sum(dim=-1) / weights.sum(dim=-1)
        return torch.where((positive - hardest).abs() < self.epsilon, together, alone)

    def at_collapse(self, selection: Selection, **context: Any) -> Tensor:
        """``m``."""
        return self.margin * (number(selection) > 0).float()
