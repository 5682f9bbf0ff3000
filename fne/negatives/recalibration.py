"""Recalibration of a posterior inside training: a monotone map per replicate, fitted where the truth is known."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fne.negatives import maps

FIELDS = {"isotonic": ("x", "y"), "platt": ("slope", "offset")}


class Recalibration:
    """``p <- m(p)``, m increasing, one for each replicate; a replicate without a fit yet keeps p as it is.

    =============  ==================================================================================
    ``isotonic``   the increasing step function nearest to the outcomes, linear between its levels
    ``platt``      ``sigmoid(a logit(p) + b)``, a >= 0
    =============  ==================================================================================

    The fits are those of :mod:`fne.negatives.maps`, in numpy and one replicate after the other: they are made
    once an epoch. Applying them is one pass over all replicates.

    State: ``map_fitted`` (...) bool, and float64 ``map_x``, ``map_y`` of shape (..., K), or ``map_slope``,
    ``map_offset`` of shape (...). Empty before the first fit.

    Args:
        kind: ``isotonic`` or ``platt``.

    *Source*: Zadrozny and Elkan, KDD 2002; Platt 1999.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._state: dict[str, Tensor] = {}

    def fit(self, probability: Tensor, positive: Tensor, ready: Tensor) -> None:
        """Fit anew where there is something to fit; elsewhere the map before stays, if there is one.

        Args:
            probability: (..., N) raw p of N pairs; without any the maps stay.
            positive: (..., N) bool, which of them are relevant.
            ready: (...) bool, whether p means something yet.
        """
        if not probability.shape[-1]:
            return
        lead = ready.shape
        usable = (ready & probability.isfinite().all(dim=-1)).reshape(-1).tolist()
        p, y = (side.reshape(len(usable), -1).cpu().numpy() for side in (probability.double(), positive))
        told = zip(*(value.reshape(len(usable), -1) for value in self._read(lead, ready.device)), strict=True)
        rows = [
            self._fitted(p[r], y[r]) if usable[r] else [part.cpu().numpy() for part in before]
            for r, before in enumerate(told)
        ]
        before = self._state.get("map_fitted", torch.zeros_like(ready))
        self._state = {"map_fitted": before | torch.tensor(usable, device=ready.device).reshape(lead)}
        for name, values in zip(FIELDS[self.kind], zip(*rows, strict=True), strict=True):
            # Levels are as many as the outcomes make them: the last one is repeated where others have more.
            widest = max(len(value) for value in values)
            table = np.stack([np.pad(value, (0, widest - len(value)), mode="edge") for value in values])
            shape = (*lead, widest) if self.kind == "isotonic" else lead
            self._state[f"map_{name}"] = torch.as_tensor(table, device=ready.device).reshape(shape)

    def __call__(self, probability: Tensor) -> Tensor:
        """The probabilities (..., B, C) under the maps, of the same dtype."""
        if not self._state:
            return probability
        p = probability.double()
        mapped = self._isotonic(p) if self.kind == "isotonic" else self._platt(p)
        fitted = self._state["map_fitted"][..., None, None]
        return torch.where(fitted, mapped.to(probability.dtype), probability)

    def _isotonic(self, p: Tensor) -> Tensor:
        x, y = self._state["map_x"], self._state["map_y"]
        flat = p.flatten(-2)
        high = torch.searchsorted(x, flat).clamp(1, x.shape[-1] - 1)
        left, right = x.gather(-1, high - 1), x.gather(-1, high)
        share = torch.where(right > left, (flat - left) / (right - left), 1.0).clamp(0, 1)
        return torch.lerp(y.gather(-1, high - 1), y.gather(-1, high), share).reshape(p.shape)

    def _platt(self, p: Tensor) -> Tensor:
        slope, offset = (self._state[f"map_{name}"][..., None, None] for name in FIELDS["platt"])
        p = p.clamp(maps.CLIP, 1 - maps.CLIP)
        return torch.sigmoid(slope * (torch.log(p) - torch.log1p(-p)) + offset)

    def _fitted(self, probability: np.ndarray, positive: np.ndarray) -> list[np.ndarray]:
        """The tables of one replicate, (K,) each."""
        found = maps.fit(self.kind, probability, positive)
        if isinstance(found, maps.Platt):
            return [np.array([found.slope]), np.array([found.offset])]
        x, y = found.x, found.y
        # Within a level only its ends matter; there are two at least, between which a straight line is drawn.
        ends = np.ones(len(x), bool)
        ends[1:-1] = (y[1:-1] != y[:-2]) | (y[1:-1] != y[2:])
        x, y = x[ends], y[ends]
        return [np.repeat(x, 2), np.repeat(y, 2)] if len(x) == 1 else [x, y]

    def _read(self, lead: torch.Size, device: torch.device) -> list[Tensor]:
        """The tables as they are; before any fit those of the map that changes nothing."""
        if self._state:
            return [self._state[f"map_{name}"] for name in FIELDS[self.kind]]
        if self.kind == "isotonic":
            both = torch.tensor([0.0, 1.0], dtype=torch.float64, device=device).expand(*lead, 2)
            return [both, both]
        one = torch.ones(lead, dtype=torch.float64, device=device)
        return [one, torch.zeros_like(one)]

    def state(self) -> dict[str, Tensor]:
        """What must be saved for an exact resume."""
        return dict(self._state)

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what :meth:`state` returned, among which there may be other things."""
        self._state = {name: value for name, value in state.items() if name.startswith("map_")}
