"""The matching loss of PCME++ with pseudo-positives, for embeddings without variances."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import softplus

from fne.losses.dense import Dense, number
from fne.negatives.strategy import TIE, Selection


class PseudoPositiveLoss(Dense):
    """``(bce(l_+, 1) + sum_j w_ij [bce(l_j, 0)] + alpha (the same with target 1 where l_j >= l_+)) / (1 + N)``.

    ``l = (s - shift) / T``, bce the binary cross-entropy of a logit, N = sum_j w_ij. A negative at least as similar as
    the own pair is a pseudo-positive: of it both terms together are ``(1 + alpha) bce(l_j, alpha / (1 + alpha))``,
    a soft target.

    *Freedoms*: PCME++ takes ``l = -a d + b`` with d the distance of two Gaussians and learns a and b (5 and 5 at the
    start). Without variances d = 2 - 2s on the unit sphere, so T = 1/(2a) and shift = 1 - b/(2a); both stay at their
    starting values, because a loss here has no parameters. Left out: its variational bottleneck and mixed samples.
    The mean is over an anchor's own pair and negatives, not over all pairs, same-image ones being neither.

    Args:
        temperature: T > 0; 0.1.
        shift: Cosine at which a pair is as likely to match as not; 0.5.
        pseudo_weight: alpha >= 0; 0.1.

    *Source*: Chun, Improved Probabilistic Image-Text Representations, ICLR 2024, section 2.3.
    """

    name = "pcmepp_pseudo"
    reads = ("loss.temperature",)

    def __init__(
        self,
        *,
        temperature: float = 0.05,
        shift: Annotated[
            float,
            Field(ge=-1, le=1),
            "of pcmepp_pseudo: cosine at which a match is even; PCME++'s (Chun 2024) a = b = 5 at the start: "
            "1 - b/(2a)",
        ] = 0.5,
        pseudo_weight: Annotated[
            float,
            Field(ge=0),
            "alpha of pcmepp_pseudo (Chun 2024): weight of the term in which pseudo-positives are matches",
        ] = 0.1,
    ) -> None:
        self.temperature, self.shift, self.pseudo_weight = temperature, shift, pseudo_weight

    def of(self, similarities: Tensor, positive: Tensor, weights: Tensor) -> Tensor:
        pseudo = weights * (similarities >= (positive - TIE).unsqueeze(-1))
        return self._mean(similarities, positive, weights, pseudo)

    def _mean(self, similarities: Tensor, positive: Tensor, weights: Tensor, pseudo: Tensor) -> Tensor:
        logits, own = ((values - self.shift) / self.temperature for values in (similarities, positive))
        # bce(l, 0) = softplus(l) and bce(l, 1) = softplus(l) - l, so a pseudo-positive differs by a linear term.
        even = softplus(-own) + (weights * softplus(logits)).sum(dim=-1)
        linear = (pseudo * logits).sum(dim=-1)
        return ((1 + self.pseudo_weight) * even - self.pseudo_weight * linear) / (1 + weights.sum(dim=-1))

    def at_collapse(self, selection: Selection, **context: Any) -> Tensor:
        """Where every candidate is a pseudo-positive of cosine 1."""
        count = number(selection)
        one, weights = torch.ones_like(count), count.unsqueeze(-1)
        return self._mean(one.unsqueeze(-1), one, weights, weights) * (count > 0)
