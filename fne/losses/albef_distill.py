"""The distilled softmax of ALBEF: part of the target is what the momentum encoder would say."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fne.losses.dense import Dense, log_weights


class ALBEFDistillationLoss(Dense):
    """``-sum_k q_k log p_k`` with ``q = a softmax(s'/T) + (1 - a) [k = own pair]`` and ``p = softmax(s/T)``.

    k runs over the anchor's own pair and its negatives; ``s'`` is the cosine of both under the momentum encoder. A
    negative j with weight w_ij counts w_ij times in both softmaxes. So a candidate that the momentum encoder finds
    similar is pushed away less, or pulled closer.

    *Freedoms*: both softmaxes share one fixed T (ALBEF learns it, from 0.07); a is constant (ALBEF raises it from 0
    over its first epoch; here the warm-up came before). Under the oracle ``relabel`` the drawn positive takes the
    own pair's place in the target, with the momentum score of the own pair.

    Args:
        temperature: T > 0; 0.07.
        distillation: a, 0 to 1; 0.4.

    *Source*: Li et al., Align before Fuse (ALBEF), NeurIPS 2021, its image-text contrastive loss with momentum
    distillation.
    """

    name = "albef_distill"
    reads = ("loss.temperature",)
    needs = ("teacher",)
    per_anchor = False  # reads the momentum score of the own pair at its place

    def __init__(
        self,
        *,
        temperature: float = 0.05,
        distillation: Annotated[
            float,
            Field(ge=0, le=1),
            "alpha of albef_distill (Li et al. 2021): share of the target that is the momentum encoder's",
        ] = 0.4,
    ) -> None:
        self.temperature, self.distillation = temperature, distillation

    def of(self, similarities: Tensor, positive: Tensor, weights: Tensor, *, teacher: Tensor) -> Tensor:
        taught = teacher.to(positive.dtype)
        logs, taught = (
            (torch.cat([own.unsqueeze(-1), rest], dim=-1) / self.temperature)
            for own, rest in ((positive, similarities), (taught.diagonal(dim1=-2, dim2=-1), taught))
        )
        counted = torch.cat([torch.zeros_like(positive).unsqueeze(-1), log_weights(weights)], dim=-1)
        log_p = (logs + counted).log_softmax(dim=-1).masked_fill(counted == -torch.inf, 0)
        q = self.distillation * (taught + counted).softmax(dim=-1)
        return -(q * log_p).sum(dim=-1) - (1 - self.distillation) * log_p[..., 0]
