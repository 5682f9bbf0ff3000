"""``evaluate``: ranks -> metrics of every protocol, and values per image for the statistics. Numpy only."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fne import protocols
from fne.data import coco_relevance
from fne.evaluation import metrics
from fne.results.current import trained_alike, what_changed
from fne.results.records import CONFIG
from fne.study import paths
from fne.study.api import Study, digest, resolve
from fne.utils import provenance
from fne.utils.arrays import read_meta, read_npz
from fne.utils.errors import bad_input
from fne.utils.files import SCHEMAS, atomic_path, write_json
from fne.utils.shape import ANY

RANKED = {"meta": None, "*/top_*": None, "pairs": ("i", 2), "caption_image": ("i", 1), "*": ("i", 1)}
"""The arrays of a ``rankings.<split>.npz`` that are read; see :func:`fne.steps.rank.run`."""
META = {
    **dict.fromkeys(("study", "variant", "title", "block", "dataset", "regime", "split", "code"), str),
    "seeds": [int],
    "failed": {ANY: str},
    "selected_epoch": {ANY: int},
    "protocols": {ANY: {}},
    "config": CONFIG,
    "record": {"test_accesses": list},
}
"""What is read of what it says about itself."""


def run(study: Study, variant: str, block: str, split: str, root: Path) -> None:
    """Turn ``rankings.<split>.npz`` into ``metrics.<split>.json`` and ``queries.<split>.npz``.

    The tie rule and cut-offs are those of the present study; everything else must be what was trained.

    Arrays of ``queries``: ``seeds`` (R,); per protocol and direction ``<protocol>/<direction>/count`` (N,), the scored
    queries of every *image* of the split, and ``<protocol>/<direction>/<metric>`` (R, N), the sum of the metric over
    them; and ``<protocol>/<direction>/rank`` (R, queries), where only own items are right, the rank of every query's
    best one.

    Raises:
        UserError: The rankings are missing, damaged, of a run trained with another config, or of other relevance files.
    """
    started = provenance.now()
    file = root / paths.rankings(study, variant, block, split)
    meta, arrays = read_rankings(file)
    config = resolve(study, variant)
    if not trained_alike(meta["config"], config):
        what = what_changed(meta["config"], config)
        raise bad_input(f"ranked under another config ({what})", file=file, hint="train the variant again")
    rule, ks = config["evaluation"]["tie_rule"], config["evaluation"]["ks"]
    seeds = [seed for seed in meta["seeds"] if str(seed) not in meta["failed"]]
    scored = scored_protocols(meta, config["evaluation"]["relevance"] if split == "test" else {}, file)
    rows, values = evaluate_replicates(seeds, arrays, scored, rule, ks, file)
    carried = ("study", "variant", "title", "block", "dataset", "regime", "split", "seeds", "failed")
    content = {
        "schema": SCHEMAS["metrics"],
        **{key: meta[key] for key in (*carried, "selected_epoch", "code")},
        "digest": digest(config),
        "config": config,
        "fingerprint": {name: protocols.finish(meta["protocols"][name], rule) for name in scored},
        "rows": rows,
        "record": provenance.record(started, inputs={"rankings": file}, test_accesses=meta["record"]["test_accesses"]),
    }
    stored: dict[str, Any] = {"seeds": np.array(seeds, dtype=np.int64), **values}
    with atomic_path(root / paths.queries(study, variant, block, split)) as temporary:
        np.savez_compressed(temporary, **stored)
    write_json(root / paths.metrics(study, variant, block, split), content)


def scored_protocols(meta: Mapping[str, Any], requested: Mapping[str, str | None], file: Path) -> list[str]:
    """The protocols that were ranked, without those whose relevance files the study no longer gives.

    Raises:
        UserError: The study gives relevance files that were not ranked, or whose content has changed since.
    """
    for protocol, folder in requested.items():
        if folder is not None:
            now = f"files {coco_relevance.digest(folder, protocol)}"
            if meta["protocols"].get(protocol, {}).get("relevance") != now:
                problem = f"ranked without the relevance files of protocol {protocol!r}, or with other ones"
                raise bad_input(problem, file=file, hint="rank it again")
    return [name for name in meta["protocols"] if name not in protocols.RELEVANCE or requested.get(name) is not None]


def read_rankings(file: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read what ``rank`` wrote: its meta data, and its arrays except those for viewing.

    Raises:
        UserError: The file is missing, damaged, or of another schema.
    """
    hint = "rank it again"
    meta = read_meta(file, "rankings", META, hint, missing="run `fne rank` first")
    arrays = read_npz(file, RANKED, hint)
    owner = arrays["caption_image"]
    places = [owner, *(array for name, array in arrays.items() if name.endswith(("/pairs", "/outside")))]
    most = max(len(owner), len(arrays["pairs"]))
    if not len(owner) or any((array < 0).any() or (array >= most).any() for array in places):
        raise bad_input("its arrays do not belong together", file=file, hint=hint)
    return meta, arrays


def evaluate_replicates(
    seeds: Sequence[int],
    arrays: Mapping[str, np.ndarray],
    scored: Sequence[str],
    tie_rule: str,
    ks: Sequence[int],
    file: Path | None = None,
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Every metric of every replicate, and their sums per image.

    Args:
        seeds: The replicates that were ranked.
        arrays: As ``rank`` writes them.
        scored: Protocols.
        tie_rule: ``expected`` or ``pessimistic``.
        ks: Cut-offs of recall; 1, 5 and 10 make ``rsum``.
        file: What the arrays were read from.

    Returns:
        Rows (seed, protocol, direction, metric, value), and the arrays of the queries file.
    """
    try:
        return _evaluated(seeds, arrays, scored, tie_rule, ks)
    except (IndexError, KeyError, ValueError) as error:
        problem = f"its arrays do not belong together ({error})"
        raise bad_input(problem, file=file, hint="rank it again") from None


def _evaluated(
    seeds: Sequence[int], arrays: Mapping[str, np.ndarray], scored: Sequence[str], tie_rule: str, ks: Sequence[int]
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    parts = [_part(arrays, protocol, direction) for protocol in scored for direction in protocols.DIRECTIONS]
    parts = [part for part in parts if len(part.image)]
    n_images = int(arrays["caption_image"].max()) + 1
    rows: list[dict[str, Any]] = []
    values: dict[str, np.ndarray] = {}
    for part in parts:
        values[f"{part.name}/count"] = np.bincount(part.image, minlength=n_images).astype(np.int32)
    result: dict[str, list[np.ndarray]] = {}
    for seed in seeds:
        rsum = dict.fromkeys((name for name in protocols.WITH_RSUM if name in scored), 0.0)
        for part in parts:
            groups = metrics.tie_groups(part.query, *part.counts(arrays, seed), len(part.image), tie_rule)
            per_query = _per_query(groups, part.protocol, ks)
            if part.protocol in rsum:
                rank = metrics.best_rank(groups)
                result.setdefault(f"{part.name}/rank", []).append(rank.astype(np.float32))
                rows.append(
                    _row(seed, part.protocol, part.direction, protocols.MEDIAN_RANK, part.mean(rank, np.median))
                )
                rsum[part.protocol] += sum(part.mean(per_query[name]) for name in protocols.RECALLS)
            for metric, value in per_query.items():
                rows.append(_row(seed, part.protocol, part.direction, metric, part.mean(value)))
                result.setdefault(f"{part.name}/{metric}", []).append(np.bincount(part.image, value, n_images))
        rows += [_row(seed, protocol, "both", "rsum", value) for protocol, value in rsum.items()]
    return rows, values | {name: np.stack(stack) for name, stack in result.items()}


@dataclass(frozen=True)
class _Part:
    """The queries of one protocol and direction.

    Attributes:
        pairs: Rows of the relevant pairs that count.
        query: (positives,) the query 0..Nq-1 that each positive belongs to: the pairs', then those outside.
        outside: How many other positives outside the gallery the query of each such positive has.
        gallery: Items of the gallery.
        image: (Nq,) the image that each query is, or whose caption it is.
        folds: The blocks of queries that are searched one by one: where each begins, and the last one ends.
    """

    protocol: str
    direction: str
    pairs: np.ndarray
    query: np.ndarray
    outside: np.ndarray
    gallery: int
    image: np.ndarray
    folds: np.ndarray

    @property
    def name(self) -> str:
        return f"{self.protocol}/{self.direction}"

    def counts(self, arrays: Mapping[str, np.ndarray], seed: int) -> tuple[np.ndarray, np.ndarray]:
        """``greater`` and ``ties`` of every positive; those outside the gallery are together behind all of it."""
        place = f"{seed}/{self.direction}"
        if self.protocol == protocols.FOLDED:
            return arrays[f"{place}/folded_greater"], arrays[f"{place}/folded_ties"]
        behind = np.full(len(self.outside), self.gallery)
        return (
            np.concatenate([arrays[f"{place}/greater"][self.pairs], behind]),
            np.concatenate([arrays[f"{place}/ties"][self.pairs], self.outside]),
        )

    def mean(self, value: np.ndarray, of: Callable[[np.ndarray], float] = np.mean) -> float:
        """The metric of all queries: within each fold the mean (or median), and the mean over the folds."""
        return float(np.mean([of(value[start:stop]) for start, stop in itertools.pairwise(self.folds)]))


def _part(arrays: Mapping[str, np.ndarray], protocol: str, direction: str) -> _Part:
    name, caption_image = f"{protocol}/{direction}", arrays["caption_image"]
    rows, nobody = arrays[f"{name}/pairs"], np.zeros(0, dtype=np.int32)
    lost = arrays.get(f"{name}/outside", nobody)
    positions = arrays["pairs"][rows, protocols.DIRECTIONS.index(direction)]
    n_images, n_captions = int(caption_image.max()) + 1, len(caption_image)
    n_queries, gallery = (n_images, n_captions) if direction == "i2t" else (n_captions, n_images)
    scored = np.zeros(n_queries, dtype=bool)
    scored[positions] = True
    queries, place = np.flatnonzero(scored), np.cumsum(scored) - 1
    image = queries if direction == "i2t" else caption_image[queries]
    folds = [0, n_images] if protocol != protocols.FOLDED else protocols.fold_bounds(n_images)
    return _Part(
        protocol, direction, rows, place[np.concatenate([positions, lost])], np.bincount(lost)[lost] - 1, gallery,
        image, np.searchsorted(image, folds),
    )  # fmt: skip


def _per_query(groups: metrics.TieGroups, protocol: str, ks: Sequence[int]) -> dict[str, np.ndarray]:
    listed = protocols.PROTOCOLS[protocol].metrics
    named = [name for name in listed if protocols.METRICS[name].directed and name != protocols.MEDIAN_RANK]
    cut = [f"r{k}" for k in ks] if {*protocols.RECALLS} <= {*listed} else []
    return metrics.of_queries(groups, dict.fromkeys([*cut, *named]))


def _row(seed: int, protocol: str, direction: str, metric: str, value: float) -> dict[str, Any]:
    key = {"seed": seed, "protocol": protocol, "direction": direction, "metric": metric}
    return {**key, "value": float(value)}
