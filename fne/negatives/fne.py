"""False Negative Elimination: as released, with the elimination that its abstract describes, and along its own axes."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from fne.negatives.catalog import DENSITIES, load_density
from fne.negatives.posterior import Posterior
from fne.negatives.prior import EMPrior
from fne.negatives.recalibration import Recalibration
from fne.negatives.statistics import PairStatistics
from fne.negatives.strategy import Selection, Strategy, above, any_of, draw, few, hardest, usable
from fne.negatives.weighting import Weighting
from fne.utils.fields import Choice, When

ESTIMATED = {"elimination": ("released", "power", "threshold")}
"""When there is a posterior."""


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
    A row whose weights are all zero takes its hardest candidate.

    The probability is a :class:`~fne.negatives.posterior.Posterior`, the weights a
    :class:`~fne.negatives.weighting.Weighting`. Without arguments it is the released rule.

    Args:
        margin: The margin of the triplet loss, for the cut-down.

    The other options say what they are in the signature below (``fne describe negatives.tau``). More of some:

    * ``prior``: with ``prior_rule`` ``em``, where :class:`~fne.negatives.prior.EMPrior` starts.
    * ``population``: negatives that f- is fitted on: ``hardest`` in the batch for each reliable positive, ``batch``,
      all of the batch, or ``queue``, all candidates that p is worked out for (online anchors x momentum candidates
      where there is a momentum encoder), those of a direction right before it is selected.
    * ``posterior_threshold``: with ``power`` it only says what counts as overridden.
    * ``statistics_reset`` ``ema``: counts are then effective ones, also against ``min_positives``.
    * ``recalibration``: p is passed through an increasing map, see
      :class:`~fne.negatives.recalibration.Recalibration`, fitted at the start of each main epoch on the known truth of
      validation pairs, p from the statistics of the epoch before. Until there are any, which is the whole first main
      epoch, p stays as it is. EM learns from p before the map.

    *Differs from* the abstract of the paper: as released, a certain false negative keeps the weight exp(-tau) = 0.607.

    *Source*: Li et al., "Your Negative May not be True Negative", ACM MM 2023.
    """

    name = "fne"
    estimates = "probability"
    reads = ("loss.margin",)

    def __init__(
        self,
        *,
        margin: float = 0.2,
        tau: Annotated[
            float, Field(ge=0), "Release: weight exp(-tau p), or exp(-tau (s_ij - s_i+)^2) below the threshold"
        ] = 0.5,
        prior: Annotated[
            float,
            Field(gt=0, lt=1),
            When(ESTIMATED),
            "Release: M = 10000, a candidate is a false negative with probability 1/M before it is seen",
        ] = 1e-4,
        prior_rule: Annotated[
            Literal["fixed", "em"],
            When(ESTIMATED),
            "Release: fixed; em: estimated from the candidates, from `prior` on",
        ] = "fixed",
        prior_rate: Annotated[
            float,
            Field(gt=0, le=1),
            When({"prior_rule": ("em",)}),
            "step of em, taken once per direction: it looks back on about ten steps",
        ] = 0.05,
        prior_floor: Annotated[
            float,
            Field(gt=0, lt=1),
            When({"prior_rule": ("em",)}),
            "of em: below it no candidate of a run would ever be thought a false negative",
        ] = 1e-6,
        prior_ceiling: Annotated[
            float, Field(gt=0, lt=1), When({"prior_rule": ("em",)}), "of em: more would call most negatives false"
        ] = 0.5,
        density: Annotated[
            str,
            Choice(DENSITIES),
            When(ESTIMATED),
            "Release: normal; tied, beta, kde, logistic, isotonic: other families, one file each in "
            "fne/negatives/densities",
        ] = "normal",
        population: Annotated[
            Literal["hardest", "batch", "queue"],
            When(ESTIMATED),
            "negatives of the fit. Release: hardest in batch; batch: all of it; queue: every candidate",
        ] = "hardest",
        posterior_threshold: Annotated[
            float,
            Field(ge=0, le=1),
            When({"elimination": ("released", "power")}),
            "Release: below it a candidate keeps its hardness weight",
        ] = 0.001,
        min_positives: Annotated[
            int,
            Field(ge=2, le=10**9),
            When(ESTIMATED),
            "Release: mutual best pairs to count before the posterior is used",
        ] = 200,
        elimination: Annotated[
            Literal["released", "power", "threshold", "none"],
            "Release: exp(-tau p); power: hardness x (1 - p)^k; threshold: 0 above t; none: no posterior",
        ] = "released",
        elimination_power: Annotated[
            float, Field(gt=0), When({"elimination": ("power",)}), "k of power: 1 as the abstract says"
        ] = 1.0,
        elimination_threshold: Annotated[
            float,
            Field(ge=0, le=1),
            When({"elimination": ("threshold",)}),
            "t of threshold: more likely false than true",
        ] = 0.5,
        cut_down: Annotated[
            Literal["global", "anchor", "none"],
            "Release: weight 0 where s_ij <= mean positive similarity - margin; anchor: own positive - margin",
        ] = "global",
        statistics_mask: Annotated[
            Literal["diagonal", "same_image"],
            When({"population": ("hardest", "batch")}),
            "Release: only the own pair is left out of the statistics (same_image: all its captions)",
        ] = "diagonal",
        statistics_reset: Annotated[
            Literal["epoch", "never", "ema"],
            When(ESTIMATED),
            When({"cut_down": ("global",)}),
            "Release: statistics start anew each epoch; never: they do not; ema: older steps fade",
        ] = "epoch",
        statistics_decay: Annotated[
            float,
            Field(gt=0, lt=1),
            When({"statistics_reset": ("ema",)}),
            "of ema, a step: it looks back on about 100 steps, two epochs of scenes",
        ] = 0.99,
        recalibration: Annotated[
            Literal["none", "isotonic", "platt"],
            When(ESTIMATED),
            "Release: none; isotonic, platt: the probability, mapped by what validation's exact truth says of it",
        ] = "none",
        recalibration_images: Annotated[
            int,
            Field(ge=2, le=10**9),
            When({"recalibration": ("isotonic", "platt")}),
            "of validation, one caption each, that a map is fitted on: all of scenes",
        ] = 500,
    ) -> None:
        limit = elimination_threshold if elimination == "threshold" else posterior_threshold
        self.weighting = Weighting(tau, elimination, limit, elimination_power, cut_down, margin)
        self.models_posterior = elimination != "none"
        self.population, self.mask = population if self.models_posterior else None, statistics_mask
        self.reset, self.decay = statistics_reset, statistics_decay
        family = load_density(density)
        self.statistics = PairStatistics(histograms=self.models_posterior and family.histograms)
        mapped = self.models_posterior and recalibration != "none"
        self.calibration_images = recalibration_images if mapped else 0
        self.even = not (mapped or (self.models_posterior and family.histograms))
        self.posterior: Posterior | None = None
        if self.models_posterior:
            em = EMPrior(prior, prior_rate, prior_floor, prior_ceiling) if prior_rule == "em" else None
            self.per_anchor = em is None and population != "queue"  # both are learnt from all candidates
            map = Recalibration(recalibration) if mapped else None
            self.posterior = Posterior(self.statistics, family, em or prior, min_positives, map)

    def calibrate(self, similarities: Tensor, truth: Tensor) -> None:
        if self.posterior is not None:
            self.posterior.calibrate(similarities, truth)

    def start_epoch(self) -> None:
        if self.reset == "epoch":
            self.statistics.reset()

    def observe(self, similarities: Tensor, same_image: Tensor) -> None:
        if self.posterior is None and self.weighting.cut_down != "global":
            return
        if self.reset == "ema":
            self.statistics.fade(self.decay)
        self.statistics.update(similarities, None if self.mask == "diagonal" else same_image, self.population)

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
        return self._weights(similarities, excluded, positive, self._easy(positive))

    def _easy(self, positive: Tensor) -> Tensor | None:
        summary = self.statistics.summary()
        return self.weighting.easy(positive, None if summary is None else summary["pos_mean"])

    def _weights(
        self, similarities: Tensor, excluded: Tensor, positive: Tensor, easy: Tensor | None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        probability = None
        if self.posterior is not None:
            probability = self.posterior.of(similarities, excluded, learn=not self.frozen)
        weights, overridden = self.weighting(similarities, positive, probability, easy)
        return weights.masked_fill(excluded, 0), probability, overridden

    def select(self, similarities: Tensor, excluded: Tensor, positive: Tensor, uniform: Tensor) -> Selection:
        if self.population == "queue" and not self.frozen:
            self.statistics.add_negatives(similarities, usable(similarities, excluded))
        easy, among = self._easy(positive), None
        if easy is not None and not (self.posterior is not None and self.posterior.learns and not self.frozen):
            among = few(similarities, excluded, easy)
        if among is None:
            return self._select(similarities, usable(similarities, excluded), positive, uniform, easy)
        place, filled = among
        few_of = self._select(similarities.gather(-1, place), filled, positive, uniform, None)
        index, valid, fallback = place.gather(-1, few_of.index.unsqueeze(-1)).squeeze(-1), few_of.valid, few_of.fallback  # type: ignore[union-attr]
        bare = np.nonzero(~valid.numpy())  # type: ignore[union-attr]  # a pick-one rule has them all
        if len(bare[0]):  # all their candidates are easy
            rest, out = (torch.from_numpy(part.numpy()[bare]) for part in (similarities, excluded))
            allowed = usable(rest, out)
            for part, value in ((index, hardest(rest, allowed)), (valid, some := any_of(allowed)), (fallback, some)):
                part.numpy()[bare] = value  # type: ignore[union-attr]
        if not self.watched:
            return Selection(index, None, valid, fallback=fallback)
        weights = few_of.weights.new_zeros(similarities.shape).scatter_add_(-1, place, few_of.weights)  # type: ignore[union-attr, arg-type]
        probability = None if self.posterior is None else self.posterior.of(similarities, excluded, learn=False)
        overridden = None if probability is None else above(probability, self.weighting.limit)
        return Selection(index, weights, valid, probability, overridden, fallback)

    def _select(
        self, similarities: Tensor, allowed: Tensor, positive: Tensor, uniform: Tensor, easy: Tensor | None
    ) -> Selection:
        weights, probability, overridden = self._weights(similarities, ~allowed, positive, easy)
        valid, index = any_of(allowed), draw(weights, uniform)
        fallback = valid & ~any_of(weights > 0)
        if not (fallback.is_cpu and not fallback.any()):
            index = torch.where(fallback, hardest(similarities, allowed), index)
        return Selection(index, weights, valid, probability, overridden, fallback)

    def fused(self) -> dict[str, Any] | None:
        if self.population == "queue" or (self.posterior is not None and not self.posterior.quadratic):
            return None
        summary = self.statistics.summary()
        given: dict[str, Any] = {"weighting": self.weighting}
        if summary is not None:
            given |= {"pos_mean": summary["pos_mean"]}
            given |= {} if self.posterior is None else {"fitted": self.posterior.coefficients(summary)}
        return given

    def state(self) -> dict[str, Tensor]:
        return self.statistics.state() | (self.posterior.state() if self.posterior is not None else {})

    def load_state(self, state: dict[str, Tensor]) -> None:
        if self.posterior is not None:
            self.posterior.load_state(state)
            state = {name: value for name, value in state.items() if name not in self.posterior.state()}
        self.statistics.load_state(state)
