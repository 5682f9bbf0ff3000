"""False Negative Elimination: as released, and with the elimination that its abstract describes."""

from __future__ import annotations

import torch
from torch import Tensor

from fne.negatives.densities import PairStatistics, false_negative_probability
from fne.negatives.strategy import Selection, Strategy, draw, hardest, usable


class Fne(Strategy):
    """Draw one negative per anchor by a weight that looks at the false-negative probability p (Bayes over two normals).

    ========================  =============================================================================
    base weight               ``b = exp(-tau (s_ij - s_i+)^2)``: the nearer to the positive, the heavier
    elimination ``released``  ``w = exp(-tau p)`` where ``p > posterior_threshold``, else ``b``
    elimination ``complement``  ``w = b (1 - p)``: a certain false negative is really eliminated
    elimination ``none``      ``w = b``: SimANS (Zhou et al., 2022) with a = tau, b = 0
    cut-down ``global``       ``w = 0`` where ``s_ij <= mu+ - margin``; ``none`` leaves easy candidates in
    ========================  =============================================================================

    ``p`` is used only once more than ``min_positives`` reliable positives were counted; before that ``w = b``.
    A row whose weights are all zero takes its hardest candidate.

    Args:
        tau: Sharpness of the weights; 0.5 as released.
        prior: Prior probability of a false negative; 1e-4 as released. None, as the next two, without elimination.
        posterior_threshold: See above; 0.001 as released.
        min_positives: See above; 200 as released.
        elimination: ``released``, ``complement`` or ``none``.
        cut_down: ``global`` (as released) or ``none``.
        margin: The margin of the triplet loss, for the cut-down.
        statistics_mask: ``diagonal`` (as released: other captions of the image count as negatives) or ``same_image``.
        statistics_reset: ``epoch`` (as released) or ``never``.

    *Differs from* the abstract of the paper: as released, a certain false negative keeps the weight exp(-tau) = 0.607.

    *Source*: Li et al., "Your Negative May not Be True Negative", ACM MM 2023.
    """

    def __init__(
        self,
        *,
        tau: float,
        prior: float | None,
        posterior_threshold: float | None,
        min_positives: int | None,
        elimination: str,
        cut_down: str,
        margin: float,
        statistics_mask: str,
        statistics_reset: str,
    ) -> None:
        self.tau, self.prior, self.threshold, self.min_positives = tau, prior, posterior_threshold, min_positives
        self.elimination, self.cut_down, self.margin = elimination, cut_down, margin
        self.statistics_mask, self.statistics_reset = statistics_mask, statistics_reset
        self.statistics = PairStatistics()
        self.models_posterior = elimination != "none"

    def start_epoch(self) -> None:
        if self.statistics_reset == "epoch":
            self.statistics.reset()

    def observe(self, similarities: Tensor, same_image: Tensor) -> None:
        if self.statistics_mask == "diagonal":
            same_image = torch.eye(similarities.shape[-1], dtype=torch.bool, device=similarities.device)
        self.statistics.update(similarities, same_image)

    def weights(
        self, similarities: Tensor, excluded: Tensor, positive: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The unnormalised sampling weights, before the fallback of an all-zero row.

        Args:
            similarities: (..., B, C).
            excluded: (..., B, C) bool.
            positive: (..., B).

        Returns:
            Weights (..., B, C), false-negative probability (..., B, C) or None before any statistics, and the mask
            (..., B, C) of the weights that the probability set, or None.
        """
        summary = self.statistics.summary()
        weights = torch.exp(-self.tau * (similarities - positive.unsqueeze(-1)).square())
        probability = overridden = None
        if summary is not None:
            if self.elimination != "none":
                ready = (summary["pos_count"] > self.min_positives)[..., None, None]
                probability = false_negative_probability(similarities, summary, self.prior)
                probability = torch.where(ready, probability, 0)
                overridden = probability > self.threshold
                if self.elimination == "released":
                    weights = torch.where(overridden, torch.exp(-self.tau * probability), weights)
                else:
                    weights = weights * (1 - probability)
            if self.cut_down == "global":
                easy = similarities <= (summary["pos_mean"] - self.margin).to(similarities.dtype)[..., None, None]
                weights = weights.masked_fill(easy, 0)
        return weights.masked_fill(excluded, 0), probability, overridden

    def select(self, similarities: Tensor, excluded: Tensor, positive: Tensor, uniform: Tensor) -> Selection:
        allowed = usable(similarities, excluded)
        weights, probability, overridden = self.weights(similarities, ~allowed, positive)
        valid = allowed.any(dim=-1)
        empty = ~(weights > 0).any(dim=-1)
        index = torch.where(empty, hardest(similarities, allowed), draw(weights, uniform))
        return Selection(index, weights, valid, probability, overridden, fallback=empty & valid)

    def state(self) -> dict[str, Tensor]:
        return self.statistics.state()

    def load_state(self, state: dict[str, Tensor]) -> None:
        self.statistics.load_state(state)
