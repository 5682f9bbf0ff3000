"""Which captions of a split are ranked: as many per image as the field's protocols take (torch-free)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fne.data.manifest import SplitView
from fne.data.truth import Truth
from fne.protocols import FIRST_CAPTIONS


def first_captions(dataset: str, view: SplitView, truth: Truth) -> tuple[SplitView, Truth, np.ndarray]:
    """A split with as many captions per image as the field ranks, its truth, and the captions (positions) kept."""
    number = np.arange(len(view.caption_ids)) - np.searchsorted(view.caption_image, view.caption_image)
    kept = np.flatnonzero(number < FIRST_CAPTIONS.get(dataset, len(number)))
    if len(kept) == len(number):
        return view, truth, kept
    place = np.full(len(number), -1, dtype=np.int32)
    place[kept] = np.arange(len(kept))
    image, caption = truth.pairs[:, 0], place[truth.pairs[:, 1]]
    pairs = np.stack([image, caption], axis=1)[caption >= 0]
    scored = place[truth.caption_queries]
    first = Truth(truth.kind, pairs, truth.image_queries, scored[scored >= 0], truth.extra)
    captions = replace(
        view, caption_rows=view.caption_rows[kept], caption_image=view.caption_image[kept],
        texts=[view.texts[c] for c in kept], caption_ids=[view.caption_ids[c] for c in kept],
        sentids=view.sentids and [view.sentids[c] for c in kept],
    )  # fmt: skip
    return captions, first, kept
