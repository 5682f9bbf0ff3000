"""All tables of a study, each as HTML, Markdown, LaTeX and CSV."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fne.report.tables.audit import annotated_table
from fne.report.tables.budget import budget_table
from fne.report.tables.calibration import calibration_table
from fne.report.tables.cells import Table
from fne.report.tables.configs import configs_table
from fne.report.tables.contrasts import contrasts_table, primary_contrasts
from fne.report.tables.latex import to_latex
from fne.report.tables.main import main_table
from fne.report.tables.names import TABLES
from fne.report.tables.paper import ablation_table, methods_table
from fne.report.tables.published import published_table
from fne.report.tables.record import record_table
from fne.report.tables.render import save
from fne.report.tables.tuning import tuning_table
from fne.report.tuning import marked
from fne.results.study import StudyResults, load
from fne.study.api import Study
from fne.utils.errors import bad_input
from fne.utils.files import write_text

if TYPE_CHECKING:
    import pandas as pd

_BUILDERS = {
    "main": main_table,
    "contrasts": contrasts_table,
    "configs": configs_table,
    "tuning": tuning_table,
    "budget": budget_table,
    "record": record_table,
    "published": published_table,
    "methods": methods_table,
    "ablation": ablation_table,
    "calibration": calibration_table,
    "judged": annotated_table,
}


def build(study: StudyResults, name: str) -> Table:
    """Build one table; it says where values were tuned under an earlier protocol.

    Raises:
        UserError: There is no table of that name.
    """
    if name not in TABLES:
        raise bad_input("no such table", value=name, allowed=TABLES)
    return marked(_BUILDERS[name](study), study.definition.notes)


def run(study: str | Study, root: str | Path = ".") -> list[Path]:
    """Write ``reports/<study>/tables``.

    Args:
        study: Id of the study, or the study itself where the command line changed something of it.
        root: Root of the project.

    Returns:
        The paths written.
    """
    results = load(study, root)
    folder = Path(root) / "reports" / results.id / "tables"
    return [path for name in TABLES for path in save(build(results, name), folder)]


def run_for_paper(study: str | Study | StudyResults, column: str, folder: Path | None = None,
                  root: str | Path = ".") -> list[Path]:  # fmt: skip
    """Write the tables that have rows as LaTeX for one column of a paper or for two.

    Args:
        study: As of :func:`run`, or its results.
        column: ``single`` or ``double``.
        folder: Where to; unless named, ``reports/<study>/tables/<column>``.
        root: Root of the project.
    """
    results = study if isinstance(study, StudyResults) else load(study, root)
    folder = folder or Path(root) / "reports" / results.id / "tables" / column
    written = []
    for name in TABLES:
        table = primary_contrasts(results) if name == "contrasts" else build(results, name)
        if table.rows:
            written.append(folder / f"{name}.tex")
            write_text(written[-1], to_latex(table, column))
    return written


def to_frame(table: Table) -> pd.DataFrame:
    """The table as text in a data frame, for a notebook."""
    import pandas as pd

    names = [f"{column.group} {column.name}".strip() for column in table.columns]
    rows = [[f"{cell.text} {cell.note}".strip() if not cell.code else cell.text for cell in row] for row in table.rows]
    return pd.DataFrame(rows, columns=names, index=[row[0].note or row[0].text for row in table.rows])
