"""The selectively contrastive triplet loss: too hard a negative is pushed away by itself, without the own pair."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from fne.losses.loss import Loss, pick, positive_similarity
from fne.negatives.strategy import TIE, Selection


class SelectivelyContrastiveTripletLoss(Loss):
    """``lambda n`` where n > s_i+ or n > c, else ``-log softmax([s_i+, n] / T)_1``, n the picked negative's similarity.

    *Freedoms*: the release takes as positive the most similar item of the anchor's class; here an anchor has its own
    pair. It drops exact ties (n = s_i+, n = c), which here take the softmax. ``lambda n`` is negative where n is.

    Args:
        temperature: T > 0; 0.1.
        hard_similarity: c, the cosine above which every negative is too hard; 0.8.
        hard_weight: lambda >= 0; 1.

    *Source*: Xuan et al., Hard Negative Examples Are Hard, but Useful, ECCV 2020, with the hardest negative; c as in
    the release (littleredxh/HardNegative).
    """

    name = "sct"
    reads = ("loss.temperature",)

    def __init__(
        self,
        *,
        temperature: float = 0.05,
        hard_similarity: Annotated[
            float,
            Field(ge=-1, le=1),
            "of sct (Xuan et al. 2020): above this cosine a negative is pushed away by itself",
        ] = 0.8,
        hard_weight: Annotated[float, Field(gt=0), "lambda of sct: weight of pushing it"] = 1.0,
    ) -> None:
        self.temperature, self.hard_similarity, self.hard_weight = temperature, hard_similarity, hard_weight

    def __call__(self, anchors: Tensor, candidates: Tensor, selection: Selection) -> Tensor:
        positive = positive_similarity(anchors, candidates, selection.positive_index)
        negative = (anchors * pick(candidates, selection.index)).sum(dim=-1)  # type: ignore[arg-type]
        hard = (negative > positive + TIE) | (negative > self.hard_similarity)
        easy = softplus((negative - positive) / self.temperature)
        return torch.where(selection.valid, torch.where(hard, self.hard_weight * negative, easy), 0)

    def at_collapse(self, selection: Selection) -> Tensor:
        """``lambda``, or ``log 2`` where c >= 1."""
        return (self.hard_weight if self.hard_similarity < 1 else math.log(2)) * selection.valid.float()
