"""Global false negatives, discovered on the fly: each item learns the similarity above which it drops negatives."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from fne.negatives.strategy import Selection, Strategy, above, any_of, at_least_float32, count, kept_alike, usable

_FIELDS = ("threshold", "mean", "square", "count")
EPSILON = 1e-8
"""Of Adam's denominator, its usual value."""


class GloFND(Strategy):
    """Keep every j in N_i with weight 1, except where ``s_ij > lambda_i``, a threshold that each anchor learns.

    lambda_i is to be the quantile of the anchor's similarities that a share alpha of all candidates exceeds, the
    minimiser of ``alpha lambda + mean_j [s_ij - lambda]_+``. Its subgradient on the candidates of a step is

        ``g = alpha - share of N_i with s_ij > lambda_i``

    and one step of Adam (rate eta, beta_1, beta_2) is made with it each time the anchor comes up, clamped to [-1, 1],
    before the threshold is used. lambda_i starts at 1, where nothing is dropped. Images and captions as anchors have
    thresholds of their own, and so has each replicate. An anchor to which this leaves nothing costs nothing; it is
    counted as a fallback.

    State: four tensors of shape (..., items) a direction: the threshold, Adam's two moments, and how often it came up.

    On small data: with alpha times the number of candidates far below 1, lambda_i settles near the greatest similarity
    that the anchor has seen lately, so that about one candidate in 1/alpha is dropped at best; and an anchor that comes
    up ten times moves its threshold by ten times eta at most. Both are the rule's own.

    Args:
        filtered_share: alpha, the share of all candidates that are false negatives; 1e-4 as released for CC3M.
        threshold_rate: eta, in units of cosine; 0.05 as released.
        threshold_beta1, threshold_beta2: Of Adam; 0.9 and 0.98 as released.

    *Freedoms*: Adam's bias is corrected by how often an anchor came up (the release takes the number of the epoch, the
    same where every item comes up once an epoch from the first on). Of an anchor that comes up twice in a batch both
    subgradients are averaged into one step. Updates and masks begin with the main phase (released: at epoch 15).

    *Differs from* the paper: there with SogCLR's or FastCLIP's global loss; here with the study's.

    *Source*: Balmaseda et al., Discovering Global False Negatives On the Fly for Self-supervised Contrastive Learning,
    ICML 2025, arXiv 2502.20612, and its release (vibalcam/GloFND, bimodal).
    """

    name = "glofnd"
    negatives = "all"
    needs = ("anchor", "direction")
    per_anchor = False  # learns the thresholds of all anchors of a batch

    def __init__(
        self,
        *,
        filtered_share: Annotated[
            float,
            Field(ge=0, le=1),
            "alpha of glofnd (Balmaseda et al. 2025): share of all candidates to drop, as released (CC3M)",
        ] = 1.0e-4,
        threshold_rate: Annotated[
            float, Field(gt=0, le=2), "of glofnd, as released: Adam's rate for the thresholds"
        ] = 0.05,
        threshold_beta1: Annotated[float, Field(ge=0, lt=1), "of glofnd, as released"] = 0.9,
        threshold_beta2: Annotated[float, Field(ge=0, lt=1), "of glofnd, as released"] = 0.98,
    ) -> None:
        self.share, self.rate = filtered_share, threshold_rate
        self.beta1, self.beta2 = threshold_beta1, threshold_beta2
        self._state: dict[str, Tensor] = {}

    def prepare(self, sizes: tuple[int, int], lead: tuple[int, ...], device: torch.device) -> None:
        for direction, size in enumerate(sizes):
            for name in _FIELDS:
                value = 1.0 if name == "threshold" else 0.0
                self._state[f"{name}_{direction}"] = torch.full((*lead, size), value, device=device)

    def select(
        self,
        similarities: Tensor,
        excluded: Tensor,
        positive: Tensor,
        uniform: Tensor,
        *,
        anchor: Tensor,
        direction: int,
    ) -> Selection:
        allowed = usable(similarities, excluded)
        precise = at_least_float32(similarities)
        threshold = self._updated(precise, allowed, anchor, direction)
        return kept_alike(allowed, ~above(precise, threshold.unsqueeze(-1)), similarities.dtype)

    def _updated(self, similarities: Tensor, allowed: Tensor, anchor: Tensor, direction: int) -> Tensor:
        """(..., B): make one step for each anchor and return its threshold; without negatives it stays."""
        old = {name: self._state[f"{name}_{direction}"].gather(-1, anchor) for name in _FIELDS}
        negatives = count(allowed)
        near = count(allowed & above(similarities, old["threshold"].unsqueeze(-1)))
        gradient = self.share - near / negatives.clamp(min=1)
        # An anchor may come up twice in a batch; what both write must then be equal.
        told = negatives > 0
        same = (anchor.unsqueeze(-1) == anchor.unsqueeze(-2)) & told.unsqueeze(-2)
        gradient = (same * gradient.unsqueeze(-2)).sum(dim=-1) / same.sum(dim=-1).clamp(min=1)
        told = any_of(same)
        counted = old["count"] + 1
        mean = self.beta1 * old["mean"] + (1 - self.beta1) * gradient
        square = self.beta2 * old["square"] + (1 - self.beta2) * gradient.square()
        step = mean / (1 - self.beta1**counted) / ((square / (1 - self.beta2**counted)).sqrt() + EPSILON)
        threshold = (old["threshold"] - self.rate * step).clamp(-1, 1)
        for name, new in (("threshold", threshold), ("mean", mean), ("square", square), ("count", counted)):
            value = torch.where(told, new, old[name]).to(old[name].dtype)
            self._state[f"{name}_{direction}"].scatter_(-1, anchor, value)
        return self._state[f"threshold_{direction}"].gather(-1, anchor)

    def state(self) -> dict[str, Tensor]:
        return dict(self._state)

    def load_state(self, state: dict[str, Tensor]) -> None:
        expected = {f"{name}_{direction}" for name in _FIELDS for direction in (0, 1)}
        if set(state) != expected:
            raise ValueError(f"GloFnd holds {sorted(expected)}, got {sorted(state)}")
        self._state = dict(state)
