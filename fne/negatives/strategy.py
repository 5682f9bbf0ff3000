"""The seam between similarities and losses: what a negative-selection strategy is given and what it gives back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

TIE = 1e-6
"""Cosines no further apart than this are equal; whatever compares a candidate with the positive allows for it.

The same embedding gets other last bits at another place of a matrix product (the ragged edge of a tile), and the same
features at another place of a batch: up to 4e-7 where the embeddings have 768 dimensions, so that without it an exact
twin of the positive would lie below or above it at random. Sharper limits mean nothing in float32.
"""

LANES = 32
"""Numbers that a vectorised loop of torch takes at a time on a CPU. What is left over rounds otherwise: several rows,
directions or seeds together equal each alone only where all sizes are multiples."""


@dataclass(frozen=True)
class Selection:
    """What a strategy selected for each anchor. Nothing here carries a gradient.

    Args:
        index: (..., B) int64, the picked candidate of each anchor; ``None`` for a strategy that keeps a weight on
            every candidate (its loss is dense). Meaningless where ``valid`` is false.
        weights: (..., B, C) >= 0, zero on every excluded candidate: the sampling weights of a pick-one strategy, the
            loss weights of a dense one; ``None`` where the rule has none (hardest), or where nobody looks
            (:attr:`Strategy.watched`).
        valid: (..., B) bool, false where every candidate is excluded; such an anchor contributes no loss.
        posterior: (..., B, C) probability of being a false negative, or ``None`` where the strategy models none (yet).
        overridden: (..., B, C) bool, the candidates whose weight was set by the posterior, or ``None``.
        fallback: (..., B) bool, anchors to which the rule left no candidate and that took what its docstring says
            instead; or ``None`` for a rule that leaves every candidate.
        attracted: (..., B, C) bool, candidates that count as further positives, of weight 0; or ``None``. Only losses
            whose class lists ``attracted`` take it.
        positive_index: (..., B) int64, the candidate that serves as the anchor's positive; ``None``: its own pair. No
            strategy sets it, the oracle ``relabel`` does.
    """

    index: Tensor | None
    weights: Tensor | None
    valid: Tensor
    posterior: Tensor | None = None
    overridden: Tensor | None = None
    fallback: Tensor | None = None
    attracted: Tensor | None = None
    positive_index: Tensor | None = None


class Strategy(ABC):
    """Base class of the strategies; holds no state.

    A rule that looks at more than similarities names what it wants in ``needs``; :meth:`select` is then called with
    exactly these keyword arguments beside its four:

    ==============  ==================================================================================================
    ``teacher``     (..., B, C) cosine of anchor and candidate, both under the momentum encoder
    ``guide``       (..., B, C) the same under the online encoder as it was when the warm-up ended, frozen
    ``anchor``      (..., B) int64, position of the anchor in the training split (image row for i2t, caption row else)
    ``direction``   int, 0 for i2t and 1 for t2i
    ``same_image``  (..., B, C) bool, the candidate is of the anchor's image (the own pair included)
    ==============  ==================================================================================================

    ``needs`` is read from the source, so that a config that cannot give them is refused before anything runs.

    A strategy is called under ``torch.no_grad`` once per direction and step, or once for both. All tensors may carry
    any leading axes (``...``, in training the replicate axis R); nothing is reduced over them.

    Attributes:
        models_posterior: Whether it estimates the probability of a false negative, so that "share overridden by the
            posterior" is a number (a silent posterior shows as 0) and not an empty cell.
        needs: See above.
        per_anchor: Whether what it selects for an anchor depends on that anchor's row of its inputs alone, wherever the
            own pair stands, and nothing is learnt in :meth:`select`. Where several processes train together, each
            then selects for its own anchors only; otherwise all select for all.
        even: Whether all that is transformed has the sizes of batch and candidates. On a CPU several seeds then round
            as each alone does; with tables of other sizes beside each other they need not, and train apart. A rule that
            is both, and needs nothing, may be asked for both directions at once: ``...`` is then (2, R).
        frozen: Set by whoever only reads the posterior: nothing may be learnt from the candidates then.
        watched: Cleared by whoever looks at the pick alone: a pick-one rule may then leave out weights and posterior,
            which it works out for all candidates only to be looked at.
        calibration_images: How many images of the validation split, with one caption each, it wants to be calibrated
            on; 0: it is not. The data's validation truth must be exact, or the run is refused.
    """

    models_posterior = False
    needs: tuple[str, ...] = ()
    per_anchor: bool = True
    even: bool = True
    frozen: bool = False
    watched: bool = True
    calibration_images: int = 0

    def prepare(  # noqa: B027 - most strategies keep nothing per item
        self, sizes: tuple[int, int], lead: tuple[int, ...], device: torch.device
    ) -> None:
        """Allocate what is kept per training item; called once, before anything else.

        Args:
            sizes: Images and captions of the training split.
            lead: The leading axes of every tensor to come, in training (R,).
            device: Where the tensors live.
        """

    def start_epoch(self) -> None:  # noqa: B027 - most strategies have nothing to begin
        """Called before the first step of every main epoch."""

    def calibrate(self, similarities: Tensor, truth: Tensor) -> None:  # noqa: B027 - most have nothing to calibrate
        """Learn from validation pairs whose truth is known; called right before :meth:`start_epoch`.

        Args:
            similarities: (..., n, n) cosine of validation images (rows) and captions under the online encoder as it
                is; the own pairs stand on the diagonal, and no image stands twice. n: ``calibration_images``, or all
                images where there are fewer.
            truth: (..., n, n) bool, the pairs that are relevant.
        """

    def observe(self, similarities: Tensor, same_image: Tensor) -> None:  # noqa: B027 - nor to observe
        """Look at the batch before selecting from it.

        Args:
            similarities: (..., B, B) cosine of *online* image (row) and text (column) embeddings; the diagonal holds
                the pairs.
            same_image: (..., B, B) bool, row and column share an image id (the diagonal included).
        """

    @abstractmethod
    def select(
        self, similarities: Tensor, excluded: Tensor, positive: Tensor, uniform: Tensor, **context: Any
    ) -> Selection:
        """Select negatives.

        Args:
            similarities: (..., B, C) cosine of each anchor with each candidate.
            excluded: (..., B, C) bool, candidates that must not be selected: positives (same image id) and empty
                slots of the queue.
            positive: (..., B) cosine of each anchor with its positive, an entry of its row of ``similarities``; only
                candidates further than :data:`TIE` from it are more or less similar.
            uniform: (..., B) draws in [0, 1), the only randomness a strategy gets.
            context: What ``needs`` names; a rule writes these arguments out by name, and one without needs has none.

        Returns:
            The :class:`Selection`; no selected candidate is excluded, whatever the input.
        """

    def fused(self) -> dict[str, Any] | None:
        """What :func:`fne.negatives.fused.select` takes of this rule as it stands; None: it cannot make its picks."""
        return None

    def state(self) -> dict[str, Tensor]:
        """What must be saved for an exact resume: a flat dict of tensors."""
        return {}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what :meth:`state` returned."""
        if state:
            raise ValueError(f"{type(self).__name__} has no state, got {sorted(state)}")


def arrays(*tensors: Tensor) -> list[np.ndarray] | None:
    """Tensors on the CPU as arrays, which share their memory; None for others, or for a type that numpy has not.

    Comparisons, searches and arg max are 2 to 12 times as fast in numpy, and give the same.
    """
    if all(tensor.is_cpu and tensor.dtype != torch.bfloat16 for tensor in tensors):
        return [(tensor.detach() if tensor.requires_grad else tensor).numpy() for tensor in tensors]
    return None


def usable(similarities: Tensor, excluded: Tensor) -> Tensor:
    """(..., B, C) bool: candidates that may be selected. A NaN similarity never may."""
    if (both := arrays(similarities, excluded)) is not None:
        return torch.from_numpy(np.greater(np.equal(both[0], both[0]), both[1]))
    return ~(excluded | similarities.isnan())


def any_of(flags: Tensor) -> Tensor:
    """(..., B) bool: whether any of the flags (..., B, C) of an anchor is set."""
    return flags.any(dim=-1) if (one := arrays(flags)) is None else torch.as_tensor(one[0].any(axis=-1))


def count(flags: Tensor) -> Tensor:
    """(..., B) int64: how many flags (..., B, C) of an anchor are set."""
    return as_numbers(flags, torch.float32).sum(dim=-1).long()  # exact, and faster, up to 16 million


def greatest(values: Tensor) -> Tensor:
    """(..., B) int64: argmax_j of values (..., B, C), the first one on ties."""
    return values.argmax(dim=-1) if (one := arrays(values)) is None else torch.as_tensor(one[0].argmax(axis=-1))


def above(values: Tensor, limit: Tensor | float) -> Tensor:
    """(..., B, C) bool: values that are greater than the limit, or than that of their anchor (..., B, 1)."""
    given = arrays(values, limit) if isinstance(limit, Tensor) else arrays(values)
    if given is None:
        return values > limit
    return torch.from_numpy(np.greater(given[0], given[1] if isinstance(limit, Tensor) else limit))


def as_numbers(flags: Tensor, dtype: torch.dtype) -> Tensor:
    """1 where a flag is set, else 0: bytes are turned into numbers in a fifth of the time."""
    return flags.view(torch.uint8).to(dtype)


def floored(values: Tensor, allowed: Tensor) -> Tensor:
    """Values (..., B, C), minus infinity where not allowed. What is allowed is not NaN."""
    if (both := arrays(values, allowed)) is None:
        return values.masked_fill(~allowed, -torch.inf)
    # Infinite with the sign of allowed - 1/2: no branch for every candidate, which a processor guesses wrong.
    limit = np.broadcast_to(both[1], both[0].shape).astype(both[0].dtype)
    limit -= limit.dtype.type(0.5)
    limit *= limit.dtype.type(np.inf)
    return torch.from_numpy(np.fmin(both[0], limit, out=limit))


def hardest(similarities: Tensor, allowed: Tensor) -> Tensor:
    """The most similar allowed candidate: argmax_j s_ij over ``allowed``; the first one on ties.

    Args:
        similarities: (..., B, C).
        allowed: (..., B, C) bool.

    Returns:
        (..., B) int64; meaningless in rows that allow nothing.
    """
    return greatest(floored(similarities, allowed))


def draw(weights: Tensor, uniform: Tensor) -> Tensor:
    """Draw one candidate per anchor with probability w_ij / sum_j w_ij, by inverting the cumulative weights.

    With W_j = w_1 + ... + w_j the draw is the first j with W_j > u W_C. Where rounding would land on a candidate of
    weight zero (a parallel prefix sum need not be monotone), the heaviest candidate is taken instead, so that a weight
    of zero is never drawn in a row that has a positive one.

    Args:
        weights: (..., B, C) >= 0, finite.
        uniform: (..., B) in [0, 1).

    Returns:
        (..., B) int64; meaningless in rows whose weights are all zero.
    """
    weights = at_least_float32(weights)
    cumulative = weights.cumsum(dim=-1)
    target = uniform.to(cumulative.dtype).unsqueeze(-1) * cumulative[..., -1:]
    index = torch.searchsorted(cumulative, target, right=True).clamp_(max=weights.shape[-1] - 1)
    landed, index = (weights.gather(-1, index) > 0).squeeze(-1), index.squeeze(-1)
    if landed.is_cpu and landed.all():
        return index
    return torch.where(landed, index, greatest(weights))


def few(similarities: Tensor, excluded: Tensor, limit: Tensor) -> tuple[Tensor, Tensor] | None:
    """The candidates above a limit, moved together, so that a rule that weighs no others need not look at all.

    Both prefix sums and arg max of weights are the same without the candidates of weight zero: the order is kept, and
    candidate C - 1 stays last, where :func:`draw` looks for it when u W_C is rounded up.

    Args:
        similarities: (..., B, C).
        excluded: (..., B, C) bool.
        limit: (..., B) or (..., 1); NaN is no limit.

    Returns:
        Candidates (..., B, K) int64 in their order, with gaps, and where there are none, (..., B, K) bool. K is a
        multiple of :data:`LANES`. None where that would not pay, or not on a CPU.
    """
    if (given := arrays(similarities, excluded, limit)) is None or np.isnan(given[2]).any():
        return None
    candidates = similarities.shape[-1]
    place = np.flatnonzero(np.greater(np.greater(given[0], given[2][..., None]), given[1]))
    row, column = np.divmod(place, candidates)
    number = np.bincount(row, minlength=similarities[..., 0].numel())
    width = (int(number.max(initial=0)) // LANES + 1) * LANES
    if 2 * width > candidates:
        return None
    slot = np.arange(len(place)) - np.repeat(number.cumsum() - number, number)
    slot[column == candidates - 1] = width - 1
    index, filled = np.zeros((len(number), width), np.int64), np.zeros((len(number), width), bool)
    index[row, slot], filled[row, slot] = column, True
    shape = (*similarities.shape[:-1], width)
    return torch.from_numpy(index).reshape(shape), torch.from_numpy(filled).reshape(shape)


def hardest_kept(similarities: Tensor, allowed: Tensor, kept: Tensor) -> Selection:
    """The hardest candidate that a rule keeps; where it keeps none, the easiest of all, which is nearest to being kept.

    Args:
        similarities: (..., B, C).
        allowed: (..., B, C) bool.
        kept: (..., B, C) bool, what the rule keeps; of it only what is also allowed.
    """
    kept = kept & allowed
    found, index = any_of(kept), hardest(similarities, kept)
    if found.is_cpu and found.all():
        return Selection(index, weights=None, valid=found, fallback=~found)
    valid = any_of(allowed)
    return Selection(torch.where(found, index, hardest(-similarities, allowed)), None, valid, fallback=valid & ~found)


def draw_kept(log_weights: Tensor, allowed: Tensor, kept: Tensor, uniform: Tensor) -> Selection:
    """Draw a candidate that a rule keeps with probability w_ij / sum_j w_ij; where it keeps none, draw uniformly.

    The logarithms are shifted by the largest kept one of each anchor, so that steep weights cannot vanish together.

    Args:
        log_weights: (..., B, C) log w_ij; NaN counts as not kept.
        allowed: (..., B, C) bool.
        kept: (..., B, C) bool, what the rule keeps; of it only what is also allowed.
        uniform: (..., B) in [0, 1).
    """
    kept = usable(log_weights, ~(kept if kept is allowed else kept & allowed))
    found = any_of(kept)
    weights = floored(log_weights, kept).softmax(dim=-1)
    if found.is_cpu and found.all():
        return Selection(draw(weights, uniform), weights, valid=found, fallback=~found)
    valid, weights = any_of(allowed), torch.where(found.unsqueeze(-1), weights, as_numbers(allowed, weights.dtype))
    return Selection(draw(weights, uniform), weights, valid, fallback=valid & ~found)


def kept_alike(allowed: Tensor, kept: Tensor, dtype: torch.dtype) -> Selection:
    """Weight 1 on every candidate that a rule keeps; where it keeps none, none, which costs nothing, is a fallback.

    Args:
        allowed: (..., B, C) bool.
        kept: (..., B, C) bool, what the rule keeps; of it only what is also allowed.
        dtype: Of the weights.
    """
    kept, valid = kept & allowed, any_of(allowed)
    return Selection(index=None, weights=as_numbers(kept, dtype), valid=valid, fallback=valid & ~any_of(kept))


def at_least_float32(values: Tensor) -> Tensor:
    """Half precision as float32, everything else as it is: just below 1, 0.05 is but 13 steps of bfloat16."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
