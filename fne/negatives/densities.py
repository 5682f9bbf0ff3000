"""Two running normal densities, of positives and of negatives, and the false-negative probability they imply."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_FIELDS = ("pos_count", "pos_mean", "pos_squares", "neg_count", "neg_mean", "neg_squares")


class PairStatistics:
    """Running mean and variance of the similarities of reliable positives and of their hardest negatives.

    A pair i of the batch counts only when it is mutually rank 1: S_ii is the maximum of row i and of column i of the
    online similarities S. It gives one positive, S_ii, and two negatives, the hardest entries of row i and of column i
    with the masked entries set to 0. The mean is the plain running mean. The variance is
    ``sum_t (x_t - mean_t)^2 / (n - 1)``, where mean_t is the running mean *after the batch of x_t was added* (as
    released; Welford's update would use the means before and after).

    State: six tensors of the leading shape ``...``, float64.

    *Source*: Li et al., ACM MM 2023, the released rule.
    """

    def __init__(self) -> None:
        self._state: dict[str, Tensor] | None = None

    def reset(self) -> None:
        """Forget everything."""
        self._state = None

    def update(self, similarities: Tensor, masked: Tensor) -> None:
        """Add one batch.

        Args:
            similarities: (..., B, B) online image x text similarities, pairs on the diagonal.
            masked: (..., B, B) bool, entries that are no negatives (at least the diagonal); set to 0 before the
                hardest is taken, as released.
        """
        s = similarities.double()
        mutual = _mutual_rank_one(s)
        off = s.masked_fill(masked, 0.0)
        positives = s.diagonal(dim1=-2, dim2=-1)
        negatives = torch.stack([off.amax(dim=-1), off.amax(dim=-2)], dim=-1).flatten(-2)
        if self._state is None:
            zero = s.new_zeros(s.shape[:-2])
            self._state = {name: zero.clone() for name in _FIELDS}
        self._add("pos", positives, mutual)
        self._add("neg", negatives, mutual.repeat_interleave(2, dim=-1))

    def _add(self, side: str, values: Tensor, counted: Tensor) -> None:
        assert self._state is not None
        counted = counted.to(values.dtype)
        before, mean = self._state[f"{side}_count"], self._state[f"{side}_mean"]
        count = before + counted.sum(dim=-1)
        total = mean * before + (values * counted).sum(dim=-1)
        mean = total / count.clamp(min=1)
        self._state[f"{side}_count"], self._state[f"{side}_mean"] = count, mean
        self._state[f"{side}_squares"] = self._state[f"{side}_squares"] + (
            (values - mean.unsqueeze(-1)).square() * counted
        ).sum(dim=-1)

    def summary(self) -> dict[str, Tensor] | None:
        """``pos_count, pos_mean, pos_var`` and the same of ``neg``, each of shape ``...``; None before any batch."""
        if self._state is None:
            return None
        out = {}
        for side in ("pos", "neg"):
            count = self._state[f"{side}_count"]
            out[f"{side}_count"], out[f"{side}_mean"] = count, self._state[f"{side}_mean"]
            out[f"{side}_var"] = self._state[f"{side}_squares"] / (count - 1).clamp(min=1)
        return out

    def load_summary(self, summary: dict[str, Tensor]) -> None:
        """Take over counts, means and variances, as :meth:`summary` gives them."""
        self._state = {}
        for side in ("pos", "neg"):
            count = summary[f"{side}_count"].double()
            self._state[f"{side}_count"], self._state[f"{side}_mean"] = count, summary[f"{side}_mean"].double()
            self._state[f"{side}_squares"] = summary[f"{side}_var"].double() * (count - 1).clamp(min=0)

    def state(self) -> dict[str, Tensor]:
        """The exact state, empty before the first batch."""
        return dict(self._state or {})

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what :meth:`state` returned.

        Raises:
            ValueError: The fields are not those of :meth:`state`.
        """
        if state and set(state) != set(_FIELDS):
            raise ValueError(f"pair statistics hold {sorted(_FIELDS)}, got {sorted(state)}")
        self._state = dict(state) or None


def _mutual_rank_one(s: Tensor) -> Tensor:
    """(..., B) bool: the diagonal entry is the argmax of its row and of its column (first one on ties)."""
    own = torch.arange(s.shape[-1], device=s.device)
    return (s.argmax(dim=-1) == own) & (s.argmax(dim=-2) == own)


def false_negative_probability(similarities: Tensor, summary: dict[str, Tensor], prior: float) -> Tensor:
    """Probability that a candidate of similarity s is a false negative, by Bayes' rule over two normals.

    ``p(s) = N(s; mu+, var+) / (N(s; mu+, var+) + (1/prior - 1) N(s; mu-, var-))``, evaluated as
    ``sigmoid(a s^2 + b s + c)`` with
    ``a = (1/var- - 1/var+)/2``, ``b = mu+/var+ - mu-/var-`` and
    ``c = (mu-^2/var- - mu+^2/var+)/2 + log(var-/var+)/2 - log(1/prior - 1)``,
    which never divides 0 by 0.

    Args:
        similarities: (..., B, C) cosine.
        summary: As :meth:`PairStatistics.summary`, each of shape ``...``.
        prior: Share of false negatives among negatives, in (0, 1); the release's is 1/10000.

    Returns:
        (..., B, C) in [0, 1], of the dtype of ``similarities``.

    *Source*: Li et al., ACM MM 2023.
    """
    floor = torch.finfo(torch.float32).tiny
    pos_mean, neg_mean = summary["pos_mean"], summary["neg_mean"]
    pos_var, neg_var = summary["pos_var"].clamp(min=floor), summary["neg_var"].clamp(min=floor)
    a = (1 / neg_var - 1 / pos_var) / 2
    b = pos_mean / pos_var - neg_mean / neg_var
    c = (neg_mean**2 / neg_var - pos_mean**2 / pos_var) / 2 + torch.log(neg_var / pos_var) / 2
    c = c - math.log(1 / prior - 1)
    work = similarities.float() if similarities.dtype in (torch.bfloat16, torch.float16) else similarities
    # Centred on mu+ in float64, so that the float32 quadratic does not cancel large terms.
    centre = pos_mean
    shifted = work - centre.to(work.dtype)[..., None, None]
    linear = b + 2 * a * centre
    constant = a * centre**2 + b * centre + c
    a, linear, constant = (term.to(work.dtype)[..., None, None] for term in (a, linear, constant))
    return torch.sigmoid((a * shifted + linear) * shifted + constant).to(similarities.dtype)
