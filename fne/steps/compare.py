"""``compare``: values per seed and image -> means with intervals, and paired contrasts to the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fne.analysis import layout
from fne.analysis.holm import holm
from fne.analysis.intervals import LEVEL, RESAMPLES, batched_intervals
from fne.analysis.layout import Key, Layout
from fne.analysis.permutation import image_floor, image_p_values, seed_p_value
from fne.protocols import MEDIAN_RANK, RELEVANCE
from fne.results.collect import SPLIT, Collected, collect
from fne.results.elsewhere import Known, row_elsewhere, variance_for
from fne.results.schema import write_table
from fne.study import paths
from fne.study.api import Study
from fne.utils.errors import bad_input
from fne.utils.min_seeds import FLIPS

NAN = float("nan")


def run(study: Study, root: Path, *, resamples: int = RESAMPLES, flips: int = FLIPS) -> None:
    """Write ``intervals.csv`` and ``contrasts.csv``.

    Args:
        study: The study; its baseline and primary metric are declared there.
        root: The project's folder.
        resamples: Draws of the bootstrap.
        flips: Random sign patterns of the permutation test over images.

    Raises:
        UserError: As :func:`fne.results.collect.collect` and :func:`fne.results.elsewhere.variance_for`; or the
            primary metric has no value.
    """
    known = variance_for(study, root)
    collected = collect(study, root)
    layouts = load_layouts(study, collected, root)
    primary = study.primary["protocol"], study.primary["direction"], study.primary["metric"]
    if not any(primary in result.keys for result in layouts.values()):
        raise bad_input(
            "the study's primary metric has no value",
            file=root / paths.results_folder(study),
            key="primary",
            value=" ".join(primary),
            allowed=[" ".join(key) for key in _any(layouts).keys],
            hint="truth needs data whose relevant pairs are known, coco_1k_5fold COCO's test split, "
            f"{' and '.join(RELEVANCE)} their relevance files",
        )
    medians = _medians(collected)
    folder = root / paths.results_folder(study)
    shared = {"study": study.name, "dataset": study.data["dataset"]}
    rows = _intervals(known, layouts, medians, primary, resamples)
    write_table(folder, "intervals", [shared | row for row in rows])
    rows = _contrasts(study, known, layouts, medians, primary, resamples, flips)
    write_table(folder, "contrasts", [shared | row for row in rows])


def load_layouts(study: Study, collected: Collected, root: Path) -> dict[str, Layout]:
    """Test values per seed and image of every variant that has a result.

    Raises:
        UserError: A file is damaged, has other seeds than the metrics beside it, or misses a metric that others have.
    """
    layouts: dict[str, Layout] = {}
    for variant in study.variants:
        jobs = [job for job in collected.of(variant) if job.seeds]
        files = [root / paths.queries(study, variant, job.block, SPLIT) for job in jobs]
        if not files:
            continue
        item = layouts[variant] = layout.load(files)
        requested = sorted(seed for job in jobs for seed in job.seeds)
        if list(item.seeds) != requested:
            has = f"metrics.{SPLIT}.json beside it has those of {_list(requested)}"
            problem = f"finite numbers of seeds {_list(item.seeds)} alone, while {has}"
            raise bad_input(problem, file=files[0], key="seeds", hint="evaluate the run again")
        missing = [key for key in _any(layouts).keys if key not in item.keys]
        missing += [key for key in item.keys if key not in _any(layouts).keys]
        if missing:
            problem = f"not the same metrics as of {next(iter(layouts))}"
            raise bad_input(problem, file=files[0], key=" ".join(missing[0]), hint="evaluate both again")
    return layouts


def _any(layouts: Mapping[str, Layout]) -> Layout:
    return next(iter(layouts.values()))


def _medians(collected: Collected) -> dict[str, dict[Key, dict[int, float]]]:
    """Median ranks by variant, key and seed; a median is no mean over images, so it is not in the layouts."""
    result: dict[str, dict[Key, dict[int, float]]] = {}
    for job in collected.jobs:
        for row in job.metrics["rows"]:
            if row["metric"] == MEDIAN_RANK and row["seed"] in job.seeds:
                key = (row["protocol"], row["direction"], MEDIAN_RANK)
                result.setdefault(job.variant, {}).setdefault(key, {})[row["seed"]] = row["value"]
    return result


def _intervals(
    known: Known, layouts: Mapping[str, Layout], medians: Mapping[str, Any], primary: Key, resamples: int
) -> list[dict[str, Any]]:
    result = batched_intervals({variant: item.influence for variant, item in layouts.items()}, resamples)
    rows = []
    for variant, item in layouts.items():
        interval = result[variant]
        for c, key in enumerate(item.keys):
            rows.append({
                **_named(variant, key), "n_seeds": interval.n_seeds, "n_queries": item.queries[c],
                "mean": interval.mean[c], "sd_seeds": interval.sd_seeds[c], "low": interval.low[c],
                "high": interval.high[c], "level": LEVEL, "method": interval.method,
            })  # fmt: skip
            if key == primary:
                ends = interval.low[c], interval.high[c]
                rows[-1] |= row_elsewhere(known, item.influence[:, :, c], *ends, variant)
        for key, by_seed in medians[variant].items():
            values = np.array(list(by_seed.values()))
            rows.append({
                **_named(variant, key), "n_seeds": len(values), "mean": values.mean(), "level": LEVEL,
                "n_queries": item.queries[item.keys.index((key[0], key[1], "r1"))],
                "sd_seeds": values.std(ddof=1) if len(values) > 1 else NAN,
                "method": "none: a median of ranks",
            })  # fmt: skip
    return rows


def _contrasts(
    study: Study,
    known: Known,
    layouts: Mapping[str, Layout],
    medians: Mapping[str, Any],
    primary: Key,
    resamples: int,
    flips: int,
) -> list[dict[str, Any]]:
    """Every variant against the baseline, paired by seed and image; Holm over the primary metric's."""
    base = layouts.get(study.baseline)
    others = list(study.compared)
    shared = {v: sorted({*layouts[v].seeds} & {*base.seeds}) if base and v in layouts else [] for v in others}
    paired = [variant for variant in others if shared[variant]]
    influence, images = {}, {}
    for variant in paired:
        assert base is not None
        mine, its = layouts[variant].rows(shared[variant]), base.rows(shared[variant])
        influence[variant] = layouts[variant].influence[mine] - base.influence[its]
        difference = layouts[variant].contributions[mine] - base.contributions[its]
        images[variant] = difference.mean(axis=0)
    result = batched_intervals(influence, resamples)
    p_image: dict[str, np.ndarray] = {}
    if paired:
        together = image_p_values(np.concatenate([images[variant] for variant in paired], axis=1), flips=flips)
        p_image = dict(zip(paired, np.split(together, len(paired)), strict=True))
    rows = []
    for variant in others:
        few = _few(study, shared[variant], base is not None)
        for c, key in enumerate(_any(layouts).keys):
            row = {**_named(variant, key), "baseline": study.baseline, "n_seeds": len(shared[variant]), "note": few}
            if shared[variant]:
                interval = result[variant]
                p_seed, floor = seed_p_value(influence[variant][:, :, c].mean(axis=1))
                row |= {"difference": interval.mean[c], "low": interval.low[c], "high": interval.high[c],
                        "p_query": p_image[variant][c], "p_query_floor": image_floor(flips), "p_seed": p_seed,
                        "p_seed_floor": floor}  # fmt: skip
                if key == primary:
                    ends = interval.low[c], interval.high[c]
                    row |= row_elsewhere(known, influence[variant][:, :, c], *ends, variant, study.baseline)
            if key != primary:
                row["note"] = _join(few, "exploratory: not in the family that Holm adjusts")
            rows.append(row)
        for key in (key for key in medians.get(variant, {}) if shared[variant]):
            change = np.array([medians[variant][key][s] - medians[study.baseline][key][s] for s in shared[variant]])
            p_seed, floor = seed_p_value(change)
            rows.append({**_named(variant, key), "baseline": study.baseline, "n_seeds": len(change),
                         "difference": change.mean(), "p_seed": p_seed, "p_seed_floor": floor,
                         "note": _join(few, "no interval: a median of ranks")})  # fmt: skip
    family = [row for row in rows if (row["protocol"], row["direction"], row["metric"]) == primary]
    for test in ("p_query", "p_seed"):
        adjusted = holm(np.array([row.get(test, NAN) for row in family]))
        for row, p in zip(family, adjusted, strict=True):
            row |= {f"{test}_holm": float(p), "family": len(family)}
    return rows


def _few(study: Study, shared: Sequence[int], has_baseline: bool) -> str:
    """What a reader must know about the seeds of a contrast; empty where nothing is wanting."""
    if not has_baseline:
        return "not compared: the baseline has no result"
    if not shared:
        return "not compared: no seed has a result of both"
    if len(shared) < len(study.seeds):
        return f"only seeds {', '.join(map(str, shared))} have results of both"
    return ""


def _list(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds)) or "none"


def _named(variant: str, key: Key) -> dict[str, str]:
    return {"variant": variant, "protocol": key[0], "direction": key[1], "metric": key[2]}


def _join(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
