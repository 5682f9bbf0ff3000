"""Two sets of results side by side, as text for a terminal, as Markdown and as CSV; foreign words are cleaned here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from textwrap import fill
from typing import Any

import numpy as np

from fne.analysis.rank_correlation import Agreement
from fne.protocols import metric_of
from fne.report.text.wording import listing, percent, seed_list, short, signed, span
from fne.results.made_from import CONFIG, VERSIONS, Difference
from fne.results.paired import Pair
from fne.utils.files import as_csv
from fne.utils.text import clean, markdown

SIDE = ("score", "low", "high", "difference", "difference_low", "difference_high", "rank")
PAIRED = ("a_minus_b", "a_minus_b_low", "a_minus_b_high", "a_minus_b_seeds", "a_minus_b_note")
COLUMNS = ["variant", "title", *(f"{side}_{key}" for side in ("a", "b") for key in SIDE), *PAIRED, "config_differs"]
WIDTH, LONGEST, DIGITS, MOST = 80, 60, 12, 30
"""Of a line, of a name or value in it, of a digest; names in a line, and lines of one group."""


@dataclass(frozen=True)
class SideBySide:
    """Two sets of results.

    Args:
        lines: What is said above the tables.
        rows: One per variant that both have, by :data:`COLUMNS`; scores are fractions.
        paired: Are there differences A - B?
        found: Rank correlations.
        names: What the two are called.
        metric: Id of the primary metric.
    """

    lines: tuple[str, ...]
    rows: tuple[dict[str, Any], ...]
    paired: bool
    found: tuple[Agreement, ...]
    names: tuple[str, str]
    metric: str


def heading(letter: str, facts: Mapping[str, Any]) -> str:
    """What a side is, in a line."""
    protocol = facts["protocols"][facts["primary"]["protocol"]]
    study, title, name, regime, baseline = (
        short(text, LONGEST)
        for text in (facts["study"], facts["title"], protocol["name"], facts["regime"], facts["baseline"])
    )
    of = f"{name}, fingerprint {protocol['id']}; regime {regime}; {len(facts['seeds'])} seeds; baseline {baseline}"
    return f"{letter}: {study}, {title} ({of})"


def difference_lines(differ: Sequence[Difference], equal: Sequence[str], common: Sequence[str]) -> list[str]:
    """What differs between A and B, a line each, and what does not."""
    if not differ:
        return [f"Nothing differs: {listing(equal)} are equal"]
    head = "Differs, or is not recorded:" if any(None in item.values for item in differ) else "Differs:"
    lines = []
    for group, of in groupby(differ, key=lambda item: item.group):
        result = [*of]
        more = [f"and {len(result) - MOST:,} more"] * (len(result) > MOST)
        lines += [f"  {group:<9} {line}" for line in (*(_difference(item, common) for item in result[:MOST]), *more)]
    return [head, *lines, f"Equal: {', '.join(equal) or 'nothing'}"]


def _difference(item: Difference, common: Sequence[str]) -> str:
    of = f"all {len(common)} variants" if len(item.variants) == len(common) > 1 else names_of(item.variants)
    what = " of ".join(filter(None, (short(item.name, LONGEST), of)))
    sides = [_shown(item.group, value) for value in item.values]
    return ": ".join(filter(None, (what, f"A {sides[0]}, B {sides[1]}")))


def _shown(group: str, value: str | None) -> str:
    """A value in few words: of a digest its first digits."""
    if value is None:
        return "none" if group == CONFIG else "not recorded"
    parts = [value] if group in (VERSIONS, CONFIG) else [part[:DIGITS] for part in value.split(", ")]
    return short(", ".join(parts), LONGEST)


def names_of(names: Sequence[str]) -> str:
    """Names in a line, no more than :data:`MOST`."""
    more = [f"and {len(names) - MOST:,} more"] * (len(names) > MOST)
    return ", ".join([*(short(name, LONGEST) for name in names[:MOST]), *more])


def note(pair: Pair, left_out: Sequence[Sequence[str]]) -> str:
    """How A - B of a variant was made, or why there is none.

    Args:
        pair: What is paired.
        left_out: What A and B say was left out of them.
    """
    words = [f"seeds {seed_list(pair.seeds)}" if pair.seeds else "none: no seed has a result of both"]
    words += [f"{seed_list(seeds)} in {letter} alone" for letter, seeds in zip("AB", pair.alone, strict=True) if seeds]
    for letter, without, reasons in zip("AB", pair.without, left_out, strict=True):
        if without:
            why = [f" ({short(item, LONGEST)})" for item in reasons if item.startswith("images: ")]
            words.append(f"{letter} holds no values of single images{''.join(why[:1])}")
    words += [f"{pair.images:,} test images"] * (pair.images > 0)
    if (item := pair.interval) is not None:
        has_interval = np.isfinite(item.low[0])
        made = f"{100 * item.level:g} % interval by {item.method}"
        words.append(made if has_interval else f"no interval{item.method.removeprefix('none')}")
    return "; ".join(words)


def _agreement_lines(made: SideBySide) -> list[str]:
    count = len(made.rows)
    lines = []
    for item in made.found:
        value = f"{item.value:.2f}" if np.isfinite(item.value) else "none"
        ends = f" [{item.low:.2f}, {item.high:.2f}]" if np.isfinite(item.low) else ""
        how = f"95 % interval by {item.method}" if ends else item.method.removeprefix("none: ")
        lines.append(f"{item.name}'s rank correlation of the {count} variants in both: {value}{ends}; {how}")
    return lines


def _note_lines(made: SideBySide) -> list[str]:
    """How A - B was made, of all variants of which this is the same."""
    notes: dict[str, list[str]] = {}
    for row in made.rows if made.paired else ():
        notes.setdefault(row[PAIRED[-1]], []).append(row["variant"])
    return [f"A − B{f' of {names_of(of)}' * (len(notes) > 1)}: {note}" for note, of in notes.items()]


def _cells(made: SideBySide) -> list[list[str]]:
    """Variant, scores and A - B; then how each side orders the variants."""
    label, order = short(metric_of(made.metric).label, LONGEST), ("Δ baseline", "rank")
    head = ["Variant", f"A: {label}", f"B: {label}"] + ["A − B"] * made.paired
    cells = [head + [f"{letter}: {what}" for letter in "AB" for what in order]]
    for row in made.rows:
        scores = [f"{percent(row[f'{s}_score'])} {span(row[f'{s}_low'], row[f'{s}_high'])}".rstrip() for s in "ab"]
        of = [_signed(row, *PAIRED[:3])] * made.paired
        for side in "ab":
            of += [_signed(row, *(f"{side}_{key}" for key in SIDE[3:6])), f"{row[f'{side}_rank']:g}"]
        cells.append([short(row["variant"], LONGEST), *scores, *of])
    return cells


def _signed(row: Mapping[str, Any], value: str, low: str, high: str) -> str:
    return f"{signed(row[value])} {span(row[low], row[high], sign=True)}".rstrip()


def table_lines(cells: Sequence[Sequence[str]]) -> list[str]:
    """A table for a terminal; where that is too narrow, the first cell of a row stands above the others."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    if sum(widths) + 2 * (len(widths) - 1) > WIDTH:
        widths[0] = 0
        cells = [[f"{first}\n", *rest] for first, *rest in cells]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def text(made: SideBySide) -> str:
    """For a terminal of :data:`WIDTH` columns."""
    cells, split = _cells(made), 3 + made.paired
    scores, orders = [row[:split] for row in cells], [[row[0], *row[split:]] for row in cells]
    said, notes, agreements = (map(_wrap, lines) for lines in (made.lines, _note_lines(made), _agreement_lines(made)))
    return "\n".join([*said, "", *table_lines(scores), *notes, "", *table_lines(orders), *agreements])


def _wrap(line: str) -> str:
    return fill(line, WIDTH, subsequent_indent=" " * (12 if line.startswith(" ") else 3), break_on_hyphens=False)


def markdown_text(made: SideBySide) -> str:
    """As Markdown."""
    rows = [f"| {' | '.join(map(markdown, row))} |" for row in _cells(made)]
    rows.insert(1, "|" + " --- |" * (rows[0].count("|") - 1))
    said = [f"{markdown(line)}  " for line in (*made.lines, *_note_lines(made), *_agreement_lines(made))]
    return "\n".join([f"# {markdown(' beside '.join(made.names))}", "", *said, "", *rows]) + "\n"


def csv_text(made: SideBySide) -> str:
    """As CSV: a row per variant, fractions with all digits."""
    return as_csv(
        ({key: clean(cell) if isinstance(cell, str) else cell for key, cell in row.items()} for row in made.rows),
        COLUMNS,
    )
