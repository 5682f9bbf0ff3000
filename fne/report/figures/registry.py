"""All figures of a study, as SVG and PNG, with their words beside them."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

from fne.report.figures.figure import Picture
from fne.report.figures.names import FIGURES
from fne.report.figures.style import TALLEST, look
from fne.report.text.summary import ranked
from fne.report.text.wording import count
from fne.results.study import StudyResults, load
from fne.study.api import Study
from fne.utils.errors import bad_input
from fne.utils.files import write_json

WORDS = "captions.json"
MOST = 60
"""Variants that a figure has room for."""
LEGIBLE: dict[tuple[str, str | None], int] = {("agreement", "single"): 7, ("agreement", "double"): 24}
"""Variants whose numbers fit into the cells of a matrix, letters of 7 points."""
WHOLE = ("sensitivity",)
"""Figures that show all variants, however many: they draw sweeps, not one mark or panel for each."""
_MODULES = {"distributions_all": ("distributions", "draw_all"), "agreement": ("pick_overlap", "draw")}


def draw(study: StudyResults, name: str, column: str | None = None) -> Picture:
    """Draw one figure, for the report or for a column of a paper (``single``, ``double``).

    Raises:
        UserError: There is no figure of that name.
    """
    if name not in FIGURES:
        raise bad_input("no such figure", value=name, allowed=FIGURES)
    module, function = _MODULES.get(name, (name, "draw"))
    draws = getattr(importlib.import_module(f"fne.report.figures.{module}"), function)
    few = study if name in WHOLE else shown(study, LEGIBLE.get((name, column)))
    with look(column):
        picture = draws(few)
        while column and (height := picture.drawing.get_figheight()) > TALLEST:
            if name in WHOLE:
                picture.drawing.set_figheight(TALLEST)
                break
            few = shown(few, min(int(len(few.variants) * TALLEST / height), len(few.variants) - 1))
            picture = draws(few)
    left = len(study.variants) - len(few.variants)
    if not left or picture.empty:
        return picture
    note = f" {len(few.variants)} variants are drawn, the baseline and the best; {count(left)} more are in the tables."
    return replace(picture, caption=picture.caption + note)


def shown(study: StudyResults, most: int | None = None) -> StudyResults:
    """The study as a figure shows it: of very many variants the baseline and the best by the primary metric."""
    most = most or MOST
    if len(study.variants) <= most:
        return study
    order = [study.baseline, *(variant for variant, _ in ranked(study)), *(variant.id for variant in study.variants)]
    return study.only(list(dict.fromkeys(order))[:most])


def run(study: str | Study, root: str | Path = ".") -> list[Path]:
    """Write ``reports/<study>/figures``: every figure as SVG and PNG, and ``captions.json``.

    Args:
        study: Id of the study, or the study itself where the command line changed something of it.
        root: Root of the project.

    Returns:
        The paths written.
    """
    results = load(study, root)
    folder = Path(root) / "reports" / results.id / "figures"
    pictures = [draw(results, name) for name in FIGURES]
    paths = [path for picture in pictures for path in picture.save(folder)]
    write_json(folder / WORDS, [picture.words() for picture in pictures])
    return [*paths, folder / WORDS]


def run_for_paper(study: str | Study, column: str, root: str | Path = ".") -> list[Path]:
    """Write ``reports/<study>/figures/<column>``: every figure as PDF, as wide as one column of a paper or as two.

    Args:
        study: As of :func:`run`.
        column: ``single`` or ``double``.
        root: Root of the project.
    """
    results = load(study, root)
    folder = Path(root) / "reports" / results.id / "figures" / column
    return [path for name in FIGURES for path in draw(results, name, column).save(folder, ["pdf"])]
