"""The main table: per variant recalls, rsum with its interval, difference to the baseline; other protocols apart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fne.protocols import DIRECTION_NAMES, DIRECTIONS, METRICS, OWN, PROTOCOLS, TRUTH
from fne.report.tables.cells import ABSENT, Cell, Column, Table
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
from fne.results.study import Contrast, StudyResults, Variant
from fne.utils.min_seeds import ALPHA
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
STARS = ((0.001, "***"), (0.01, "**"), (ALPHA, "*"))


def main_table(study: StudyResults) -> Table:
    """Build the main table of a study, its rows in the order of the study."""
    further = [
        (protocol, metric)
        for protocol, item in BLOCKS.items()
        for metric in item.columns
        if any(_both_ways(study, variant.id, protocol, metric) for variant in study.variants)
    ]
    columns = [Column("Variant", numeric=False), Column("Seeds", help="finished runs", numeric=True)]
    columns += [
        Column(label, DIRECTION_NAMES[way].capitalize(), f"{label}, {way}, mean over seeds", detail=True)
        for way, label in ((way, METRICS[metric].label) for way, metric in SIDED)
    ]
    what = METRICS[study.metric].label
    usual = (study.metric, study.protocol) == ("rsum", OWN)
    which = ", ".join(word for word in (study.direction, study.protocol) if word != "both")
    primary = "Primary metric" if usual else f"Primary metric ({which})"
    intervals = interval_phrase(study)
    own = ", with its interval" if intervals else ""
    columns += [
        Column(what, primary, f"mean over seeds{own}"),
        Column("Δ baseline", primary, f"paired difference to the baseline{own}"),
        Column("p (Holm)", primary, f"{tested(study)}, corrected over the variants"),
    ]
    columns += [
        Column(
            item.label,
            f"{BLOCKS[name].label} (i2t / t2i)",
            " / ".join(DIRECTION_NAMES[d] for d in item.directions),
            detail=True,
        )
        for name, item in ((protocol, METRICS[metric]) for protocol, metric in further)
    ]
    known = truth_is_known(study)
    if known:
        words = f"share of the picked negatives that is {relevant_words(study)}"
        columns.append(Column("False picks", "Training", words))
    best = {(way, metric): supported_best(study, metric, way, OWN) for way, metric in SIDED}
    best_primary = supported_best(study)
    both = {(protocol, metric): _best_both_ways(study, protocol, metric) for protocol, metric in further}
    rows, records, fallen = [], [], _fallen(study)
    for variant in study.variants:
        row = [_name_cell(variant, variant.id in fallen), _seeds_cell(study, variant)]
        row += [_mean_cell(study, variant.id, metric, way, best[way, metric]) for way, metric in SIDED]
        row += [_primary_cell(study, variant.id, best_primary), *_contrast_cells(study, variant.id)]
        row += [_block_cell(study, variant.id, *place, both[place]) for place in further]
        row += [_share_cell(study, variant.id)] if known else []
        rows.append(tuple(row))
        records.append(record(study, variant))
    caption = (
        f"{clean(study.title)}. {UNITS} Means over seeds on the test split of {study.dataset}. Primary "
        f"metric: {protocol_phrase(study)}{f', with {intervals}' if intervals else ''}; Δ is the paired difference to "
        f"the baseline, {clean(study[study.baseline].title)}."
    )
    return Table(
        "main",
        "Main table",
        caption,
        tuple(columns),
        tuple(rows),
        tuple(_notes(study, list(dict.fromkeys(protocol for protocol, _ in further)), known, fallen)),
        tuple(records),
        sortable=True,
    )


def stars(study: StudyResults, contrast: Contrast) -> str:
    """Stars for a corrected p, only where enough seeds stand behind it and the interval excludes zero."""
    if not may_star(study, contrast) or not contrast.separated or not math.isfinite(contrast.p_holm):
        return ""
    return next((mark for level, mark in STARS if contrast.p_holm < level), "")


def may_star(study: StudyResults, contrast: Contrast) -> bool:
    """Could an exact test over the seeds alone reach the level at all, after Holm over the variants?"""
    return contrast.p_floor * max(len(study.compared), 1) <= ALPHA


def record(study: StudyResults, variant: Variant) -> dict[str, Any]:
    """One flat row for the CSV file: fractions with every digit."""
    estimate, contrast, share = (study.estimate(variant.id), study.contrast(variant.id), pick_share(study, variant.id))
    row: dict[str, Any] = {
        "variant": variant.id,
        "title": variant.title,
        "baseline": variant.id == study.baseline,
        "n_seeds": len(study.values(variant.id)),
        "n_seeds_wanted": len(study.seeds),
        "missing": "; ".join(
            f"seed {seed}: {why} ({stage})" for seed, (stage, why) in missing_seeds(study, variant.id).items()
        ),
    }
    for direction in DIRECTIONS:
        for metric in (name for name in PROTOCOLS[OWN].metrics if METRICS[name].directed):
            row[f"own_{direction}_{metric}"] = _mean(study.values(variant.id, metric, direction, OWN))
    name = f"{study.protocol}_{study.direction}_{study.metric}"
    for key in ("mean", *ENDS):
        row[f"{name}_{key}"] = getattr(estimate, key) if estimate else None
    for key in ("difference", *ENDS, "p_query", "p_holm", "p_seed", "p_floor"):
        row[f"contrast_{key}"] = getattr(contrast, key) if contrast else None
    for protocol in (name for name in BLOCKS if name in study.protocols):
        for metric in BLOCKS[protocol].columns:
            for direction in METRICS[metric].directions:
                row[f"{protocol}_{direction}_{metric}"] = _mean(study.values(variant.id, metric, direction, protocol))
    for key in ("value", "low", "high"):
        row[f"false_picks_{key}"] = getattr(share, key) if share else None
    return row


def _name_cell(variant: Variant, fallen: bool) -> Cell:
    return Cell(clean(variant.title), note=variant.id, code=True, mark=FALLEN if fallen else "")


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
    if value is None:
        return ABSENT
    return Cell(percent(value), 100 * value, strong=variant == best, note=ends(estimate))


def _contrast_cells(study: StudyResults, variant: str) -> tuple[Cell, Cell]:
    if variant == study.baseline:
        return Cell("baseline", 0.0), Cell("")
    contrast = study.contrast(variant)
    if contrast is None:
        return ABSENT, ABSENT
    difference = Cell(signed(contrast.difference), 100 * contrast.difference, note=ends(contrast, sign=True))
    p = contrast.p_holm
    shown = p_value(p, contrast.p_holm_floor) + stars(study, contrast)
    return difference, Cell(shown, p if math.isfinite(p) else None)


def _block_cell(study: StudyResults, variant: str, protocol: str, metric: str, best: str | None) -> Cell:
    values = [_mean(result) for result in _both_ways(study, variant, protocol, metric).values()]
    if not any(value is not None for value in values):
        return ABSENT
    text = " / ".join("—" if value is None else percent(value) for value in values)
    mean = float(np.mean([value for value in values if value is not None]))
    return Cell(text, 100 * mean, strong=variant == best)


def _best_both_ways(study: StudyResults, protocol: str, metric: str) -> str | None:
    result = {supported_best(study, metric, direction, protocol) for direction in METRICS[metric].directions}
    return result.pop() if len(result) == 1 else None


def _share_cell(study: StudyResults, variant: str) -> Cell:
    share = pick_share(study, variant)
    if share is None:
        return ABSENT
    digits = 1 if share.value >= 0.01 else 2
    return Cell(f"{number(100 * share.value, digits)} %", 100 * share.value)


def _both_ways(study: StudyResults, variant: str, protocol: str, metric: str) -> dict[str, dict[int, float]]:
    result = {direction: study.values(variant, metric, direction, protocol) for direction in METRICS[metric].directions}
    return result if any(result.values()) else {}


def _mean(values: dict[int, float]) -> float | None:
    return float(np.mean(list(values.values()))) if values else None


def _notes(study: StudyResults, further: list[str], known: bool, fallen: dict[str, str]) -> list[str]:
    notes = []
    if mostly := [
        f"{clean(study[name].title)} ({config['warmup.epochs']} of {config['train.epochs']} epochs)"
        for name, config in study.definition.configs.items()
        if 2 * config["warmup.epochs"] > config["train.epochs"]
    ]:
        notes.append(
            "Most of the training is warm-up, so the score says little of the rule itself; false picks are of the rule "
            f"alone: {_some(mostly)}."
        )
    if interval_phrase(study):
        notes.append(
            "Bold: the best mean of a column, only where the 95 % interval of its paired difference to the "
            "runner-up (the same seeds and images) excludes zero; of two numbers in one cell, that of both."
        )
        notes.append(elsewhere_phrase(study))
    if words := released(study.definition):
        notes.append(words)
    contrasts = [contrast for variant in study.variants if (contrast := study.contrast(variant.id))]
    if contrasts:
        family = len(study.compared)
        several = "s" if family != 1 else ""
        notes.append(f"p: {tested(study)}, after Holm's correction for {family} comparison{several}.")
        if any(contrast.p_holm <= contrast.p_holm_floor * (1 + 1e-9) < 1 for contrast in contrasts):
            notes[-1] += f" {AT_FLOOR}"
        if all(may_star(study, contrast) for contrast in contrasts):
            notes.append("Stars: corrected p below 0.05 (*), 0.01 (**), 0.001 (***), where the interval excludes zero.")
        else:
            floor = max(contrast.p_floor for contrast in contrasts)
            seeds = min(contrast.n_seeds for contrast in contrasts)
            notes.append(
                f"No stars: with {seeds} seed{'s' if seeds != 1 else ''} an exact test over seeds cannot "
                f"give a p below {floor:.3g} ({min(floor * family, 1):.3g} after Holm)"
                + (", so read the intervals and the points." if interval_phrase(study) else ", so read the points.")
            )
    notes += [f"{BLOCKS[name].note}; i2t / t2i." for name in sorted(further, key=lambda name: name == TRUTH)]
    if TRUTH in further and (kind := truth_kind(study, "test")):
        notes[-1] += f" On the test split {TRUTH_WORDS[kind]}."
    partly = [name for name in further if study.protocols[name]["relevance"] not in ("own", "exact")]
    if partly:
        notes.append(f"{listing(BLOCKS[name].label for name in partly)}: {LOWER_BOUNDS}.")
    if known:
        kind = truth_kind(study, "train")
        words = f"; {TRUTH_WORDS[kind]}" if kind else ""
        notes.append(
            f"False picks: {false_picks_phrase(study)}{words}."
            if study.shared_epochs
            else f"False picks are not compared: {NO_SHARED_EPOCH}."
        )
    if fallen:
        notes.append(
            f"{FALLEN} Collapse alarm (the loss of an epoch within 5 % of what equal similarities give) in several "
            f"epochs or at the end: {_some(list(fallen.values()))}."
        )
    absent = [
        f"{clean(variant.title)} ({listing(names)})"
        for variant in study.variants
        if study.values(variant.id) and (names := [name for name in further if not _has_any(study, variant.id, name)])
    ]
    if absent:
        notes.append(f"Dashes: no values under a protocol that others have: {_some(absent)}.")
    missing = [
        f"{clean(variant.title)}, seed {seed}: {why} ({stage})"
        for variant in study.variants
        for seed, (stage, why) in missing_seeds(study, variant.id).items()
    ]
    if missing:
        notes.append(f"Missing runs ({count(len(missing))}): {_some(missing)}.")
    return notes


def _has_any(study: StudyResults, variant: str, protocol: str) -> bool:
    return any(_both_ways(study, variant, protocol, metric) for metric in BLOCKS[protocol].columns)


def _some(summary: list[str]) -> str:
    """The first of a list that may be long, and how many more there are."""
    left = len(summary) - MOST_NAMED
    return listing(summary) if left <= 0 else f"{', '.join(summary[:MOST_NAMED])} and {count(left)} more"
