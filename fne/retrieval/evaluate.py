"""``evaluate``: ranks -> metrics of every protocol, and values per image for the statistics. Numpy only."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fne import paths, provenance
from fne.config import Study, diff, digest, resolve, training_digest
from fne.configuration.schema import PATH_KEYS
from fne.errors import bad_input
from fne.files import atomic_path, write_json
from fne.retrieval import metrics, protocols

SCHEMA = 1


def run(study: Study, variant: str, block: str, split: str, root: Path) -> None:
    """Turn ``rankings.<split>.npz`` into ``metrics.<split>.json`` and ``queries.<split>.npz``.

    The tie rule and cut-offs are those of the study as it stands now; everything else must be what was
    trained.

    Arrays of ``queries``: ``seeds`` (R,); per protocol and direction ``<protocol>/<direction>/count`` (N,),
    the scored queries of every *image* of the split, and ``<protocol>/<direction>/<metric>`` (R, N), the sum
    of the metric over them; and ``own/<direction>/rank`` (R, queries), the rank of every query's best own
    item.

    Raises:
        UserError: The rankings are missing, damaged, or of a run trained with another config.
    """
    started = provenance.now()
    file = root / paths.rankings(study, variant, block, split)
    meta, arrays = read_rankings(file)
    config = resolve(study, variant)
    if training_digest(meta["config"]) != training_digest(config):
        what = what_changed(meta["config"], config)
        raise bad_input(f"ranked under another config ({what})", file=file, hint="train the variant again")
    rule, ks = config["evaluation"]["tie_rule"], config["evaluation"]["ks"]
    seeds = [seed for seed in meta["seeds"] if str(seed) not in meta["failed"]]
    rows, values = evaluate_replicates(seeds, arrays, protocols.TRUTH in meta["protocols"], rule, ks)
    carried = ("study", "variant", "title", "block", "dataset", "regime", "split", "seeds", "failed")
    content = {
        "schema": SCHEMA,
        **{key: meta[key] for key in (*carried, "selected_epoch")},
        "digest": digest(config),
        "config": config,
        "fingerprint": {name: protocols.finish(text, rule) for name, text in meta["protocols"].items()},
        "rows": rows,
        "record": provenance.record(
            started, inputs={"rankings": file}, test_accesses=meta["record"]["test_accesses"]
        ),
    }
    with atomic_path(root / paths.queries(study, variant, block, split)) as temporary:
        np.savez_compressed(temporary, seeds=np.array(seeds, dtype=np.int64), **values)
    write_json(root / paths.metrics(study, variant, block, split), content)


def what_changed(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first key, of those that training reads, in which two configs differ."""
    for key, (old, new) in diff(then, now).items():
        moved = key.endswith(".checkpoint") and old and new and Path(old).name == Path(new).name
        if not key.startswith("evaluation.") and key not in PATH_KEYS and not moved:
            return f"{key} was {old!r} and is now {new!r}"
    return "nothing"


def read_rankings(file: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read what ``rank`` wrote: its meta data, and its arrays except those for viewing.

    Raises:
        UserError: The file is missing, damaged, or of another schema.
    """
    from fne.retrieval.rank import SCHEMA as RANKED

    try:
        with np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files if "/top_" not in name}
        meta = json.loads(str(arrays.pop("meta")))
    except FileNotFoundError:
        raise bad_input("no such file", file=file, hint="run `fne rank` first") from None
    except (ValueError, KeyError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise bad_input(f"not a readable rankings file ({error})", file=file, hint="rank it again") from None
    if meta.get("schema") != RANKED:
        raise bad_input("another schema", file=file, key="schema", value=meta.get("schema"), allowed=[RANKED])
    return meta, arrays


def evaluate_replicates(
    seeds: Sequence[int],
    arrays: Mapping[str, np.ndarray],
    truth_known: bool,
    tie_rule: str,
    ks: Sequence[int],
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Every metric of every replicate, and their sums per image.

    Args:
        seeds: The replicates that were ranked.
        arrays: As ``rank`` writes them.
        truth_known: Whether protocol ``truth`` is scored too.
        tie_rule: ``expected`` or ``pessimistic``.
        ks: Cut-offs of recall; 1, 5 and 10 make ``rsum``.

    Returns:
        Rows (seed, protocol, direction, metric, value), and the arrays of the queries file.
    """
    parts = _parts(arrays, truth_known)
    n_images = int(arrays["caption_image"].max()) + 1
    rows: list[dict[str, Any]] = []
    values: dict[str, np.ndarray] = {}
    for part in parts:
        values[f"{part.name}/count"] = np.bincount(part.image, minlength=n_images).astype(np.int32)
    found: dict[str, list[np.ndarray]] = {}
    for seed in seeds:
        rsum = 0.0
        for part in parts:
            ranks = (arrays[f"{seed}/{part.direction}/{kind}"][part.pairs] for kind in ("greater", "ties"))
            groups = metrics.tie_groups(part.query, *ranks, len(part.image), tie_rule)
            if part.protocol == protocols.OWN:
                per_query = metrics.hits(groups, ks)
                rsum += sum(float(per_query[f"r{k}"].mean()) for k in protocols.RSUM_KS)
                rank = metrics.best_rank(groups)
                found.setdefault(f"{part.name}/rank", []).append(rank.astype(np.float32))
                rows.append(_row(seed, part.protocol, part.direction, "median_rank", np.median(rank)))
            else:
                per_query = {
                    "map_at_r": metrics.map_at_r(groups),
                    "r_precision": metrics.r_precision(groups),
                    "p1": metrics.hits(groups, [1])["r1"],
                }
            for metric, value in per_query.items():
                rows.append(_row(seed, part.protocol, part.direction, metric, value.mean()))
                found.setdefault(f"{part.name}/{metric}", []).append(np.bincount(part.image, value, n_images))
        rows.append(_row(seed, protocols.OWN, "both", "rsum", rsum))
    return rows, values | {name: np.stack(stack) for name, stack in found.items()}


@dataclass(frozen=True)
class _Part:
    """The queries of one protocol and direction.

    Attributes:
        pairs: Rows of the relevant pairs that count.
        query: (pairs,) the query 0..Nq-1 that each of them belongs to.
        image: (Nq,) the image that each query is, or whose caption it is.
    """

    protocol: str
    direction: str
    pairs: np.ndarray
    query: np.ndarray
    image: np.ndarray

    @property
    def name(self) -> str:
        return f"{self.protocol}/{self.direction}"


def _parts(arrays: Mapping[str, np.ndarray], truth_known: bool) -> list[_Part]:
    caption_image, pairs = arrays["caption_image"], arrays["pairs"]
    images = np.arange(caption_image.max() + 1)
    own = np.flatnonzero(arrays["own"])
    parts = [
        _Part(protocols.OWN, "i2t", own, pairs[own, 0], images),
        _Part(protocols.OWN, "t2i", own, pairs[own, 1], caption_image),
    ]
    if truth_known:
        sides = {"i2t": (arrays["image_queries"], images), "t2i": (arrays["caption_queries"], caption_image)}
        for column, (direction, (queries, image_of)) in enumerate(sides.items()):
            if len(queries):
                place = np.full(len(image_of), -1)
                place[queries] = np.arange(len(queries))
                kept = np.flatnonzero(place[pairs[:, column]] >= 0)
                query = place[pairs[kept, column]]
                parts.append(_Part(protocols.TRUTH, direction, kept, query, image_of[queries]))
    return parts


def _row(seed: int, protocol: str, direction: str, metric: str, value: float) -> dict[str, Any]:
    key = {"seed": seed, "protocol": protocol, "direction": direction, "metric": metric}
    return {**key, "value": float(value)}
