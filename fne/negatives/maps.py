"""Maps from a probability to a better calibrated one, fitted where the truth is known: isotonic, and Platt's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MAPS = ("isotonic", "platt")
CLIP = 1e-7
"""Probabilities are kept so far from 0 and 1 before a logarithm is taken."""


@dataclass(frozen=True)
class Isotonic:
    """The increasing step function nearest to the outcomes, linear between its levels.

    Args:
        x, y: (K,) increasing probabilities, and what they are mapped to.

    *Source*: Zadrozny and Elkan, KDD 2002.
    """

    x: np.ndarray
    y: np.ndarray

    @classmethod
    def fit(cls, probability: np.ndarray, positive: np.ndarray) -> Isotonic:
        """Pool adjacent violators over the distinct probabilities, weighted by how often each occurs."""
        from scipy.optimize import isotonic_regression

        x, place, counts = np.unique(probability.astype(np.float64), return_inverse=True, return_counts=True)
        share = np.bincount(place, positive.astype(np.float64)) / counts
        return cls(x, np.clip(isotonic_regression(share, weights=counts).x, 0.0, 1.0))

    def __call__(self, probability: np.ndarray) -> np.ndarray:
        return np.interp(probability.astype(np.float64), self.x, self.y)


@dataclass(frozen=True)
class Platt:
    """``sigmoid(a logit(p) + b)``, a >= 0, of greatest likelihood with Platt's smoothed targets.

    Targets are ``(n+ + 1)/(n+ + 2)`` for positives and ``1/(n- + 2)`` for negatives, so that separable outcomes have
    a finite fit too.

    *Source*: Platt 1999.
    """

    slope: float
    offset: float

    @classmethod
    def fit(cls, probability: np.ndarray, positive: np.ndarray, rounds: int = 100) -> Platt:
        """Newton's method, halving a step that does not lower the loss."""
        x, y = logit(probability), positive.astype(bool)
        hits, misses = y.sum(), (~y).sum()
        target = np.where(y, (hits + 1) / (hits + 2), 1 / (misses + 2))
        spread = x.std()
        if spread < 1e-9:  # one probability for all: nothing but the share of positives can be learnt
            mean = target.mean()
            return cls(0.0, float(np.log(mean / (1 - mean))))
        z, design = (x - x.mean()) / spread, np.ones((len(x), 2))
        design[:, 0] = z

        def loss(at: np.ndarray) -> float:
            line = design @ at
            return float((np.logaddexp(0.0, line) - target * line).mean())

        at = np.array([0.0, np.log(target.mean() / (1 - target.mean()))])
        now = loss(at)
        for _ in range(rounds):
            p = 1 / (1 + np.exp(-design @ at))
            gradient = design.T @ (p - target) / len(x)
            hessian = (design.T * (p * (1 - p))) @ design / len(x) + 1e-12 * np.eye(2)
            step = np.linalg.solve(hessian, gradient)
            while (then := loss(at - step)) > now and np.abs(step).max() > 1e-12:
                step = step / 2
            at, now = at - step, then
            if np.abs(step).max() < 1e-10:
                break
        if at[0] < 0:  # the greater probability may not become the smaller one
            mean = target.mean()
            return cls(0.0, float(np.log(mean / (1 - mean))))
        return cls(float(at[0] / spread), float(at[1] - at[0] * x.mean() / spread))

    def __call__(self, probability: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-(self.slope * logit(probability) + self.offset)))


def logit(probability: np.ndarray) -> np.ndarray:
    """``log(p / (1 - p))``, p kept within [1e-7, 1 - 1e-7]."""
    p = np.clip(probability.astype(np.float64), CLIP, 1 - CLIP)
    return np.log(p) - np.log1p(-p)


def fit(kind: str, probability: np.ndarray, positive: np.ndarray) -> Isotonic | Platt:
    """The map of a kind."""
    return {"isotonic": Isotonic, "platt": Platt}[kind].fit(probability, positive)  # type: ignore[attr-defined]
