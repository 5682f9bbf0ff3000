"""Made-up comparisons of the series ``prevalence`` and ``variance``, in the formats of the harness.

The numbers mean nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from fne.results.schema import write_table
from fne.steps.compare_series import DIFFERENCE, LEVEL, MEAN, ceiling, grown
from fne.study import paths
from fne.study.api import Series, load
from fne.utils.seeding import numpy_stream

ROOT = Path(__file__).resolve().parents[2]
FALL = {"hardest_in_batch": 10.0, "hardest_buffer": 40.0, "fne": 6.0, "hardest_in_batch_oracle_only": 60.0}
"""Points of 600 that a variant has lost where 3 % are false; others lose next to nothing."""
LEVELS = {"infonce": 7.0, "fne": -7.0, "hardest_buffer": -5.0}
WIDE = 0.016
"""Half the width of an interval of rsum, as a fraction."""


def write_series(root: Path, *, title: str | None = None, wide: float = WIDE, keep: Any = None) -> Series:
    """Write ``results/prevalence`` and return the series; ``keep`` says of a row of effects whether it stays."""
    if not (root / "ablations").exists():
        shutil.copytree(ROOT / "ablations", root / "ablations")
    series = load("prevalence", root=root, complete=False)
    if title:
        library = {
            name: item.model_copy(update={"title": f"{title} {name}"}) for name, item in series.shared.library.items()
        }
        members = tuple(replace(member, library=library, title=title) for member in series.members)
        series = replace(series, members=members, title=title, question=title)
    effects, picks, worlds, first = [], [], [], {}
    for point, study in zip(series.points, series.members, strict=True):
        (value,) = point.values()
        shared = {"series": series.name, **point, "study": study.name}
        worlds += [
            shared | {"split": split, "images": n, "captions": 5 * n, "truth": "exact", "prevalence": 0.999 * value}
            for split, n in (("train", 6000), ("val", 500), ("test", 1000))
        ]
        level = {name: _level(name, value) for name in study.variants}
        for reference in ("", study.baseline, ceiling(study)):
            for name in (name for name in study.variants if name != reference):
                for key, scale in ((("own", "both", "rsum"), 1.0), (("truth", MEAN, "map_at_r"), 0.1)):
                    middle, half = scale * (level[name] - (level[reference] if reference else 0)), scale * wide
                    protocol, direction, metric = key
                    row = {"variant": name, "reference": reference, "since": "", "protocol": protocol,
                           "direction": direction, "metric": metric, "n_seeds": 3, "estimate": middle,
                           "low": middle - half, "high": middle + half, "level": 0.95,
                           "method": "a made-up method"}  # fmt: skip
                    effects.append(shared | row)
                    if reference and study is series.shared:
                        first[name, reference, key] = row
                    elif reference:
                        effects.append(shared | grown(row, first[name, reference, key], 0.0))
        for name in study.variants:
            share = 0.0 if name.endswith("remove") else min(0.9, value * (4 + 3 * FALL.get(name, 0.5) ** 0.5))
            picks.append(shared | {"variant": name, "n_seeds": 3, "share": share, "low": 0.97 * share,
                                   "high": 1.03 * share, "false_negatives": round(1e5 * share),
                                   "picks": 100_000})  # fmt: skip
    folder = root / paths.results_folder(series)
    write_table(folder, "worlds", worlds, *series.factors)
    write_table(folder, "effects", [row for row in effects if keep is None or keep(row)], *series.factors)
    write_table(folder, "picks", picks, *series.factors)
    return series


SD = {
    LEVEL: {"seed": 1.0, "images": 5.0, "encoders.draw": 7.0, "data.seed": 3.0, "interaction": 2.0},
    DIFFERENCE: {"seed": 1.5, "images": 1.0, "encoders.draw": 2.0, "data.seed": 0.5, "interaction": 0.0},
}
"""Points of 600 by which each source moves a score and a difference."""


def write_cells(root: Path, *, keep: Any = None, **changes: Any) -> Series:
    """Write ``results/variance`` and return the series; ``changes`` are of the study file, as of ``write_series``."""
    if not (root / "ablations").exists():
        shutil.copytree(ROOT / "ablations", root / "ablations")
    file = root / "ablations/studies/variance.yaml"
    own = {"factors": {key: [*range(6)] for key in ("encoders.draw", "data.seed")}, "seeds": [*range(5)], "block": 5}
    content = {**yaml.safe_load(file.read_text(encoding="utf-8")), **own, **changes}
    file.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    series = load("variance", root=root, complete=False)
    study, effects, picks, worlds = series.shared, [], [], []
    for point, member in zip(series.points, series.members, strict=True):
        shared = {"series": series.name, **point, "study": member.name}
        worlds += [shared | {"split": split, "images": 1000, "captions": 5000, "truth": "exact", "prevalence": 0.003}
                   for split in ("train", "val", "test")]  # fmt: skip
        moved = sum(SD[LEVEL].get(key, 0) * numpy_stream(0, key, str(value)).normal() for key, value in point.items())
        for place, name in enumerate(study.variants):
            apart = numpy_stream(0, name, member.name).normal(-4 * place, 1.5 if place else 0)
            for reference, middle in (("", 430 + moved + apart), (study.baseline, apart)):
                if name != reference:
                    row = {"variant": name, "reference": reference, "since": "", "protocol": "own", "direction": "both",
                           "metric": "rsum", "n_seeds": 5, "estimate": middle / 100, "low": middle / 100 - WIDE,
                           "high": middle / 100 + WIDE, "level": 0.95, "method": "a made-up method"}  # fmt: skip
                    effects.append(shared | row)
            picks.append(shared | {"variant": name, "n_seeds": 5, "share": 0.1, "low": 0.09, "high": 0.11,
                                   "false_negatives": 10, "picks": 100})  # fmt: skip
    folder = root / paths.results_folder(series)
    write_table(folder, "worlds", worlds, *series.factors)
    write_table(folder, "effects", [row for row in effects if keep is None or keep(row)], *series.factors)
    write_table(folder, "picks", picks, *series.factors)
    if series.random:
        write_table(folder, "components", _components(series), *series.fixed)
        (folder / "variance.yaml").write_text("made-up: true\n", encoding="utf-8")
    return series


def _components(series: Series) -> Iterator[dict[str, Any]]:
    """Made-up components of each variant, and of all variants those of ``SD``."""
    fixed = list(dict.fromkeys(tuple(point[key] for key in series.fixed) for point in series.points))
    scores = [(variant, dict(zip(series.fixed, at, strict=True))) for variant in series.shared.variants for at in fixed]
    for of, sds in SD.items():
        sds = {key: sd for key, sd in sds.items() if "." not in key or key in series.random}
        sds["another"] = sum(sd**2 for key, sd in sds.items() if key not in ("seed", "images")) ** 0.5
        for place, (variant, at) in enumerate([*scores, ("", {})]):
            if of == DIFFERENCE and variant == series.shared.baseline:
                continue
            scale = 1.0 if not variant else 0.8 + 0.1 * place
            for source, sd in sds.items():
                variance = (scale * sd / 100) ** 2
                yield {"series": series.name, **at, "of": of, "variant": variant, "source": source,
                       "variance": variance, "cells": len(series.members), "runs": 80,
                       **({"error": 0.4 * variance, "levels": 6} if source == "another"
                          else {"low": 0.5 * variance, "high": 2.0 * variance})}  # fmt: skip


def _level(variant: str, value: float) -> float:
    """A made-up rsum, 0..6; where nothing is false, the oracle and its base are one."""
    noise = numpy_stream(0, "series", variant, str(value)).normal(0, 0.2) if value else 0.0
    points = 430 + LEVELS.get(variant, 0.0) - 30 * (value / 0.03) ** 0.3 - FALL.get(variant, 1.0) * value / 0.03 + noise
    return points / 100
