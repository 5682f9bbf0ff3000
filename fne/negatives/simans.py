"""Ambiguous negatives: drawn the more often, the nearer their similarity is to the positive's."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from fne.negatives.strategy import Selection, Strategy, at_least_float32, draw_kept, usable


class SimANS(Strategy):
    """Draw j in N_i by the weight ``exp(-a (s_ij - s_i+ - b)^2)``: neither too easy nor suspiciously hard.

    Args:
        sharpness: a >= 0; 0.5. On cosines that is nearly uniform: no weight is below exp(-4 a) = 0.14 of another.
        offset: b, in units of cosine; 0. Below 0 the favourite candidates are easier than the positive.

    With b = 0 it is :class:`~fne.negatives.fne.FalseNegativeElimination` without elimination and cut-down, ``tau`` = a.

    *Differs from* the paper: there the dot products of a retriever are weighted, and only the first candidates of its
    ranking; here cosines, and every candidate.

    *Source*: Zhou et al., SimANS, EMNLP 2022, arXiv 2210.11773.
    """

    name = "simans"

    def __init__(
        self,
        *,
        sharpness: Annotated[
            float, Field(ge=0), "a of simans (Zhou et al. 2022): weight exp(-a (s_ij - s_i+ - b)^2)"
        ] = 0.5,
        offset: Annotated[
            float,
            Field(ge=-2, le=2),
            "b of simans: by how much the favourite candidate is more similar than the positive",
        ] = 0.0,
    ) -> None:
        self.sharpness, self.offset = sharpness, offset

    def select(self, similarities: Tensor, excluded: Tensor, positive: Tensor, uniform: Tensor) -> Selection:
        allowed = usable(similarities, excluded)
        gap = at_least_float32(similarities) - at_least_float32(positive).unsqueeze(-1)
        return draw_kept(gap.sub_(self.offset).square_().mul_(-self.sharpness), allowed, allowed, uniform)
