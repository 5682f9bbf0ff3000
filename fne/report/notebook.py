"""A finished study in a notebook: ``from fne.study_results import load; study = load("paper"); study.table()``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from fne.report.figures.registry import draw
from fne.report.page.build import ViewerPage, viewer_page
from fne.report.picks import queries
from fne.report.picks.viewer import NOTEBOOK_BUDGET, TITLE, viewer
from fne.report.tables.registry import build, to_frame
from fne.report.tables.render import to_latex, to_markdown
from fne.results import study as results
from fne.study.api import Study
from fne.utils.errors import bad_input

if TYPE_CHECKING:
    import pandas as pd

    from fne.report.figures.figure import Picture
    from fne.report.picks.gallery import Picks


class Notebook(results.StudyResults):
    """What a study left behind, with its tables, figures and picks to look at."""

    def picks(self, *variants: str, **conditions: Any) -> Picks:
        """Picks as a frame that a notebook shows in the picks viewer, with images, captions and similarities.

        ``study.picks("fne", false=True)`` are the known false negatives of a variant;
        ``study.picks(false_under="hardest_in_batch", not_false_under="fne")`` are the picks of both where the first
        picked one and the second did not, for the same anchor at the same step of the same seed. The frame is pandas':
        ``.query("similarity > 0.6")`` selects and ``.show(30)`` shows more anchors.

        Args:
            variants: Ids; unless given, those of the conditions, and without conditions every variant.
            conditions: ``false``, ``false_under``, ``not_false_under``; see
                :meth:`fne.results.study.StudyResults.picks`.

        Raises:
            UserError: No such variant, a condition on one that kept no picks, or a damaged file of picks.
        """
        from fne.report.picks.gallery import Picks

        picks = Picks(super().picks(*variants, **conditions))
        picks.study = self
        return picks

    def show_picks(self, *variants: str) -> ViewerPage:
        """The report's picks viewer, of these variants alone where some are named.

        Raises:
            UserError: No such variant, or a damaged file of picks.
        """
        shown = self.only([self[name].id for name in variants]) if variants else self
        return viewer_page(TITLE, viewer(shown, NOTEBOOK_BUDGET))

    def show_queries(self, *variants: str, seed: int | None = None) -> ViewerPage:
        """The worst test queries, and what each variant ranked first for them: the report's, or of other variants.

        Args:
            variants: Ids; unless some are named, the baseline and the method.
            seed: Unless given, the first that all of them have.

        Raises:
            UserError: No such variant, or damaged rankings.
        """
        table, shown = queries.of_study(self, variants, seed, NOTEBOOK_BUDGET)
        return viewer_page(queries.QUESTION, shown, table)

    def table(self, name: str = "main") -> pd.DataFrame:
        """A table of the report; the names are those of :data:`fne.report.tables.names.TABLES`."""
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
    result = results.load(study, root)
    return Notebook(result.definition, result.root)
