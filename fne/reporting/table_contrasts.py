"""Every paired difference to the baseline: all metrics, intervals, query-level and seed-level p values."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from fne.reporting.cells import Cell, Column, Table
from fne.reporting.wording import DIRECTION_NAMES, METRICS, clean, p_value, percent, signed, span
from fne.study_results import StudyResults

ORDER = tuple(METRICS)


def primary_contrasts(study: StudyResults) -> Table:
    """Only the primary metric's contrasts."""
    whole = contrasts_table(study)
    kept = [place for place, row in enumerate(whole.records) if _is_primary(study, row)]
    return replace(
        whole,
        id="contrasts-primary",
        title="Contrasts of the primary metric",
        rows=tuple(whole.rows[place] for place in kept),
        records=tuple(whole.records[place] for place in kept),
    )


def contrasts_table(study: StudyResults) -> Table:
    """Build the table of contrasts, the primary metric first, then the order of the study."""
    over_seeds = study.definition.test == "seeds"
    held = "p_seed_holm" if over_seeds else "p_query_holm"
    columns = (
        Column("Variant", numeric=False),
        Column("Metric", numeric=False),
        Column("Direction", numeric=False),
        Column("Protocol", numeric=False),
        Column("Seeds"),
        Column("Δ baseline", help="paired difference to the baseline"),
        Column("Interval"),
        Column("p (queries)"),
        Column("p (Holm)", help=f"over {'seeds' if over_seeds else 'queries'}, corrected over the variants"),
        Column("p (seeds)", help="exact sign flips over seeds"),
        Column("Least possible", help="the seed-level test's floor"),
    )
    order = {variant.id: place for place, variant in enumerate(study.variants)}
    frame = study.contrasts[study.contrasts["variant"].isin(list(order))]
    entries = sorted(
        frame.to_dict("records"),
        key=lambda row: (
            not _is_primary(study, row),
            ORDER.index(row["metric"]) if row["metric"] in ORDER else len(ORDER),
            row["direction"],
            row["protocol"],
            order[row["variant"]],
        ),
    )
    rows = []
    for row in entries:
        rank = row["metric"] == "median_rank"  # a difference of ranks is no percentage
        difference = percent(row["difference"], row["metric"]) if rank else signed(row["difference"])
        interval = "" if rank else span(row["low"], row["high"], sign=True)
        rows.append(
            (
                Cell(clean(study[row["variant"]].title), note=row["variant"], code=True),
                Cell(METRICS.get(row["metric"], row["metric"]), strong=_is_primary(study, row)),
                Cell(DIRECTION_NAMES.get(row["direction"], row["direction"])),
                Cell(row["protocol"]),
                Cell(str(int(row["n_seeds"])), float(row["n_seeds"])),
                Cell(difference, _finite(row["difference"])),
                Cell(interval or "—", note=_remarks(row["note"])),
                Cell(p_value(row["p_query"]), _finite(row["p_query"])),
                Cell(p_value(row[held]), _finite(row[held])),
                Cell(p_value(row["p_seed"]), _finite(row["p_seed"])),
                Cell(p_value(row["p_seed_floor"]), _finite(row["p_seed_floor"])),
            )
        )
    caption = (
        f"Variant minus baseline ({clean(study[study.baseline].title)}), paired by seed and image; in "
        "percent points (rsum in points of 600). Bold: the primary metric, declared before the study ran; "
        "only its p values are one family for Holm's correction, the others are for orientation."
    )
    notes = (
        "p (queries): given these seeds, over test images. p (seeds): given these queries, over seeds; it cannot be "
        "smaller than the least possible value, which the number of seeds sets.",
    )
    records = tuple(
        {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
        for row in entries
    )
    return Table("contrasts", "Contrasts", caption, columns, tuple(rows), notes, records, sortable=True)


def _is_primary(study: StudyResults, row: dict) -> bool:
    return (row["metric"], row["direction"], row["protocol"]) == (
        study.metric,
        study.direction,
        study.protocol,
    )


def _remarks(note: Any) -> str:
    """What a reader must know about a row beyond the caption, which already says which rows are exploratory."""
    parts = clean(note).split("; ") if isinstance(note, str) else []
    return "; ".join(part for part in parts if not part.startswith("exploratory"))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
