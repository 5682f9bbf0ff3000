"""False negative cancellation: what a momentum encoder finds too similar is dropped, or becomes a positive."""

from __future__ import annotations

from torch import Tensor

from fne.negatives.strategy import Selection, Strategy, any_of, as_numbers, floored, kept_alike, usable


class FalseNegativeCancellation(Strategy):
    """Keep every j in N_i with weight 1, except the false negatives: among the k of highest score, and score > t.

    The score is the cosine of anchor and candidate, both under the momentum encoder. The k are the most similar among
    N_i, the first ones on ties. An anchor to which this leaves nothing costs nothing; it is counted as a fallback.

    Args:
        top_k: k >= 1, the greatest number of false negatives of an anchor; 10 as released for ImageNet.
        score_threshold: t, in units of cosine; 0.7 as released.

    *Freedom*: the score is the greatest over a support set of further crops in the paper; a pair has no further views,
    so the score is that of the anchor alone.

    *Differs from* the paper: there one encoder of images scores images; here the anchor is of one modality and the
    candidates are of the other.

    *Source*: Huynh et al., Boosting Contrastive Self-Supervised Learning with False Negative Cancellation, WACV 2022,
    arXiv 2011.11765, and its release (google-research/fnc).
    """

    name = "fnc_eliminate"
    negatives = "all"
    reads = ("negatives.top_k", "negatives.score_threshold")
    needs = ("teacher",)

    def __init__(self, *, top_k: int = 10, score_threshold: float = 0.7) -> None:
        self.count, self.threshold = top_k, score_threshold

    def suspects(self, teacher: Tensor, allowed: Tensor) -> Tensor:
        """(..., B, C) bool: the false negatives among what is allowed."""
        scores = floored(teacher, usable(teacher, ~allowed))
        count = min(self.count, scores.shape[-1])
        top = scores.topk(min(count + 1, scores.shape[-1]), dim=-1).values
        last, following = top[..., count - 1 : count], top[..., count:]
        if top.is_cpu and not ((following == last) & (last > self.threshold)).any():
            return (scores >= last) & (scores > self.threshold)
        above, tied = scores > last, scores == last
        # Of those that tie with the last one the first are taken: what topk itself takes may differ between devices.
        room = count - above.sum(dim=-1, keepdim=True)
        return (above | (tied & (tied.cumsum(dim=-1) <= room))) & (scores > self.threshold)

    def select(
        self, similarities: Tensor, excluded: Tensor, positive: Tensor, uniform: Tensor, *, teacher: Tensor
    ) -> Selection:
        allowed = usable(similarities, excluded)
        return kept_alike(allowed, ~self.suspects(teacher, allowed), similarities.dtype)


class FalseNegativeAttraction(FalseNegativeCancellation):
    """As :class:`FalseNegativeCancellation`, but its false negatives become further positives of the softmax.

    With F_i the false negatives of anchor i the paper's loss is

        ``-1/|P_i| sum_{p in P_i} log e_p / (sum_{q in P_i} e_q + sum_{j in N_i - F_i} e_j)``,  P_i = {own pair} + F_i,

    which is what :class:`~fne.losses.infonce.InfoNCELoss` makes of ``attracted``.

    *Source*: as :class:`FalseNegativeCancellation`; the loss as released (google-research/fnc, contrastive objective).
    """

    name = "fnc_attract"
    negatives = "attracted"

    def select(
        self, similarities: Tensor, excluded: Tensor, positive: Tensor, uniform: Tensor, *, teacher: Tensor
    ) -> Selection:
        allowed = usable(similarities, excluded)
        suspects = self.suspects(teacher, allowed)
        return Selection(
            index=None,
            weights=as_numbers(allowed & ~suspects, similarities.dtype),
            valid=any_of(allowed),
            attracted=suspects,
        )
