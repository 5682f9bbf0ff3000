"""The semi-hard negative of FaceNet: as hard as can be, but not harder than the positive."""

from __future__ import annotations

from torch import Tensor

from fne.negatives.strategy import TIE, Selection, Strategy, hardest_kept, usable


class SemiHardNegative(Strategy):
    """Pick the hardest j in N_i with ``s_ij < s_i+``; where there is none, the easiest, which then violates least.

    *Freedom*: the paper leaves open what an anchor without such a negative does; the easiest violator is what the usual
    implementations take (TensorFlow Addons, ``TripletSemiHardLoss``). There is no lower limit at ``s_i+ - m``: below it
    the hinge is zero anyway.

    *Differs from* the hardest negative of VSE++, which some papers call semi-hard.

    *Source*: Schroff et al., FaceNet, CVPR 2015.
    """

    name = "semi_hard"
    estimates = "threshold"

    def select(self, similarities: Tensor, excluded: Tensor, positive: Tensor, uniform: Tensor) -> Selection:
        allowed = usable(similarities, excluded)
        return hardest_kept(similarities, allowed, similarities < positive.unsqueeze(-1) - TIE)
