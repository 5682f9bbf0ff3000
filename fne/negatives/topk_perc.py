"""The hardest negative that stays a share of the positive's similarity below it."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from fne.negatives.strategy import TIE, Selection, Strategy, at_least_float32, hardest_kept, usable


class TopKPercPos(Strategy):
    """Pick the hardest j in N_i with ``s_ij <= s_i+ - r |s_i+|``: what comes nearer may be a false negative.

    Where every candidate comes nearer, the easiest is taken.

    Args:
        relative_margin: r, 0 to 1; 0.05 in the paper (TopK-PercPos: 95 % of the positive's score).

    *Freedom*: the paper mines a whole corpus, in which there is always something below the limit; a batch may hold
    nothing, and the rule says nothing of it.

    *Differs from* the paper: its limit is the plain product (1 - r) s_i+, which lies *above* a negative s_i+, hence the
    absolute value here. The scores are those of the model in training, not of a frozen teacher, and one negative is
    taken, not several.

    *Source*: Moreira et al., NV-Retriever, 2024, arXiv 2407.15831.
    """

    name = "topk_perc"
    estimates = "threshold"

    def __init__(
        self,
        *,
        relative_margin: Annotated[
            float, Field(ge=0, le=1), "r of topk_perc (Moreira et al. 2024): only s_ij <= s_i+ - r |s_i+|, their 95 %"
        ] = 0.05,
    ) -> None:
        self.margin = relative_margin

    def select(self, similarities: Tensor, excluded: Tensor, positive: Tensor, uniform: Tensor) -> Selection:
        own = at_least_float32(positive)
        limit = own - self.margin * own.abs() + TIE
        return hardest_kept(similarities, usable(similarities, excluded), similarities <= limit.unsqueeze(-1))
