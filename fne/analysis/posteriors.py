"""Every estimate of which candidates are false negatives that a variant makes, as probabilities of pairs.

An estimate sees n pairs, similarities S (n, n) of images (rows) and captions with the own pairs on the diagonal, and
gives a probability to every other pair, once with the images and once with the captions as anchors.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from fne.losses.bcl import BayesianContrastiveLoss
from fne.negatives.catalog import DENSITIES
from fne.negatives.strategy import Strategy
from fne.study.plugins import find
from fne.training.step import build_rule


class Posterior(ABC):
    """One estimate.

    Args:
        name: ``fne:<density>``, ``bcl``, or ``threshold:<strategy>``.
        own: Whether the variant itself uses it (and not another density in its place).
    """

    def __init__(self, name: str, own: bool) -> None:
        self.name, self.own = name, own

    def fit(  # noqa: B027 - most have nothing to fit
        self, batches: Sequence[Tensor], known: tuple[Tensor, Tensor] | None = None
    ) -> None:
        """Fit on validation data as training fits.

        Args:
            batches: Similarities (B, B) each, whose truth is not looked at.
            known: Similarities (n, n) and bool (n, n), which pairs are relevant, for a strategy that calibrates itself
                on such pairs; None where the truth of the validation split is not exact.
        """

    def probability(self, similarities: Tensor) -> Tensor:
        """(2, n, n): of pair (image, caption), anchors images, then anchors captions; meaningless on the diagonal."""
        sides = [self.anchored(similarities), self.anchored(similarities.T).T]
        return torch.stack(sides).double()

    @abstractmethod
    def anchored(self, similarities: Tensor) -> Tensor:
        """(n, n) of anchors (rows) and candidates, the own pair of each anchor on the diagonal."""


class OfStrategy(Posterior):
    """The posterior that a strategy reports, statistics and prior from validation batches.

    Args:
        name, own: See :class:`Posterior`.
        strategy: Its statistics are reset.
    """

    def __init__(self, name: str, own: bool, strategy: Strategy) -> None:
        super().__init__(name, own)
        self.strategy = strategy
        self._state: dict[str, Any] = {}

    def fit(self, batches: Sequence[Tensor], known: tuple[Tensor, Tensor] | None = None) -> None:
        self.strategy.frozen = False
        self.strategy.start_epoch()
        for similarities in batches:
            self.strategy.observe(similarities, _own(similarities))
            for side in () if self.strategy.per_anchor else (similarities, similarities.T):
                self._select(side)  # which learns from the candidates
        if known is not None and self.strategy.calibration_images:
            self.strategy.calibrate(*known)
        self._state = copy.deepcopy(self.strategy.state())

    def anchored(self, similarities: Tensor) -> Tensor:
        # Nothing is learnt from the pairs that are scored, and a plug-in that learns all the same forgets it at once.
        self.strategy.frozen = True
        self.strategy.load_state(copy.deepcopy(self._state))
        result = self._select(similarities).posterior
        return torch.zeros_like(similarities) if result is None else result

    def _select(self, similarities: Tensor) -> Any:
        own = similarities.diagonal()
        return self.strategy.select(similarities, _own(similarities), own, torch.zeros_like(own))


class OfBcl(Posterior):
    """BCL's, from the rank among the anchor's negatives; see ``false_negative_probability`` there."""

    def __init__(self, loss: BayesianContrastiveLoss) -> None:
        super().__init__("bcl", True)
        self.loss = loss

    def anchored(self, similarities: Tensor) -> Tensor:
        negatives = (~_own(similarities)).to(similarities.dtype)
        return self.loss.false_negative_probability(similarities, negatives)


class OfThreshold(Posterior):
    """A rule that keeps or drops a candidate, as a classifier: 1 where it would drop it as too similar, else 0.

    ``gist`` looks at the similarities of the encoder itself here: the guide that it had in training is not kept.
    """

    def __init__(self, strategy: str, rule: Strategy) -> None:
        super().__init__(f"threshold:{strategy}", True)
        self.rule = rule

    def anchored(self, similarities: Tensor) -> Tensor:
        own = similarities.diagonal()
        if "guide" in self.rule.needs:
            excluded = _own(similarities)
            result = self.rule.select(similarities, excluded, own, torch.zeros_like(own), guide=similarities)
            assert result.weights is not None
            return (result.weights == 0).to(similarities.dtype)
        # Each candidate alone: a rule that would drop it has nothing left and says so.
        single = similarities.reshape(-1, 1)
        positive = own.repeat_interleave(len(own))
        nothing, uniform = torch.zeros_like(single, dtype=torch.bool), torch.zeros_like(positive)
        result = self.rule.select(single, nothing, positive, uniform)
        assert result.fallback is not None
        return result.fallback.to(similarities.dtype).reshape(similarities.shape)


def posteriors(config: dict[str, Any]) -> list[Posterior]:
    """The estimates of a variant; see :func:`fne.results.calibration_tables.estimates`."""
    negatives = config["negatives"]
    result: list[Posterior] = []
    rule = build_rule(config)
    if rule.strategy.models_posterior and "density" in negatives:
        for density in DENSITIES:
            strategy = build_rule({**config, "negatives": {**negatives, "density": density}}).strategy
            result.append(OfStrategy(f"fne:{density}", density == negatives["density"], strategy))
    elif rule.strategy.models_posterior:
        result.append(OfStrategy(negatives["strategy"], True, rule.strategy))
    if find("negatives", negatives["strategy"]).estimates == "threshold":
        result.append(OfThreshold(negatives["strategy"], rule.strategy))
    if isinstance(rule.loss, BayesianContrastiveLoss):
        result.append(OfBcl(rule.loss))
    return result


def _own(similarities: Tensor) -> Tensor:
    return torch.eye(len(similarities), dtype=torch.bool, device=similarities.device)
