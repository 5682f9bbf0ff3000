"""A page as data: the answer, and parts that each answer one question. A study and a series have the same kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fne.report.tables.cells import Table
from fne.report.text.wording import count
from fne.utils.yaml_file import read_mapping

MOST_ROWS = 1000
"""A longer table is on the page up to here only, and says so."""
KINDS = ("text", "facts", "links", "table", "figure", "viewer")
"""Of a block: a paragraph, terms with their texts, addresses with their words, and what the names say."""


@dataclass(frozen=True)
class Part:
    """What answers one question.

    Args:
        id: Of its element.
        title: The question, as a heading.
        blocks: Kind, of :data:`KINDS`, and content of what it shows, in order.
        folded: Whether a reader has to open it.
    """

    id: str
    title: str
    blocks: tuple[tuple[str, Any], ...]
    folded: bool = True


@dataclass(frozen=True)
class Page:
    """Everything that the template needs.

    Args:
        id: Of the study or series: its folders' name.
        title: Heading.
        question: What was asked.
        answer: A few sentences.
        setting: What the answer is conditional on.
        parts: In order.
    """

    id: str
    title: str
    question: str
    answer: tuple[str, ...]
    setting: str
    parts: tuple[Part, ...]


def part(identity: str, title: str, *blocks: Any, folded: bool = True) -> list[Part]:
    """A part of what there is to show of ``blocks``, in a list that is empty where there is nothing.

    Args:
        identity: Of its element.
        title: Its question.
        blocks: A text, a table, a drawn figure, or (kind, content); what is empty is left out.
        folded: As of :class:`Part`.
    """
    shown = tuple(result for block in blocks if (result := _block(block)) is not None)
    return [Part(identity, title, shown, folded)] if shown else []


def _block(block: Any) -> tuple[str, Any] | None:
    if isinstance(block, Table):
        return ("table", cut(block)) if block.rows else None
    if isinstance(block, Mapping):
        return None if block["empty"] else ("figure", block)
    if isinstance(block, str):
        return ("text", block) if block else None
    return block if block and block[1] else None


def cut(table: Table) -> Table:
    """The first rows of a table that is too long for a page, with a note that says so."""
    if len(table.rows) <= MOST_ROWS:
        return table
    note = f"These are the first {count(MOST_ROWS)} of {count(len(table.rows))} rows; tables/{table.id}.csv has all."
    sections: Sequence[tuple[int, str]] = [item for item in table.sections if item[0] < MOST_ROWS]
    return replace(table, rows=table.rows[:MOST_ROWS], sections=tuple(sections), notes=(*table.notes, note))


def glossary() -> list[tuple[str, str]]:
    """What the words of a page mean."""
    return [*read_mapping(Path(__file__).parent / "template" / "glossary.yaml").items()]
