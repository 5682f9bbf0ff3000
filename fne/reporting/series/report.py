"""The page of a series, and the record of what it was made from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fne
from fne import paths
from fne.config import Series
from fne.errors import bad_input
from fne.files import read_json, sha256_file, write_json, write_text
from fne.reporting import page
from fne.reporting.figures import WORDS
from fne.reporting.page.assets import table_library, text
from fne.reporting.page.svg import inline_svg
from fne.reporting.series import tables
from fne.reporting.series.answer import answer
from fne.reporting.series.names import FIGURE, TABLES
from fne.reporting.series.results import SeriesResults, open_series
from fne.reporting.wording import clean, seed_list

COMPARED = ("worlds.csv", "effects.csv", "picks.csv")


def run(series: str | Series, root: str | Path = ".") -> list[Path]:
    """Write ``reports/<series>/report.html`` and ``record.json`` from the comparison and the drawn figure.

    Raises:
        UserError: The series was not compared, or its figure not drawn.
    """
    results = open_series(series, root)
    folder = Path(root) / paths.reports_folder(results.definition)
    code = (table_library(), text("page.js"), text("tables.js"))
    write_text(folder / "report.html", page.fill("series.html.j2", content(results, folder), code))
    write_json(folder / "record.json", record(results, folder))
    return [folder / "report.html", folder / "record.json"]


def content(series: SeriesResults, folder: Path) -> dict[str, Any]:
    """Everything that the page's template asks for."""
    svg, words = folder / "figures" / f"{FIGURE}.svg", folder / "figures" / WORDS
    if not svg.is_file() or not words.is_file():
        raise bad_input("the figure was not drawn yet", file=svg, hint=f"fne figures --study {series.id}")
    (told,) = read_json(words)
    seeds, variants = series.shared.seeds, series.variants
    return {
        "series": series.id,
        "version": fne.__version__,
        "title": clean(series.title),
        "question": clean(series.question),
        "answer": answer(series),
        "setting": f"{len(series.values)} worlds that differ in {series.definition.key} alone, {len(variants)} "
        f"variants, seeds {seed_list(seeds)} in each. {tables.WITHIN}",
        "figure": {**told, "svg": inline_svg(svg.read_text(encoding="utf-8"), FIGURE, told["alt"])},
        "tables": [tables.build(series, name) for name in TABLES],
        "members": [
            (series.at(value), study.name)
            for value, study in zip(series.values, series.definition.members, strict=True)
        ],
        "key": series.definition.key,
    }


def record(series: SeriesResults, folder: Path) -> dict[str, Any]:
    """What the page was made from, and what was made: SHA-256 of every file, no times of its own."""
    made = sorted(
        path for path in folder.rglob("*") if path.is_file() and path.name != "record.json" and path.name[0] != "."
    )
    return {
        "schema": 1,
        "series": series.id,
        "key": series.definition.key,
        "members": {study.name: value for value, study in zip(series.values, series.definition.members, strict=True)},
        "fne": fne.__version__,
        "protocol": fne.PROTOCOL,
        "variants": list(series.variants),
        "seeds": list(series.shared.seeds),
        "inputs": {str((series.folder / name).relative_to(series.root)): sha256_file(series.folder / name)
                   for name in COMPARED},
        "outputs": {str(path.relative_to(folder)): sha256_file(path) for path in made},
    }  # fmt: skip
