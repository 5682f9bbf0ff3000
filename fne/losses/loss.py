"""The seam of the losses: embeddings and a selection in, one loss per anchor out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor

from fne.negatives.strategy import Selection


class Loss(ABC):
    """Base class of the losses; holds no parameters.

    Attributes:
        needs: What it wants beside embeddings and selection, as of a :class:`~fne.negatives.strategy.Strategy`; every
            method gets exactly these as keyword arguments. None of them carries a gradient.
    """

    needs: tuple[str, ...] = ()

    @abstractmethod
    def __call__(self, anchors: Tensor, candidates: Tensor, selection: Selection, **context: Any) -> Tensor:
        """Loss of each anchor.

        Args:
            anchors: (..., B, D), L2-normalised, with gradient.
            candidates: (..., C, D), L2-normalised; candidate i < B is the own pair of anchor i. With gradient where
                they are online embeddings, without where they are momentum embeddings.
            selection: What the strategy selected, (..., B) or (..., B, C).
            context: What ``needs`` names.

        Returns:
            (..., B), zero where the selection is not valid.
        """

    @abstractmethod
    def at_collapse(self, selection: Selection, **context: Any) -> Tensor:
        """(..., B): the loss of each anchor if all embeddings were equal, the value the collapse alarm looks for."""

    def shares(self, similarities: Tensor, positive: Tensor, selection: Selection, **context: Any) -> Tensor:
        """(..., B, C) >= 0: how the gradient of a dense loss falls on its negatives, up to a factor per anchor.

        Args:
            similarities: (..., B, C).
            positive: (..., B).
            selection: With weights (..., B, C).
            context: What ``needs`` names.
        """
        raise TypeError(f"{type(self).__name__} is no dense loss")


def own_similarity(anchors: Tensor, candidates: Tensor) -> Tensor:
    """(..., B) cosine of each anchor with its own pair, the first B candidates."""
    return (anchors * candidates[..., : anchors.shape[-2], :]).sum(dim=-1)


def positive_similarity(anchors: Tensor, candidates: Tensor, index: Tensor | None) -> Tensor:
    """(..., B) cosine of each anchor with its positive: candidate ``index`` (..., B), or, for None, its own pair.

    Every loss takes its positive from here with ``selection.positive_index``, so that an oracle may relabel it.
    """
    if index is None:
        return own_similarity(anchors, candidates)
    return (anchors * pick(candidates, index)).sum(dim=-1)


def pick(candidates: Tensor, index: Tensor) -> Tensor:
    """(..., B, D): the candidate that each anchor picked; the backward pass adds into (..., C, D) and sees no B x C.

    Args:
        candidates: (..., C, D).
        index: (..., B) int64.
    """
    *lead, count, dim = candidates.shape
    flat = candidates.reshape(-1, dim)
    rows = torch.arange(flat.shape[0] // count, device=index.device).mul_(count).reshape(*lead, 1)
    return flat.index_select(0, (index + rows).reshape(-1)).reshape(*index.shape, dim)
