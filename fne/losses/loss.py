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
        per_anchor: Whether the loss of an anchor depends on its own row of each input alone, and its positive on the
            selection's ``positive_index`` wherever that is set; as of a strategy.
        reads_candidates: Whether it may read weights or posterior of a selection that has picks. Where it says that it
            does not, a strategy may leave them out (``Strategy.watched``).
    """

    needs: tuple[str, ...] = ()
    per_anchor: bool = True
    reads_candidates: bool = True

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


def positive_of(similarities: Tensor, index: Tensor | None) -> Tensor:
    """(..., B) the entry of each anchor's positive: candidate ``index`` (..., B), or, for None, its own pair.

    What is compared with other entries of ``similarities`` comes from here: another way of summing rounds otherwise,
    and an exact twin of the positive would seem more or less similar at random.

    Args:
        similarities: (..., B, C), with or without gradient.
        index: (..., B) int64, a selection's ``positive_index``, so that an oracle may relabel the positive; or None.
    """
    if index is None:
        return similarities.diagonal(dim1=-2, dim2=-1).clone()
    return similarities.gather(-1, index.unsqueeze(-1)).squeeze(-1)


def positive_similarity(anchors: Tensor, candidates: Tensor, index: Tensor | None) -> Tensor:
    """(..., B) cosine of each anchor with its positive, as :func:`positive_of`, without a matrix of similarities.

    For a loss of one negative, whose similarity is the same sum of products: ``(anchors * pick(...)).sum(dim=-1)``.
    """
    positives = candidates[..., : anchors.shape[-2], :] if index is None else pick(candidates, index)
    return (anchors * positives).sum(dim=-1)


def pick(candidates: Tensor, index: Tensor) -> Tensor:
    """(..., B, D): the candidate that each anchor picked; the backward pass adds into (..., C, D) and sees no B x C.

    Args:
        candidates: (..., C, D).
        index: (..., B) int64.
    """
    *lead, count, dim = candidates.shape
    flat = candidates.reshape(-1, dim)
    if len(flat) > count:
        index = index + torch.arange(0, len(flat), count, device=index.device).reshape(*lead, 1)
    return flat.index_select(0, index.reshape(-1)).reshape(*index.shape, dim)
