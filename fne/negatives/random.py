"""A random negative: the floor under every selection rule."""

from __future__ import annotations

import torch
from torch import Tensor

from fne.negatives.strategy import Selection, Strategy, any_of, as_numbers, draw, usable


class RandomNegative(Strategy):
    """Pick j uniformly in N_i.

    *Source*: the usual control in metric learning, e.g. Schroff et al., FaceNet, CVPR 2015.
    """

    name = "random"

    def select(self, similarities: Tensor, excluded: Tensor, positive: Tensor, uniform: Tensor) -> Selection:
        allowed = usable(similarities, excluded)
        weights = as_numbers(allowed, torch.float32)
        return Selection(index=draw(weights, uniform), weights=weights, valid=any_of(allowed))
