"""Picks as a table that a notebook shows in the picks viewer, and that stays one when rows are selected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from fne.report.page.build import ViewerPage, viewer_page
from fne.report.picks.viewer import TITLE, selection
from fne.results.runs import ANCHOR
from fne.utils.errors import bad_input

if TYPE_CHECKING:
    from fne.results.study import StudyResults

SHOWN, MOST = 40, 200
"""Anchors that are shown, and at most."""
COLUMNS = {*ANCHOR, "variant", "epoch", "candidate", "similarity", "positive_similarity", "posterior", "weight",
           "from_queue", "age", "false_negative"}  # fmt: skip


class Picks(pd.DataFrame):
    """Picks of a study: a frame like any other, which a notebook shows with images and captions.

    What is selected of it (``query``, ``sample``, ``head``, a mask) is shown in the same way; what has not the columns
    of picks any more (``groupby``, ``describe``) as the table that it is.
    """

    _metadata = ["study"]
    study: StudyResults | None = None

    @property
    def _constructor(self) -> type[Picks]:
        return Picks

    def show(self, anchors: int = SHOWN) -> ViewerPage:
        """The viewer with some anchors and their negatives.

        Args:
            anchors: How many; of more they are spread evenly over the rows, always the same.

        Raises:
            UserError: The number is not from 1 to 200.
        """
        if not 1 <= anchors <= MOST:
            raise bad_input("wrong number of anchors", key="anchors", value=anchors, allowed=f"1 to {MOST}")
        assert self.study is not None
        return viewer_page(TITLE, selection(self.study, self, anchors))

    def _repr_html_(self) -> str:
        table = str(super()._repr_html_())
        if self.study is None or not len(self) or not set(self.columns) >= COLUMNS:
            return table
        if self.study.manifest is None:
            return f"{self.show()._repr_html_()}{table}"
        return self.show()._repr_html_()
