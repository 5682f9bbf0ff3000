"""The probability that a candidate is a false negative, by Bayes' rule; what is done with it is :mod:`.weighting`'s."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from fne.negatives.densities.density import Density
from fne.negatives.densities.normal import Normal
from fne.negatives.prior import EMPrior
from fne.negatives.recalibration import Recalibration
from fne.negatives.statistics import PairStatistics


class Posterior:
    """``p = pi f+(s) / (pi f+(s) + (1 - pi) f-(s))``, the densities fitted to running statistics.

    Args:
        statistics: Of the similarities of positives and negatives; whoever owns them updates them.
        density: Family of the two densities.
        prior: pi, or the estimate that EM makes of it.
        min_positives: p is 0 until more reliable positives than this were counted.
        map: An increasing map through which p is passed, or None. EM learns from p before it.

    *Source*: Li et al., ACM MM 2023.
    """

    def __init__(
        self,
        statistics: PairStatistics,
        density: Density,
        prior: float | EMPrior,
        min_positives: int,
        map: Recalibration | None = None,
    ) -> None:
        self.statistics, self.density, self.prior = statistics, density, prior
        self.min_positives, self.map = min_positives, map
        self._fitted: tuple[object, dict[str, Tensor]] | None = None

    @property
    def learns(self) -> bool:
        """Whether it learns from the candidates, and so has to see them all."""
        return isinstance(self.prior, EMPrior)

    def raw(self, similarities: Tensor) -> tuple[Tensor, Tensor] | None:
        """p (..., B, C) before any map, and (...) bool, where it means something; None before any statistics.

        Args:
            similarities: (..., B, C).
        """
        if (summary := self.statistics.summary()) is None:
            return None
        prior = self.prior.value(summary["pos_mean"]) if isinstance(self.prior, EMPrior) else self.prior
        probability = self.density.probability(similarities, self._fit(summary), prior)
        return probability, summary["pos_count"] > self.min_positives

    def _fit(self, summary: dict[str, Tensor]) -> dict[str, Tensor]:
        if self._fitted is None or self._fitted[0] is not summary:
            self._fitted = summary, self.density.fit(summary)
        return self._fitted[1]

    @property
    def quadratic(self) -> bool:
        """Whether the log odds are a quadratic in s, and nothing is learnt or mapped: see :meth:`coefficients`."""
        return isinstance(self.density, Normal) and isinstance(self.prior, float) and self.map is None

    def coefficients(self, summary: dict[str, Tensor]) -> Tensor:
        """(..., 5) float32: mu+, the quadratic around it from the square down, and 1 where p means something."""
        terms = self.density.around_mean(self._fit(summary), -math.log(1 / self.prior - 1))  # type: ignore[attr-defined, operator]
        return torch.stack([*terms, summary["pos_count"] > self.min_positives], dim=-1).float()

    def of(self, similarities: Tensor, excluded: Tensor, *, learn: bool = True) -> Tensor | None:
        """p (..., B, C) of every candidate, 0 where too few positives were counted; None before any statistics.

        Args:
            similarities: (..., B, C).
            excluded: (..., B, C) bool, what is no candidate.
            learn: Whether EM may learn from these candidates.
        """
        if (found := self.raw(similarities)) is None:
            return None
        probability, ready = found
        if learn and isinstance(self.prior, EMPrior):
            self.prior.learn(probability, ~excluded, ready)
        if self.map is not None:
            probability = self.map(probability)
        if ready.is_cpu and ready.all():
            return probability
        return torch.where(ready[..., None, None], probability, 0)

    def calibrate(self, similarities: Tensor, truth: Tensor) -> None:
        """Fit the map, if there is one, where the truth is known.

        Args:
            similarities: (..., n, n), own pairs on the diagonal, which tell nothing and are left out.
            truth: (..., n, n) bool.
        """
        if self.map is None or (found := self.raw(similarities)) is None:
            return
        others = ~torch.eye(similarities.shape[-1], dtype=torch.bool, device=similarities.device)
        self.map.fit(found[0][..., others], truth[..., others], found[1])

    @property
    def _parts(self) -> list[EMPrior | Recalibration]:
        return [part for part in (self.prior, self.map) if isinstance(part, EMPrior | Recalibration)]

    def state(self) -> dict[str, Tensor]:
        """What must be saved for an exact resume, but for the statistics."""
        return {name: value for part in self._parts for name, value in part.state().items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what :meth:`state` returned, among which there may be other things."""
        for part in self._parts:
            part.load_state(state)
