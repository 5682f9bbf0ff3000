"""A made-up comparison of the series ``prevalence``, in the formats of the harness; the numbers mean nothing.

``python -m tests.reporting.synthetic_series FOLDER`` writes one with its tables, figure and page.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from fne import paths
from fne.config import Series, load
from fne.files import write_csv
from fne.seeding import numpy_stream
from fne.stats.series import EFFECTS, MEAN, PICKS, WORLDS, ceiling, grown

ROOT = Path(__file__).resolve().parents[2]
FALL = {"hardest_in_batch": 10.0, "hardest_buffer": 40.0, "fne": 6.0, "hardest_in_batch_oracle_only": 60.0}
"""Points of 600 that a variant has lost where 3 % are false; others lose next to nothing."""
LEVEL = {"infonce": 7.0, "fne": -7.0, "hardest_buffer": -5.0}
WIDE = 0.016
"""Half the width of an interval of rsum, as a fraction."""


def write_series(root: Path, *, title: str | None = None, wide: float = WIDE, keep: Any = None) -> Series:
    """Write ``results/prevalence`` and return the series; ``keep`` says of a row of effects whether it stays."""
    if not (root / "ablations").exists():
        shutil.copytree(ROOT / "ablations", root / "ablations")
    series = load("prevalence", root=root, complete=False)
    if title:
        library = {name: replace(one, title=f"{title} {name}") for name, one in series.shared.library.items()}
        members = tuple(replace(member, library=library, title=title) for member in series.members)
        series = replace(series, members=members, title=title, question=title)
    effects, picks, worlds, first = [], [], [], {}
    for value, study in zip(series.values, series.members, strict=True):
        shared = {"series": series.name, "key": series.key, "value": value, "study": study.name}
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
                    if reference and value == series.values[0]:
                        first[name, reference, key] = row
                    elif reference:
                        effects.append(shared | grown(row, first[name, reference, key], series.values[0]))
        for name in study.variants:
            share = 0.0 if name.endswith("remove") else min(0.9, value * (4 + 3 * FALL.get(name, 0.5) ** 0.5))
            picks.append(shared | {"variant": name, "n_seeds": 3, "share": share, "low": 0.97 * share,
                                   "high": 1.03 * share, "false_negatives": round(1e5 * share),
                                   "picks": 100_000})  # fmt: skip
    folder = root / paths.results_folder(series)
    write_csv(folder / "worlds.csv", worlds, WORLDS)
    write_csv(folder / "effects.csv", [row for row in effects if keep is None or keep(row)], EFFECTS)
    write_csv(folder / "picks.csv", picks, PICKS)
    return series


def _level(variant: str, value: float) -> float:
    """A made-up rsum, 0..6; where nothing is false, the oracle and its base are one."""
    noise = numpy_stream(0, "series", variant, str(value)).normal(0, 0.2) if value else 0.0
    points = 430 + LEVEL.get(variant, 0.0) - 30 * (value / 0.03) ** 0.3 - FALL.get(variant, 1.0) * value / 0.03 + noise
    return points / 100


if __name__ == "__main__":
    from fne.reporting.series import figures, report, tables

    place = Path(sys.argv[1])
    made = write_series(place)
    for step in (tables, figures, report):
        step.run(made, place)
