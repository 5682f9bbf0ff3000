"""The paper's two tables: methods by protocol, published and obtained apart; and the parts of the method taken away."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from fne.data.published import CONFIDENCE, Entry
from fne.protocols import DIRECTION_NAMES, DIRECTIONS, METRICS, NAME_WORDS, RECALLS
from fne.report.published import NAMES, protocol_of
from fne.report.tables.cells import ABSENT, Cell, Column, Table
from fne.report.tables.configs import change
from fne.report.tables.published import fraction, printed
from fne.report.text.summary import paired_interval
from fne.report.text.wording import interval_phrase, percent, seeds_phrase, signed, span
from fne.results.study import StudyResults, Variant
from fne.utils.text import clean

SETTING_WORDS = {
    "head": "This study: frozen encoders, trained heads (another setting than the published results')",
    "finetune": "This study: both encoders trained end to end",
    "partly": "This study: not every variant trains both encoders",
}
SIX = tuple((direction, metric) for direction in DIRECTIONS for metric in RECALLS)
SEVEN = (*SIX, ("both", "rsum"))


@dataclass(frozen=True)
class _Shown:
    """A protocol of recalls as a group of columns: its key in this study's results, if any, and its name."""

    key: str | None
    name: str


def methods_table(study: StudyResults) -> Table:
    """Build the table of methods: published rows with their sources, then this study's; seven columns a protocol."""
    against = study.definition.published
    entries = [entry for entry in against.shown if ("both", "rsum") in entry.values] if against else []
    shown = _protocols(study, entries)
    columns = (*(Column(name, numeric=False) for name in ("Method", "Encoders", "Ensemble")), *_columns(shown))
    marks = _marks(entries)
    rows, records = [], []
    for same in _same_method(entries):
        rows.append(_published_row(same, shown, marks))
        records += [_published_record(entry) for entry in same]
    start = len(rows)
    for variant in study.variants:
        parent = study.definition.library[variant.id].parent
        if parent != study.method or (against is not None and variant.id in against.entries):
            rows.append(_own_row(study, variant, shown))
            records += [_own_record(study, variant, item) for item in shown if item.key is not None]
    sections = [(0, "Published")] if start else []
    sections += [(start, SETTING_WORDS[_regime(study)])] if len(rows) > start else []
    own = ", rsum with its interval" if interval_phrase(study) else ""
    caption = (
        f"{clean(study.title)}. Recalls in percent; rsum from 0 to 600. Of this study: means over seeds on the test "
        f"split ({seeds_phrase(study)}){own}. Published rows stand as their sources give them; what "
        "could not be read is a dash, never an estimate."
    )
    notes = [f"({mark}) {clean(source)}." for source, mark in marks.items()]
    if not entries:
        notes.append("This study is set against no published result.")
    return Table(
        "methods", "Methods", caption, columns, tuple(rows), tuple(notes), tuple(records), sections=tuple(sections)
    )


def ablation_table(study: StudyResults) -> Table:
    """Build the table of ablations: the full method, and each variant that changes one thing in it."""
    method = study.method
    parts = [variant for variant in study.variants if study.definition.library[variant.id].parent == method]
    shown = [item for item in _protocols(study, []) if item.key is not None]
    columns = (Column("Variant", numeric=False), Column("Changes", numeric=False), *_columns(shown))
    intervals = interval_phrase(study)
    columns += tuple(
        Column("Δ rsum", item.name, f"paired difference to the full method{', with its interval' if intervals else ''}")
        for item in shown
    )
    rows, records, tuned = [], [], False
    full = [variant for variant in study.variants if variant.id == method]
    for variant in [*full, *parts] if full else []:
        declared = study.definition.library[variant.id]
        base, own = study.definition.configs[full[0].id], study.definition.configs[variant.id]
        changes = (
            [change(key, base.get(key), value) for key, value in declared.set.items()] if variant.id != method else []
        )
        apart = [change(key, base[key], own[key]) for key in sorted({*base} & {*own} - {*declared.set})
                 if base[key] != own[key]]  # fmt: skip
        tuned |= bool(apart)
        summary = Cell(
            "; ".join(changes) or "full method", note=f"tuned separately: {'; '.join(apart)}" if apart else ""
        )
        row = [Cell(clean(variant.title), note=variant.id, code=True), summary]
        row += [_own_cell(study, variant.id, item, key) for item in shown for key in SEVEN]
        row += [_difference_cell(study, variant.id, item) for item in shown]
        rows.append(tuple(row))
        records += [_own_record(study, variant, item) | _difference_record(study, variant.id, item) for item in shown]
    also = ", and was tuned for itself" if tuned else ""
    caption = (
        f"{clean(study.title)}. What each part of the full method contributes: every "
        f"other row changes one thing in it{also}. Means over seeds on the test split; recalls in percent, rsum from 0 "
        f"to 600{f', with {intervals}' if intervals else ''}; Δ is the paired difference to the full method, the same "
        f"seeds and images.{' Intervals are not corrected for the number of rows.' if intervals else ''}"
    )
    why = f"no variant of it starts from {method}" if method else "it names no method"
    notes = () if rows and parts else (f"Nothing to take away in this study: {why}.",)
    return Table("ablation", "Ablation", caption, columns, tuple(rows), notes, tuple(records))


def _regime(study: StudyResults) -> str:
    """A key of :data:`SETTING_WORDS`."""
    trained = {config.get("finetune.trained") for config in study.definition.configs.values()}
    return "partly" if study.definition.regime == "finetune" and trained != {"both"} else study.definition.regime


def _protocols(study: StudyResults, entries: Iterable[Entry]) -> list[_Shown]:
    """The study's protocols that have recalls and their sum, then the published ones that it has no result on."""
    rsum = study.test[study.test["metric"] == "rsum"]
    result = [
        _Shown(key, NAME_WORDS.get(facts["name"], facts["name"]))
        for key, facts in study.protocols.items()
        if key in set(rsum["protocol"])
    ]
    for entry in entries:
        name = NAMES.get(entry.protocol, entry.protocol)
        if protocol_of(study, entry) is None and NAME_WORDS[name] not in [item.name for item in result]:
            result.append(_Shown(None, NAME_WORDS[name]))
    return result


def _columns(shown: Iterable[_Shown]) -> list[Column]:
    columns = []
    for item in shown:
        columns += [Column(METRICS[metric].label, f"{item.name}, {DIRECTION_NAMES[way]}") for way, metric in SIX]
        columns.append(Column("rsum", item.name))
    return columns


def _marks(entries: Iterable[Entry]) -> dict[str, str]:
    """A letter for every source, with what is said about it."""
    marks: dict[str, str] = {}
    for entry in entries:
        marks.setdefault(_source(entry), _letter(len(marks)))
    return marks


def _source(entry: Entry) -> str:
    words = entry.source if entry.confidence is None else f"{entry.source} ({CONFIDENCE[entry.confidence]})"
    return f"{words}; {entry.note}" if entry.note else words


def _letter(place: int) -> str:
    return chr(ord("a") + place) if place < 26 else _letter(place // 26 - 1) + _letter(place % 26)


def _same_method(entries: Iterable[Entry]) -> list[list[Entry]]:
    """Results of one method with the same encoders, on several protocols, share a row."""
    rows: dict[tuple[Any, ...], list[Entry]] = {}
    for entry in entries:
        key = entry.method, entry.backbone.image, entry.backbone.text, entry.ensemble
        same = rows.setdefault(key, [])
        if any(other.protocol == entry.protocol for other in same):
            same = rows.setdefault((*key, entry.id), [])
        same.append(entry)
    return list(rows.values())


def _published_row(same: list[Entry], shown: list[_Shown], marks: dict[str, str]) -> tuple[Cell, ...]:
    first = same[0]
    letters = ",".join(dict.fromkeys(marks[_source(entry)] for entry in same))
    missing = next((entry for entry in same if not entry.available), None)
    note = f"not available here, see doi {missing.doi}" if missing else ""
    summary = {True: "yes", False: "no", None: "not stated"}[first.ensemble]
    row = [Cell(clean(first.method), note=note, mark=letters), Cell(clean(str(first.backbone))), Cell(summary)]
    for item in shown:
        entry = next(
            (entry for entry in same if NAME_WORDS[NAMES.get(entry.protocol, entry.protocol)] == item.name), None
        )
        for key in SEVEN:
            value = entry.values[key] if entry else None
            row.append(ABSENT if value is None else Cell(printed(value), value))
    return tuple(row)


def _own_row(study: StudyResults, variant: Variant, shown: list[_Shown]) -> tuple[Cell, ...]:
    config = study.definition.configs[variant.id]
    encoders = [clean(PurePath(str(config[f"encoders.{side}.checkpoint"])).name) for side in ("image", "text")]
    row = [Cell(clean(variant.title), note=variant.id, code=True), Cell(" + ".join(encoders)), Cell("no")]
    return (*row, *(_own_cell(study, variant.id, item, key) for item in shown for key in SEVEN))


def _own_cell(study: StudyResults, variant: str, item: _Shown, key: tuple[str, str]) -> Cell:
    values = study.values(variant, key[1], key[0], item.key) if item.key is not None else {}
    if not values:
        return ABSENT
    mean = float(np.mean(list(values.values())))
    estimate = study.estimate(variant, key[1], key[0], item.key) if key[1] == "rsum" else None
    return Cell(percent(mean), 100 * mean, note=span(estimate.low, estimate.high) if estimate else "")


def _difference_cell(study: StudyResults, variant: str, item: _Shown) -> Cell:
    if variant == study.method:
        return Cell("full method")
    difference, low, high = _difference(study, variant, item)
    if math.isnan(difference):
        return ABSENT
    return Cell(signed(difference), 100 * difference, note=span(low, high, sign=True))


def _difference(study: StudyResults, variant: str, item: _Shown) -> tuple[float, float, float]:
    """rsum of a variant minus that of the full method over the seeds that both have, with its interval; fractions."""
    assert study.method is not None
    mine, its = (study.values(name, "rsum", "both", item.key) for name in (variant, study.method))
    shared = sorted(set(mine) & set(its))
    if not shared:
        return math.nan, math.nan, math.nan
    difference = float(np.mean([mine[seed] - its[seed] for seed in shared]))
    return difference, *paired_interval(study, variant, study.method, "rsum", "both", item.key)


def _published_record(entry: Entry) -> dict[str, Any]:
    return {
        "row": "published", "id": entry.id, "method": entry.method, "backbone_image": entry.backbone.image,
        "backbone_text": entry.backbone.text, "ensemble": entry.ensemble, "protocol": entry.protocol,
        **{f"{direction}_{metric}": fraction(entry.values[direction, metric]) for direction, metric in SEVEN},
        "source": entry.source, "doi": entry.doi, "confidence": entry.confidence,
    }  # fmt: skip


def _own_record(study: StudyResults, variant: Variant, item: _Shown) -> dict[str, Any]:
    assert item.key is not None
    config, row = study.definition.configs[variant.id], {}
    for direction, metric in SEVEN:
        values = study.values(variant.id, metric, direction, item.key)
        row[f"{direction}_{metric}"] = float(np.mean(list(values.values()))) if values else None
    estimate = study.estimate(variant.id, "rsum", "both", item.key)
    return {
        "row": "here", "id": variant.id, "method": variant.title, "ensemble": False,
        "backbone_image": config["encoders.image.checkpoint"], "backbone_text": config["encoders.text.checkpoint"],
        "protocol": study.protocols[item.key]["name"], **row,
        "rsum_low": estimate.low if estimate and math.isfinite(estimate.low) else None,
        "rsum_high": estimate.high if estimate and math.isfinite(estimate.high) else None,
        "n_seeds": len(study.values(variant.id, "rsum", "both", item.key)),
    }  # fmt: skip


def _difference_record(study: StudyResults, variant: str, item: _Shown) -> dict[str, Any]:
    values = _difference(study, variant, item) if variant != study.method else (math.nan,) * 3
    names = ("rsum_difference", "rsum_difference_low", "rsum_difference_high")
    return {name: value if math.isfinite(value) else None for name, value in zip(names, values, strict=True)}
