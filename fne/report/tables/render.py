"""Tables as HTML, Markdown and CSV, and their files; every text is escaped for its format."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from textwrap import fill

from fne.report.tables.cells import Cell, Column, Table
from fne.report.tables.latex import to_latex
from fne.report.text.side_by_side import WIDTH, table_lines
from fne.utils import text as words
from fne.utils.files import as_csv, write_text

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:1.5rem;color-scheme:light dark}"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    "caption{text-align:left;font-weight:bold}p,ul{max-width:60rem}"
    "th,td{padding:.3rem .6rem;text-align:right;vertical-align:top;border-bottom:1px solid #8886}"
    "th[scope=row],.text{text-align:left}small{display:block;font-weight:normal;opacity:.75}"
)

_MARKDOWN = re.compile(r"([\\`*_\[\]|<>#~$])")


def to_html(table: Table) -> str:
    """The ``<table>`` element; every number of a table that can be sorted carries its sort key."""
    parts = [f'<table id="table-{_text(table.id)}"' + (' class="sortable"' if table.sortable else "") + ">"]
    parts.append(f"<caption>{_text(table.title)}</caption>\n<thead>")
    groups = _groups(table.columns)
    if any(name for name, _ in groups):
        heads, start = [], 0
        for name, span in groups:
            hidden = ' class="detail"' if table.columns[start].detail else ""
            start += span
            heads.append(f'<th scope="colgroup" colspan="{span}"{hidden}>{_text(name)}</th>' if name
                         else f'<td colspan="{span}"{hidden}></td>')  # fmt: skip
        parts.append(f'<tr class="groups">{"".join(heads)}</tr>')
    parts.append("<tr>" + "".join(_heading(column) for column in table.columns) + "</tr></thead>\n<tbody>")
    headings = dict(table.sections)
    for number, row in enumerate(table.rows):
        if number in headings:
            inside = f'<th scope="rowgroup" colspan="{len(table.columns)}"><span>{_text(headings[number])}</span></th>'
            parts.append(("</tbody><tbody>" if number else "") + f'<tr class="section">{inside}</tr>')
        cells = [
            _html_cell(cell, column, table.sortable, first=not place)
            for place, (cell, column) in enumerate(zip(row, table.columns, strict=True))
        ]
        parts.append(f"<tr>{''.join(cells)}</tr>")
    return "\n".join([*parts, "</tbody></table>"])


def notes_html(table: Table) -> str:
    """The caption and the notes, to stand below the table."""
    notes = "".join(f"<li>{_text(note)}</li>" for note in table.notes)
    return f'<p class="how">{_text(table.caption)}</p>' + (f'<ul class="notes">{notes}</ul>' if notes else "")


def to_html_document(table: Table) -> str:
    """A whole small HTML document around the table, for a viewer that opens the file alone."""
    plain = to_html(replace(table, sortable=False))
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{_text(table.title)}</title>'
        f"<style>{_STYLE}</style></head><body>\n{plain}\n{notes_html(table)}\n</body></html>\n"
    )


def to_markdown(table: Table) -> str:
    """A GitHub-flavoured Markdown table with its caption above and its notes below."""
    heads = [f"{column.group} {column.name}".strip() for column in table.columns]
    lines = [f"**{_mark(table.title)}.** {_mark(table.caption)}", ""]
    lines.append("| " + " | ".join(_mark(head) for head in heads) + " |")
    lines.append("|" + "|".join(" ---: " if column.numeric else " --- " for column in table.columns) + "|")
    headings = dict(table.sections)
    for number, row in enumerate(table.rows):
        if number in headings:
            lines.append(f"| **{_mark(headings[number])}** |" + " |" * (len(table.columns) - 1))
        lines.append("| " + " | ".join(_markdown_cell(cell) for cell in row) + " |")
    lines += ["", *(f"- {_mark(note)}" for note in table.notes)]
    return "\n".join(lines).rstrip() + "\n"


def to_text(table: Table) -> str:
    """For a terminal: caption, table and notes."""
    rows = [["", *(words.clean(column.name) for column in table.columns[1:])]]
    headings = dict(table.sections)
    for number, row in enumerate(table.rows):
        if number in headings:
            rows.append([words.clean(headings[number]).upper(), *[""] * (len(row) - 1)])
        first, *rest = row
        rows.append([words.clean(first.text), *(words.clean(f"{cell.text} {cell.note}") for cell in rest)])
    said = [words.clean(table.caption), "", *table_lines(rows), "", *map(words.clean, table.notes)]
    return "\n".join(fill(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False) if len(line) > WIDTH else line
                     for line in said)  # fmt: skip


def save(table: Table, folder: Path) -> list[Path]:
    """Write the table in all four formats and return the paths."""
    paths = [folder / f"{table.id}.{suffix}" for suffix in ("html", "md", "tex", "csv")]
    for path, text in zip(paths, (to_html_document(table), to_markdown(table), to_latex(table)), strict=False):
        write_text(path, text)
    columns = list(dict.fromkeys(key for record in table.records for key in record))
    write_text(paths[3], as_csv(table.records, columns or [column.name for column in table.columns]))
    return paths


def _groups(columns: tuple[Column, ...]) -> list[tuple[str, int]]:
    """Name and width of neighbouring columns of one group, details apart."""
    result = groupby(columns, key=lambda column: (column.group, column.detail))
    return [(name, len([*members])) for (name, _), members in result]


def _heading(column: Column) -> str:
    title = f' title="{_text(column.help)}"' if column.help else ""
    return f'<th scope="col"{_classes(column)}><span{title}>{_text(column.name)}</span></th>'


def _classes(column: Column, absent: bool = False) -> str:
    """The ``class`` attribute of a column's cell."""
    kinds = {"text": not column.numeric, "absent": absent, "detail": column.detail}
    shown = " ".join(kind for kind, holds in kinds.items() if holds)
    return f' class="{shown}"' if shown else ""


def _html_cell(cell: Cell, column: Column, sortable: bool, *, first: bool) -> str:
    """One cell; the first of a row is its heading."""
    attributes = _classes(column, cell.absent)
    if sortable and column.numeric:  # a cell without a number has an empty key: it stays at the end
        attributes += f' data-sort="{cell.sort!r}"' if cell.sort is not None else ' data-sort=""'
    text = f"<strong>{_text(cell.text)}</strong>" if cell.strong else _text(cell.text)
    text += f"<sup>{_text(cell.mark)}</sup>" if cell.mark else ""
    if cell.note:
        # two intervals part at their slash where a narrow page breaks them
        note = f"<code>{_text(cell.note)}</code>" if cell.code else _text(cell.note).replace("] / [", "] /\n[")
        text += f"<small>{note}</small>"
    return f'<th scope="row"{attributes}>{text}</th>' if first else f"<td{attributes}>{text}</td>"


def _markdown_cell(cell: Cell) -> str:
    text = f"**{_mark(cell.text)}**" if cell.strong else _mark(cell.text)
    text += f"<sup>{_mark(cell.mark)}</sup>" if cell.mark else ""
    if not cell.note:
        return text
    if cell.code:
        return f"{text} `{_one_line(cell.note).replace('`', '').replace('|', '')}`"
    return f"{text} {_mark(cell.note)}" if cell.note.startswith("[") else f"{text} ({_mark(cell.note)})"


def _text(value: str) -> str:
    return words.markup(value)


def _one_line(value: str) -> str:
    return words.clean(value)


def _mark(value: str) -> str:
    return _MARKDOWN.sub(r"\\\1", _one_line(value))
