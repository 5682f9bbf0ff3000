"""How many seeds a study's intervals and tests need: known from its file, before anything runs."""

from __future__ import annotations

ALPHA = 0.05
MIN_SEEDS = 3
"""For an interval. In simulations 95 % intervals cover 93.7 to 95.9 % with five and ten seeds, and 92 % at worst with
three; 97 % at most, where seeds differ by nothing but noise. With two, no rule tried covers: they stay points."""
FLIPS = 10_000
"""Random sign patterns of a permutation test."""
EXACT_SEEDS = 16
"""Up to so many seeds every one of the 2^n sign patterns is counted; beyond, as many random ones as for images."""


def seed_floor(n: int, flips: int = FLIPS) -> float:
    """The least p value that the test over n seeds can give: ``2 / 2^n``, or one of the random patterns and itself."""
    return 2.0 / 2.0**n if n <= EXACT_SEEDS else 1.0 / (1 + flips)


def reachable(n_seeds: int, comparisons: int) -> bool:
    """Can the exact test over seeds show any of so many comparisons, after Holm: ``m floor(n) <= .05``?"""
    return comparisons * seed_floor(n_seeds) <= ALPHA


def seeds_needed(comparisons: int) -> int | None:
    """The least number of seeds with which it can; None where no number can, the family being too large."""
    return next((n for n in range(1, EXACT_SEEDS + 1) if reachable(n, max(comparisons, 1))), None)


def seed_note(n_seeds: int, comparisons: int) -> str:
    """What cannot be shown with so many seeds, in one sentence; empty where nothing is wanting.

    Args:
        n_seeds: Seeds of the study.
        comparisons: Size of Holm's family, the variants but for the baseline.
    """
    seeds = f"{n_seeds} seed{'s' if n_seeds != 1 else ''}"
    few = f"{seeds} are" if n_seeds != 1 else f"{seeds} is"
    needed = seeds_needed(comparisons)
    if n_seeds < MIN_SEEDS:
        return f"{few} too few to show how much a mean varies: that needs {MIN_SEEDS}" + (
            f", the exact test over seeds {needed or 'more than it can take'}" if comparisons else ""
        )
    if not comparisons or reachable(n_seeds, comparisons):
        return ""
    least = min(1.0, comparisons * seed_floor(n_seeds))
    family = "its one comparison" if comparisons == 1 else f"{comparisons} comparisons"
    return (
        f"{few} too few for the exact test over seeds: after Holm's correction for {family} its p is never below "
        f"{least:.2g}; {f'{needed} seeds' if needed else 'no number of seeds'} can reach {ALPHA:g}. Intervals, and the "
        "test over images given these seeds, hold"
    )
