"""How many seeds a study's intervals and tests need: known from its file, before anything runs."""

from __future__ import annotations

from fne.analysis.intervals import MIN_SEEDS
from fne.analysis.permutation import EXACT_SEEDS, seed_floor

ALPHA = 0.05


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
