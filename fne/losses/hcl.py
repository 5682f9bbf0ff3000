"""The hard contrastive loss: the debiased one with negatives weighted by their own similarity."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from fne.losses.dcl import DebiasedContrastiveLoss
from fne.losses.dense import log_sum


class HardContrastiveLoss(DebiasedContrastiveLoss):
    """The debiased contrastive loss, its negatives weighted by ``u = e^beta``.

    :class:`~fne.losses.dcl.DebiasedContrastiveLoss` with ``sum_j w_ij u_j e_j / mean_j(u_j)`` for ``sum_j w_ij e_j``.

    The mean is over the negatives (weighted by w_ij). As released, the gradient passes through u: a negative so easy
    that ``e_j < beta / (1 + beta)`` times the u-weighted mean of e is pulled a little closer. With beta = 0 it is DCL.

    Args:
        temperature: T > 0; 0.5.
        positive_prior: t, see :class:`~fne.losses.dcl.DebiasedContrastiveLoss`; 0.1.
        hardness: beta >= 0; 1.

    *Source*: Robinson et al., Contrastive Learning with Hard Negative Samples, ICLR 2021.
    """

    name = "hcl"
    reads = ("loss.temperature", "loss.positive_prior")

    def __init__(
        self,
        *,
        temperature: float = 0.05,
        positive_prior: float = 0.1,
        hardness: Annotated[
            float, Field(ge=0), "beta of hcl (Robinson et al. 2021): negatives weigh e^(beta s/T)"
        ] = 1.0,
    ) -> None:
        super().__init__(temperature=temperature, positive_prior=positive_prior)
        self.hardness = hardness

    def total(self, similarities: Tensor, positive: Tensor, log_weights: Tensor, count: Tensor) -> Tensor:
        """``log sum_j w_ij u_j e_j / (mean_j(u_j) e_+)``."""
        tilted, tilt = (
            log_sum(similarities, positive, power / self.temperature, log_weights)
            for power in (1 + self.hardness, self.hardness)
        )
        return tilted - tilt + count.log()
