"""A finished study in a notebook: ``from fne.study_results import load; study = load("paper"); study.table()``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fne.report.figures.registry import draw
from fne.report.page.build import PicksPage, picks_page
from fne.report.tables.registry import build, to_frame
from fne.report.tables.render import to_latex, to_markdown
from fne.results import study as results
from fne.study.api import Study
from fne.utils.errors import bad_input

if TYPE_CHECKING:
    import pandas as pd

    from fne.report.figures.figure import Picture


class Notebook(results.StudyResults):
    """What a study left behind, with its tables, figures and picks to look at."""

    def show_picks(self, *variants: str) -> PicksPage:
        """The report's picks viewer, of these variants alone where some are named.

        Raises:
            UserError: No such variant, or a damaged file of picks.
        """
        return picks_page(self.only([self[name].id for name in variants]) if variants else self)

    def table(self, name: str = "main") -> pd.DataFrame:
        """A table as it stands in the report; see ``fne.report.tables.names.TABLES`` for the names."""
        return to_frame(build(self, name))

    def table_text(self, name: str = "main", form: str = "md") -> str:
        """A table as Markdown (``md``) or LaTeX (``tex``, with booktabs)."""
        forms = {"md": to_markdown, "tex": to_latex}
        if form not in forms:
            raise bad_input("no such form of a table", key="form", value=form, allowed=forms)
        return forms[form](build(self, name))

    def figure(self, name: str, column: str | None = None) -> Picture:
        """One figure of the report, drawn anew; see ``fne.report.figures.names.FIGURES`` for the names.

        Args:
            name: Of the figure.
            column: ``single`` or ``double``: as wide as a column of a paper; its ``save(folder, ["pdf"])`` writes it.
        """
        return draw(self, name, column)


def load(study: str | Study | None = None, root: str | Path | None = None) -> Notebook:
    """Open a study's results; see :func:`fne.results.study.load`."""
    found = results.load(study, root)
    return Notebook(found.definition, found.root)
