"""Oracles: what any strategy would pick if it knew the truth, the ceiling and the floor of false-negative methods."""

from __future__ import annotations

from torch import Tensor


def exclude_by_truth(oracle: str, excluded: Tensor, known: Tensor) -> Tensor:
    """The candidates that must not be selected, given which of them are true matches of their anchor.

    ``remove``: ``E u T``, so that no true false negative is ever picked. ``only``: in rows that hold a candidate of
    ``T \\ E``, everything else is excluded, so that one is always picked (the worst case); other rows are left alone.
    Where T is empty every strategy makes exactly the picks it makes without an oracle.

    Args:
        oracle: ``remove`` or ``only``.
        excluded: (..., B, C) bool, E: positives and empty slots.
        known: (..., B, C) bool, T: candidates known to be relevant to their anchor.

    Returns:
        (..., B, C) bool.
    """
    if oracle == "remove":
        return excluded | known
    false_negative = known & ~excluded
    return excluded | (~false_negative & false_negative.any(dim=-1, keepdim=True))
