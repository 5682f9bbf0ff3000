"""The page of a series, and the record of what it was made from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import fne
from fne.report.page.build import build
from fne.report.page.parts import Page, glossary, part
from fne.report.page.svg import read_figures
from fne.report.series import names, tables
from fne.report.series.answer import answer
from fne.report.series.results import SeriesResults, open_series, value_of
from fne.report.text.wording import listing, seed_list
from fne.study import paths
from fne.study.api import Series
from fne.study.series import PRETRAINED_HERE
from fne.utils.files import sha256_file, write_json, write_text
from fne.utils.text import clean


def run(series: str | Series, root: str | Path = ".") -> list[Path]:
    """Write ``reports/<series>/report.html`` and ``record.json`` from the comparison and the drawn figures.

    Raises:
        UserError: The series was not compared, or its figures not drawn.
    """
    results = open_series(series, root)
    folder = Path(root) / paths.reports_folder(results.definition)
    figures = read_figures(folder / "figures", names.figures(results.definition), results.id)
    write_text(folder / "report.html", build(content(results, figures)))
    write_json(folder / "record.json", record(results, folder))
    return [folder / "report.html", folder / "record.json"]


def content(series: SeriesResults, figures: Mapping[str, dict[str, Any]]) -> Page:
    """The page of a series."""
    built = {name: tables.build(series, name) for name in names.tables(series.definition)}
    first = "losses" if series.definition.grows else "components" if series.definition.random else "main"
    members = [
        (", ".join(f"{key} {value_of(key, value)}" for key, value in point.items()), f"../{member}/report.html")
        for member, point in series.points.items()
    ]
    titles = {"main": f"What is the score of every variant in every {series.noun}?",
              "differences": "How far is each variant from the baseline in every world?",
              "losses": "What changed since the first world?", "components": "Where does the variance come from?",
              "worlds": f"What does each {series.noun} hold?"}  # fmt: skip
    folded = [item for name in built if name != first for item in part(name, titles[name], built[name])]
    setting = (
        f"{len(series.members)} {series.noun}s that differ in {listing(series.definition.factors)} alone, "
        f"{len(series.variants)} variants, seeds {seed_list(series.shared.seeds)} in each. {tables.within(series)}"
        + "".join(f" {note[0].upper()}{note[1:]}." for note in series.definition.notes if note == PRETRAINED_HERE)
    )
    parts = [
        *(
            item
            for name in figures
            for item in part(f"about-{name}", figures[name]["question"], figures[name], folded=False)
        ),
        *part(first, titles[first], built[first], folded=False),
        *folded,
        *part("reports", f"What does the report of each {series.noun} say?", ("links", members)),
        *part("words", "What do the words mean?", ("facts", glossary())),
    ]
    answered = tuple(answer(series))
    return Page(series.id, clean(series.title), clean(series.question), answered, setting, tuple(parts))


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
