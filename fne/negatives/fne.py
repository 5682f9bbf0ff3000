"""False Negative Elimination: as released, with the elimination that its abstract describes, and along its own axes."""

from __future__ import annotations

import torch
from torch import Tensor

from fne.negatives.catalog import load_density
from fne.negatives.prior import EMPrior
from fne.negatives.recalibration import Recalibration
from fne.negatives.statistics import PairStatistics
from fne.negatives.strategy import TIE, Selection, Strategy, at_least_float32, draw, hardest, usable


class FalseNegativeElimination(Strategy):
    """Draw one negative per anchor by a weight that looks at the false-negative probability p (Bayes' rule).

    =========================  =============================================================================
    base weight                ``b = exp(-tau (s_ij - s_i+)^2)``: the nearer to the positive, the heavier
    elimination ``released``   ``w = exp(-tau p)`` where ``p > posterior_threshold``, else ``b``
    elimination ``power``      ``w = b (1 - p)^k``: a certain false negative is really eliminated
    elimination ``threshold``  ``w = 0`` where ``p > t``, else ``b``
    elimination ``none``       ``w = b``: SimANS (Zhou et al., 2022) with a = tau, b = 0
    cut-down ``global``        ``w = 0`` where ``s_ij <= mu+ - margin``
    cut-down ``anchor``        ``w = 0`` where ``s_ij <= s_i+ - margin``: candidates without a loss
    cut-down ``none``          leaves easy candidates in
    =========================  =============================================================================

    ``p`` is used only once more than ``min_positives`` reliable positives were counted; before that ``w = b``.
    A row whose weights are all zero takes its hardest candidate. An option that another one switches off is None.

    Args:
        tau: Sharpness of the weights; 0.5 as released.
        prior: Prior probability of a false negative; 1e-4 as released. With ``prior_rule`` ``em``, where it starts.
        prior_rule: ``fixed`` (as released) or ``em``, see :class:`~fne.negatives.prior.EMPrior`.
        prior_rate: Step size of EM.
        prior_floor: Least prior that EM may reach.
        prior_ceiling: Greatest prior that EM may reach.
        density: Family of the two densities, a key of :data:`~fne.negatives.catalog.DENSITIES`; ``normal`` as released.
        population: Negatives that f- is fitted on: ``hardest`` in the batch for each reliable positive (as released),
            ``batch``, all of the batch, or ``queue``, all candidates that p is worked out for (online anchors x
            momentum candidates where there is a momentum encoder), those of a direction right before it is selected.
        posterior_threshold: See above; 0.001 as released. With ``power`` it only says what counts as overridden.
        min_positives: See above; 200 as released.
        elimination: See above.
        elimination_power: k >= 0.
        elimination_threshold: t, 0 to 1.
        cut_down: See above; ``global`` as released.
        margin: The margin of the triplet loss, for the cut-down.
        statistics_mask: ``diagonal`` (as released: other captions of the image count as negatives) or ``same_image``.
        statistics_reset: ``epoch`` (as released), ``never``, or ``ema``: exponentially weighted, never reset.
        statistics_decay: Of ``ema``, a step; counts are then effective ones, also against ``min_positives``.
        recalibration: ``none`` (as released), ``isotonic`` or ``platt``: p is passed through an increasing map, see
            :class:`~fne.negatives.recalibration.Recalibration`, fitted at the start of each main epoch on the known
            truth of validation pairs, p from the statistics of the epoch before. Until there are any, which is the
            whole first main epoch, p stays as it is. EM learns from p before the map.
        recalibration_images: How many validation images, with one caption each, the map is fitted on.

    *Differs from* the abstract of the paper: as released, a certain false negative keeps the weight exp(-tau) = 0.607.

    *Source*: Li et al., "Your Negative May not be True Negative", ACM MM 2023.
    """

    def __init__(
        self,
        *,
        tau: float,
        prior: float | None,
        prior_rule: str | None,
        prior_rate: float | None,
        prior_floor: float | None,
        prior_ceiling: float | None,
        density: str | None,
        population: str | None,
        posterior_threshold: float | None,
        min_positives: int | None,
        elimination: str,
        elimination_power: float | None,
        elimination_threshold: float | None,
        cut_down: str,
        margin: float,
        statistics_mask: str | None,
        statistics_reset: str | None,
        statistics_decay: float | None,
        recalibration: str | None,
        recalibration_images: int | None,
    ) -> None:
        self.tau, self.min_positives, self.threshold = tau, min_positives, posterior_threshold
        self.elimination, self.power, self.hard_threshold = elimination, elimination_power, elimination_threshold
        self.cut_down, self.margin = cut_down, margin
        self.population, self.statistics_mask = population, statistics_mask
        self.statistics_reset, self.decay = statistics_reset, statistics_decay
        self.models_posterior = elimination != "none"
        self.density = load_density(density) if self.models_posterior else None
        self.prior = prior
        self.em = EMPrior(prior, prior_rate, prior_floor, prior_ceiling) if prior_rule == "em" else None
        self.statistics = PairStatistics(histograms=self.density is not None and self.density.histograms)
        self.map = Recalibration(recalibration) if recalibration not in (None, "none") else None
        self.calibration_images = recalibration_images if self.map is not None else 0
        self._fitted: tuple[object, dict[str, Tensor]] | None = None

    def calibrate(self, similarities: Tensor, truth: Tensor) -> None:
        if self.map is None or (summary := self.statistics.summary()) is None:
            return
        raw, ready = self._raw(similarities, summary)
        others = ~torch.eye(similarities.shape[-1], dtype=torch.bool, device=similarities.device)
        self.map.fit(raw[..., others], truth[..., others], ready)

    def start_epoch(self) -> None:
        if self.statistics_reset == "epoch":
            self.statistics.reset()

    def observe(self, similarities: Tensor, same_image: Tensor) -> None:
        if not self.models_posterior and self.cut_down != "global":
            return
        if self.statistics_mask == "diagonal":
            same_image = torch.eye(similarities.shape[-1], dtype=torch.bool, device=similarities.device)
        if self.statistics_reset == "ema":
            self.statistics.fade(self.decay)
        self.statistics.update(similarities, same_image, self.population)

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
        if summary is not None and self.models_posterior:
            probability = self._probability(similarities, excluded, summary)
            threshold = self.hard_threshold if self.elimination == "threshold" else self.threshold
            overridden = probability > threshold
            if self.elimination == "released":
                weights = torch.where(overridden, torch.exp(-self.tau * probability), weights)
            elif self.elimination == "power":
                weights = weights * (1 - probability) ** self.power
            else:
                weights = weights.masked_fill(overridden, 0)
        if self.cut_down == "anchor":
            limit = at_least_float32(positive) - self.margin + TIE
            weights = weights.masked_fill(similarities <= limit.unsqueeze(-1), 0)
        elif self.cut_down == "global" and summary is not None:
            limit = (summary["pos_mean"] - self.margin).to(similarities.dtype)
            weights = weights.masked_fill(similarities <= limit[..., None, None], 0)
        return weights.masked_fill(excluded, 0), probability, overridden

    def _probability(self, similarities: Tensor, excluded: Tensor, summary: dict[str, Tensor]) -> Tensor:
        """p of every candidate, 0 where too few positives were counted; EM learns from it."""
        probability, ready = self._raw(similarities, summary)
        if self.em is not None and not self.frozen:
            self.em.learn(probability, ~excluded, ready)
        if self.map is not None:
            probability = self.map(probability)
        return torch.where(ready[..., None, None], probability, 0)

    def _raw(self, similarities: Tensor, summary: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """p before any map, and (...) bool, where enough positives were counted for it to mean something."""
        if self._fitted is None or self._fitted[0] is not summary:
            self._fitted = summary, self.density.fit(summary)
        prior = self.prior if self.em is None else self.em.value(summary["pos_mean"])
        probability = self.density.probability(similarities, self._fitted[1], prior)
        return probability, summary["pos_count"] > self.min_positives

    def select(self, similarities: Tensor, excluded: Tensor, positive: Tensor, uniform: Tensor) -> Selection:
        allowed = usable(similarities, excluded)
        if self.population == "queue" and not self.frozen:
            self.statistics.add_negatives(similarities, allowed)
        weights, probability, overridden = self.weights(similarities, ~allowed, positive)
        valid = allowed.any(dim=-1)
        empty = ~(weights > 0).any(dim=-1)
        index = torch.where(empty, hardest(similarities, allowed), draw(weights, uniform))
        return Selection(index, weights, valid, probability, overridden, fallback=empty & valid)

    def state(self) -> dict[str, Tensor]:
        parts = [part.state() for part in (self.statistics, self.em, self.map) if part is not None]
        return {name: value for part in parts for name, value in part.items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        for part in (self.em, self.map):
            if part is not None:
                part.load_state(state)
                state = {name: value for name, value in state.items() if name not in part.state()}
        self.statistics.load_state(state)
