"""The softmax loss of CLIP and ALBEF over every kept negative, with one positive or several."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from fne.losses.dense import Dense, log_sum, log_weights, number
from fne.negatives.strategy import Selection


class InfoNCELoss(Dense):
    """``-log e^{s_i+/T} / (e^{s_i+/T} + sum_j w_ij e^{s_ij/T})`` over the negatives j with weights w_ij.

    Candidates of the anchor's own image have weight 0: they are masked, unless ``multi_positive``.

    With several positives P_i it is their mean, all of them in the denominator:

        ``-1/|P_i| sum_{p in P_i} log e_p / (sum_{q in P_i} e_q + sum_j w_ij e_j)``, ``e = e^{s/T}``

    P_i holds the own pair, what the strategy attracts, and with ``multi_positive`` every candidate of the anchor's
    image (in a queue also older embeddings of the own pair; empty slots never).

    Args:
        temperature: T > 0, fixed; 0.05 by default in the field.
        multi_positive: Candidates of the anchor's image share the target instead of being masked.

    *Source*: van den Oord et al., 2018; Radford et al., CLIP, ICML 2021. Several positives: Khosla et al., Supervised
    Contrastive Learning, NeurIPS 2020, its L_out; the mean of logarithms, not the logarithm of a mean.
    """

    name = "infonce"
    negatives = ("all", "attracted")
    reads = ("loss.temperature",)

    def __init__(
        self,
        *,
        temperature: float = 0.05,
        multi_positive: Annotated[
            bool, "of infonce; true: candidates of the anchor's image share the target (Khosla et al. 2020)"
        ] = False,
    ) -> None:
        self.temperature = temperature
        self.needs = ("same_image",) if multi_positive else ()

    def of(self, similarities: Tensor, positive: Tensor, weights: Tensor, *, further: Tensor | None = None) -> Tensor:
        scale = 1 / self.temperature
        if further is None:
            return softplus(log_sum(similarities, positive, scale, log_weights(weights)))
        # The negatives and the further positives are disjoint, so one row holds both.
        counts = further.to(weights.dtype)
        both, count = log_sum(similarities, positive, scale, log_weights(weights + counts)), counts.sum(dim=-1)
        return softplus(both) - scale * ((similarities * counts).sum(dim=-1) - count * positive) / (1 + count)

    def parts(self, selection: Selection, context: dict[str, Any]) -> dict[str, Any]:
        return {"further": _further(selection, **context)}

    def pushing(self, gradient: Tensor, selection: Selection) -> Tensor:
        """A further positive has no share, even where it is pushed away because it is nearer than the others."""
        if not self.needs and selection.attracted is None:
            return gradient
        negative: Tensor = selection.weights > 0  # type: ignore[assignment, operator]
        return torch.where(negative, super().pushing(gradient, selection), 0)

    def at_collapse(self, selection: Selection, **context: Any) -> Tensor:
        """``log(|P_i| + sum_j w_ij)``."""
        count, further = number(selection), _further(selection, **context)
        total = count if further is None else (count + further.sum(dim=-1, dtype=count.dtype)) * (count > 0)
        return torch.log1p(total)


def _further(selection: Selection, same_image: Tensor | None = None) -> Tensor | None:
    """(..., B, C) bool: the positives beside the anchor's one; None where there can be none."""
    named = [some for some in (selection.attracted, same_image) if some is not None]
    if not named:
        return None
    further = (named[0] | named[-1]) & (selection.weights <= 0)  # type: ignore[operator]
    if selection.positive_index is not None:
        return further.scatter_(-1, selection.positive_index.unsqueeze(-1), False)
    further.diagonal(dim1=-2, dim2=-1).fill_(False)
    return further
