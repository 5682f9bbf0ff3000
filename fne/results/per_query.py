"""Values of single test queries, and what is known about those queries: for slices of the test split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fne.analysis import layout
from fne.data.ranked_captions import first_captions
from fne.protocols import OWN, RECALLS
from fne.utils.errors import bad_input

if TYPE_CHECKING:
    from fne.data.manifest import Manifest


@dataclass(frozen=True)
class PerQuery:
    """One metric of one variant in one direction.

    Attributes:
        seeds: (n,) ascending.
        values: (n, Q) float64, fractions.
        image: (Q,) the position in the split of the image that asks, or whose caption does; ascending.
    """

    seeds: tuple[int, ...]
    values: np.ndarray
    image: np.ndarray

    def rows(self, seeds: Sequence[int]) -> np.ndarray:
        """The values of these seeds."""
        return self.values[[self.seeds.index(seed) for seed in seeds]]


@dataclass(frozen=True)
class Queries:
    """The scored queries of one direction, as a rule that slices them sees them.

    Attributes:
        direction: ``i2t`` (images ask) or ``t2i`` (captions ask).
        image: (Q,) the position in the test split of the image that asks, or whose caption does.
        captions: Per query the caption that asks; of an image all of its own captions.
        true_positives: (Q,) float64, items of the other side that are known to match, own ones included; NaN where
            the query's truth is not known well enough to be scored.
    """

    direction: str
    image: np.ndarray
    captions: list[tuple[str, ...]]
    true_positives: np.ndarray


def load(files: Sequence[Path], protocol: str, direction: str, metric: str) -> PerQuery:
    """Read one metric from the ``queries.<split>.npz`` of all blocks of one variant, seeds with finite numbers alone.

    An image is one query, so its sum is its value. Of captions only the rank is kept: ``r<k> = [rank <= k]``.

    Raises:
        UserError: A file is missing or damaged, has no such values per query, or the blocks do not agree on the images.
    """
    blocks = [layout.read(file) for file in files]
    part = f"{protocol}/{direction}"
    ranked = direction == "t2i"
    name = f"{part}/rank" if ranked else f"{part}/{metric}"
    for block, file in zip(blocks, files, strict=True):
        if name not in block or (ranked and metric not in RECALLS):
            kept = [key for key in block if not key.endswith(("seeds", "/count", "/rank")) and "/i2t/" in key]
            kept += [f"{OWN}/t2i/{each}" for each in RECALLS if f"{OWN}/t2i/rank" in block]
            requested = f"{part}/{metric}"
            raise bad_input(
                "no values per query of this metric", file=file, key="metric", value=requested, allowed=kept
            )
        if not np.array_equal(block[f"{part}/count"], blocks[0][f"{part}/count"]):
            raise bad_input("other images or queries than the other blocks'", file=file, key=f"{part}/count")
    seeds = np.concatenate([block["seeds"] for block in blocks])
    order = np.argsort(seeds, kind="stable")
    values = np.concatenate([block[name] for block in blocks])[order].astype(np.float64)
    valid = np.isfinite(values).all(axis=1)
    values, seeds = values[valid], seeds[order][valid]
    count = blocks[0][f"{part}/count"]
    if ranked:
        values = (values <= int(metric[1:])).astype(np.float64)
    else:
        values = values[:, count > 0]
    return PerQuery(tuple(int(seed) for seed in seeds), values, np.repeat(np.arange(len(count)), count))


def describe(manifest: Manifest, split: str, direction: str, image: np.ndarray) -> Queries:
    """What is known about scored queries.

    Args:
        manifest: The prepared data.
        split: The split that was ranked.
        direction: ``i2t`` or ``t2i``.
        image: As of :class:`PerQuery`; of ``t2i`` every caption that is ranked must ask.

    Raises:
        UserError: The data have other images or captions than those that were ranked.
    """
    view, truth, _ = first_captions(manifest.dataset, manifest.split(split), manifest.truth(split))
    requested = image if direction == "i2t" else np.arange(len(view.texts))
    fits = len(image) == len(requested) and (not len(image) or image.max() < len(view.image_ids))
    if not fits or (direction == "t2i" and not np.array_equal(view.caption_image, image)):
        raise bad_input("other test queries than those that were ranked", file=manifest.folder, hint="rank again")
    column, known = (0, truth.image_queries) if direction == "i2t" else (1, truth.caption_queries)
    size = len(view.image_ids) if direction == "i2t" else len(view.texts)
    matches = np.full(size, np.nan)
    matches[known] = np.bincount(truth.pairs[:, column], minlength=size)[known]
    if direction == "t2i":
        return Queries(direction, image, [(text,) for text in view.texts], matches)
    bounds = np.searchsorted(view.caption_image, np.stack([image, image + 1]))
    return Queries(direction, image, [tuple(view.texts[a:b]) for a, b in bounds.T], matches[image])
