"""A table as data: cells, columns, notes. How it looks in each format is decided in ``render``."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fne.report.text.wording import count
from fne.utils.text import clean

if TYPE_CHECKING:
    import pandas as pd

    from fne.results.study import StudyResults, Variant


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Args:
        text: What a reader sees, plain text.
        sort: The number that the column is sorted by; ``None`` sorts by the text.
        strong: Whether the cell is set bold.
        note: A second, smaller line.
        code: Whether ``note`` is an identifier (set in a fixed-width font, and left out in LaTeX).
        absent: Whether the cell says that something is missing.
        mark: A raised letter that leads to a note of the table.
    """

    text: str
    sort: float | None = None
    strong: bool = False
    note: str = ""
    code: bool = False
    absent: bool = False
    mark: str = ""


@dataclass(frozen=True)
class Column:
    """One column: its heading, its group's heading, an explanation, whether it holds numbers, and is a detail.

    The page shows details only where a reader asks for all columns.
    """

    name: str
    group: str = ""
    help: str = ""
    numeric: bool = True
    detail: bool = False


@dataclass(frozen=True)
class Table:
    """A table with a caption, notes below it and the same content as tidy records for the CSV file.

    Args:
        id: File stem.
        title: Short heading.
        caption: One paragraph that makes the table readable on its own.
        columns: One per cell of a row.
        rows: Cells; the first of a row is its heading.
        notes: Sentences below the table.
        records: Flat rows for the CSV file, numbers with every digit.
        sortable: Whether a reader may sort it by a column on the page; not together with sections.
        sections: Headings within the table: at which row each one stands, and its words.
    """

    id: str
    title: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    records: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    sortable: bool = False
    sections: tuple[tuple[int, str], ...] = ()


ABSENT = Cell("—", absent=True)
"""A cell without a value; the notes of its table say why."""


def title(variant: Variant, mark: str = "") -> Cell:
    """The first cell of a variant's row."""
    return Cell(clean(variant.title), note=variant.id, code=True, mark=mark)


def whole(value: float) -> Cell:
    """A number of things."""
    return Cell(count(value), float(value))


def finite(value: float) -> float | None:
    """A number as a file holds it; nothing for NaN."""
    return float(value) if math.isfinite(value) else None


def records_of(rows: Iterable[Mapping[Any, Any]]) -> tuple[dict[str, Any], ...]:
    """Rows of a file of results as records, nothing for NaN."""
    return tuple(
        {name: finite(value) if isinstance(value, float) else value for name, value in row.items()} for row in rows
    )


def in_order(study: StudyResults, frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of a file of results in the order of the study, those of its variants alone."""
    order = {variant.id: place for place, variant in enumerate(study.variants)}
    rows: list[dict[str, Any]] = frame[frame["variant"].isin(list(order))].to_dict("records")
    return sorted(rows, key=lambda row: order[row["variant"]])
