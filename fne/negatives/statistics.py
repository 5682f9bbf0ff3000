"""Running statistics of the similarities of reliable positives and of negatives: moments, and histograms on demand."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from fne.negatives.strategy import arrays

BINS = 500
"""Bins of a histogram over [-1, 1], 0.004 wide: a quarter of the narrowest spread seen (.017, untrained heads)."""
WIDTH = 2 / BINS
_MOMENTS = ("pos_count", "pos_mean", "pos_squares", "neg_count", "neg_mean", "neg_squares")
_HISTOGRAMS = ("pos_histogram", "neg_histogram")


class PairStatistics:
    """Running mean, variance and, where requested, histogram of the similarities of positives and of negatives.

    A pair i of the batch counts as a positive only when it is mutually rank 1: S_ii is the maximum of row i and of
    column i of the online similarities S. The negatives are one of these populations:

    ===========  =======================================================================================
    ``hardest``  two for each counted pair, the hardest entries of its row and column (as released);
                 masked entries are set to 0 before
    ``batch``    every entry of S that is not masked, once
    ``None``     none here; :meth:`add_negatives` may add any others
    ===========  =======================================================================================

    The mean is the plain running mean. The variance is ``sum_t (x_t - mean_t)^2 / (n - 1)``, where mean_t is the
    running mean *after the batch of x_t was added* (as released; Welford's update would use the means before and
    after). With :meth:`fade` all counts and sums become exponentially weighted ones.

    State: six tensors of the leading shape ``...`` and two of ``(..., BINS)`` with histograms, float64.

    Args:
        histograms: Whether to keep histograms too.

    *Source*: Li et al., ACM MM 2023, the released rule.
    """

    def __init__(self, *, histograms: bool = False) -> None:
        self._fields = (*_MOMENTS, *(_HISTOGRAMS if histograms else ()))
        self._state: dict[str, Tensor] | None = None
        self._summary: dict[str, Tensor] | None = None

    def reset(self) -> None:
        """Forget everything."""
        self._state = self._summary = None

    def fade(self, decay: float) -> None:
        """Let everything counted so far weigh ``decay`` times as much, before a batch is added."""
        if self._state is not None:
            self._summary = None
            for name in self._fields:
                if not name.endswith("mean"):
                    self._state[name] = self._state[name] * decay

    def update(self, similarities: Tensor, masked: Tensor | None, population: str | None = "hardest") -> None:
        """Add one batch.

        Args:
            similarities: (..., B, B) online image x text similarities, pairs on the diagonal.
            masked: (..., B, B) bool, entries that are no negatives (at least the diagonal); None: the diagonal alone.
            population: Which negatives; see the class.
        """
        own, mutual = similarities.diagonal(dim1=-2, dim2=-1).double(), _mutual_rank_one(similarities)
        if self._state is None:
            zero = own.new_zeros(own.shape[:-1])
            self._state = {name: zero.clone() for name in _MOMENTS}
            self._state |= {name: own.new_zeros(*zero.shape, BINS) for name in self._fields[len(_MOMENTS) :]}
        self._add("pos", own, mutual)
        if population == "hardest":
            off = similarities.clone() if masked is None else similarities.masked_fill(masked, 0.0)
            off.diagonal(dim1=-2, dim2=-1).zero_()
            hardest = torch.stack([off.amax(dim=-1), off.amax(dim=-2)], dim=-1).flatten(-2).double()
            self._add("neg", hardest, mutual.repeat_interleave(2, dim=-1))
        elif population == "batch":
            if masked is None:
                masked = torch.eye(similarities.shape[-1], dtype=torch.bool, device=similarities.device)
            self.add_negatives(similarities, ~masked)

    def add_negatives(self, similarities: Tensor, counted: Tensor) -> None:
        """Add the similarities (..., B, C) of further negatives where ``counted`` (broadcastable bool)."""
        assert self._state is not None, "update comes first"
        counted = (counted & ~similarities.isnan()).expand_as(similarities)
        self._add("neg", similarities.double().masked_fill(~counted, 0.0).flatten(-2), counted.flatten(-2))

    def _add(self, side: str, values: Tensor, counted: Tensor) -> None:
        assert self._state is not None
        self._summary = None
        counted = counted.to(values.dtype)
        before, mean = self._state[f"{side}_count"], self._state[f"{side}_mean"]
        count = before + counted.sum(dim=-1)
        total = mean * before + (values * counted).sum(dim=-1)
        mean = total / torch.where(count > 0, count, 1)  # faded counts may lie between 0 and 1
        self._state[f"{side}_count"], self._state[f"{side}_mean"] = count, mean
        self._state[f"{side}_squares"] = self._state[f"{side}_squares"] + (
            (values - mean.unsqueeze(-1)).square() * counted
        ).sum(dim=-1)
        if (name := f"{side}_histogram") in self._state:
            # Whole numbers are summed before they meet the table, so that the order of a scatter cannot matter.
            new = torch.zeros_like(self._state[name]).scatter_add(-1, bin_of(values), counted)
            self._state[name] = self._state[name] + new

    def summary(self) -> dict[str, Tensor] | None:
        """``pos_count, pos_mean, pos_var`` of shape ``...``, and ``pos_histogram`` of shape ``(..., BINS)`` if kept.

        The same of ``neg``. None before any batch; the same object until something is added.
        """
        if self._state is not None and self._summary is None:
            self._summary = {}
            for side in ("pos", "neg"):
                count = self._state[f"{side}_count"]
                self._summary[f"{side}_count"], self._summary[f"{side}_mean"] = count, self._state[f"{side}_mean"]
                self._summary[f"{side}_var"] = self._state[f"{side}_squares"] / (count - 1).clamp(min=1)
            self._summary |= {name: self._state[name] for name in self._fields[len(_MOMENTS) :]}
        return self._summary

    def load_summary(self, summary: dict[str, Tensor]) -> None:
        """Take over what :meth:`summary` gives."""
        state = {}
        for side in ("pos", "neg"):
            count = summary[f"{side}_count"].double()
            state[f"{side}_count"], state[f"{side}_mean"] = count, summary[f"{side}_mean"].double()
            state[f"{side}_squares"] = summary[f"{side}_var"].double() * (count - 1).clamp(min=0)
        self.load_state(state | {name: summary[name].double() for name in self._fields[len(_MOMENTS) :]})

    def state(self) -> dict[str, Tensor]:
        """The exact state, empty before the first batch."""
        return dict(self._state or {})

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what :meth:`state` returned.

        Raises:
            ValueError: The fields are not those of :meth:`state`.
        """
        if state and set(state) != set(self._fields):
            raise ValueError(f"pair statistics hold {sorted(self._fields)}, got {sorted(state)}")
        self._state, self._summary = dict(state) or None, None


def _mutual_rank_one(s: Tensor) -> Tensor:
    """(..., B) bool: the diagonal entry is the argmax of its row and of its column (first one on ties)."""
    if (one := arrays(s)) is not None:
        both = np.equal(one[0].argmax(-1), place := np.arange(s.shape[-1])) & np.equal(one[0].argmax(-2), place)
        return torch.from_numpy(both)
    own = torch.arange(s.shape[-1], device=s.device)
    return (s.argmax(-1) == own) & (s.argmax(-2) == own)


def bin_of(similarities: Tensor) -> Tensor:
    """int64 bin of each similarity in a histogram; outside [-1, 1] the nearest one."""
    return ((similarities.nan_to_num(0.0) + 1) / WIDTH).floor().clamp(0, BINS - 1).long()


def bin_centres(like: Tensor) -> Tensor:
    """(BINS,) similarity at the centre of each bin, float64, on the device of a tensor."""
    return (torch.arange(BINS, dtype=torch.float64, device=like.device) + 0.5) * WIDTH - 1
