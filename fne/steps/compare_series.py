"""``compare`` of a series: the scores of each member study and differences within it, and what the factors do to them.

Where one chosen value varies, differences are followed from the first member on. Test queries may differ between
members, so nothing is subtracted across them but differences that were paired within each. Where draws vary (encoders,
worlds), the variance of scores and differences is decomposed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fne.analysis.components import Another, Cell, Component, Components, decompose, pool
from fne.analysis.intervals import RESAMPLES, batched_intervals
from fne.analysis.layout import Key, Layout
from fne.analysis.proportion import share
from fne.data.manifest import SPLITS, Manifest
from fne.protocols import DIRECTIONS, TRUTH
from fne.results.collect import collect
from fne.results.configs import shared_epochs
from fne.results.schema import read_table, write_table
from fne.results.series import ANOTHER, DIFFERENCE, LEVEL, MEAN, ceiling
from fne.results.variance import write_variance
from fne.steps.compare import load_layouts
from fne.study import paths
from fne.study.api import Series, Study
from fne.study.series import Point
from fne.utils.errors import bad_input


def run(series: Series, root: Path, *, resamples: int = RESAMPLES) -> None:
    """Write ``worlds.csv``, ``effects.csv`` and ``picks.csv`` into ``results/<series>``.

    Where draws vary also ``components.csv`` and, where nothing else does, ``variance.yaml``.

    Args:
        series: The series; its members were compared before.
        root: The project's folder.
        resamples: Draws of the bootstrap.

    Raises:
        UserError: As :func:`fne.results.collect.collect`, of any member; or draws vary and no score can be decomposed.
    """
    worlds, effects, picks = [], [], []
    first: dict[tuple[str, ...], dict[str, Any]] = {}
    cells: dict[tuple[Any, ...], list[Cell]] = {}
    epochs = shared_epochs(*series.members)
    for point, study in zip(series.points, series.members, strict=True):
        shared = {"series": series.name, **point, "study": study.name}
        manifest = _manifest(study, root)
        worlds += [shared | row for row in _world(manifest)]
        layouts = load_layouts(study, collect(study, root), root)
        rows = list(_effects(study, layouts, resamples))
        if series.grows and study is series.shared:
            first = {_identity(row): row for row in rows if row["reference"]}
        elif series.grows:
            (since,) = series.points[0].values()
            rows += [grown(row, first[_identity(row)], since) for row in rows if _identity(row) in first]
        effects += [shared | row for row in rows]
        picks += [shared | row for row in _picks(study, root, manifest, epochs)]
        for of, variant, cell in _cells(series, study, layouts, point):
            cells.setdefault((of, variant, *(point[key] for key in series.fixed)), []).append(cell)
    folder = root / paths.results_folder(series)
    write_table(folder, "worlds", worlds, *series.factors)
    write_table(folder, "effects", effects, *series.factors)
    write_table(folder, "picks", picks, *series.factors)
    if series.random:
        result = _decomposed(series, cells)
        if (LEVEL, "") not in result:
            why = next((str(error) for error in result.values()), "the primary metric has no value")
            raise bad_input(f"the variance cannot be decomposed: {why}", file=folder)
        write_table(folder, "components", _rows(series, result), *series.fixed)
        if not series.fixed:
            write_variance(folder / "variance.yaml", series, {
                key: item for key, item in result.items() if isinstance(item, Components)
            })  # fmt: skip


def grown(row: Mapping[str, Any], before: Mapping[str, Any], since: float) -> dict[str, Any]:
    """How a paired difference of one world differs from the same difference of the first world.

    ``d - d0`` with the limits ``d - d0 - sqrt((d - l)^2 + (u0 - d0)^2)`` and
    ``d - d0 + sqrt((u - d)^2 + (d0 - l0)^2)``, which takes the two worlds as independent. They share images and
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


def _effects(study: Study, layouts: Mapping[str, Layout], resamples: int) -> Iterator[dict[str, Any]]:
    """Scores of one member, and differences to the baseline and to the ceiling, paired by seed and image."""
    keys = next(iter(layouts.values())).keys
    scores = {score: parts for score, parts in _scores(study).items() if set(parts) <= set(keys)}
    values: dict[str, np.ndarray] = {}
    pairs: dict[str, tuple[str, str]] = {}
    for reference in dict.fromkeys(["", study.baseline, ceiling(study) or ""]):
        for variant in layouts:
            result = _values(layouts, variant, reference, scores)
            if result is not None:
                name = f"{variant} {reference}"
                values[name], pairs[name] = result, (variant, reference)
    for name, item in batched_intervals(values, resamples).items():
        variant, reference = pairs[name]
        for column, (protocol, direction, metric) in enumerate(scores):
            yield {
                "variant": variant, "reference": reference, "since": "", "protocol": protocol, "direction": direction,
                "metric": metric, "n_seeds": item.n_seeds, "estimate": item.mean[column], "low": item.low[column],
                "high": item.high[column], "level": item.level, "method": item.method,
            }  # fmt: skip


def _values(
    layouts: Mapping[str, Layout], variant: str, reference: str, scores: Mapping[Key, list[Key]]
) -> np.ndarray | None:
    """Influence values (n, N, scores) of a variant, or of its difference to a reference in the seeds of both."""
    if variant not in layouts or reference == variant or (reference and reference not in layouts):
        return None
    mine = _columns(layouts[variant], scores)
    if not reference:
        return mine
    item, other = layouts[variant], layouts[reference]
    seeds = sorted({*item.seeds} & {*other.seeds})
    return mine[item.rows(seeds)] - _columns(other, scores)[other.rows(seeds)] if seeds else None


def _cells(
    series: Series, study: Study, layouts: Mapping[str, Layout], point: Point
) -> Iterator[tuple[str, str, Cell]]:
    """The primary score of each variant of a member, and its difference to the baseline, where draws vary."""
    at, primary = {key: point[key] for key in series.random}, _primary(study)
    if not at or primary not in next(iter(layouts.values())).keys:
        return
    for of, reference in ((LEVEL, ""), (DIFFERENCE, study.baseline)):
        for variant in study.variants:
            if (result := _values(layouts, variant, reference, {primary: [primary]})) is not None:
                yield of, variant, Cell(at, result[:, :, 0])


def _decomposed(
    series: Series, cells: Mapping[tuple[Any, ...], list[Cell]]
) -> dict[tuple[Any, ...], Components | ValueError]:
    """Components of each score (``of``, variant, values of the other factors), and of all (``of``, ""); or why not."""
    result: dict[tuple[Any, ...], Components | ValueError] = {}
    for key, scores in cells.items():
        try:
            result[key] = decompose(scores, series.random)
        except ValueError as error:  # runs are missing
            result[key] = error
    for of in (LEVEL, DIFFERENCE):
        whole = [cells[key] for key, item in result.items() if key[0] == of and isinstance(item, Components)]
        if whole:
            result[of, ""] = pool(whole, series.random)
    return result


def _rows(series: Series, result: Mapping[tuple[Any, ...], Components | ValueError]) -> Iterator[dict[str, Any]]:
    for (of, variant, *fixed), item in result.items():
        at = dict(zip(series.fixed, fixed, strict=False))  # none where all are pooled
        shared = {"series": series.name, **at, "of": of, "variant": variant}
        if isinstance(item, ValueError):
            yield {**shared, "note": str(item)}
            continue
        parts: dict[str, Component | Another] = {**item.sources, ANOTHER: item.another}
        for source, part in parts.items():
            yield {**shared, "source": source, **part._asdict(), "cells": item.cells, "runs": item.runs}


def _scores(study: Study) -> dict[Key, list[Key]]:
    """What is compared: the primary metric, and mAP@R against all that is known to match, both ways and their mean."""
    primary = _primary(study)
    both = [(TRUTH, direction, "map_at_r") for direction in DIRECTIONS]
    return {primary: [primary], **{item: [item] for item in both}, (TRUTH, MEAN, "map_at_r"): both}


def _primary(study: Study) -> Key:
    return study.primary["protocol"], study.primary["direction"], study.primary["metric"]


def _columns(item: Layout, scores: Mapping[Key, list[Key]]) -> np.ndarray:
    """Influence values of every score: (n, N, scores)."""
    parts = [item.influence[:, :, [item.keys.index(key) for key in keys]].mean(axis=2) for keys in scores.values()]
    return np.stack(parts, axis=2)


def _manifest(study: Study, root: Path) -> Manifest | None:
    folder = paths.prepared(study, root)
    return Manifest.load(folder) if folder else None


def _world(manifest: Manifest | None) -> Iterator[dict[str, Any]]:
    """What is known of a world's splits; nothing where only results are available."""
    if manifest is None:
        return
    for split in SPLITS:
        truth = manifest.truth_files.get(split, {})
        yield {"split": split, **manifest.splits[split],
               "truth": truth.get("kind", ""), "prevalence": truth.get("prevalence", "")}  # fmt: skip


def _picks(study: Study, root: Path, manifest: Manifest | None, epochs: range) -> Iterator[dict[str, Any]]:
    """Share of false negatives among the picks of some epochs, where the truth of the train split is known."""
    sums: dict[str, dict[str, list[int]]] = {}
    rows = read_table(root / paths.results_folder(study) / "audit.csv")
    counted = ["false_negatives", "picks", "candidate_false_negatives"]
    for (variant, seed), part in rows[rows["epoch"].isin(epochs)].groupby(["variant", "seed"], sort=False):
        sums.setdefault(variant, {})[seed] = part[counted].sum().astype(int).tolist()
    exact = manifest is not None and manifest.truth_files.get("train", {}).get("kind") == "exact"
    if not exact and not any(counts[0] + counts[2] for seeds in sums.values() for counts in seeds.values()):
        return
    for variant in (variant for variant in study.variants if variant in sums):
        hits, totals, _ = np.array(list(sums[variant].values())).T
        result = share(hits, totals)
        yield {"variant": variant, "n_seeds": len(hits), "share": result.value, "low": result.low, "high": result.high,
               "false_negatives": result.hits, "picks": result.total}  # fmt: skip
