"""Tables in four formats: every text is escaped for its format, and none loses a cell."""

from __future__ import annotations

import csv
import re
from html.parser import HTMLParser
from pathlib import Path

from fne.report.tables.cells import ABSENT, Cell, Column, Table
from fne.report.tables.render import notes_html, save, to_html, to_latex, to_markdown
from tests.report.synthetic import HOSTILE


def table(sortable: bool = True) -> Table:
    columns = (
        Column("Variant", numeric=False),
        Column(HOSTILE, "Group & co", help=HOSTILE),
        Column("rsum", "Group & co"),
    )
    rows = (
        (Cell(HOSTILE, note="an_id", code=True), Cell("1.0", 1.0, strong=True), Cell("2.0", 2.0, note="[1.0, 3.0]")),
        (Cell("plain"), ABSENT, Cell("0 of 2", 0.0, note=HOSTILE, absent=True)),
    )
    records = ({"variant": HOSTILE, "value": 1 / 3}, {"variant": "plain", "value": None, "more": 'a,"b"\nc'})
    return Table("t", "Title", HOSTILE, columns, rows, (HOSTILE,), records, sortable)


class Reader(HTMLParser):
    """Collects the texts of cells, tag counts and attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: list[str] = []
        self.attributes: list[dict[str, str | None]] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.append(dict(attrs))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._inside = True
        if tag == "small" and self._inside:
            self.rows[-1][-1] += "\n"

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.rows[-1][-1] += data


def test_html_says_the_words_and_runs_no_code() -> None:
    read = Reader(to_html(table()))
    assert "script" not in read.tags
    assert read.rows[-2] == [f"{HOSTILE}\nan_id", "1.0", "2.0\n[1.0, 3.0]"]
    assert read.rows[-1] == ["plain", "—", f"0 of 2\n{HOSTILE}"]
    assert read.rows[1] == ["Variant", HOSTILE, "rsum"]
    titles = [result["title"] for result in read.attributes if result.get("title")]
    assert titles == [HOSTILE]
    assert Reader(notes_html(table())).tags == ["p", "ul", "li"]


def test_html_rows_have_a_heading_and_sort_keys() -> None:
    html = to_html(table())
    assert html.count('<th scope="row"') == 2
    assert 'data-sort="1.0"' in html and 'data-sort="2.0"' in html
    assert html.count('data-sort=""') == 1  # the cell without a number; the first column holds words
    assert 'class="absent"' in html
    assert "data-sort" not in to_html(table(sortable=False))


def test_markdown_keeps_its_columns() -> None:
    lines = to_markdown(table()).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 4
    for row in rows:
        assert len(re.findall(r"(?<!\\)\|", row)) == 4, row
    assert "<script" not in to_markdown(table()).replace("\\<script", "")
    assert "**1.0**" in rows[2]
    assert r"2.0 \[1.0, 3.0\]" in rows[2]
    assert "`an_id`" in rows[2]


def unescaped(text: str, letter: str) -> int:
    return len(re.findall(rf"(?<!\\){re.escape(letter)}", text))


def test_latex_escapes_its_specials_and_keeps_its_columns() -> None:
    text = to_latex(table())
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")]
    rows = [line for line in body.splitlines() if line.endswith(r"\\[0.25ex]")]
    assert len(rows) == 2
    for row in rows:
        assert unescaped(row, "&") == 2
        assert unescaped(row, "#") == unescaped(row, "_") == unescaped(row, "%") == 0
    plain = text.replace(r"\allowbreak{}", "").replace(r"\-", "")
    assert r"\textbackslash{}cmd\{a\}" in plain and r"\textasciicircum{}" in plain and r"\$x\_1\$" in plain
    assert r"\textbf{1.0}" in text and r"\newline [1.0,~3.0]" in text and r"an\_id" not in plain
    assert r"\multicolumn{2}{" in text and r"{Group \& co}" in text and r"\cmidrule(lr){2-3}" in text
    for rule in (r"\toprule", r"\midrule", r"\bottomrule"):
        assert text.count(rule) == 1
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


def test_csv_keeps_every_digit_and_every_key(tmp_path: Path) -> None:
    paths = save(table(), tmp_path)
    assert [path.name for path in paths] == ["t.html", "t.md", "t.tex", "t.csv"]
    with open(tmp_path / "t.csv", encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert [row["variant"] for row in rows] == [HOSTILE, "plain"]
    assert float(rows[0]["value"]) == 1 / 3
    assert rows[1]["value"] == "" and rows[1]["more"] == 'a,"b"\nc'


def sectioned() -> Table:
    columns = (Column("Method", numeric=False), Column("rsum"))
    marked = (Cell("B", strong=True, mark=HOSTILE), Cell("2.0"))
    rows = ((Cell("A", mark="a"), Cell("1.0")), marked, (Cell("C"), ABSENT))
    return Table("s", "S", "", columns, rows, sections=((0, "Published"), (2, HOSTILE)))


def test_html_sections_are_groups_of_rows_with_a_heading() -> None:
    html = to_html(sectioned())
    read = Reader(html)
    assert [row[0] for row in read.rows[1:]] == ["Published", "Aa", f"B{HOSTILE}", HOSTILE, "C"]
    assert html.count("<tbody>") == html.count("</tbody>") == 2
    assert html.count('<th scope="rowgroup" colspan="2">') == 2
    assert "<sup>a</sup>" in html and "script" not in read.tags


def test_markdown_and_latex_sections_keep_the_columns() -> None:
    rows = [line for line in to_markdown(sectioned()).splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 3 + 2 and rows[2] == "| **Published** | |" and "A<sup>a</sup>" in rows[3]
    for row in rows:
        assert len(re.findall(r"(?<!\\)\|", row)) == 3, row
    lines = to_latex(sectioned()).splitlines()
    place = next(place for place, line in enumerate(lines) if r"{\textit{Published}}" in line)
    assert lines[place - 1] == r"\midrule" and lines[place + 1].startswith(r"A\raisebox{.5ex}{a} & 1.0 \\")
    assert lines.count(r"\midrule") == 2 and sum(line.startswith(r"\multicolumn{2}{@{}") for line in lines) == 2


def test_a_title_in_brackets_or_with_a_star_is_no_option_of_the_line_break_above_it() -> None:
    titles = ("[old] FNE", "*FNE", "FNE [old]")
    rows = tuple((Cell(title), Cell(f"{place}.0")) for place, title in enumerate(titles))
    text = to_latex(Table("t", "Title", "Caption", (Column("[V]", numeric=False), Column("rsum")), rows))
    assert [line.partition(r" \\")[0] for line in text.splitlines() if line.endswith(r"\\[0.25ex]")] == [
        "{}[V] & rsum", "{}[old] FNE & 0.0", "{}*FNE & 1.0", "FNE [old] & 2.0",
    ]  # fmt: skip
