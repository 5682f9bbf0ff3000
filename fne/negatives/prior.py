"""The prior probability of a false negative, estimated from the candidates by EM."""

from __future__ import annotations

import torch
from torch import Tensor


class EMPrior:
    """Share pi of false negatives among candidates, as the weight of f+ in the mixture ``pi f+ + (1 - pi) f-``.

    Online EM: ``pi <- (1 - rate) pi + rate mean_ij p_ij``, kept in [floor, ceiling], once per direction and step; the
    p_ij are the posteriors under the pi before it (E step), their mean is the M step. With rate 1 and the same
    candidates it is ordinary EM.

    It is right only as far as f+ and f- describe false and true negatives: where f+, fitted on own pairs, overlaps the
    similarities of true negatives, pi grows to explain them.

    State: one float64 tensor of the leading shape ``...``; statistics that are reset leave it alone.

    Args:
        start: pi before any candidate was seen.
        rate: Step size in (0, 1].
        floor: Least pi.
        ceiling: Greatest pi.

    *Source*: Dempster, Laird and Rubin 1977; Cappe and Moulines 2009 (online EM).
    """

    def __init__(self, start: float, rate: float, floor: float, ceiling: float) -> None:
        self.rate, self.floor, self.ceiling = rate, floor, ceiling
        self.start = min(max(start, floor), ceiling)
        self._value: Tensor | None = None

    def value(self, like: Tensor) -> Tensor:
        """pi, of the shape and on the device of ``like`` (...)."""
        if self._value is None:
            self._value = torch.full_like(like, self.start, dtype=torch.float64)
        return self._value

    def learn(self, probability: Tensor, counted: Tensor, ready: Tensor) -> None:
        """Take one step.

        Args:
            probability: (..., B, C) posteriors under the present pi.
            counted: (..., B, C) bool, the candidates.
            ready: (...) bool; elsewhere the densities mean nothing yet and pi stays.
        """
        before = self.value(ready)
        total = probability.double().masked_fill(~counted, 0.0).sum(dim=(-2, -1))
        number = counted.sum(dim=(-2, -1))
        mean = total / number.clamp(min=1)
        after = ((1 - self.rate) * before + self.rate * mean).clamp(self.floor, self.ceiling)
        self._value = torch.where(ready & (number > 0) & mean.isfinite(), after, before)

    def state(self) -> dict[str, Tensor]:
        """What must be saved for an exact resume."""
        return {} if self._value is None else {"prior": self._value}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what :meth:`state` returned."""
        self._value = state.get("prior")
