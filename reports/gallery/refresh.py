"""Refresh what the gallery and the README show from finished studies: `python reports/gallery/refresh.py`.

Of `paper` the figures and the main table, of `literature` the main table. The gallery stands outside the DAG: what a
run writes elsewhere under ``reports/`` is not in git.
"""

from __future__ import annotations

import re
import shutil
import textwrap
from dataclasses import replace
from pathlib import Path

from fne.report.tables.cells import Table
from fne.report.tables.registry import build
from fne.report.tables.render import to_markdown
from fne.results.study import StudyResults, load

ROOT = Path(__file__).resolve().parents[2]
GALLERY = ROOT / "reports" / "gallery"
STUDIES = ("paper", "literature")
PICTURES = {"contrasts": "difference_to_baseline", "picks": "false_negative_picks", "distributions": "posterior"}
MARKS = re.compile(r"(<!-- results:begin -->\n).*(<!-- results:end -->)", re.DOTALL)
GROUPS = ("", "Primary metric", "Training")
"""Groups of columns of the main table that the README shows, at most seven columns."""
NO_BREAK = "\u00a0"


def unbroken(markdown: str) -> str:
    """A Markdown table whose cells, but for the first of a row, do not wrap; its caption in lines of 120."""

    def row(line: str) -> str:
        first, *rest = line.split(" | ")
        return " | ".join([first, *(cell.replace(" ", NO_BREAK) for cell in rest[:-1]), *rest[-1:]])

    return "\n".join(row(line) if line.startswith("|") else textwrap.fill(line, 120) for line in markdown.split("\n"))


def shortened(table: Table, study: StudyResults) -> Table:
    """The main table without recalls and further protocols, its notes behind links."""
    kept = [place for place, column in enumerate(table.columns) if column.group in GROUPS]
    score = next(place for place, column in enumerate(table.columns) if column.group == GROUPS[1])
    rows = []
    for row in table.rows:
        cells = {place: row[place] for place in kept}
        cells[score] = replace(row[score], note="")
        cells[0] = replace(row[0], note="")
        rows.append(tuple(cells.values()))
    columns = tuple(replace(table.columns[place], group="") for place in kept)
    if len(columns) > 7:
        raise SystemExit(
            f"error: the README shows at most seven columns of the main table, and these are {len(columns)}"
        )
    caption = (
        f"{study.title}: means over {len(study.seeds)} training seeds. rsum is the sum of six recalls, 0 to 600; "
        f"Δ is the paired difference to {study[study.baseline].title}, with its 95 % interval for other seeds and test "
        "images and, after the slash, for another encoder, world and tuning too; p is over test images, after Holm's "
        "correction; false picks are the picked negatives that are in truth relevant."
    )
    return replace(table, title="Result", caption=caption, columns=columns, rows=tuple(rows), notes=())


def main() -> None:
    """Copy figures and main tables; the first study's shortened table goes between the README's marks."""
    for study in STUDIES:
        file = ROOT / "reports" / study / "tables" / "main.md"
        if not file.is_file():
            raise SystemExit(f"error: {file}: not there; run `snakemake --cores all --config study={study}` first")
        shutil.copyfile(file, GALLERY / f"{study}_table.md")
    for name, shown in PICTURES.items():
        shutil.copyfile(ROOT / "reports" / STUDIES[0] / "figures" / f"{name}.png", GALLERY / f"{shown}.png")
    first = load(STUDIES[0], ROOT)
    table = unbroken(to_markdown(shortened(build(first, "main"), first)))
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    readme.write_text(MARKS.sub(lambda found: f"{found[1]}{table}{found[2]}", text), encoding="utf-8")


if __name__ == "__main__":
    main()
