"""Ranks of known pairs counted from similarities that somebody else made, read block by block: a matrix, or lists.

The counts are those of :mod:`fne.evaluation.ranking`, by the similarities as they are: equal ones tie.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch

from fne.evaluation.ranking import CHUNK_ELEMENTS, Ranks, Side

Read = Callable[[slice, slice], np.ndarray]
"""Similarities of some queries (rows) to some items of the gallery (columns), floats; NaN nowhere."""


def of_matrix(read: Read, transposed: bool = False) -> Read:
    """Blocks of a matrix in float32 (or in float64 where it is), of its transpose on request."""

    def block(rows: slice, columns: slice) -> np.ndarray:
        part = read(columns, rows).T if transposed else read(rows, columns)
        return np.array(part, dtype=np.float64 if part.dtype == np.float64 else np.float32, order="C")

    return block


def of_lists(lists: np.ndarray, n_gallery: int) -> Read:
    """Similarities that order the gallery as ranked lists do: minus the place, and one value for all beyond the list.

    Args:
        lists: (Nq, K) items of the gallery, best first; -1 where a list has ended.
        n_gallery: Items of the gallery.
    """

    def block(rows: slice, columns: slice) -> np.ndarray:
        part = lists[rows]
        scores = np.full((len(part), n_gallery + 1), -float(lists.shape[1]), dtype=np.float32)
        np.put_along_axis(scores, np.where(part < 0, n_gallery, part), -np.arange(part.shape[1], dtype=np.float32), 1)
        return np.ascontiguousarray(scores[:, :n_gallery][:, columns])

    return block


def rank_blocks(read: Read, n_queries: int, n_gallery: int, pairs: np.ndarray, *, top: int = 0) -> Ranks:
    """Count for every (query, item) pair the items more similar and equally similar; see ``ranking.rank``.

    Args:
        read: What gives the similarities of some queries to some items.
        n_queries, n_gallery: How many there are.
        pairs: (P, 2) integers, query and item, in any order.
        top: How many leading items to return per query.
    """
    return _rank(read, slice(0, n_queries), slice(0, n_gallery), pairs, top)


def count_blocks_in_blocks(
    read: Read, pairs: np.ndarray, query_bounds: np.ndarray, gallery_bounds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Count ``greater`` and ``ties`` within blocks of queries and gallery; see ``ranking.count_ranks_in_blocks``."""
    block = np.searchsorted(query_bounds, pairs[:, 0], side="right") - 1
    counts = np.empty((2, len(pairs)), dtype=np.int32)
    bounds = zip(itertools.pairwise(query_bounds.tolist()), itertools.pairwise(gallery_bounds.tolist()), strict=True)
    for number, (queries, gallery) in enumerate(bounds):
        inside = np.flatnonzero(block == number)
        ranks = _rank(read, slice(*queries), slice(*gallery), pairs[inside] - [queries[0], gallery[0]], 0)
        counts[:, inside] = ranks.greater, ranks.ties
    return counts[0], counts[1]


def _rank(read: Read, queries: slice, gallery: slice, pairs: np.ndarray, top: int) -> Ranks:
    n_queries, n_gallery = queries.stop - queries.start, gallery.stop - gallery.start
    query, item = torch.from_numpy(pairs.astype(np.int64)).unbind(1)
    side = Side(query, torch.zeros(len(pairs), dtype=torch.float64), n_queries, min(top, n_gallery))
    step = max(1, CHUNK_ELEMENTS // n_gallery)
    for start in range(0, n_queries, step):
        stop = min(start + step, n_queries)
        scores = torch.from_numpy(read(slice(queries.start + start, queries.start + stop), gallery))
        mine = side.slice(start, stop)
        side.value[mine] = scores[side.rows[mine] - start, item[side.order[mine]]].double()
        side.add(scores, start, 0)
    return side.ranks()
