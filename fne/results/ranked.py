"""What a run ranked first for every test query, and at which rank the items stand that match it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from fne.evaluation.metrics import best_rank, tie_groups
from fne.protocols import DIRECTIONS, OWN, PROTOCOLS, WITH_RSUM
from fne.results.current import require_current
from fne.utils.arrays import read_meta, read_npz
from fne.utils.errors import bad_input
from fne.utils.shape import ANY

HINT = "rank it again"
META = {"config": {"evaluation": {"tie_rule": str}}, "protocols": {ANY: {"relevance": str}}}
COUNTED = {"greater": ("i", 1), "ties": ("i", 1), "top_scores": ("f", 2)}
SOURCES = {"exact": "exact truth", "judged": "annotated by humans"}
"""Kinds of a split's truth in words; those of relevance files are their protocols' labels."""


@dataclass(frozen=True)
class Ranked:
    """What a model ranked first in one direction, and where right items stand: images are queries, or captions are.

    Attributes:
        top: (Q, K) integers, positions of the first K ranked items of every query, best first; -1 where there is none.
        own: (Q,) rank of the query's best own item, from 1, as of :func:`fne.evaluation.metrics.best_rank` (a mean over
            ties). Infinity: it is beyond all that was ranked; NaN: the query is not scored, and no failure.
        scores: (Q, K) their similarities, or None where none were kept.
        match: (Q,) the same of the best item that any truth knows to match, own ones included; None where only own
            pairs are known.
    """

    top: np.ndarray
    own: np.ndarray
    scores: np.ndarray | None = None
    match: np.ndarray | None = None


@dataclass(frozen=True)
class Known:
    """The pairs that one source of truth knows to match.

    Attributes:
        name: What a reader sees behind "match": ``exact truth``, ``annotated by humans``, ``ECCV Caption``, ``CxC``.
        pairs: Per direction (P, 2) integers, rows (image position, caption position); own pairs may be among them.
        complete: Whether a pair that is not among them is known not to match.
    """

    name: str
    pairs: Mapping[str, np.ndarray]
    complete: bool = False


def read_tops(
    file: Path,
    caption_image: np.ndarray,
    trained: str | None,
    more: Mapping[str, tuple[str, int]] = MappingProxyType({}),
) -> dict[str, np.ndarray]:
    """The first items of every query, ``<seed>/<direction>/top_ids``, of a ``rankings.test.npz``.

    Args:
        file: The file.
        caption_image: (M,) image of each caption of the split.
        trained: The digest of what training reads, of the runs that it must be of; None: of any.
        more: Further arrays, as :func:`fne.utils.arrays.read_npz` has them.

    Raises:
        UserError: It is damaged, or of another split or other runs.
    """
    meta = read_meta(file, "rankings", {"config": {}}, HINT)
    arrays = read_npz(file, {"caption_image": ("i", 1), "*/top_ids": ("i", 2), **more}, HINT)
    if not np.array_equal(arrays.pop("caption_image"), caption_image):
        raise bad_input("other captions than those of the prepared data", file=file, hint=HINT)
    sizes = (int(caption_image.max(initial=-1)) + 1, len(caption_image))
    for name, top in arrays.items():
        if name.endswith("/top_ids"):
            queries, items = sizes if name.endswith("/i2t/top_ids") else sizes[::-1]
            if len(top) != queries or not (-1 <= top.min(initial=0) and top.max(initial=0) < items):
                raise bad_input("places outside the split", file=file, key=name, hint=HINT)
    if trained is not None:
        require_current(file, meta["config"], trained, HINT)
    return arrays


def read(
    file: Path, seed: int, caption_image: np.ndarray, trained: str, protocols: Collection[str]
) -> tuple[dict[str, Ranked], list[Known]]:
    """What one seed ranked by direction, of a ``rankings.test.npz``, and the sources of truth that it was ranked under.

    Args:
        file, caption_image, trained: As of :func:`read_tops`.
        seed: One that it holds.
        protocols: Those of the study; what the file knows beyond them is passed over.

    Raises:
        UserError: As :func:`read_tops`.
    """
    more = {f"{seed}/*/{name}": kind for name, kind in COUNTED.items()}
    arrays = read_tops(file, caption_image, trained, {"pairs": ("i", 2), "[a-z]*/pairs": ("i", 1), **more})
    meta = read_meta(file, "rankings", META, HINT)
    relevance = {name: facts["relevance"] for name, facts in meta["protocols"].items() if name in protocols}
    try:
        known = known_of(arrays, relevance)
        return ranked_of(arrays, seed, meta["config"]["evaluation"]["tie_rule"], bool(known)), known
    except (IndexError, KeyError, ValueError) as error:
        raise bad_input(f"its arrays do not belong together ({error})", file=file, hint=HINT) from None


def known_of(arrays: Mapping[str, np.ndarray], relevance: Mapping[str, str]) -> list[Known]:
    """The sources of truth beside own pairs, of relevant pairs as :func:`fne.steps.rank.relevant_items` gives them.

    Args:
        arrays: ``pairs`` and ``<protocol>/<direction>/pairs``.
        relevance: Protocol -> what its fingerprint says under ``relevance``: a kind of truth, or a digest of files.
    """
    return [
        Known(
            SOURCES.get(kind) or PROTOCOLS[name].label,
            {way: arrays["pairs"][arrays[f"{name}/{way}/pairs"]] for way in DIRECTIONS},
            complete=kind == "exact",
        )
        for name, kind in relevance.items()
        if name not in WITH_RSUM
    ]


def ranked_of(arrays: Mapping[str, np.ndarray], seed: int, tie_rule: str, known: bool) -> dict[str, Ranked]:
    """What one seed or run ranked, by direction, of arrays as :func:`fne.steps.rank.run` describes them.

    Args:
        arrays: ``pairs``, ``own/<direction>/pairs`` and ``<seed>/<direction>/`` ``greater``, ``ties``, ``top_ids`` and
            ``top_scores``.
        seed: Of the arrays that are read.
        tie_rule: ``expected`` or ``pessimistic``.
        known: Whether other pairs than own ones are known to match.

    Raises:
        ValueError: The arrays do not belong together.
    """
    pairs, ranked = arrays["pairs"], {}
    for column, way in enumerate(DIRECTIONS):
        greater, ties, top, scores = (
            arrays[f"{seed}/{way}/{name}"] for name in ("greater", "ties", "top_ids", "top_scores")
        )
        own, match = (
            best_rank(tie_groups(pairs[rows, column], greater[rows], ties[rows], len(top), tie_rule))
            for rows in (arrays[f"{OWN}/{way}/pairs"], slice(None))
        )
        ranked[way] = Ranked(top, own, scores, match if known else None)
    return ranked
