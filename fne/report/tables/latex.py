r"""Tables as LaTeX that fits its page, whatever they hold: columns that wrap, long and wide tables in parts.

Needs ``\usepackage{array,booktabs}``. Widths are estimated with letters a little wider than those of Computer Modern,
Times and Helvetica, so that a line that fits here fits there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from fne.report.figures.style import COLUMNS
from fne.report.tables.cells import ABSENT, Cell, Column, Table
from fne.utils.latex import latex, spelled

SIZE, LEADING = 7, 8.4
"""Points of a table's letters and of its lines."""
LETTERS = rf"\fontsize{{{SIZE}}}{{{LEADING}}}\selectfont"
LINES = 68.0
"""Lines of a part with its caption, less than the text of a page."""
ROW_GAP, RULES = 0.25, 3.0
"""In lines: the gap below a row; all rules of a table and the gaps of its caption."""
GAP = 6.0
"""Points between two columns."""
COMFORT, LONGEST = 7.0, 7.0
"""Em: a column of words is not squeezed further; a word that is longer may be divided."""
POINTS = 72.27
_THIN, _WIDE = frozenset(" .,:;'|!ijl[]()t-`"), frozenset("mwMW%@—…→←↔≈−+=±<>≤≥×")
_PIECES = re.compile(r"[^._/:=,;()-]{1,12}[._/:=,;()-]*|[._/:=,;()-]+")
_INTERVAL = re.compile(r"\[[^\[\]]{1,24}\]")
_TIE = "\u00a0"


def to_latex(table: Table, column: str = "double") -> str:
    r"""Floats for one column of a paper or for two, in letters of 7 points; a comment where there are no rows.

    Args:
        table: What to set.
        column: Of :data:`~fne.report.figures.style.COLUMNS`: ``single``, a ``table`` without details, or ``double``,
            a ``table*``.

    Returns:
        One float, or several where columns or rows do not fit into one; each but the first is called *continued*.
    """
    if not table.rows:
        return f"% No table: {' '.join(spelled(' '.join([table.caption, *table.notes])).split())}\n"
    if column == "single" and (details := [item for item in table.columns if item.detail]):
        table = _of_columns(table, [place for place, item in enumerate(table.columns) if not item.detail])
        names = ", ".join(dict.fromkeys(f"{item.group} {item.name}".strip() for item in details))
        table = replace(table, notes=(*table.notes, f"Not shown, for they need two columns of a page: {names}."))
    room = POINTS * COLUMNS[column]
    table = _without_constants(table)
    parts = [part for places in _panels(table, room) for part in _parts(_of_columns(table, places), room)]
    _add_notes(parts, room)
    return "\n".join(_float(part, place, column) for place, part in enumerate(parts))


@dataclass
class _Part:
    """Some rows of some columns, which stand in one float, and notes below them.

    Args:
        table: Its columns alone; all rows.
        widths: Em of the columns.
        height: In lines, with the caption.
        rows: Which.
        notes: Below them.
    """

    table: Table
    widths: list[float]
    height: float
    rows: list[int] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def _without_constants(table: Table) -> Table:
    """The table without columns of one value, which a note gives."""
    texts = [{" ".join(_texts(row[place])) for row in table.rows} for place in range(len(table.columns))]
    kept = [place for place, values in enumerate(texts) if not place or len(values) > 1 or len(table.rows) < 2]
    same = [f"{column.group} {column.name}: {min(values)}".strip()
            for place, (column, values) in enumerate(zip(table.columns, texts, strict=True))
            if place not in kept and values != {ABSENT.text}]  # fmt: skip
    table = _of_columns(table, kept)
    return replace(table, notes=(*table.notes, f"In every row: {'; '.join(same)}.")) if same else table


def _of_columns(table: Table, places: Sequence[int]) -> Table:
    rows = tuple(tuple(row[place] for place in places) for row in table.rows)
    return replace(table, columns=tuple(table.columns[place] for place in places), rows=rows)


def _panels(table: Table, room: float) -> list[list[int]]:
    """The columns that stand side by side: all, or as many as fit beside the first, again and again."""
    panels: list[list[int]] = [[0]]
    for place in range(1, len(table.columns)):
        widths = [max(least, min(most, COMFORT)) for least, most in _limits(_of_columns(table, [*panels[-1], place]))]
        if SIZE * sum(widths) + GAP * (len(widths) - 1) > room and len(panels[-1]) > 1:
            panels.append([0])
        panels[-1].append(place)
    return panels


def _limits(table: Table) -> list[tuple[float, float]]:
    """Em of every column at least and at most."""
    limits = []
    groups = {place: (name, end - start) for name, start, end in _groups(table.columns) for place in range(start, end)}
    for place, column in enumerate(table.columns):
        group, span = groups[place]
        texts = [spelled(column.name), *(text for row in table.rows for text in _texts(row[place]))]
        mark = max(0.6 * len(row[place].mark) for row in table.rows)
        bold = 1.12 if any(row[place].strong for row in table.rows) else 1.0
        least = max(bold * _longest(texts) + mark, _longest([spelled(group)]) / span)
        limits.append((least, max(least, bold * 1.05 * max(map(_em, texts)) + mark)))
    return limits


def _longest(texts: Iterable[str]) -> float:
    """Em of the longest piece."""
    return max(_em(piece) + 0.35 for text in texts for word in _words(text) for piece in _pieces(word) or [""])


def _widths(table: Table, room: float) -> list[float]:
    """Em of every column: what all need, and of the rest as much as each can use."""
    limits = _limits(table)
    rest = (room - GAP * (len(limits) - 1)) / SIZE - sum(least for least, _ in limits)
    share = min(max(rest / max(sum(most - least for least, most in limits), 1e-9), 0.0), 1.0)
    return [least + share * (most - least) for least, most in limits]


def _parts(table: Table, room: float) -> list[_Part]:
    """The rows of some columns, as many to a part as a page holds."""
    widths, headings = _widths(table, room), dict(table.sections)
    head = max(_lines(column.name, width) for column, width in zip(table.columns, widths, strict=True))
    head += max(_lines(name, sum(widths[start:end])) for name, start, end in _groups(table.columns))
    start = RULES + head + _lines(_caption(table), room / SIZE)
    parts = [_Part(table, widths, start)]
    for number, row in enumerate(table.rows):
        taken = ROW_GAP + max(
            sum(_lines(text, width) for text in _texts(cell)) for cell, width in zip(row, widths, strict=True)
        )
        taken += _lines(headings[number], room / SIZE) + 1 if number in headings else 0
        if parts[-1].height + taken > LINES and parts[-1].rows:
            parts.append(_Part(table, widths, start))
        parts[-1].rows.append(number)
        parts[-1].height += taken
    return parts


def _add_notes(parts: list[_Part], room: float) -> None:
    """Put the notes below the last part, and into further parts where the page does not hold them."""
    for note in parts[-1].table.notes:
        taken = _lines(note, room / SIZE) + ROW_GAP
        if parts[-1].height + taken > LINES:
            parts.append(_Part(parts[-1].table, parts[-1].widths, RULES))
        parts[-1].notes.append(note)
        parts[-1].height += taken


def _caption(table: Table) -> str:
    return f"{table.title}. {table.caption}".strip()


def _float(part: _Part, place: int, column: str) -> str:
    table, environment = part.table, "table*" if column == "double" else "table"
    caption = _source(f"{table.title}, continued." if place else _caption(table))
    lines = [rf"\begin{{{environment}}}[tbp]", *([r"\addtocounter{table}{-1}"] if place else [])]
    lines += [rf"\caption[{latex(spelled(table.title))}]{{\protect\raggedright{LETTERS} {caption}}}"]
    lines += [] if place else [rf"\label{{tab:{table.id}}}"]
    lines += [rf"\centering{LETTERS}\setlength{{\tabcolsep}}{{{GAP / 2:g}pt}}"]
    lines += _tabular(part) if part.rows else []
    if part.notes:
        lines += [r"\par\smallskip", rf"\begin{{minipage}}{{{COLUMNS[column]}in}}\raggedright{LETTERS}"]
        lines += [*(rf"{_source(note)}\par" for note in part.notes), r"\end{minipage}"]
    return "\n".join([*lines, rf"\end{{{environment}}}"]) + "\n"


def _tabular(part: _Part) -> list[str]:
    columns, points = part.table.columns, [SIZE * width for width in part.widths]
    kinds = [_kind("raggedleft" if column.numeric else "raggedright", width)
             for column, width in zip(columns, points, strict=True)]  # fmt: skip
    lines = [rf"\begin{{tabular}}{{@{{}}{''.join(kinds)}@{{}}}}", r"\toprule"]
    groups = _groups(columns)
    if any(name for name, _, _ in groups):
        cells = [_spanning(_source(name), points[start:end], "centering", start, end == len(columns))
                 for name, start, end in groups]  # fmt: skip
        rules = [rf"\cmidrule(lr){{{start + 1}-{end}}}" for name, start, end in groups if name]
        lines += [_row(cells), " ".join(rules)]
    lines += [_row(_source(column.name) for column in columns), r"\midrule"]
    headings = dict(part.table.sections)
    current = max((start for start in headings if start <= part.rows[0]), default=-1)
    for number in part.rows:
        start = current if number == part.rows[0] else number
        if start in headings:
            lines += [r"\midrule"] if number > part.rows[0] else []
            lines.append(_row([_spanning(rf"\textit{{{_source(headings[start])}}}", points, "raggedright", 0, True)]))
        lines.append(_row(map(_cell, part.table.rows[number])))
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _spanning(inside: str, points: Sequence[float], side: str, start: int, last: bool) -> str:
    """A cell over several columns, as wide as they are together."""
    kind = _kind(side, sum(points) + GAP * (len(points) - 1))
    kind = ("" if start else "@{}") + kind + ("@{}" if last else "")
    return rf"\multicolumn{{{len(points)}}}{{{kind}}}{{{inside}}}"


def _kind(side: str, width: float) -> str:
    return rf">{{\{side}\arraybackslash}}p{{{width:.1f}pt}}"


def _row(cells: Iterable[str]) -> str:
    r"""One row; a first word in brackets or a star would be read as an option of the line break above it."""
    row = " & ".join(cells) + rf" \\[{ROW_GAP:g}ex]"
    return "{}" + row if row.startswith(("[", "*")) else row


def _texts(cell: Cell) -> list[str]:
    """The text, and below it the note; no identifier, and no reason, which the notes give in full."""
    note = "" if cell.code or cell.absent else cell.note
    return [spelled(cell.text), *([spelled(note)] if note else [])]


def _cell(cell: Cell) -> str:
    first, *note = map(_source, _texts(cell))
    first = rf"\textbf{{{first}}}" if cell.strong and first else first
    mark = rf"\raisebox{{.5ex}}{{{latex(cell.mark)}}}" if cell.mark else ""
    return first + mark + "".join(rf"\newline {line}" for line in note)


def _groups(columns: Sequence[Column]) -> list[tuple[str, int, int]]:
    """Headings of neighbouring columns, and where each begins and ends."""
    groups, start = [], 0
    for name, members in groupby(columns, key=lambda column: column.group):
        end = start + len([*members])
        groups.append((name, start, end))
        start = end
    return groups


def _words(text: str) -> list[str]:
    """Words; intervals and signs stay with what they belong to."""
    text = _INTERVAL.sub(lambda result: result[0].replace(" ", _TIE), " ".join(text.split()))
    for sign, tied in ((" %", f"{_TIE}%"), ("≤ ", f"≤{_TIE}"), (" / ", f"{_TIE}/ ")):
        text = text.replace(sign, tied)
    return text.split(" ")


def _pieces(word: str) -> list[str]:
    """What of a word is never divided: all of it, or of a long one what stands between its signs."""
    if _em(word) <= (2 * LONGEST if _TIE in word else LONGEST):
        return [word]
    return _PIECES.findall(word)


def _source(text: str) -> str:
    """As LaTeX, with places where it may be divided."""
    words = ([latex(piece).replace(" ", "~") for piece in _pieces(word)] for word in _words(spelled(text)))
    return " ".join(map(r"\allowbreak{}".join, words))


def _lines(text: str, width: float) -> int:
    """Lines that a text takes in a column of so many em; a fifth of each is left empty where words do not fit."""
    em = _em(spelled(text))
    return math.ceil(em / width if em <= width else 1.2 * em / width)


def _em(text: str) -> float:
    """About how wide a text is, in the size of its letters."""
    return sum(0.35 if item in _THIN else 0.95 if item in _WIDE else 0.77 if "A" <= item <= "Z" or item == "&" else
               0.56 if item.isascii() else 0.0 if "\u0300" <= item <= "\u036f" else 0.8 for item in text)  # fmt: skip
