"""Populations of similarities as ``distributions.json`` holds them, the fitted normals, and their posterior."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fne.report.figures.style import FALSE, HARD, POSITIVE
from fne.report.text.wording import number
from fne.results.study import StudyResults

KINDS = (
    ("positives", POSITIVE, "positives"),
    ("hard_negatives", HARD, "hard negatives"),
    ("false_negatives", FALSE, "false negatives"),
)
FEW = 30
"""A population with fewer pairs than this is not drawn as a density."""


@dataclass(frozen=True)
class Populations:
    """Histograms of a variant summed over its seeds, and its seeds' fits.

    Args:
        edges: (K + 1,) bin edges.
        counts: Per population (S, K), one row per seed.
        fits: The fitted normals of every seed that has them.
        prior: The prior that the variant's strategy uses, if it has one.
    """

    edges: np.ndarray
    counts: dict[str, np.ndarray]
    fits: list[dict[str, float]]
    prior: float | None

    def density(self, kind: str) -> np.ndarray:
        """Probability density per bin, seeds pooled."""
        total = self.counts[kind].sum(axis=0)
        return total / max(total.sum(), 1) / np.diff(self.edges)


def populations(study: StudyResults, variant: str) -> Populations | None:
    """Read what ``distributions.json`` holds for a variant; ``None`` when it has no run."""
    entries = study.distributions(variant)
    if not entries:
        return None
    counts = {
        kind: np.array([entry[kind] for entry in entries], float)
        for kind in ("positives", "hard_negatives", "false_negatives", "all_negatives")
    }
    fits = [entry["fit"] for entry in entries if usable(entry["fit"])]
    return Populations(np.array(entries[0]["bins"], float), counts, fits, entries[0]["prior"])


def usable(fit: dict[str, Any] | None) -> bool:
    """Are there two normals with a positive spread?"""
    if not fit:
        return False
    return all(np.isfinite(fit[key] or np.nan) and fit[key] > 0 for key in ("pos_var", "neg_var"))


def normal(x: np.ndarray, mean: float, variance: float) -> np.ndarray:
    """Density of the normal distribution."""
    return np.exp(-((x - mean) ** 2) / (2 * variance)) / np.sqrt(2 * np.pi * variance)


def posterior(x: np.ndarray, fit: dict[str, float], prior: float) -> np.ndarray:
    """Probability of a false negative at x, ``N+ / (N+ + (1/prior - 1) N-)``, from log densities."""
    logs = [
        -0.5 * np.log(fit[f"{side}_var"]) - (x - fit[f"{side}_mean"]) ** 2 / (2 * fit[f"{side}_var"])
        for side in ("pos", "neg")
    ]
    odds = np.clip(logs[0] - logs[1] - np.log(1 / prior - 1), -700, 700)
    return 1 / (1 + np.exp(-odds))


def drawn(result: Populations) -> list[tuple[str, str, str]]:
    """The populations with enough pairs for a density."""
    return [entry for entry in KINDS if result.counts[entry[0]].sum() >= FEW]


def too_few(result: Iterable[Populations]) -> str:
    """A sentence for the caption where so few false negatives are known that their density would be noise."""
    counts = [int(item.counts["false_negatives"].sum()) for item in result]
    if min(counts) >= FEW:
        return ""
    known = str(min(counts)) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
    return f" False negatives are drawn only where at least {FEW} pairs are known (here {known})."


def visible(result: Populations) -> tuple[float, float]:
    """The range that holds all but a thousandth of each population, with a margin."""
    lows, highs = [], []
    for kind, _, _ in drawn(result):
        total = result.counts[kind].sum(axis=0)
        cumulative = np.cumsum(total) / total.sum()
        lows.append(result.edges[int(np.searchsorted(cumulative, 0.001))])
        highs.append(result.edges[int(np.searchsorted(cumulative, 0.999)) + 1])
    return (max(min(lows) - 0.04, -1.0), min(max(highs) + 0.04, 1.0)) if lows else (-1.0, 1.0)


def centre(result: Populations, kind: str) -> str:
    """The median of a population, in words."""
    total = result.counts[kind].sum(axis=0)
    if not total.sum():
        return "none known"
    place = int(np.searchsorted(np.cumsum(total), total.sum() / 2))
    return number(float(result.edges[place] + result.edges[place + 1]) / 2, 2)
