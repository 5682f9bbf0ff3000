"""Oracles: what any strategy would pick if it knew the truth, the ceiling and the floor of false-negative methods."""

from __future__ import annotations

import torch
from torch import Tensor

from fne.negatives.strategy import draw


def exclude_by_truth(oracle: str, excluded: Tensor, known: Tensor) -> Tensor:
    """The candidates that must not be selected, given which of them are true matches of their anchor.

    ``remove`` and ``relabel``: ``E u T``, so that no true false negative is ever picked. ``only``: in rows that hold a
    candidate of ``T \\ E``, everything else is excluded, so that one is always picked (the worst case); other rows are
    left alone.
    Where T is empty every strategy makes exactly the picks it makes without an oracle.

    Args:
        oracle: ``remove``, ``relabel`` or ``only``.
        excluded: (..., B, C) bool, E: positives and empty slots.
        known: (..., B, C) bool, T: candidates known to be relevant to their anchor.

    Returns:
        (..., B, C) bool.
    """
    if oracle in ("remove", "relabel"):
        return excluded | known
    false_negative = known & ~excluded
    return excluded | (~false_negative & false_negative.any(dim=-1, keepdim=True))


def draw_positive(excluded: Tensor, known: Tensor, uniform: Tensor) -> Tensor:
    """The positive of each anchor under ``relabel``: its own pair or a candidate of ``T \\ E``, each equally likely.

    A loss of one positive, taken at this draw, is in expectation its mean over all of them. Where T holds own pairs
    only, the positive is always the own pair.

    Args:
        excluded: (..., B, C) bool, E; holds the own pairs.
        known: (..., B, C) bool, T.
        uniform: (..., B) draws in [0, 1), of a stream that nothing else reads.

    Returns:
        (..., B) int64, positions among the candidates; candidate i < B is the own pair of anchor i.
    """
    own = torch.eye(*excluded.shape[-2:], dtype=torch.bool, device=excluded.device)
    return draw((own | (known & ~excluded)).float(), uniform)
