"""The hardest negative: the baseline of VSE++, in the batch or in a memory queue."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from fne.negatives.strategy import Selection, Strategy, any_of, hardest, usable


class HardestNegative(Strategy):
    """Pick argmax over j in N_i of s_ij.

    *Differs from* FaceNet's semi-hard rule, which some papers call by this name: no candidate is too hard here.

    After the harness's warm-up, the sum of hinges, this is also the schedule of VSE-infinity (Chen et al., CVPR 2021),
    which needs no rule of its own.

    *Source*: Faghri et al., VSE++, BMVC 2018 (the option ``max_violation``).
    """

    name = "hardest"

    def select(self, similarities: Tensor, excluded: Tensor, positive: Tensor, uniform: Tensor) -> Selection:
        allowed = usable(similarities, excluded)
        return Selection(index=hardest(similarities, allowed), weights=None, valid=any_of(allowed))

    def fused(self) -> dict[str, Any]:
        return {"weighting": None}
