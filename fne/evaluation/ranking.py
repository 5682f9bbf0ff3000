"""Ranks of known pairs, counted from two sets of embeddings in bounded memory; the last package with torch.

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

from fne.evaluation.metrics import expected_hit
from fne.protocols import DIRECTIONS

CHUNK_ELEMENTS = 4_000_000
"""Largest similarity block held at once, in entries: 48 MB in float64 and float32 together."""
VALIDATED = 1 << 24
"""The same of a validation, in float32: 67 MB, and three times as much to count them."""


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
    return _rank(queries, gallery, pairs, top, chunk_elements, both=False)[0]


def rank_both(
    queries: torch.Tensor,
    gallery: torch.Tensor,
    pairs: torch.Tensor | np.ndarray,
    *,
    top: int = 0,
    chunk_elements: int = CHUNK_ELEMENTS,
) -> tuple[Ranks, Ranks]:
    """The ranks of :func:`rank`, and those where the gallery queries the queries, of the same pairs: one product."""
    one, other = _rank(queries, gallery, pairs, top, chunk_elements, both=True)
    return one, other


@torch.no_grad()
def _rank(
    queries: torch.Tensor,
    gallery: torch.Tensor,
    pairs: torch.Tensor | np.ndarray,
    top: int,
    chunk_elements: int,
    both: bool,
) -> list[Ranks]:
    """One row of blocks after the other: rows are complete in it, columns add up and merge their heads."""
    if queries.ndim != 2 or gallery.ndim != 2 or queries.shape[1] != gallery.shape[1]:
        raise ValueError(f"queries {tuple(queries.shape)} and gallery {tuple(gallery.shape)} do not fit")
    if not is_finite(queries, gallery):
        raise ValueError("embeddings are not finite")
    device, sizes = queries.device, (len(queries), len(gallery))
    pairs = torch.as_tensor(pairs, dtype=torch.int64, device=device).reshape(-1, 2)
    if len(pairs) and not (0 <= int(pairs.min()) and all(int(pairs[:, i].max()) < sizes[i] for i in (0, 1))):
        raise ValueError("a pair points outside the queries or the gallery")
    value = torch.cat([
        (queries[part[:, 0]].double() * gallery[part[:, 1]].double()).sum(dim=1).float()
        for part in pairs.split(max(1, chunk_elements // max(1, queries.shape[1])))
    ])  # fmt: skip
    sides = [Side(pairs[:, side], value, sizes[side], min(top, sizes[1 - side])) for side in (0, 1)[: 1 + both]]
    step = max(1, chunk_elements // max(1, sizes[1]))
    width = max(1, chunk_elements // (4 * max(step, sides[-1].widest, 1)))
    wide = gallery.double().T
    for start in range(0, sizes[0], step):
        scores = (queries[start : start + step].double() @ wide).float()
        mine = sides[0].slice(start, start + step)
        scores[sides[0].rows[mine] - start, pairs[sides[0].order[mine], 1]] = sides[0].value[mine]
        sides[0].add(scores, start, 0)
        for column in range(0, sizes[1], width) if both else ():
            sides[1].add(scores[:, column : column + width].T.contiguous(), column, start)
    return [side.ranks() for side in sides]


class Side:
    """What is known so far of the queries of one direction.

    Args:
        query: (P,) of every pair.
        value: (P,) its similarity; of a block it may be written before the block is added.
        queries: How many there are.
        top: Leading items that are kept of each.
    """

    def __init__(self, query: torch.Tensor, value: torch.Tensor, queries: int, top: int) -> None:
        self.order = torch.argsort(query, stable=True)
        self.rows, self.value = query[self.order].contiguous(), value[self.order]
        self.widest = int(torch.bincount(query).max()) if len(query) else 0
        self.greater, self.equal = torch.zeros(2, len(query), dtype=torch.int32, device=query.device)
        self.ids = torch.zeros(queries, top, dtype=torch.int32, device=query.device)
        self.scores = torch.full((queries, top), -torch.inf, device=query.device)

    def slice(self, start: int, stop: int) -> slice:
        """The pairs of some queries, in the order of queries."""
        return slice(*torch.searchsorted(self.rows, torch.tensor([start, stop], device=self.rows.device)).tolist())

    def add(self, scores: torch.Tensor, start: int, first: int) -> None:
        """Take similarities (b, c) of the queries from ``start`` on to the items from ``first`` on into account."""
        of, mine = slice(start, start + len(scores)), self.slice(start, start + len(scores))
        if mine.start < mine.stop:
            greater, equal = _counts(scores, self.rows[mine] - start, self.value[mine].to(scores.dtype))
            self.greater[self.order[mine]] += greater
            self.equal[self.order[mine]] += equal
        if top := self.ids.shape[1]:
            values, ids = _top(scores, min(top, scores.shape[1]))
            if first:  # equal scores by ascending item: those before stand first
                values, ids = torch.cat([self.scores[of], values], dim=1), torch.cat([self.ids[of], ids + first], dim=1)
                values, place = values.sort(dim=1, descending=True, stable=True)
                values, ids = values[:, :top], ids.gather(1, place)[:, :top]
            self.scores[of, : values.shape[1]], self.ids[of, : values.shape[1]] = values, ids

    def ranks(self) -> Ranks:
        parts = (self.greater, self.equal - 1, self.ids, self.scores)
        return Ranks(*(part.cpu().numpy() for part in parts))


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


def count_ranks_in_blocks(
    queries: torch.Tensor,
    gallery: torch.Tensor,
    pairs: np.ndarray,
    query_bounds: np.ndarray,
    gallery_bounds: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Count ``greater`` and ``ties`` of every pair within its own block of queries and gallery only.

    Args:
        queries, gallery: As in :func:`rank`.
        pairs: (P, 2), each within one block.
        query_bounds, gallery_bounds: (B + 1,) where each block begins in either, and the last one ends.
    """
    block = np.searchsorted(query_bounds, pairs[:, 0], side="right") - 1
    found = np.empty((2, len(pairs)), dtype=np.int32)
    for number in range(len(query_bounds) - 1):
        inside = np.flatnonzero(block == number)
        first = np.array([query_bounds[number], gallery_bounds[number]])
        sides = (queries[first[0] : query_bounds[number + 1]], gallery[first[1] : gallery_bounds[number + 1]])
        found[:, inside] = count_ranks(*sides, pairs[inside] - first)
    return found[0], found[1]


def _counts(scores: torch.Tensor, rows: torch.Tensor, value: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How many entries of its row, one of ascending ``rows``, are greater than each value, and how many equal it.

    One sort per row and two binary searches per value: comparing every value with its whole row costs more from a
    few values per row on.
    """
    per_row = torch.bincount(rows, minlength=len(scores))
    slot = torch.arange(len(rows), device=rows.device) - (per_row.cumsum(0) - per_row)[rows]
    wanted = scores.new_zeros(len(scores), int(per_row.max()))
    wanted[rows, slot] = value
    if scores.device.type == "cpu":
        ordered = torch.from_numpy(np.sort(scores.numpy(), axis=1))  # vectorised, which torch's sort is not
    else:
        ordered = scores.sort(dim=1).values
    below, up_to = (
        torch.searchsorted(ordered, wanted, right=right, out_int32=True)[rows, slot] for right in (False, True)
    )
    return scores.shape[1] - up_to, up_to - below


def _top(scores: torch.Tensor, top: int) -> tuple[torch.Tensor, torch.Tensor]:
    values, ids = scores.topk(top, dim=1)
    ids, by_id = ids.sort(dim=1)
    values, by_value = values.gather(1, by_id).sort(dim=1, descending=True, stable=True)
    return values, ids.gather(1, by_value).int()


def _count(on: torch.Tensor, dim: int) -> torch.Tensor:
    """How many are true along an axis; numpy counts bytes where torch adds integers of 8 bytes."""
    return torch.from_numpy(np.count_nonzero(on.numpy(), axis=dim)) if on.device.type == "cpu" else on.sum(dim)


@torch.no_grad()
def validation_recalls(
    image_emb: torch.Tensor,
    text_emb: torch.Tensor,
    caption_image: torch.Tensor | np.ndarray,
    ks: Sequence[int] = (1, 5, 10),
) -> dict[str, float]:
    """Recall@K both ways and their sum, from float32 similarities: quick enough for every epoch.

    Image to text, an image's best own caption counts; ties are broken at random in expectation, so a
    collapsed model scores chance level. Differs from the test protocol only in the float32 product (see the
    module), of which at most :data:`VALIDATED` entries are held at once.

    Args:
        image_emb: (N, D) embeddings.
        text_emb: (M, D) embeddings on the same device.
        caption_image: (M,) the row of ``image_emb`` every caption belongs to; every image has at least one.
        ks: Cut-offs.

    Returns:
        ``r<k>_i2t`` and ``r<k>_t2i`` for every k, and their sum ``rsum`` (at most 2 len(ks)), as fractions;
        all are NaN where an embedding is not finite, so that a diverged model can never be selected.
    """
    names = [f"r{k}_{direction}" for direction in DIRECTIONS for k in ks]
    if not is_finite(image_emb, text_emb):
        return dict.fromkeys([*names, "rsum"], float("nan"))
    image = torch.as_tensor(caption_image, dtype=torch.int64, device=image_emb.device)
    images, captions = image_emb.float(), text_emb.float()
    with torch.autocast(image_emb.device.type, enabled=False):
        whole = images @ captions.T if len(images) * len(captions) <= VALIDATED else None
        parts: dict[str, list[tuple[torch.Tensor, ...]]] = {"i2t": [], "t2i": []}
        for rows in torch.arange(len(images), device=image.device).split(max(1, VALIDATED // len(captions))):
            scores = images[rows] @ captions.T if whole is None else whole
            mine = torch.isin(image, rows).nonzero().squeeze(1)
            place = image[mine] - rows[0]
            own = scores[place, mine]
            best = torch.full_like(scores[:, 0], -torch.inf).scatter_reduce_(0, place, own, "amax")
            positives = torch.zeros_like(rows).scatter_add_(0, place, (own == best[place]).long())
            parts["i2t"].append(
                (*(_count(on, 1) for on in (scores > best[:, None], scores == best[:, None])), positives)
            )
        for columns in torch.arange(len(captions), device=image.device).split(max(1, VALIDATED // len(images))):
            scores = images @ captions[columns].T if whole is None else whole
            own = scores.gather(0, image[columns][None])[0]
            parts["t2i"].append((*(_count(on, 0) for on in (scores > own, scores == own)), torch.ones_like(columns)))
    recalls = {}
    for direction, counts in parts.items():
        above, level, right = (torch.cat(part).cpu().numpy() for part in zip(*counts, strict=True))
        for k in ks:
            recalls[f"r{k}_{direction}"] = float(expected_hit(above, level, right, k).mean())
    recalls["rsum"] = sum(recalls.values())
    return recalls
