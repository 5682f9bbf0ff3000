"""The main table: per variant recalls, rsum with its interval, difference to the baseline; other protocols apart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fne.protocols import DIRECTION_NAMES, DIRECTIONS, METRICS, OWN, PROTOCOLS, TRUTH
from fne.report.tables.cells import ABSENT, Cell, Column, Table, finite, title
from fne.report.text.released import released
from fne.report.text.summary import (
    LOWER_BOUNDS,
    NO_SHARED_EPOCH,
    TRUTH_WORDS,
    collapses,
    false_picks_phrase,
    missing_seeds,
    outcome,
    pick_share,
    relevant_words,
    supported_best,
    truth_is_known,
    truth_kind,
)
from fne.report.text.wording import (
    AT_FLOOR,
    UNITS,
    count,
    elsewhere_phrase,
    ends,
    interval_phrase,
    listing,
    number,
    p_value,
    percent,
    protocol_phrase,
    seed_list,
    signed,
    tested,
)
from fne.results.study import StudyResults, Variant
from fne.utils.text import clean

BLOCKS = {name: item for name, item in PROTOCOLS.items() if name != OWN}
"""Protocols beside the field's own one: each has a group of columns, and no column mixes two."""
SIDED = [(way, name) for way in DIRECTIONS for name in PROTOCOLS[OWN].columns if METRICS[name].directed]
"""Columns of the field's own protocol."""
MOST_NAMED = 100
"""Missing runs that a note names; all are in the table's CSV file and in ``missing.csv``."""
FALLEN = "†"
"""The mark of a variant that collapsed for several epochs."""
ENDS = ("low", "high", "low_elsewhere", "high_elsewhere")


def main_table(study: StudyResults) -> Table:
    """Build the main table of a study, its rows in the order of the study."""
    further = [
        (protocol, metric)
        for protocol, item in BLOCKS.items()
        for metric in item.columns
        if any(_both_ways(study, variant.id, protocol, metric) for variant in study.variants)
    ]
    known, fallen, intervals = truth_is_known(study), _fallen(study), interval_phrase(study)
    best = {(way, metric): supported_best(study, metric, way, OWN) for way, metric in SIDED}
    best_primary = supported_best(study)
    best_both = {place: _best_both_ways(study, *place) for place in further}
    rows = []
    for variant in study.variants:
        name = variant.id
        row = [title(variant, FALLEN if name in fallen else ""), _seeds_cell(study, variant)]
        row += [_mean_cell(study, name, metric, way, best[way, metric]) for way, metric in SIDED]
        row += [_primary_cell(study, name, best_primary), *_contrast_cells(study, name)]
        row += [_block_cell(study, name, *place, best_both[place]) for place in further]
        row += [_share_cell(study, name)] if known else []
        rows.append(tuple(row))
    caption = (
        f"{clean(study.title)}. {UNITS} Means over seeds on the test split of {study.dataset}. Primary "
        f"metric: {protocol_phrase(study)}{f', with {intervals}' if intervals else ''}; Δ is the paired difference to "
        f"the baseline, {clean(study[study.baseline].title)}."
    )
    return Table(
        "main",
        "Main table",
        caption,
        tuple(_columns(study, further, known)),
        tuple(rows),
        tuple(_notes(study, list(dict.fromkeys(protocol for protocol, _ in further)), known, fallen)),
        tuple(record(study, variant) for variant in study.variants),
        sortable=True,
    )


def _columns(study: StudyResults, further: Iterable[tuple[str, str]], known: bool) -> list[Column]:
    columns = [Column("Variant", numeric=False), Column("Seeds", help="finished runs")]
    for way, metric in SIDED:
        label = METRICS[metric].label
        columns.append(
            Column(label, DIRECTION_NAMES[way].capitalize(), f"{label}, {way}, mean over seeds", detail=True)
        )
    usual = (study.metric, study.protocol) == ("rsum", OWN)
    which = ", ".join(word for word in (study.direction, study.protocol) if word != "both")
    own = ", with its interval" if interval_phrase(study) else ""
    primary = "Primary metric" if usual else f"Primary metric ({which})"
    columns += [
        Column(METRICS[study.metric].label, primary, f"mean over seeds{own}"),
        Column("Δ baseline", primary, f"paired difference to the baseline{own}"),
        Column("p (Holm)", primary, f"{tested(study)}, corrected over the variants"),
    ]
    for protocol, metric in further:
        ways = " / ".join(DIRECTION_NAMES[way] for way in METRICS[metric].directions)
        columns.append(Column(METRICS[metric].label, f"{BLOCKS[protocol].label} (i2t / t2i)", ways, detail=True))
    if known:
        help = f"share of the picked negatives that is {relevant_words(study)}"
        columns.append(Column("False picks", "Training", help))
    return columns


def record(study: StudyResults, variant: Variant) -> dict[str, Any]:
    """One flat row for the CSV file: fractions with every digit."""
    name = variant.id
    missing = missing_seeds(study, name).items()
    row: dict[str, Any] = {
        "variant": name,
        "title": variant.title,
        "baseline": name == study.baseline,
        "n_seeds": len(study.values(name)),
        "n_seeds_wanted": len(study.seeds),
        "missing": "; ".join(f"seed {seed}: {why} ({stage})" for seed, (stage, why) in missing),
    }
    for direction in DIRECTIONS:
        for metric in (metric for metric in PROTOCOLS[OWN].metrics if METRICS[metric].directed):
            row[f"own_{direction}_{metric}"] = _mean(study.values(name, metric, direction, OWN))
    primary = f"{study.protocol}_{study.direction}_{study.metric}"
    for start, result, keys in (
        (primary, study.estimate(name), ("mean", *ENDS)),
        ("contrast", study.contrast(name), ("difference", *ENDS, "p_query", "p_holm", "p_seed", "p_floor")),
    ):
        row |= {f"{start}_{key}": getattr(result, key) if result else None for key in keys}
    for protocol in (protocol for protocol in BLOCKS if protocol in study.protocols):
        for metric in BLOCKS[protocol].columns:
            for direction in METRICS[metric].directions:
                row[f"{protocol}_{direction}_{metric}"] = _mean(study.values(name, metric, direction, protocol))
    share = pick_share(study, name)
    return row | {f"false_picks_{key}": getattr(share, key) if share else None for key in ("value", "low", "high")}


def _fallen(study: StudyResults) -> dict[str, str]:
    """Variants with a seed that set off the collapse alarm for several epochs or at the end, and which seeds did."""
    result = {}
    for variant, rows in study.curves.groupby("variant", sort=False) if len(study.curves) else ():
        lasting = [item for item in collapses(rows) if item.lasting]
        if lasting:
            seeds = seed_list([item.seed for item in lasting])
            result[variant] = (
                f"{clean(study[variant].title)} (seed{'s' if len(lasting) > 1 else ''} {seeds}; {outcome(lasting)})"
            )
    return result


def _seeds_cell(study: StudyResults, variant: Variant) -> Cell:
    done, missing = len(study.values(variant.id)), missing_seeds(study, variant.id)
    if not missing:
        return Cell(str(done), float(done))
    reasons: dict[str, list[int]] = {}
    for seed, (stage, why) in missing.items():
        reasons.setdefault(f"{why} ({stage})", []).append(seed)
    note = "; ".join(f"missing seed {seed_list(seeds)}: {reason}" for reason, seeds in reasons.items())
    return Cell(f"{done} of {len(study.seeds)}", float(done), note=note, absent=True)


def _mean_cell(study: StudyResults, variant: str, metric: str, direction: str, best: str | None) -> Cell:
    value = _mean(study.values(variant, metric, direction, OWN))
    return ABSENT if value is None else Cell(percent(value, metric), 100 * value, strong=variant == best)


def _primary_cell(study: StudyResults, variant: str, best: str | None) -> Cell:
    value, estimate = _mean(study.values(variant)), study.estimate(variant)
    return ABSENT if value is None else Cell(percent(value), 100 * value, strong=variant == best, note=ends(estimate))


def _contrast_cells(study: StudyResults, variant: str) -> tuple[Cell, Cell]:
    if variant == study.baseline:
        return Cell("baseline", 0.0), Cell("")
    contrast = study.contrast(variant)
    if contrast is None:
        return ABSENT, ABSENT
    difference = Cell(signed(contrast.difference), 100 * contrast.difference, note=ends(contrast, sign=True))
    return difference, Cell(p_value(contrast.p_holm, contrast.p_holm_floor), finite(contrast.p_holm))


def _block_cell(study: StudyResults, variant: str, protocol: str, metric: str, best: str | None) -> Cell:
    means = [_mean(values) for values in _both_ways(study, variant, protocol, metric).values()]
    known = [value for value in means if value is not None]
    if not known:
        return ABSENT
    text = " / ".join("—" if value is None else percent(value) for value in means)
    return Cell(text, 100 * float(np.mean(known)), strong=variant == best)


def _best_both_ways(study: StudyResults, protocol: str, metric: str) -> str | None:
    result = {supported_best(study, metric, direction, protocol) for direction in METRICS[metric].directions}
    return result.pop() if len(result) == 1 else None


def _share_cell(study: StudyResults, variant: str) -> Cell:
    share = pick_share(study, variant)
    if share is None:
        return ABSENT
    return Cell(f"{number(100 * share.value, 1 if share.value >= 0.01 else 2)} %", 100 * share.value)


def _both_ways(study: StudyResults, variant: str, protocol: str, metric: str) -> dict[str, dict[int, float]]:
    result = {direction: study.values(variant, metric, direction, protocol) for direction in METRICS[metric].directions}
    return result if any(result.values()) else {}


def _mean(values: dict[int, float]) -> float | None:
    return float(np.mean(list(values.values()))) if values else None


def _notes(study: StudyResults, further: list[str], known: bool, fallen: Mapping[str, str]) -> Iterable[str]:
    mostly = [
        f"{clean(study[name].title)} ({config['warmup.epochs']} of {config['train.epochs']} epochs)"
        for name, config in study.definition.configs.items()
        if 2 * config["warmup.epochs"] > config["train.epochs"]
    ]
    if mostly:
        yield (
            "Most of the training is warm-up, so the score says little of the rule itself; false picks are of the rule "
            f"alone: {_some(mostly)}."
        )
    if interval_phrase(study):
        yield (
            "Bold: the best mean of a column, only where the 95 % interval of its paired difference to the "
            "runner-up (the same seeds and images) excludes zero; of two numbers in one cell, that of both."
        )
        yield elsewhere_phrase(study)
    if words := released(study.definition):
        yield words
    contrasts = [contrast for variant in study.variants if (contrast := study.contrast(variant.id))]
    if contrasts:
        at_floor = any(contrast.p_holm <= contrast.p_holm_floor * (1 + 1e-9) < 1 for contrast in contrasts)
        family = f"{len(study.compared)} comparison{'s' if len(study.compared) != 1 else ''}"
        yield f"p: {tested(study)}, after Holm's correction for {family}.{f' {AT_FLOOR}' if at_floor else ''}"
    for name in sorted(further, key=lambda name: name == TRUTH):
        truth = truth_kind(study, "test") if name == TRUTH else None
        yield f"{BLOCKS[name].note}; i2t / t2i.{f' On the test split {TRUTH_WORDS[truth]}.' if truth else ''}"
    partly = [BLOCKS[name].label for name in further if study.protocols[name]["relevance"] not in ("own", "exact")]
    if partly:
        yield f"{listing(partly)}: {LOWER_BOUNDS}."
    if known and study.shared_epochs:
        truth = truth_kind(study, "train")
        yield f"False picks: {false_picks_phrase(study)}{f'; {TRUTH_WORDS[truth]}' if truth else ''}."
    elif known:
        yield f"False picks are not compared: {NO_SHARED_EPOCH}."
    if fallen:
        yield (
            f"{FALLEN} Collapse alarm (the loss of an epoch within 5 % of what equal similarities give) in several "
            f"epochs or at the end: {_some([*fallen.values()])}."
        )
    absent = [
        f"{clean(variant.title)} ({listing(names)})"
        for variant in study.variants
        if study.values(variant.id)
        and (names := [name for name in further
                       if not any(_both_ways(study, variant.id, name, item) for item in BLOCKS[name].columns)])
    ]  # fmt: skip
    if absent:
        yield f"Dashes: no values under a protocol that others have: {_some(absent)}."
    missing = [
        f"{clean(variant.title)}, seed {seed}: {why} ({stage})"
        for variant in study.variants
        for seed, (stage, why) in missing_seeds(study, variant.id).items()
    ]
    if missing:
        yield f"Missing runs ({count(len(missing))}): {_some(missing)}."


def _some(summary: list[str]) -> str:
    """The first of a list that may be long, and how many more there are."""
    left = len(summary) - MOST_NAMED
    return listing(summary[:MOST_NAMED] + ([f"{count(left)} more"] if left > 0 else []))
