"""The hardest negative that stays a fixed distance below the positive."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from fne.negatives.strategy import TIE, Selection, Strategy, at_least_float32, hardest_kept, usable


class TopKMarginPos(Strategy):
    """Pick the hardest j in N_i with ``s_ij <= s_i+ - a``: what comes nearer to the positive may be a false negative.

    Where every candidate comes nearer, the easiest is taken.

    Args:
        absolute_margin: a >= 0, in units of cosine; 0.05 in the paper (TopK-MarginPos).

    *Freedom*: the paper mines a whole corpus, in which there is always something below the limit; a batch may hold
    nothing, and the rule says nothing of it.

    *Differs from* the paper: the scores are those of the model in training, not of a frozen teacher, and one negative
    is taken, not several.

    *Source*: Moreira et al., NV-Retriever, 2024, arXiv 2407.15831.
    """

    name = "topk_margin"
    estimates = "threshold"

    def __init__(
        self,
        *,
        absolute_margin: Annotated[
            float, Field(ge=0, le=2), "a of topk_margin (Moreira et al. 2024): only s_ij <= s_i+ - a"
        ] = 0.05,
    ) -> None:
        self.margin = absolute_margin

    def select(self, similarities: Tensor, excluded: Tensor, positive: Tensor, uniform: Tensor) -> Selection:
        limit = at_least_float32(positive) - self.margin + TIE
        return hardest_kept(similarities, usable(similarities, excluded), similarities <= limit.unsqueeze(-1))
