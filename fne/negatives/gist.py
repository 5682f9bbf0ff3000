"""The guided filter of GISTEmbed: a frozen encoder drops the negatives that it finds nearer than the own pair."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from fne.negatives.strategy import TIE, Selection, Strategy, above, kept_alike, usable


class GISTEmbed(Strategy):
    """Keep every j in N_i with weight 1, except where ``g_ij > g_ii - a``, g the similarity under a frozen guide.

    An anchor to which this leaves nothing costs nothing; it is counted as a fallback.

    Args:
        guide_margin: a, in units of cosine; 0 in the paper. Above 0, what comes near the own pair is dropped too.

    *Freedom*: the guide is the encoder in training as it was when the warm-up ended, because no other model here
    compares images with captions; the paper takes an embedding model that was trained elsewhere.

    *Differs from* the paper: there an anchor is also compared with the other anchors of the batch; here with the other
    modality alone, as everywhere in this project.

    *Source*: Solatorio, GISTEmbed, 2024, arXiv 2402.16829.
    """

    name = "gist"
    negatives = "all"
    estimates = "threshold"
    needs = ("guide",)
    per_anchor = False  # reads the guide's score of the own pair at its place

    def __init__(
        self,
        *,
        guide_margin: Annotated[
            float, Field(ge=0, le=2), "a of gist (Solatorio 2024): dropped are g_ij > g_ii - a under a frozen guide"
        ] = 0.0,
    ) -> None:
        self.margin = guide_margin

    def select(
        self, similarities: Tensor, excluded: Tensor, positive: Tensor, uniform: Tensor, *, guide: Tensor
    ) -> Selection:
        own = guide.diagonal(dim1=-2, dim2=-1).unsqueeze(-1)
        allowed = usable(similarities, excluded)
        return kept_alike(allowed, ~above(guide, own - self.margin + TIE), similarities.dtype)
