"""Metrics of queries from the ranks of their positives: numpy only, exact under ties.

A positive is known by two counts: the gallery items strictly more similar to the query (``greater``) and the
other items exactly as similar (``ties``). Positives of a query with equal counts share one tie group. Metrics
are the exact expectation over a random order within each tie group (rule ``expected``), or the value of the
worst order (rule ``pessimistic``). All are fractions in 0..1 except ranks, which start at 1.

Source: ties in closed form as in McSherry and Najork, ECIR 2008; mAP@R and R-Precision as in Musgrave et al.,
ECCV 2020 and ECCV Caption (Chun et al., ECCV 2022).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

TIE_RULES = ("expected", "pessimistic")


@dataclass(frozen=True)
class TieGroups:
    """The groups of equally similar gallery items that hold positives, by query and then by rank.

    Attributes:
        query: (G,) the query each group belongs to, ascending.
        greater: (G,) gallery items strictly above the group.
        size: (G,) gallery items in the group, positives included.
        positives: (G,) positives in the group, 1 <= positives <= size.
        before: (G,) positives of the query above the group.
        relevant: (Nq,) positives per query, R.
        first: (Nq,) index of the query's first group, which holds its best positive.
    """

    query: np.ndarray
    greater: np.ndarray
    size: np.ndarray
    positives: np.ndarray
    before: np.ndarray
    relevant: np.ndarray
    first: np.ndarray


def tie_groups(query: np.ndarray, greater: np.ndarray, ties: np.ndarray, n_queries: int, tie_rule: str) -> TieGroups:
    """Group the positives of every query by tie.

    Under ``pessimistic`` the positives of a group take its last places, which is itself a tie group of
    positives only.

    Args:
        query: (P,) query of every positive, 0..n_queries-1, in any order.
        greater: (P,) gallery items strictly more similar.
        ties: (P,) other gallery items exactly as similar.
        n_queries: Nq; every query has at least one positive.
        tie_rule: ``expected`` or ``pessimistic``.

    Raises:
        ValueError: Unknown rule, a query without positives, or counts that contradict each other.
    """
    if tie_rule not in TIE_RULES:
        raise ValueError(f"tie_rule is one of {', '.join(TIE_RULES)}, got {tie_rule!r}")
    query, greater, size = (np.asarray(part, dtype=np.int64) for part in (query, greater, ties))
    order = np.argsort((query << 32) + greater)  # one key: several times as fast as a sort by two
    query, greater, size = query[order], greater[order], size[order] + 1
    relevant = np.bincount(query, minlength=n_queries)
    if len(relevant) != n_queries or not relevant.all():
        raise ValueError("every query needs a positive, and every positive a query")
    is_start = np.ones(len(query), dtype=bool)
    is_start[1:] = (query[1:] != query[:-1]) | (greater[1:] != greater[:-1])
    start = np.flatnonzero(is_start)
    positives = np.diff(start, append=len(query))
    if (np.repeat(size[start], positives) != size).any() or (positives > size[start]).any():
        raise ValueError("ranks contradict each other: equal ranks with different numbers of ties")
    query, greater, size = query[start], greater[start], size[start]
    first_positive, first_group = (
        np.cumsum(per_query) - per_query for per_query in (relevant, np.bincount(query, minlength=n_queries))
    )
    if tie_rule == "pessimistic":
        greater, size = greater + size - positives, positives
    return TieGroups(query, greater, size, positives, start - first_positive[query], relevant, first_group)


def expected_hit(greater: np.ndarray, group: np.ndarray, positives: np.ndarray, k: int) -> np.ndarray:
    """Probability that at least one positive is in the first ``k`` when ties are broken at random.

    ``1 - C(t - p, s) / C(t, s)`` with ``s = min(max(k - g, 0), t)`` places left for the tie group.

    Args:
        greater: g, gallery items strictly above the best positive.
        group: t, items in the best positive's tie group, itself included.
        positives: p, positives among them, 1 <= p <= t.
        k: Cut-off, >= 1.
    """
    slots = np.clip(k - greater, 0, group)
    miss = np.ones(np.shape(greater))
    for drawn in range(int(slots.max(initial=0))):
        left = np.maximum(group - positives - drawn, 0) / np.maximum(group - drawn, 1)
        miss *= np.where(drawn < slots, left, 1.0)
    return 1.0 - miss


def hits(groups: TieGroups, k: int) -> np.ndarray:
    """Recall@K as the field defines it, a hit rate, (Nq,): is any positive in the first K?"""
    first = groups.first
    return expected_hit(groups.greater[first], groups.size[first], groups.positives[first], k)


def best_rank(groups: TieGroups) -> np.ndarray:
    """Expected rank of the best positive, (Nq,): ``1 + g`` without ties, ``g + (t + 1) / (p + 1)`` with them.

    The second is the mean of the first of p places drawn from t. The median over queries is the protocol's
    median rank; it is not floored.
    """
    first = groups.first
    return groups.greater[first] + (groups.size[first] + 1) / (groups.positives[first] + 1)


def map_at_r(groups: TieGroups) -> np.ndarray:
    """mAP@R per query, (Nq,): ``1/R sum_{r=1..R} precision@r [item r is relevant]``.

    In expectation the place g + j of a tie group with p of t positives, G positives above it, adds
    ``p/t (G + 1 + (j - 1)(p - 1)/(t - 1)) / (g + j)``: it is a positive with probability p/t, and then the
    ``j - 1`` places of the group before it hold ``(j - 1)(p - 1)/(t - 1)`` positives.
    """
    places = _places_within_r(groups)
    row = np.repeat(np.arange(len(places)), places)
    j = np.arange(len(row)) - np.repeat(np.cumsum(places) - places, places) + 1
    size, positives = groups.size[row], groups.positives[row]
    found = groups.before[row] + 1 + (j - 1) * (positives - 1) / np.maximum(size - 1, 1)
    value = positives / size * found / (groups.greater[row] + j)
    return np.bincount(groups.query[row], value, len(groups.relevant)) / groups.relevant


def r_precision(groups: TieGroups) -> np.ndarray:
    """R-Precision per query, (Nq,): relevant share of the first R places, R the number of positives."""
    value = _places_within_r(groups) * groups.positives / groups.size
    return np.bincount(groups.query, value, len(groups.relevant)) / groups.relevant


PER_QUERY = {"map_at_r": map_at_r, "r_precision": r_precision}
"""Metrics of one query that are not about its first K places."""


def of_queries(groups: TieGroups, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Metrics by their ids, (Nq,) each; ``r<k>`` and ``p1`` are hits in the first places."""
    return {name: PER_QUERY[name](groups) if name in PER_QUERY else hits(groups, int(name[1:])) for name in names}


def _places_within_r(groups: TieGroups) -> np.ndarray:
    """How many places of every tie group lie among the first R of its query."""
    return np.clip(groups.relevant[groups.query] - groups.greater, 0, groups.size)
