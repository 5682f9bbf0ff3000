"""Retrieval metrics and protocols: what is computed, what is retrieved from what, what counts as right, in what words.

All that the rest of the package knows of a metric or a protocol stands here; how a metric is computed, in
``fne.evaluation.metrics``. A fingerprint goes with every number.

``own`` is the field's protocol (``flickr30k_1k``, ``coco_5k``): only an image's own captions are right.
``coco_1k_5fold`` is the same within each of five consecutive blocks of COCO's test split, queries and gallery, and then
the mean of the five. ``truth`` counts every pair that is known to be relevant, for the queries whose relevant items are
known; ``eccv`` and ``cxc`` what a relevance file lists, for its queries. All but the blocks search the whole other side
of the split.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fne.utils.errors import bad_input

if TYPE_CHECKING:
    import numpy as np

DIRECTIONS = ("i2t", "t2i")
DIRECTION_NAMES = {"i2t": "image → text", "t2i": "text → image", "both": "both directions"}


@dataclass(frozen=True)
class Metric:
    """What is to be known of a metric; files hold fractions, tables percent, and both hold ranks as they are."""

    label: str
    meaning: str = ""  # what the label does not say
    top: int | None = 1  # its largest value, a fraction; None: it is a rank
    directed: bool = True  # each direction has one, or else both together
    higher_is_better: bool = True
    per_relevant: bool = False  # divides by the number of relevant items, so that unknown ones move it either way

    @property
    def directions(self) -> tuple[str, ...]:
        """The directions under which its values stand."""
        return DIRECTIONS if self.directed else ("both",)

    @property
    def scale(self) -> int:
        """What a stored value is multiplied by to be shown."""
        return 1 if self.top is None else 100


RSUM_KS = (1, 5, 10)
RECALLS = tuple(f"r{k}" for k in RSUM_KS)
"""What is summed to ``rsum``, over both directions."""
MEDIAN_RANK = "median_rank"
"""A median of ranks: no mean over queries, so no image has a part in it."""
METRICS = {
    **{f"r{k}": Metric(f"R@{k}", "recall") for k in RSUM_KS},
    "rsum": Metric("rsum", "sum of six recalls", top=6, directed=False),
    MEDIAN_RANK: Metric("median rank", top=None, higher_is_better=False),
    "map_at_r": Metric("mAP@R", per_relevant=True),
    "r_precision": Metric("R-Precision", per_relevant=True),
    "p1": Metric("P@1"),
}
"""In the order in which tables have them."""


@dataclass(frozen=True)
class Protocol:
    """What is to be known of a protocol; with all of :data:`RECALLS`, it has recall at each of ``evaluation.ks``."""

    metrics: tuple[str, ...]
    right: str  # what counts as right, in a phrase
    label: str = ""  # heads its columns
    note: str = ""  # what a table says of them
    coco: bool = False  # of COCO's test split alone
    queries: Mapping[str, int] | None = None  # of its published relevance files; only such scores bear its bare name

    @property
    def primaries(self) -> tuple[str, ...]:
        """What a study may declare as its primary metric."""
        return tuple(name for name in self.metrics if METRICS[name].top and METRICS[name].higher_is_better)

    @property
    def columns(self) -> tuple[str, ...]:
        """What the main table shows, metrics of both directions together last."""
        return tuple(sorted(self.primaries, key=lambda name: not METRICS[name].directed))


OWN, TRUTH, FOLDED, ECCV, CXC = "own", "truth", "coco_1k_5fold", "eccv", "cxc"
PROTOCOLS = {
    OWN: Protocol(("rsum", *RECALLS, MEDIAN_RANK), "only the image's own captions are right"),
    FOLDED: Protocol(
        ("rsum", *RECALLS, MEDIAN_RANK), "only the image's own captions are right, mean of five blocks of 1 000 images",
        "COCO 1K, five folds", "COCO 1K: the mean over five consecutive blocks of 1,000 test images, each searched on "
        "its own. The blocks are no seeds: their spread says nothing about training again", coco=True,
    ),
    TRUTH: Protocol(
        ("map_at_r", "r_precision", "p1"), "every known relevant pair is right", "All true matches",
        "Against all true matches: every relevant item counts, not only the image's own captions",
    ),
    ECCV: Protocol(
        ("map_at_r", "r_precision", "r1"), "every pair that ECCV Caption lists is right", "ECCV Caption",
        "ECCV Caption: every pair verified as a match is right (Chun et al. 2022), for its queries, in the whole "
        "gallery of COCO 5K", coco=True, queries={"i2t": 1261, "t2i": 1332},
    ),
    CXC: Protocol(
        RECALLS, "every pair that Crisscrossed Captions lists is right", "CxC",
        "CxC: every pair that people rated as a match is right (Parekh et al. 2021), for its queries, in the whole "
        "gallery of COCO 5K", coco=True, queries={"i2t": 5000, "t2i": 24_972},
    ),
}  # fmt: skip
RELEVANCE = tuple(name for name, one in PROTOCOLS.items() if one.queries is not None)
"""Protocols that are read from relevance files; each has the config key ``evaluation.relevance.<protocol>``."""
WITH_RSUM = tuple(name for name, one in PROTOCOLS.items() if "rsum" in one.metrics)
FOLDS = 5
PRECISION = "float64 products rounded to float32"
"""How similarities are made for ranking; see ``fne.evaluation.ranking``."""
FIRST_CAPTIONS = {"coco": 5}
"""Captions per image that the field ranks: a few images of COCO have six or seven, and every published number on the
25,000 captions of its test split is of the first five."""
_NAMES = {("flickr8k", 1000): "flickr8k_1k", ("flickr30k", 1000): "flickr30k_1k", ("coco", 5000): "coco_5k"}
NAME_WORDS = {"flickr30k_1k": "Flickr30K 1K", "flickr8k_1k": "Flickr8k 1K", FOLDED: "COCO 1K, 5 folds",
              "coco_5k": "COCO 5K"}  # fmt: skip
"""Names of protocols as papers print them."""


def metric_of(name: str) -> Metric:
    """A metric by its id; one that is not listed, such as recall at another cut-off, is a fraction named by its id."""
    return METRICS.get(name) or Metric(name)


def display_name(dataset: str, split: str, n_images: int, n_captions: int) -> str:
    """The field's name of protocol ``own`` (``flickr30k_1k``), else ``<dataset>_<split>_<images>``."""
    known = _NAMES.get((dataset, n_images)) if split == "test" and n_captions == 5 * n_images else None
    return known or f"{dataset}_{split}_{n_images}"


def fold_bounds(n_images: int) -> np.ndarray:
    """(6,) where each of the five consecutive blocks of images begins, and the last one ends."""
    import numpy as np

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
        protocol: One of :data:`PROTOCOLS`.
        dataset, split: Names.
        image_ids, caption_ids: Ids of the split, in order.
        caption_image: (M,) position of every caption's image.
        pairs: Per direction (P, 2) the pairs that count as right, (image position, caption position); the queries
            are those that occur in them.
        relevance: Where ``pairs`` come from: ``own``, the kind of truth, or the digest of relevance files.
        outside: Per direction the query of every positive that is not in the gallery.
    """
    import numpy as np

    per_image = np.bincount(caption_image, minlength=len(image_ids))
    name = display_name(dataset, split, len(image_ids), len(caption_ids))
    folds = FOLDS if protocol == FOLDED else 1
    queries = {d: len(np.unique(pairs[d][:, column])) for column, d in enumerate(DIRECTIONS)}
    bare = protocol == FOLDED or (name == "coco_5k" and queries == PROTOCOLS[protocol].queries)
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
