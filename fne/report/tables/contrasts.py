"""Every paired difference to the baseline: all metrics, intervals, query-level and seed-level p values."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from fne.analysis.holm import holm_floor
from fne.analysis.permutation import drawn_floor
from fne.protocols import DIRECTION_NAMES, METRICS, metric_of
from fne.report.tables.cells import Cell, Column, Table, finite, in_order, records_of, title, whole
from fne.report.text.wording import AT_FLOOR, elsewhere_phrase, given, p_value, percent, signed, span, tested, varied
from fne.results.study import Contrast, StudyResults
from fne.utils.min_seeds import ALPHA
from fne.utils.text import clean

STRONG = ("better", "worse")
SAME = ("Metric", "Direction", "Protocol")
DETAILS = ("Seeds", "p (images)", "p (seeds)")


def primary_contrasts(study: StudyResults) -> Table:
    """The primary metric's contrasts, each with its verdict; p values other than the corrected one are details."""
    table = contrasts_table(study)
    places = [place for place, column in enumerate(table.columns) if column.name not in SAME]
    columns = [replace(table.columns[place], detail=table.columns[place].name in DETAILS) for place in places]
    verdict = Column("Verdict", numeric=False, help="what is shown, after Holm's correction over the variants")
    rows = []
    for row, record in zip(table.rows, table.records, strict=True):
        if _is_primary(study, record):
            first, *rest = (row[place] for place in places)
            contrast = study.contrast(first.note)
            words = verdict_of(contrast)
            rows.append((first, Cell(words, strong=words in STRONG, note=_held(contrast)), *rest))
    return replace(
        table,
        id="contrasts-primary",
        title="Differences to the baseline",
        columns=(columns[0], verdict, *columns[1:]),
        rows=tuple(rows),
        records=(),
    )


def _held(contrast: Contrast | None) -> str:
    """Whether what a contrast shows holds elsewhere too; empty where it shows nothing or that is not known."""
    if contrast is None or not contrast.separated or not math.isfinite(contrast.low_elsewhere):
        return ""
    return "elsewhere too" if contrast.low_elsewhere > 0 or contrast.high_elsewhere < 0 else "here alone"


def verdict_of(contrast: Contrast | None) -> str:
    """What a contrast shows, in words: by its interval, and after Holm's correction."""
    if contrast is None or not math.isfinite(contrast.low):
        return "cannot be said"
    if not contrast.separated:
        return "not shown"
    better = contrast.difference > 0
    if contrast.p_holm < ALPHA:
        return STRONG[0] if better else STRONG[1]
    return f"{'ahead' if better else 'behind'}, not after Holm"


def contrasts_table(study: StudyResults) -> Table:
    """Build the table of contrasts, the primary metric first, then the order of the study."""
    test = "p_seed" if study.definition.test == "seeds" else "p_query"
    entries = sorted(in_order(study, study.contrasts), key=lambda row: (
        not _is_primary(study, row), [*METRICS, row["metric"]].index(row["metric"]), row["direction"], row["protocol"]
    ))  # fmt: skip
    intervals = any(math.isfinite(row["low"]) for row in entries)
    wider = any(math.isfinite(row["low_elsewhere"]) for row in entries)
    columns = [
        Column("Variant", numeric=False),
        *(Column(name, numeric=False) for name in SAME),
        Column("Seeds"),
        Column("Δ baseline", help="paired difference to the baseline"),
    ]
    if intervals:
        columns.append(Column("Interval", help=f"over seeds and test images, {given(study)}"))
    if wider:
        columns.append(Column("Elsewhere", help=f"interval for another {varied(study)}"))
    columns += [
        Column("p (images)", help="over test images, given these seeds"),
        Column("p (Holm)", help=f"{tested(study)}, corrected over the variants"),
        Column("p (seeds)", help="over seeds, given these test images: sign flips"),
    ]
    rows = []
    for row in entries:
        metric, rank = metric_of(row["metric"]), metric_of(row["metric"]).top is None
        difference = percent(row["difference"], row["metric"]) if rank else signed(row["difference"])
        cells = [
            title(study[row["variant"]]),
            Cell(metric.label, strong=_is_primary(study, row)),
            Cell(DIRECTION_NAMES.get(row["direction"], row["direction"])),
            Cell(row["protocol"]),
            whole(row["n_seeds"]),
            Cell(difference, finite(row["difference"])),
        ]
        if intervals:
            interval = span(row["low"], row["high"], sign=not rank, metric=row["metric"])
            cells.append(Cell(interval or "—", note=_remarks(row["note"])))
        if wider:
            cells.append(Cell(span(row["low_elsewhere"], row["high_elsewhere"], sign=True) or "—"))
        cells += [
            _p(row["p_query"], drawn_floor(row, "p_query")),
            _p(row[f"{test}_holm"], holm_floor(drawn_floor(row, test), row["family"])),
            _p(row["p_seed"], drawn_floor(row, "p_seed")),
        ]
        rows.append(tuple(cells))
    caption = (
        f"Variant minus baseline ({clean(study[study.baseline].title)}), paired by seed and image; in "
        "percent points (rsum in points of 600). Bold: the primary metric, declared before the study ran; "
        "only its p values are one family for Holm's correction, the others are for orientation."
    )
    words = (
        "p (images): over test images, given these seeds. p (seeds): over seeds, given these test images; it cannot be "
        f"smaller than the number of seeds allows (p_seed_floor in the CSV file). {AT_FLOOR}"
    )
    notes = (words, elsewhere_phrase(study, "Elsewhere")) if intervals else (words,)
    return Table("contrasts", "Contrasts", caption, tuple(columns), tuple(rows), notes, records_of(entries),
                 sortable=True)  # fmt: skip


def _is_primary(study: StudyResults, row: dict[str, Any]) -> bool:
    return (row["metric"], row["direction"], row["protocol"]) == (study.metric, study.direction, study.protocol)


def _remarks(note: Any) -> str:
    """What a reader must know about a row beyond the caption, which already says which rows are exploratory."""
    parts = clean(note).split("; ") if isinstance(note, str) else []
    return "; ".join(part for part in parts if not part.startswith("exploratory"))


def _p(value: float, floor: float) -> Cell:
    return Cell(p_value(value, floor), finite(value))
