"""``compare`` of a series: each world's scores, differences within it, and how they grow from the first world on.

A world is one member study. Test queries differ between worlds, so nothing is subtracted across worlds but
differences that were paired within each of them.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fne import paths
from fne.config import Series, Study, oracle_bases
from fne.data.manifest import SPLITS, Manifest
from fne.files import write_csv
from fne.stats.collect import collect
from fne.stats.compare import load_layouts
from fne.stats.intervals import RESAMPLES, batched_intervals
from fne.stats.layout import Key, Layout
from fne.stats.proportion import share

WORLDS = ["series", "key", "value", "study", "split", "images", "captions", "truth", "prevalence"]
EFFECTS = ["series", "key", "value", "study", "variant", "reference", "since", "protocol", "direction", "metric",
           "n_seeds", "estimate", "low", "high", "level", "method"]  # fmt: skip
PICKS = ["series", "key", "value", "study", "variant", "n_seeds", "share", "low", "high", "false_negatives", "picks"]
MEAN = "mean"
"""As a direction: the mean of both."""


def run(series: Series, root: Path, *, resamples: int = RESAMPLES) -> None:
    """Write ``worlds.csv``, ``effects.csv`` and ``picks.csv`` into ``results/<series>``.

    Args:
        series: The series; its members were compared before.
        root: The project's folder.
        resamples: Draws of the bootstrap.

    Raises:
        UserError: As :func:`fne.stats.collect.collect`, of any member.
    """
    worlds, effects, picks = [], [], []
    first: dict[tuple[str, ...], dict[str, Any]] = {}
    for value, study in zip(series.values, series.members, strict=True):
        shared = {"series": series.name, "key": series.key, "value": value, "study": study.name}
        manifest = _manifest(study, root)
        worlds += [shared | row for row in _world(manifest)]
        rows = list(_effects(study, root, resamples))
        if study is series.shared:
            first = {_identity(row): row for row in rows if row["reference"]}
        else:
            rows += [grown(row, first[_identity(row)], series.values[0]) for row in rows if _identity(row) in first]
        effects += [shared | row for row in rows]
        picks += [shared | row for row in _picks(study, root, manifest)]
    folder = root / paths.results_folder(series)
    write_csv(folder / "worlds.csv", worlds, WORLDS)
    write_csv(folder / "effects.csv", effects, EFFECTS)
    write_csv(folder / "picks.csv", picks, PICKS)


def ceiling(study: Study) -> str | None:
    """The oracle that says what could be gained: it never picks a false negative and is else the baseline.

    Where the baseline has no such variant, the first variant with this oracle; ``None`` where there is none.
    """
    found, bases = oracles(study, "remove"), oracle_bases(study)
    own = [variant for variant in found if bases.get(variant) == study.baseline]
    return (own or found or [None])[0]


def oracles(study: Study, kind: str | None = None) -> list[str]:
    """Variants that know the truth: with the oracle ``remove``, ``only``, or any of them."""
    told = {variant: study.configs[variant]["negatives.oracle"] for variant in study.variants}
    return [variant for variant, oracle in told.items() if (oracle == kind if kind else oracle != "none")]


def grown(row: Mapping[str, Any], before: Mapping[str, Any], since: float) -> dict[str, Any]:
    """How a paired difference of one world differs from the same difference of the first world.

    ``d - d0`` with the limits ``d - d0 - sqrt((d - l)^2 + (u0 - d0)^2)`` and
    ``d - d0 + sqrt((u - d)^2 + (d0 - l0)^2)``, which takes the two worlds as independent. They share pictures and
    seeds, so that their noise is alike where it is not independent, and the interval is then too wide.

    *Source*: MOVER, the method of variance estimates recovery: Zou and Donner 2008.
    """
    d, low, high = (float(row[name]) for name in ("estimate", "low", "high"))
    d0, low0, high0 = (float(before[name]) for name in ("estimate", "low", "high"))
    return {
        **row,
        "since": since,
        "n_seeds": min(row["n_seeds"], before["n_seeds"]),
        "estimate": d - d0,
        "low": d - d0 - math.hypot(d - low, high0 - d0),
        "high": d - d0 + math.hypot(high - d, d0 - low0),
        "method": f"MOVER of two intervals, the worlds taken as independent; each: {row['method']}",
    }


def _identity(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(row[name] for name in ("variant", "reference", "protocol", "direction", "metric"))


def _effects(study: Study, root: Path, resamples: int) -> Iterator[dict[str, Any]]:
    """Scores of one world, and differences to the baseline and to the ceiling, paired by seed and image."""
    layouts = load_layouts(study, collect(study, root), root)
    keys = next(iter(layouts.values())).keys
    scores = {score: parts for score, parts in _scores(study).items() if set(parts) <= set(keys)}
    values: dict[str, np.ndarray] = {}
    pairs: dict[str, tuple[str, str, int]] = {}
    for reference in dict.fromkeys(["", study.baseline, ceiling(study)]):
        for variant, one in layouts.items():
            if reference == variant or reference is None or (reference and reference not in layouts):
                continue
            mine, seeds = _columns(one, scores), one.seeds
            if reference:
                other = layouts[reference]
                seeds = tuple(sorted({*one.seeds} & {*other.seeds}))
                if not seeds:
                    continue
                mine = mine[one.rows(seeds)] - _columns(other, scores)[other.rows(seeds)]
            name = f"{variant} {reference}"
            values[name], pairs[name] = mine, (variant, reference, len(seeds))
    for name, found in batched_intervals(values, resamples).items():
        variant, reference, n_seeds = pairs[name]
        for column, (protocol, direction, metric) in enumerate(scores):
            yield {
                "variant": variant, "reference": reference, "since": "", "protocol": protocol, "direction": direction,
                "metric": metric, "n_seeds": n_seeds, "estimate": found.mean[column], "low": found.low[column],
                "high": found.high[column], "level": found.level, "method": found.method,
            }  # fmt: skip


def _scores(study: Study) -> dict[Key, list[Key]]:
    """What is compared: the primary metric, and mAP@R against all that is known to match, both ways and their mean."""
    primary = tuple(study.primary[key] for key in ("protocol", "direction", "metric"))
    both = [("truth", direction, "map_at_r") for direction in ("i2t", "t2i")]
    return {primary: [primary], **{one: [one] for one in both}, ("truth", MEAN, "map_at_r"): both}


def _columns(one: Layout, scores: Mapping[Key, list[Key]]) -> np.ndarray:
    """Influence values of every score: (n, N, scores)."""
    parts = [one.influence[:, :, [one.keys.index(key) for key in keys]].mean(axis=2) for keys in scores.values()]
    return np.stack(parts, axis=2)


def _manifest(study: Study, root: Path) -> Manifest | None:
    folder = root / paths.data_folder(study)
    return Manifest.load(folder) if (folder / "manifest.json").is_file() else None


def _world(manifest: Manifest | None) -> Iterator[dict[str, Any]]:
    """What is known of a world's splits; nothing where only results are at hand."""
    for split in SPLITS if manifest else ():
        view, truth = manifest.split(split), manifest.truth_files.get(split, {})
        yield {"split": split, "images": len(view.image_ids), "captions": len(view.texts),
               "truth": truth.get("kind", ""), "prevalence": truth.get("prevalence", "")}  # fmt: skip


def _picks(study: Study, root: Path, manifest: Manifest | None) -> Iterator[dict[str, Any]]:
    """Share of false negatives among all picks of the main phase, where the truth of the train split is known."""
    sums: dict[str, dict[str, list[int]]] = {}
    with open(root / paths.results_folder(study) / "audit.csv", encoding="utf-8", newline="") as handle:
        for row in csv.DictReader(handle):
            counts = sums.setdefault(row["variant"], {}).setdefault(row["seed"], [0, 0, 0])
            for place, name in enumerate(("false_negatives", "picks", "candidate_false_negatives")):
                counts[place] += int(row[name] or 0)
    exact = manifest is not None and manifest.truth_files.get("train", {}).get("kind") == "exact"
    if not exact and not any(counts[0] + counts[2] for seeds in sums.values() for counts in seeds.values()):
        return
    for variant in (variant for variant in study.variants if variant in sums):
        hits, totals, _ = np.array(list(sums[variant].values())).T
        found = share(hits, totals)
        yield {"variant": variant, "n_seeds": len(hits), "share": found.value, "low": found.low, "high": found.high,
               "false_negatives": found.hits, "picks": found.total}  # fmt: skip
