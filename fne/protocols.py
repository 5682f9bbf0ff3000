"""Protocols: what is retrieved, from what, and what counts as right; a fingerprint goes with every number.

``own`` is the field's protocol (``flickr30k_1k``, ``coco_5k``): only an image's own captions are right (R@1, R@5,
R@10, their sum, median rank). ``coco_1k_5fold`` is the same within each of five consecutive blocks of COCO's test
split, queries and gallery, and then the mean of the five. ``truth`` counts every pair that is known to be relevant
(mAP@R, R-Precision, P@1), for the queries whose relevant items are known; ``eccv`` (mAP@R, R-Precision, R@1) and
``cxc`` (R@1, R@5, R@10) what a relevance file lists, for its queries. All but the blocks search the whole other side
of the split.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fne.utils.errors import bad_input

DIRECTIONS = ("i2t", "t2i")
OWN, TRUTH, FOLDED, ECCV, CXC = "own", "truth", "coco_1k_5fold", "eccv", "cxc"
RELEVANCE = (ECCV, CXC)
"""Protocols that are read from relevance files; see ``fne.data.coco_relevance``."""
WITH_RSUM = (OWN, FOLDED)
TRUTH_METRICS = ("map_at_r", "r_precision", "p1")
METRICS = {
    OWN: ("rsum", "r1", "r5", "r10"),
    FOLDED: ("rsum", "r1", "r5", "r10"),
    TRUTH: TRUTH_METRICS,
    ECCV: ("map_at_r", "r_precision", "r1"),
    CXC: ("r1", "r5", "r10"),
}
"""What a study may declare as its primary metric, per protocol."""
RSUM_KS = (1, 5, 10)
FOLDS = 5
PRECISION = "float64 products rounded to float32"
"""How similarities are made for ranking; see ``fne.evaluation.ranking``."""
FIRST_CAPTIONS = {"coco": 5}
"""Captions per image that the field ranks: a few images of COCO have six or seven, and every published number on the
25,000 captions of its test split is of the first five."""
_QUERIES = {ECCV: {"i2t": 1261, "t2i": 1332}, CXC: {"i2t": 5000, "t2i": 24_972}}
"""Queries of the published relevance files: only such scores bear a protocol's bare name."""
_NAMES = {("flickr8k", 1000): "flickr8k_1k", ("flickr30k", 1000): "flickr30k_1k", ("coco", 5000): "coco_5k"}


def display_name(dataset: str, split: str, n_images: int, n_captions: int) -> str:
    """The field's name of protocol ``own`` (``flickr30k_1k``), else ``<dataset>_<split>_<images>``."""
    known = _NAMES.get((dataset, n_images)) if split == "test" and n_captions == 5 * n_images else None
    return known or f"{dataset}_{split}_{n_images}"


def fold_bounds(n_images: int) -> np.ndarray:
    """(6,) where each of the five consecutive blocks of images begins, and the last one ends."""
    return np.arange(FOLDS + 1) * n_images // FOLDS


def describe(
    protocol: str,
    *,
    dataset: str,
    split: str,
    image_ids: Sequence[str],
    caption_ids: Sequence[str],
    caption_image: np.ndarray,
    pairs: Mapping[str, np.ndarray],
    relevance: str,
    outside: Mapping[str, np.ndarray] | None = None,
) -> dict[str, Any]:
    """Everything about a protocol that a model does not decide, short of the tie rule (see :func:`finish`).

    Args:
        protocol: One of :data:`METRICS`.
        dataset, split: Names.
        image_ids, caption_ids: Ids of the split, in order.
        caption_image: (M,) position of every caption's image.
        pairs: Per direction (P, 2) the pairs that count as right, (image position, caption position); the queries
            are those that occur in them.
        relevance: Where ``pairs`` come from: ``own``, the kind of truth, or the digest of relevance files.
        outside: Per direction the query of every positive that is not in the gallery.
    """
    per_image = np.bincount(caption_image, minlength=len(image_ids))
    name = display_name(dataset, split, len(image_ids), len(caption_ids))
    folds = FOLDS if protocol == FOLDED else 1
    queries = {d: len(np.unique(pairs[d][:, column])) for column, d in enumerate(DIRECTIONS)}
    bare = protocol == FOLDED or (name == "coco_5k" and queries == _QUERIES.get(protocol))
    beyond = outside or dict.fromkeys(DIRECTIONS, np.zeros(0))
    content = [np.ascontiguousarray(part[d], dtype="<i4").tobytes() for d in DIRECTIONS for part in (pairs, beyond)]
    return {
        "protocol": protocol,
        "name": name if protocol == OWN else protocol if bare else f"{name}_{protocol}",
        "dataset": dataset,
        "split": split,
        "folds": folds,
        "queries": queries,
        "gallery": {"i2t": len(caption_ids) // folds, "t2i": len(image_ids) // folds},
        "captions_per_image": [int(per_image.min()), int(per_image.max())],
        "relevance": relevance,
        "relevant_pairs": {d: len(pairs[d]) for d in DIRECTIONS},
        "outside_gallery": {d: len(beyond[d]) for d in DIRECTIONS},
        "relevance_sha256": hashlib.sha256(b"|".join(content)).hexdigest(),
        "precision": PRECISION,
        "ids_sha256": hashlib.sha256(json.dumps([list(image_ids), list(caption_ids)]).encode()).hexdigest(),
    }


def finish(description: Mapping[str, Any], tie_rule: str) -> dict[str, Any]:
    """The fingerprint: a description, the tie rule and the id over both."""
    content = {**description, "tie_rule": tie_rule}
    return {**content, "id": fingerprint_id(content)}


def fingerprint_id(fingerprint: Mapping[str, Any]) -> str:
    """Twelve hex digits of SHA-256 over the canonical JSON of everything in a fingerprint but its id."""
    content = {key: value for key, value in fingerprint.items() if key != "id"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]


def require_same(fingerprints: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse to put numbers side by side that were made under different protocols.

    Args:
        fingerprints: Where each one comes from (a file) -> the fingerprint of one protocol and split.

    Raises:
        UserError: Two differ, or an id does not belong to its content; names both sources and what differs.
    """
    first: tuple[str, Mapping[str, Any]] | None = None
    for source, fingerprint in fingerprints.items():
        if fingerprint.get("id") != fingerprint_id(fingerprint):
            raise bad_input("the fingerprint does not belong to its content", file=source, key="fingerprint")
        if first is None:
            first = source, fingerprint
        elif fingerprint["id"] != first[1]["id"]:
            keys = sorted({*fingerprint, *first[1]} - {"id"})
            differs = [key for key in keys if fingerprint.get(key) != first[1].get(key)]
            words = "; ".join(f"{key} {first[1].get(key)!r} and {fingerprint.get(key)!r}" for key in differs)
            raise bad_input(
                f"protocol {fingerprint.get('protocol')!r} has another fingerprint than in {first[0]}",
                file=source,
                key="fingerprint",
                value=fingerprint["id"],
                allowed=[first[1]["id"]],
                hint=f"numbers under different protocols are never mixed: they differ in {words}",
            )
