"""The list of losses: name, class, and the options of ``loss`` that each one reads (torch-free)."""

from __future__ import annotations

from fne.catalog import Entry

LOSSES: dict[str, Entry] = {
    "triplet": Entry(
        target="fne.losses.triplet:Triplet",
        options=("margin",),
        summary="hinge on the difference between a negative's similarity and the positive's",
        negatives=("one", "all"),
    ),
    "infonce": Entry(
        target="fne.losses.infonce:InfoNCE",
        options=("temperature",),
        summary="softmax cross-entropy of the positive against every negative",
        negatives=("all",),
    ),
}
