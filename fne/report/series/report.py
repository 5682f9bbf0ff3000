"""The page of a series, and the record of what it was made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fne
from fne.report.figures.registry import WORDS
from fne.report.page import build as page
from fne.report.page.assets import table_library, text
from fne.report.page.svg import TOLD, inline_svg, read_svg
from fne.report.series import names, tables
from fne.report.series.answer import answer
from fne.report.series.results import SeriesResults, open_series, value_of
from fne.report.text.wording import listing, seed_list
from fne.study import paths
from fne.study.api import Series
from fne.study.series import PRETRAINED_HERE
from fne.utils.errors import bad_input
from fne.utils.files import read_record, sha256_file, write_json, write_text
from fne.utils.text import clean


def run(series: str | Series, root: str | Path = ".") -> list[Path]:
    """Write ``reports/<series>/report.html`` and ``record.json`` from the comparison and the drawn figures.

    Raises:
        UserError: The series was not compared, or its figures not drawn.
    """
    results = open_series(series, root)
    folder = Path(root) / paths.reports_folder(results.definition)
    code = (table_library(), text("page.js"), text("tables.js"))
    write_text(folder / "report.html", page.fill("series.html.j2", content(results, folder), code))
    write_json(folder / "record.json", record(results, folder))
    return [folder / "report.html", folder / "record.json"]


def content(series: SeriesResults, folder: Path) -> dict[str, Any]:
    """Everything that the page's template asks for."""
    drawn, hint = folder / "figures", f"run `fne figures --study {series.id}` again"
    for file in (*(drawn / f"{name}.svg" for name in names.figures(series.definition)), drawn / WORDS):
        if not file.is_file():
            raise bad_input("the figure was not drawn yet", file=file, hint=hint)
    words = {told["id"]: told for told in read_record(drawn / WORDS, None, TOLD, hint)}
    drawings = {name: read_svg(drawn / f"{name}.svg", hint) for name in names.figures(series.definition)}
    if lacking := [name for name in drawings if name not in words]:
        raise bad_input("a figure has no words", file=drawn / WORDS, key=lacking[0], hint=hint)
    figures = [{**words[name], "svg": inline_svg(svg, name, words[name]["alt"])} for name, svg in drawings.items()]
    seeds, variants = series.shared.seeds, series.variants
    return {
        "series": series.id,
        "version": fne.__version__,
        "title": clean(series.title),
        "question": clean(series.question),
        "answer": answer(series),
        "setting": f"{len(series.members)} {series.noun}s that differ in {listing(series.definition.factors)} alone, "
        f"{len(variants)} variants, seeds {seed_list(seeds)} in each. {tables.within(series)}"
        + "".join(f" Note: {note}." for note in series.definition.notes if note == PRETRAINED_HERE),
        "figures": figures,
        "tables": [tables.build(series, name) for name in names.tables(series.definition)],
        "members": [
            (", ".join(f"{key} {value_of(key, value)}" for key, value in point.items()), member)
            for member, point in series.points.items()
        ],
        "noun": series.noun,
    }


def record(series: SeriesResults, folder: Path) -> dict[str, Any]:
    """What the page was made from, and what was made: SHA-256 of every file, no times of its own."""
    made = sorted(
        path for path in folder.rglob("*") if path.is_file() and path.name != "record.json" and path.name[0] != "."
    )
    return {
        "schema": 1,
        "series": series.id,
        "factors": {key: list(values) for key, values in series.definition.factors.items()},
        "members": {member: dict(point) for member, point in series.points.items()},
        "fne": fne.__version__,
        "variants": list(series.variants),
        "seeds": list(series.shared.seeds),
        "inputs": {str((series.folder / name).relative_to(series.root)): sha256_file(series.folder / name)
                   for name in names.compared(series.definition)},
        "outputs": {str(path.relative_to(folder)): sha256_file(path) for path in made},
    }  # fmt: skip
