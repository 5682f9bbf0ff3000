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
from fne.report.tables.cells import ABSENT, Cell, Column, Table, finite, title
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
    marks = {source: str(n) for n, source in enumerate(dict.fromkeys(map(_source, entries)), 1)}
    rows = [_published_row(entry, shown, marks[_source(entry)]) for entry in entries]
    records = [_published_record(entry) for entry in entries]
    start = len(rows)
    for variant in study.variants:
        parent = study.definition.library[variant.id].parent
        if parent != study.method or (against is not None and variant.id in against.entries):
            rows.append(_own_row(study, variant, shown))
            records += [_own_record(study, variant, item) for item in shown if item.key is not None]
    trained = {config.get("finetune.trained") for config in study.definition.configs.values()}
    partly = study.definition.regime == "finetune" and trained != {"both"}
    sections = [(0, "Published")] if start else []
    sections += [(start, SETTING_WORDS["partly" if partly else study.definition.regime])] if len(rows) > start else []
    own = ", rsum with its interval" if interval_phrase(study) else ""
    caption = (
        f"{clean(study.title)}. Recalls in percent; rsum from 0 to 600. Of this study: means over seeds on the test "
        f"split ({seeds_phrase(study)}){own}. Published rows stand as their sources give them; what "
        "could not be read is a dash, never an estimate."
    )
    notes = [f"({mark}) {clean(source)}." for source, mark in marks.items()]
    if not entries:
        notes.append("This study is compared with no published result.")
    return Table(
        "methods", "Methods", caption, columns, tuple(rows), tuple(notes), tuple(records), sections=tuple(sections)
    )


def ablation_table(study: StudyResults) -> Table:
    """Build the table of ablations: the full method, and each variant that changes one thing in it."""
    method = study.method
    library, configs = study.definition.library, study.definition.configs
    full = [variant for variant in study.variants if variant.id == method]
    parts = [variant for variant in study.variants if library[variant.id].parent == method] if full else []
    shown = [item for item in _protocols(study, []) if item.key is not None]
    intervals = interval_phrase(study)
    difference = f"paired difference to the full method{', with its interval' if intervals else ''}"
    columns = (
        *(Column(name, numeric=False) for name in ("Variant", "Changes")),
        *_columns(shown),
        *(Column("Δ rsum", item.name, difference) for item in shown),
    )
    rows, records = [], []
    for variant in [*full, *parts]:
        base, own, declared = configs[full[0].id], configs[variant.id], library[variant.id].set
        changes = [change(key, base.get(key), value) for key, value in declared.items()] if variant.id != method else []
        tuned = [change(key, base[key], own[key]) for key in sorted({*base} & {*own} - {*declared})
                 if base[key] != own[key]]  # fmt: skip
        note = f"tuned separately: {'; '.join(tuned)}" if tuned else ""
        row = [title(variant), Cell("; ".join(changes) or "full method", note=note)]
        row += [_own_cell(study, variant.id, item, key) for item in shown for key in SEVEN]
        row += [_difference_cell(study, variant.id, item) for item in shown]
        rows.append(tuple(row))
        records += [_own_record(study, variant, item) | _difference_record(study, variant.id, item) for item in shown]
    caption = (
        f"{clean(study.title)}. What each part of the full method contributes: every other row changes one thing in "
        "it, and was tuned for itself where it says so. Means over seeds on the test split; recalls in percent, rsum "
        f"from 0 to 600{f', with {intervals}' if intervals else ''}; Δ is the paired difference to the full method, "
        f"the same seeds and images.{' Intervals are not corrected for the number of rows.' if intervals else ''}"
    )
    why = f"no variant of it starts from {method}" if method else "it names no method"
    notes = () if rows and parts else (f"Nothing to take away in this study: {why}.",)
    return Table("ablation", "Ablation", caption, columns, tuple(rows), notes, tuple(records))


def _protocols(study: StudyResults, entries: Iterable[Entry]) -> list[_Shown]:
    """The study's protocols that have recalls and their sum, then the published ones that it has no result on."""
    rsum = study.test[study.test["metric"] == "rsum"]
    result = [
        _Shown(key, NAME_WORDS.get(facts["name"], facts["name"]))
        for key, facts in study.protocols.items()
        if key in set(rsum["protocol"])
    ]
    missing = dict.fromkeys(_name(entry) for entry in entries if protocol_of(study, entry) is None)
    return [*result, *(_Shown(None, name) for name in missing)]


def _name(entry: Entry) -> str:
    return NAME_WORDS[NAMES.get(entry.protocol, entry.protocol)]


def _columns(shown: Iterable[_Shown]) -> list[Column]:
    columns = []
    for item in shown:
        columns += [Column(METRICS[metric].label, f"{item.name}, {DIRECTION_NAMES[way]}") for way, metric in SIX]
        columns.append(Column("rsum", item.name))
    return columns


def _source(entry: Entry) -> str:
    words = entry.source if entry.confidence is None else f"{entry.source} ({CONFIDENCE[entry.confidence]})"
    return f"{words}; {entry.note}" if entry.note else words


def _published_row(entry: Entry, shown: list[_Shown], mark: str) -> tuple[Cell, ...]:
    note = "" if entry.available else f"not available here, see doi {entry.doi}"
    ensemble = {True: "yes", False: "no", None: "not stated"}[entry.ensemble]
    row = [Cell(clean(entry.method), note=note, mark=mark), Cell(clean(str(entry.backbone))), Cell(ensemble)]
    name = _name(entry)
    for item in shown:
        values = [entry.values[key] if item.name == name else None for key in SEVEN]
        row += [ABSENT if value is None else Cell(printed(value), value) for value in values]
    return tuple(row)


def _own_row(study: StudyResults, variant: Variant, shown: list[_Shown]) -> tuple[Cell, ...]:
    config = study.definition.configs[variant.id]
    encoders = [clean(PurePath(str(config[f"encoders.{side}.checkpoint"])).name) for side in ("image", "text")]
    row = [title(variant), Cell(" + ".join(encoders)), Cell("no")]
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
        **{f"rsum_{end}": finite(getattr(estimate, end)) if estimate else None for end in ("low", "high")},
        "n_seeds": len(study.values(variant.id, "rsum", "both", item.key)),
    }  # fmt: skip


def _difference_record(study: StudyResults, variant: str, item: _Shown) -> dict[str, Any]:
    values = _difference(study, variant, item) if variant != study.method else (math.nan,) * 3
    names = ("rsum_difference", "rsum_difference_low", "rsum_difference_high")
    return dict(zip(names, map(finite, values), strict=True))
