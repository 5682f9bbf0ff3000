"""Ranks of known pairs, counted from two sets of embeddings in bounded memory; the last room with torch.

Similarities are dot products of embeddings the model has already L2-normalised. They are accumulated in
float64 and rounded once to float32, so that equal embeddings tie exactly and neither the gallery's order, the
chunk size, the number of threads nor TF32 on a GPU can change a rank: a plain float32 product gives one
vector different last bits in different columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fne.retrieval.metrics import expected_hit

CHUNK_ELEMENTS = 4_000_000
"""Largest similarity block held at once, in entries: 48 MB in float64 and float32 together."""


@dataclass(frozen=True)
class Ranks:
    """Where known pairs stand, and the head of every ranking.

    Attributes:
        greater: (P,) int32; gallery items strictly more similar to the pair's query than the pair's own item.
        ties: (P,) int32; *other* gallery items exactly as similar.
        top_ids: (Nq, k) int32; the first k gallery rows of every query, equal scores by ascending row.
        top_scores: (Nq, k) float32; their similarities.
    """

    greater: np.ndarray
    ties: np.ndarray
    top_ids: np.ndarray
    top_scores: np.ndarray


def is_finite(*embeddings: torch.Tensor) -> bool:
    """Whether every embedding is finite; a NaN compares false with everything and would rank first."""
    return all(bool(torch.isfinite(part).all()) for part in embeddings)


@torch.no_grad()
def rank(
    queries: torch.Tensor,
    gallery: torch.Tensor,
    pairs: torch.Tensor | np.ndarray,
    *,
    top: int = 0,
    chunk_elements: int = CHUNK_ELEMENTS,
) -> Ranks:
    """Count, for every (query, gallery item) pair, the gallery items more similar and equally similar.

    Args:
        queries: (Nq, D) embeddings, on any device.
        gallery: (Ng, D) embeddings on the same device.
        pairs: (P, 2) integers, row of ``queries`` and row of ``gallery``, in any order.
        top: How many leading gallery items to return per query; where several tie for the last place, which
            of them is shown is arbitrary (the counts are not concerned).
        chunk_elements: Memory bound; see :data:`CHUNK_ELEMENTS`.

    Raises:
        ValueError: An embedding is not finite, or the shapes do not fit.
    """
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise ValueError(f"queries {tuple(queries.shape)} and gallery {tuple(gallery.shape)} do not fit")
    if not is_finite(queries, gallery):
        raise ValueError("embeddings are not finite")
    device, n_queries, n_gallery = queries.device, len(queries), len(gallery)
    pairs = torch.as_tensor(pairs, dtype=torch.int64, device=device).reshape(-1, 2)
    if len(pairs) and not (
        0 <= int(pairs.min()) and int(pairs[:, 0].max()) < n_queries and int(pairs[:, 1].max()) < n_gallery
    ):
        raise ValueError("a pair points outside the queries or the gallery")
    order = torch.argsort(pairs[:, 0], stable=True)
    rows, items = pairs[order, 0].contiguous(), pairs[order, 1]
    top = min(top, n_gallery)
    greater = torch.zeros(len(pairs), dtype=torch.int32, device=device)
    ties = torch.zeros_like(greater)
    top_ids = torch.zeros((n_queries, top), dtype=torch.int32, device=device)
    top_scores = torch.zeros((n_queries, top), dtype=torch.float32, device=device)
    step = max(1, chunk_elements // max(1, n_gallery))
    wide = gallery.double().T
    for start in range(0, n_queries, step):
        stop = min(start + step, n_queries)
        scores = (queries[start:stop].double() @ wide).float()
        bounds = torch.searchsorted(rows, torch.tensor([start, stop], device=device)).tolist()
        for low in range(bounds[0], bounds[1], step):
            high = min(low + step, bounds[1])
            block = scores[rows[low:high] - start]
            own = block.gather(1, items[low:high, None])
            greater[order[low:high]] = (block > own).sum(1, dtype=torch.int32)
            ties[order[low:high]] = (block == own).sum(1, dtype=torch.int32) - 1
        if top:
            top_scores[start:stop], top_ids[start:stop] = _top(scores, top)
    return Ranks(greater.cpu().numpy(), ties.cpu().numpy(), top_ids.cpu().numpy(), top_scores.cpu().numpy())


def count_ranks(
    queries: torch.Tensor,
    gallery: torch.Tensor,
    pairs: torch.Tensor | np.ndarray,
    *,
    chunk_elements: int = CHUNK_ELEMENTS,
) -> tuple[np.ndarray, np.ndarray]:
    """Count ``greater`` and ``ties`` of every pair, each (P,) int32 (see :func:`rank`)."""
    ranks = rank(queries, gallery, pairs, chunk_elements=chunk_elements)
    return ranks.greater, ranks.ties


def _top(scores: torch.Tensor, top: int) -> tuple[torch.Tensor, torch.Tensor]:
    values, ids = scores.topk(top, dim=1)
    ids, by_id = ids.sort(dim=1)
    values, by_value = values.gather(1, by_id).sort(dim=1, descending=True, stable=True)
    return values, ids.gather(1, by_value).int()


@torch.no_grad()
def validation_recalls(
    image_emb: torch.Tensor,
    text_emb: torch.Tensor,
    caption_image: torch.Tensor | np.ndarray,
    ks: Sequence[int] = (1, 5, 10),
) -> dict[str, float]:
    """Recall@K both ways and their sum, from one float32 similarity matrix: quick enough for every epoch.

    Image to text, an image's best own caption counts; ties are broken at random in expectation, so a
    collapsed model scores chance level. Differs from the test protocol only in the float32 product (see the
    module).

    Args:
        image_emb: (N, D) embeddings.
        text_emb: (M, D) embeddings on the same device.
        caption_image: (M,) the row of ``image_emb`` every caption belongs to; every image has at least one.
        ks: Cut-offs.

    Returns:
        ``r<k>_i2t`` and ``r<k>_t2i`` for every k, and their sum ``rsum`` (at most 2 len(ks)), as fractions;
        all are NaN where an embedding is not finite, so that a diverged model can never be selected.
    """
    names = [f"r{k}_{direction}" for direction in ("i2t", "t2i") for k in ks]
    if not is_finite(image_emb, text_emb):
        return dict.fromkeys([*names, "rsum"], float("nan"))
    image = torch.as_tensor(caption_image, dtype=torch.int64, device=image_emb.device)
    with torch.autocast(image_emb.device.type, enabled=False):
        scores = image_emb.float() @ text_emb.float().T
    own = scores.gather(0, image[None])[0]
    best = torch.full((len(scores),), -torch.inf, device=scores.device).scatter_reduce_(0, image, own, "amax")
    found = {
        "i2t": (
            (scores > best[:, None]).sum(1),
            (scores == best[:, None]).sum(1),
            torch.zeros(len(scores), dtype=torch.int64, device=scores.device).scatter_add_(
                0, image, (own == best[image]).long()
            ),
        ),
        "t2i": ((scores > own).sum(0), (scores == own).sum(0), torch.ones_like(image)),
    }
    recalls = {}
    for direction, counts in found.items():
        greater, group, positives = (part.cpu().numpy() for part in counts)
        for k in ks:
            recalls[f"r{k}_{direction}"] = float(expected_hit(greater, group, positives, k).mean())
    recalls["rsum"] = sum(recalls.values())
    return recalls
