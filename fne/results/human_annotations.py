"""Negatives that a trained model ranks highest and that people judged: how many of them are matches."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fne.analysis.proportion import method, share
from fne.data.truth import Truth
from fne.protocols import DIRECTIONS
from fne.results.ranked import read_tops
from fne.utils.min_seeds import MIN_SEEDS

DEPTHS = (1, 5, 10)
METHOD = "the wider of Wilson's and the ratio estimator's with query images as clusters, seeds pooled (Student's t)"


def judged(
    variant: str, rankings: list[Path], caption_image: np.ndarray, truth: Truth, trained: str | None = None
) -> list[dict[str, Any]]:
    """A row per direction and depth: of the negatives among a query's first ``depth`` items, those that were judged.

    A negative is what is not of the query's own image: what a hardest-negative rule would pick. The pairs were chosen
    for judgement because they looked alike, and few of a model's are among them (``judged_share``): ``rate`` is a share
    of *judged* pairs, conditional on that choice, and no prevalence.

    Args:
        variant: Its id.
        rankings: Its files ``rankings.test.npz``.
        caption_image: (M,) image of each caption of the test split.
        truth: Of the test split, of kind ``judged``.
        trained: The digest of what training reads, of the runs that the rankings must be of; None: of any.

    Raises:
        UserError: Rankings are damaged, of another split, or of other runs.
    """
    captions = len(caption_image)
    places = truth.extra["judged_pairs"].astype(np.int64) @ np.array([captions, 1])
    order = np.argsort(places)
    places, verdict = places[order], truth.extra["judged_positive"][order] > 0
    rows, ranked = [], [read_tops(file, caption_image, trained) for file in rankings]
    for direction in DIRECTIONS:
        tops = [top for item in ranked for name, top in item.items() if name.endswith(f"/{direction}/top_ids")]
        for depth in DEPTHS if tops else ():
            clusters = int(caption_image.max()) + 1
            hits, totals, negatives = np.zeros(clusters), np.zeros(clusters), 0
            for top in tops:
                ids = top[:, :depth].astype(np.int64)
                query = np.broadcast_to(np.arange(len(ids))[:, None], ids.shape)
                image, caption = (query, ids) if direction == "i2t" else (ids, query)
                other = (image != caption_image[caption]) & (ids >= 0)
                requested = (image * captions + caption)[other]
                at = np.minimum(np.searchsorted(places, requested), len(places) - 1)
                known = places[at] == requested
                owner = (query if direction == "i2t" else caption_image[query])[other][known]
                hits += np.bincount(owner, verdict[at[known]], minlength=clusters)
                totals += np.bincount(owner, minlength=clusters)
                negatives += int(other.sum())
            item, summary = share(hits[totals > 0], totals[totals > 0]), METHOD
            if len(tops) < MIN_SEEDS:
                item, summary = replace(item, low=math.nan, high=math.nan), method(len(tops))
            elif math.isnan(item.low):
                summary = "none: too few query images have a judged negative"
            rows.append(
                {"variant": variant, "direction": direction, "depth": depth, "seeds": len(tops), "negatives": negatives,
                 "judged": item.total, "judged_share": item.total / negatives if negatives else None, "true": item.hits,
                 "rate": item.value, "low": item.low, "high": item.high, "method": summary}
            )  # fmt: skip
    return rows
