"""Distance-weighted sampling: near and far negatives are drawn alike, however few the near ones are."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fne.negatives.strategy import Selection, Strategy, at_least_float32, draw_kept, usable


class DistanceWeightedSampling(Strategy):
    """Draw j in N_i by one over the density of its distance ``D = sqrt(2 - 2 s_ij)`` among points spread over a sphere.

    ``log w = (2 - d) log D - (d - 3)/2 log(1 - D^2 / 4)``, with D clamped from below at ``min_distance``, and ``w = 0``
    where ``D >= max_distance``. Where no candidate is nearer than that, one is drawn uniformly.

    Args:
        min_distance: Keeps the weights of very near candidates, often false negatives, from exploding; 0.5.
        max_distance: Beyond it a candidate costs nothing; 1.4, a cosine of 0.02.
        dim: d, the width of the embeddings, which the density assumes to be spread over all their dimensions: the
            config's ``model.dim``. Backbones that are fine-tuned without a projection have a width of their own, which
            no key holds; the config refuses them.

    *Freedom*: the paper says nothing of an anchor without a near negative; its code draws from the whole batch, own
    class included. Here positives stay excluded.

    *Differs from* the paper: there the loss is a margin loss with a learned boundary; here it is the study's.

    *Source*: Wu et al., Sampling Matters in Deep Embedding Learning, ICCV 2017, arXiv 1706.07567.
    """

    name = "distance_weighted"
    reads = ("model.dim",)

    def __init__(
        self,
        *,
        min_distance: Annotated[
            float,
            Field(ge=1e-3, le=2),
            "of distance_weighted, Wu et al. 2017: nearer candidates (cosine above 0.875) count as this near",
        ] = 0.5,
        max_distance: Annotated[
            float,
            Field(gt=0, le=2),
            "of distance_weighted, Wu et al. 2017: farther candidates (cosine below 0.02) are not drawn",
        ] = 1.4,
        dim: int = 256,
    ) -> None:
        self.min_distance, self.max_distance, self.dim = min_distance, max_distance, dim

    def select(self, similarities: Tensor, excluded: Tensor, positive: Tensor, uniform: Tensor) -> Selection:
        # A cosine may exceed 1 by rounding.
        distance = (2 - 2 * at_least_float32(similarities)).clamp(min=0).sqrt().clamp(min=self.min_distance)
        log_weights = (2 - self.dim) * distance.log() - (self.dim - 3) / 2 * torch.log1p(-distance.square() / 4)
        near = distance < self.max_distance
        return draw_kept(log_weights, usable(similarities, excluded), near, uniform)
