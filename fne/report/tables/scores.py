"""Every score of every variant with its interval, a row per protocol, direction and metric."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from fne.protocols import DIRECTION_NAMES, metric_of
from fne.report.tables.cells import ABSENT, Cell, Column, Table, in_order, records_of
from fne.report.text.wording import UNITS, percent, protocol_words, span
from fne.results.study import StudyResults
from fne.utils.text import clean


def scores_table(study: StudyResults, notes: Iterable[str] = ()) -> Table:
    """Build the table, protocols as sections; below it how the intervals were made, and further notes."""
    entries = in_order(study, study.intervals)
    cells = {(row["variant"], row["protocol"], row["direction"], row["metric"]): row for row in entries}
    keys = list(dict.fromkeys(key[1:] for key in cells))
    keys.sort(key=lambda key: [*study.protocols].index(key[0]))  # stable: metrics stay together
    rows, sections = [], []
    for number, (protocol, direction, metric) in enumerate(keys):
        if not number or keys[number - 1][0] != protocol:
            sections.append((number, study.protocols[protocol]["name"]))
        row = [Cell(f"{metric_of(metric).label}, {DIRECTION_NAMES[direction]}")]
        for variant in study.variants:
            made = cells.get((variant.id, protocol, direction, metric))
            row.append(ABSENT if made is None else _cell(made, metric))
        rows.append(tuple(row))
    described = [
        f"{protocol_words(study, protocol)[0].upper()}{protocol_words(study, protocol)[1:]}; "
        f"fingerprint {study.protocols[protocol]['id']}."
        for protocol in dict.fromkeys(key[0] for key in keys)
    ]
    methods = dict.fromkeys(str(row["method"]) for row in entries if math.isfinite(row["low"]))
    columns = (Column("Metric", numeric=False), *(Column(clean(variant.title)) for variant in study.variants))
    return Table(
        "scores",
        "Scores",
        f"{clean(study.title)}. {UNITS} In brackets: the 95 % interval.",
        columns,
        tuple(rows),
        (*(f"{clean(note)}." for note in notes), *(f"Interval: {method}." for method in methods), *described),
        records_of(entries),
        sections=tuple(sections),
    )


def _cell(made: dict[str, Any], metric: str) -> Cell:
    return Cell(percent(made["mean"], metric), note=span(made["low"], made["high"], metric=metric))
