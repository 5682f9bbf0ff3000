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
    names = ("greater", "ties", "top_scores")
    more = {f"{seed}/*/{name}": ("f" if name == "top_scores" else "i", 1 + (name == "top_scores")) for name in names}
    arrays = read_tops(file, caption_image, trained, {"pairs": ("i", 2), "[a-z]*/pairs": ("i", 1), **more})
    meta = read_meta(file, "rankings", META, HINT)
    rule, pairs = meta["config"]["evaluation"]["tie_rule"], arrays["pairs"]
    try:
        known = [
            Known(
                SOURCES.get(facts["relevance"]) or PROTOCOLS[name].label,
                {way: pairs[arrays[f"{name}/{way}/pairs"]] for way in DIRECTIONS},
                complete=facts["relevance"] == "exact",
            )
            for name, facts in meta["protocols"].items()
            if name in protocols and name not in WITH_RSUM
        ]
        ranked = {}
        for column, way in enumerate(DIRECTIONS):
            greater, ties, scores, top = (arrays[f"{seed}/{way}/{name}"] for name in (*names, "top_ids"))
            own, match = (
                best_rank(tie_groups(pairs[rows, column], greater[rows], ties[rows], len(top), rule))
                for rows in (arrays[f"{OWN}/{way}/pairs"], slice(None))
            )
            ranked[way] = Ranked(top, own, scores, match if known else None)
    except (IndexError, KeyError, ValueError) as error:
        raise bad_input(f"its arrays do not belong together ({error})", file=file, hint=HINT) from None
    return ranked, known
