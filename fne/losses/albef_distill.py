"""The distilled softmax of ALBEF: part of the target is what the momentum encoder would say."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from fne.losses.dense import Dense, log_sum, log_weights, number
from fne.negatives.strategy import Selection


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
        scale, share, taught = 1 / self.temperature, self.distillation, teacher.to(positive.dtype)
        counted = log_weights(weights).clamp(min=-1e30)  # finite, so that a product with zero is zero
        own = taught.diagonal(dim1=-2, dim2=-1)
        total, total_taught = (
            softplus(log_sum(of, at, scale, counted)) for of, at in ((similarities, positive), (taught, own))
        )
        q = (scale * taught + counted - (total_taught + scale * own).unsqueeze(-1)).exp()
        # All relative to the own pair, and q sums to 1: - sum_k q_k log p_k = log sum_k e_k - sum_k q_k log e_k.
        mean = (q * similarities).sum(dim=-1) - q.sum(dim=-1) * positive
        return total - share * (scale * mean + (q * counted).sum(dim=-1))

    def at_collapse(self, selection: Selection, **context: Any) -> Tensor:
        """``log(1 + N) - a sum_j w_ij log w_ij / (1 + N)``, N = sum_j w_ij."""
        count, entropy = number(selection), torch.special.entr(selection.weights).sum(dim=-1)  # type: ignore[arg-type]
        return torch.log1p(count) + self.distillation * entropy / (1 + count)
