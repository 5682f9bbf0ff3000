r"""Tables as LaTeX that fits its page, whatever they hold: columns that wrap, long and wide tables in parts.

Needs ``\usepackage{array,booktabs}``. Widths are estimated with letters a little wider than those of Computer Modern,
Times and Helvetica, so that a line that fits here fits there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import groupby

from fne.report.figures.style import COLUMNS
from fne.report.tables.cells import Cell, Column, Table
from fne.report.text.wording import listing
from fne.utils.latex import latex, spelled

SIZES = (8, 7)
"""Points of a table's letters: the first at which all columns stand side by side, else the last."""
TALLEST = 8.3
"""Inches of a part with its caption, less than the text of a page."""
LEADING, ROW_GAP, RULES = 1.2, 0.25, 3.0
"""Height of a line and of the gap below a row, in letters; of all rules of a table and of its caption's gaps, in
lines."""
GAP = 6.0
"""Points between two columns."""
COMFORT = 9.0
"""Letters (em) of a column of words that is not squeezed further."""
LONGEST = 7.0
"""A word of more em than this may be divided."""
POINTS = 72.27
_THIN, _CAPITAL, _WIDE = frozenset(" .,:;'|!ijl[]()/t-`"), re.compile("[A-Z&]"), frozenset("mwMW%@—…→←↔≈−+=±<>≤≥×")
_GLUED = re.compile(r"\[[^\[\]]{1,24}\]")
_SEAMS = re.compile(r"(?<=[._/:=,;()\]-])(?=.)")
_TIE = "\u00a0"


@dataclass(frozen=True)
class _Line:
    """Words that a cell begins a new line with, and whether they are bold."""

    text: str
    strong: bool = False

    @cached_property
    def pieces(self) -> list[tuple[str, str]]:
        """What is never divided, each with what stands before it: a space, nothing, or a hyphen where it is divided."""
        return [piece for word in _glued(self.text).split(" ") if word for piece in _divided(word)]

    @cached_property
    def widths(self) -> list[tuple[str, float]]:
        """The pieces' widths in em."""
        return [(before, _em(piece) * (1.12 if self.strong else 1.0)) for before, piece in self.pieces]

    @cached_property
    def longest(self) -> float:
        """Em of the longest piece, with the hyphen behind it."""
        return max((width + 0.35 for _, width in self.widths), default=0.0)

    @cached_property
    def whole(self) -> float:
        """Em of all of it in a line."""
        return sum(width + (0.34 if before == " " else 0.0) for before, width in self.widths) + 0.1

    def lines(self, width: float) -> int:
        """Lines that it takes in a column of so many em."""
        count, filled = 1, 0.0
        for before, piece in self.widths:
            space = 0.34 if before == " " and filled else 0.0
            if filled and filled + space + piece > width:
                count, filled = count + 1, piece
            else:
                filled += space + piece
        return count

    def source(self) -> str:
        """As LaTeX, with places where it may be divided."""
        joints = {" ": " ", "": r"\allowbreak{}", "-": r"\-"}
        parts = [joints[before] + latex(piece.replace(_TIE, " ")).replace(" ", "~") for before, piece in self.pieces]
        words = "".join(parts).removeprefix(" ")
        return rf"\textbf{{{words}}}" if self.strong and words else words


def to_latex(table: Table, column: str = "double") -> str:
    r"""Floats for one column of a paper or for two, letters of 7 points or more; a comment where there are no rows.

    Args:
        table: What to set.
        column: Of :data:`~fne.report.figures.style.COLUMNS`: ``single``, a ``table``, or ``double``, a ``table*``.

    Returns:
        One float, or several where columns or rows do not fit into one; each but the first is called *continued*.
    """
    if not table.rows:
        return f"% No table: {' '.join(spelled(' '.join([table.caption, *table.notes])).split())}\n"
    shown, room = _without_constants(table), POINTS * COLUMNS[column]
    size, panels = _panels(shown, room)
    if len(panels) > 1 and (column == "single") and any(item.detail for item in shown.columns):
        few = [place for place, item in enumerate(shown.columns) if not item.detail]
        shown = _of_columns(
            shown,
            few,
            "Not shown, for they need two columns of a page: "
            f"{listing(dict.fromkeys(map(_heading, [c for c in shown.columns if c.detail])))}.",
        )
        size, panels = _panels(shown, room)
    parts = [part for panel in panels for part in _parts(shown, panel, size, room)]
    parts += _with_notes(parts, shown.notes, size, room)
    return "\n".join(_float(shown, part, place, size, column) for place, part in enumerate(parts))


@dataclass
class _Part:
    """Some rows of some columns, which stand in one float; notes below the last one.

    Args:
        places: Of the columns.
        widths: Theirs, in em.
        rows: From which row to which.
        height: In lines.
        notes: Sentences below it.
    """

    places: Sequence[int]
    widths: Sequence[float]
    rows: range
    height: float
    notes: Sequence[_Line] = ()


def _without_constants(table: Table) -> Table:
    """The table without columns of one value, which a note gives, and without identifiers."""
    same = {
        place: texts.pop()
        for place in range(1, len(table.columns))
        if len(table.rows) > 1 and len(texts := {_words(row[place]) for row in table.rows}) == 1
    }
    said = "; ".join(f"{_heading(table.columns[place])}: {words}" for place, words in same.items() if words != "—")
    kept = [place for place in range(len(table.columns)) if place not in same]
    return _of_columns(table, kept, f"In every row: {said}." if said else "")


def _of_columns(table: Table, kept: Sequence[int], note: str) -> Table:
    """The table of some columns, and a further note."""
    rows = tuple(tuple(row[place] for place in kept) for row in table.rows)
    columns = tuple(table.columns[place] for place in kept)
    return replace(table, columns=columns, rows=rows, notes=(*table.notes, *filter(None, [note])))


def _heading(column: Column) -> str:
    return " ".join(filter(None, (column.group, column.name)))


def _words(cell: Cell) -> str:
    return " ".join(line.text for line in _lines(cell))


@lru_cache(4096)
def _lines(cell: Cell) -> list[_Line]:
    """The text, and below it the note; no identifier, and no reason, which the notes give in full."""
    note = "" if cell.code or cell.absent else cell.note
    return [_Line(spelled(cell.text), cell.strong), *([_Line(spelled(note))] if note else [])]


def _panels(table: Table, room: float) -> tuple[int, list[list[int]]]:
    """The size of the letters, and the columns side by side: all, or as many groups as fit beside the headings."""
    every = list(range(len(table.columns)))
    for size in SIZES:
        if _needed(table, every, size) <= room:
            return size, [every]
    heads = next(
        (
            n
            for n in range(1, len(every))
            if len({tuple(map(_words, row[:n])) for row in table.rows}) == len(table.rows)
        ),
        1,
    )
    blocks, start = [], heads
    for _, span in _groups(table.columns[heads:]):
        blocks.append(list(range(start, start + span)))
        start += span
    panels: list[list[int]] = [[]]
    for block in blocks:
        alone = _needed(table, [*every[:heads], *block], size) <= room
        for some in [block] if alone and table.columns[block[0]].group else [[place] for place in block]:
            if panels[-1] and _needed(table, [*every[:heads], *panels[-1], *some], size) > room:
                panels.append([])
            panels[-1] += some
    return size, [[*every[:heads], *panel] for panel in panels]


def _needed(table: Table, places: Sequence[int], size: int) -> float:
    """Points that columns take when words are squeezed no further than is comfortable."""
    comfort = [max(least, min(most, COMFORT)) for least, most in _limits(table, places)]
    return size * sum(comfort) + GAP * (len(places) - 1)


def _limits(table: Table, places: Sequence[int]) -> list[tuple[float, float]]:
    """Em of every column at least and at most."""
    result = []
    for place in places:
        lines = [line for row in table.rows for line in _lines(row[place])]
        head = _Line(spelled(table.columns[place].name)).longest
        marks = max(0.6 * len(row[place].mark) for row in table.rows)
        least = max(head, *(line.longest for line in lines))
        result.append((least + marks, max(head, *(line.whole for line in lines)) + marks))
    start = 0
    for name, span in _groups([table.columns[place] for place in places]):
        lack = _Line(spelled(name)).longest - sum(least for least, _ in result[start : start + span])
        if lack > 0:
            for place in range(start, start + span):
                least, most = result[place]
                result[place] = least + lack / span, max(most, least + lack / span)
        start += span
    return result


def _widths(limits: Sequence[tuple[float, float]], room: float) -> list[float]:
    """Em of every column: what all need, and of the rest as much as each can use, shared evenly."""
    result = [least for least, _ in limits]
    rest = room - sum(result)
    order = sorted(range(len(result)), key=lambda place: limits[place][1] - limits[place][0])
    for left, place in zip(range(len(order), 0, -1), order, strict=True):
        more = max(min(limits[place][1] - limits[place][0], rest / left), 0.0)
        result[place] += more
        rest -= more
    return result


def _parts(table: Table, places: Sequence[int], size: int, room: float) -> list[_Part]:
    """The rows of some columns, as many to a part as a page holds."""
    widths = _widths(_limits(table, places), (room - GAP * (len(places) - 1)) / size)
    start = RULES + _caption(table, False).lines(room / size) + _head_lines(table, places, widths)
    parts, height, first = [], start, 0
    headings = dict(table.sections)
    for number, row in enumerate(table.rows):
        lines = (sum(line.lines(width) for line in _lines(row[place]))
                 for place, width in zip(places, widths, strict=True))  # fmt: skip
        taken = max(lines) + ROW_GAP + (_Line(headings[number]).lines(room / size) + 1 if number in headings else 0)
        if height + taken > _most(size) and number > first:
            parts.append(_Part(places, widths, range(first, number), height))
            height, first = start, number
        height += taken
    return [*parts, _Part(places, widths, range(first, len(table.rows)), height)]


def _most(size: int) -> float:
    """Lines of a part."""
    return TALLEST * POINTS / (LEADING * size)


def _head_lines(table: Table, places: Sequence[int], widths: Sequence[float]) -> int:
    columns, start = [table.columns[place] for place in places], 0
    heads = max(_Line(column.name).lines(width) for column, width in zip(columns, widths, strict=True))
    groups = []
    for name, span in _groups(columns):
        groups.append(_Line(name).lines(sum(widths[start : start + span])) if name else 0)
        start += span
    return heads + max(groups)


def _with_notes(parts: list[_Part], notes: Sequence[str], size: int, room: float) -> list[_Part]:
    """Put the notes below the last part, and return further parts for those that the page does not hold."""
    more: list[_Part] = []
    last = parts[-1]
    for note in map(_Line, map(spelled, notes)):
        taken = note.lines(room / size) + ROW_GAP
        if last.height + taken > _most(size) and (last.rows or last.notes):
            last = _Part(last.places, last.widths, range(0), RULES)
            more.append(last)
        last.notes = [*last.notes, note]
        last.height += taken
    return more


def _caption(table: Table, continued: bool) -> _Line:
    if continued:
        return _Line(spelled(f"{table.title}, continued."))
    return _Line(spelled(f"{table.title}. {table.caption}" if table.caption else f"{table.title}."))


def _float(table: Table, part: _Part, place: int, size: int, column: str) -> str:
    environment, room = ("table*" if column == "double" else "table"), COLUMNS[column]
    letters = rf"\fontsize{{{size}}}{{{LEADING * size:.1f}}}\selectfont"
    caption = rf"\protect\raggedright{letters} {_caption(table, place > 0).source()}"
    lines = [rf"\begin{{{environment}}}[tbp]", *([r"\addtocounter{table}{-1}"] if place else [])]
    lines += [rf"\caption[{latex(spelled(table.title))}]{{{caption}}}"]
    lines += [] if place else [rf"\label{{tab:{table.id}}}"]
    lines += [rf"\centering{letters}\setlength{{\tabcolsep}}{{{GAP / 2:g}pt}}"]
    lines += _tabular(table, part, size) if part.rows else []
    if part.notes:
        lines.append(r"\par\smallskip")
        lines.append(rf"\begin{{minipage}}{{{room}in}}\raggedright{letters}")
        lines += [rf"{note.source()}\par" for note in part.notes]
        lines.append(r"\end{minipage}")
    return "\n".join([*lines, rf"\end{{{environment}}}"]) + "\n"


def _tabular(table: Table, part: _Part, size: int) -> list[str]:
    columns = [table.columns[place] for place in part.places]
    points = [size * width for width in part.widths]
    kinds = [_kind("raggedleft" if item.numeric else "raggedright", width)
             for item, width in zip(columns, points, strict=True)]  # fmt: skip
    lines = [rf"\begin{{tabular}}{{@{{}}{''.join(kinds)}@{{}}}}", r"\toprule"]
    groups = _groups(columns)
    if any(name for name, _ in groups):
        start, cells, rules = 0, [], []
        for name, span in groups:
            width = sum(points[start : start + span]) + GAP * (span - 1)
            ends = ("@{}" if not start else "", "@{}" if start + span == len(columns) else "")
            kind = f"{ends[0]}{_kind('centering', width)}{ends[1]}"
            cells.append(rf"\multicolumn{{{span}}}{{{kind}}}{{{_Line(spelled(name)).source()}}}")
            rules += [rf"\cmidrule(lr){{{start + 1}-{start + span}}}"] if name else []
            start += span
        lines += [_row(cells), " ".join(rules)]
    lines += [_row(_Line(spelled(column.name)).source() for column in columns), r"\midrule"]
    headings = dict(table.sections)
    current = max((start for start in headings if start <= part.rows[0]), default=-1)
    for number in part.rows:
        start = current if number == part.rows[0] else number
        if start in headings:
            lines += [r"\midrule"] if number > part.rows[0] else []
            width = sum(points) + GAP * (len(points) - 1)
            inside = rf"\textit{{{_Line(spelled(headings[start])).source()}}}"
            lines.append(
                _row([rf"\multicolumn{{{len(points)}}}{{@{{}}{_kind('raggedright', width)}@{{}}}}{{{inside}}}"])
            )
        lines.append(_row(_cell(table.rows[number][place]) for place in part.places))
    return [*lines, r"\bottomrule", r"\end{tabular}"]


def _kind(side: str, width: float) -> str:
    return rf">{{\{side}\arraybackslash}}p{{{width:.1f}pt}}"


def _row(cells: Iterable[str]) -> str:
    r"""One row; a first word in brackets or a star would be read as an option of the line break above it."""
    row = " & ".join(cells) + rf" \\[{ROW_GAP:g}ex]"
    return "{}" + row if row.startswith(("[", "*")) else row


def _cell(cell: Cell) -> str:
    first, *note = (line.source() for line in _lines(cell))
    mark = rf"\raisebox{{.5ex}}{{{latex(cell.mark)}}}" if cell.mark else ""
    return first + mark + "".join(rf"\newline {line}" for line in note)


def _groups(columns: Iterable[Column]) -> list[tuple[str, int]]:
    """Headings of neighbouring columns, and how many columns each spans."""
    return [(name, len([*members])) for name, members in groupby(columns, key=lambda column: column.group)]


def _glued(text: str) -> str:
    """Text in which intervals, signs of percent and slashes stay with what they belong to."""
    text = _GLUED.sub(lambda result: result[0].replace(" ", _TIE), " ".join(text.split()))
    return text.replace(" %", f"{_TIE}%").replace(" / ", f"{_TIE}/ ")


def _divided(word: str) -> list[tuple[str, str]]:
    """A word, or the pieces of a long one: behind its signs, and within what is long all the same."""
    if _em(word) <= (2 * LONGEST if _TIE in word else LONGEST):
        return [(" ", word)]
    if _TIE in word:
        return [piece for part in word.split(_TIE) if part for piece in _divided(part)]
    result, before = [], " "
    for part in _SEAMS.split(word):
        many = -(-int(10 * _em(part)) // int(10 * LONGEST)) or 1
        size = -(-len(part) // many)
        for start in range(0, len(part), size):
            piece = part[start : start + size]
            result.append((before, piece))
            before = "-" if piece[-1].isalpha() else ""
        before = ""
    return result


def _em(text: str) -> float:
    """About how wide a text is, in the size of its letters."""
    return sum(0.35 if item in _THIN else 0.95 if item in _WIDE else 0.77 if _CAPITAL.match(item) else
               0.56 if item.isascii() else 0.0 if "\u0300" <= item <= "\u036f" else 0.8 for item in text)  # fmt: skip
