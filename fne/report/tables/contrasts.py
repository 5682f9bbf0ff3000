"""Every paired difference to the baseline: all metrics, intervals, query-level and seed-level p values."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from fne.analysis.holm import holm_floor
from fne.analysis.permutation import drawn_floor
from fne.protocols import DIRECTION_NAMES, METRICS, metric_of
from fne.report.tables.cells import Cell, Column, Table
from fne.report.text.wording import AT_FLOOR, elsewhere_phrase, given, p_value, percent, signed, span, tested, varied
from fne.results.study import Contrast, StudyResults
from fne.utils.min_seeds import ALPHA
from fne.utils.text import clean


def primary_contrasts(study: StudyResults) -> Table:
    """The primary metric's contrasts, each with its verdict; p values other than the corrected one are details."""
    whole = contrasts_table(study)
    kept = [row for row, record in zip(whole.rows, whole.records, strict=True) if _is_primary(study, record)]
    same = ("Metric", "Direction", "Protocol")
    places = [place for place, column in enumerate(whole.columns) if column.name not in same]
    details = ("Seeds", "p (images)", "p (seeds)")
    columns = [replace(whole.columns[place], detail=whole.columns[place].name in details) for place in places]
    verdict = Column("Verdict", numeric=False, help="what is shown, after Holm's correction over the variants")
    rows = [[row[place] for place in places] for row in kept]
    summary = [verdict_of(study.contrast(row[0].note)) for row in rows]
    held = [_held(study.contrast(row[0].note)) for row in rows]
    return replace(
        whole,
        id="contrasts-primary",
        title="Differences to the baseline",
        columns=(columns[0], verdict, *columns[1:]),
        rows=tuple(
            (row[0], Cell(words, strong=words in STRONG, note=where), *row[1:])
            for row, words, where in zip(rows, summary, held, strict=True)
        ),
        records=(),
    )


def _held(contrast: Contrast | None) -> str:
    """Whether what a contrast shows holds elsewhere too; empty where it shows nothing or that is not known."""
    if contrast is None or not contrast.separated or not math.isfinite(contrast.low_elsewhere):
        return ""
    return "elsewhere too" if contrast.low_elsewhere > 0 or contrast.high_elsewhere < 0 else "here alone"


STRONG = ("better", "worse")


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
    columns: tuple[Column, ...] = (
        Column("Variant", numeric=False),
        Column("Metric", numeric=False),
        Column("Direction", numeric=False),
        Column("Protocol", numeric=False),
        Column("Seeds"),
        Column("Δ baseline", help="paired difference to the baseline"),
        Column("Interval", help=f"over seeds and test images, {given(study)}"),
        Column("Elsewhere", help=f"interval for another {varied(study)}"),
        Column("p (images)", help="over test images, given these seeds"),
        Column("p (Holm)", help=f"{tested(study)}, corrected over the variants"),
        Column("p (seeds)", help="over seeds, given these test images: sign flips"),
    )
    order = {variant.id: place for place, variant in enumerate(study.variants)}
    frame = study.contrasts[study.contrasts["variant"].isin(list(order))]
    entries = sorted(
        frame.to_dict("records"),
        key=lambda row: (
            not _is_primary(study, row),
            [*METRICS, row["metric"]].index(row["metric"]),
            row["direction"],
            row["protocol"],
            order[row["variant"]],
        ),
    )
    intervals = any(math.isfinite(row["low"]) for row in entries)
    wider = any(math.isfinite(row["low_elsewhere"]) for row in entries)
    rows = []
    for row in entries:
        rank = metric_of(row["metric"]).top is None  # a difference of ranks is no percentage
        difference = percent(row["difference"], row["metric"]) if rank else signed(row["difference"])
        interval = span(row["low"], row["high"], sign=not rank, metric=row["metric"])
        rows.append(
            (
                Cell(clean(study[row["variant"]].title), note=row["variant"], code=True),
                Cell(metric_of(row["metric"]).label, strong=_is_primary(study, row)),
                Cell(DIRECTION_NAMES.get(row["direction"], row["direction"])),
                Cell(row["protocol"]),
                Cell(str(int(row["n_seeds"])), float(row["n_seeds"])),
                Cell(difference, _finite(row["difference"]), note="" if intervals else _remarks(row["note"], False)),
                *([Cell(interval or "—", note=_remarks(row["note"], True))] if intervals else []),
                *([Cell(span(row["low_elsewhere"], row["high_elsewhere"], sign=True) or "—")] if wider else []),
                _p(row["p_query"], drawn_floor(row, "p_query")),
                _p(row[f"{test}_holm"], holm_floor(drawn_floor(row, test), row["family"])),
                _p(row["p_seed"], drawn_floor(row, "p_seed")),
            )
        )
    absent = {name for name, shown in (("Interval", intervals), ("Elsewhere", wider)) if not shown}
    columns = tuple(column for column in columns if column.name not in absent)
    caption = (
        f"Variant minus baseline ({clean(study[study.baseline].title)}), paired by seed and image; in "
        "percent points (rsum in points of 600). Bold: the primary metric, declared before the study ran; "
        "only its p values are one family for Holm's correction, the others are for orientation."
    )
    words = (
        "p (images): over test images, given these seeds. p (seeds): over seeds, given these test images; it cannot be "
        "smaller than the number of seeds allows (p_seed_floor in the CSV file)."
    )
    drawn = any(cell.text[0] == "≤" for row in rows for cell in row)
    notes = [f"{words} {AT_FLOOR}" if drawn else words]
    if intervals:
        notes.append(elsewhere_phrase(study, "Elsewhere"))
    records = tuple(
        {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
        for row in entries
    )
    return Table("contrasts", "Contrasts", caption, columns, tuple(rows), tuple(notes), records, sortable=True)


def _is_primary(study: StudyResults, row: dict) -> bool:
    return (row["metric"], row["direction"], row["protocol"]) == (study.metric, study.direction, study.protocol)


def _remarks(note: Any, intervals: bool) -> str:
    """What a reader must know about a row beyond the caption, which already says which rows are exploratory."""
    known = ("exploratory",) if intervals else ("exploratory", "no interval")
    parts = clean(note).split("; ") if isinstance(note, str) else []
    return "; ".join(part for part in parts if not part.startswith(known))


def _p(value: float, floor: float) -> Cell:
    return Cell(p_value(value, floor), _finite(value))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
