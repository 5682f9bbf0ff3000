"""The report of a study: one page, and the record of what it was made from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import fne
from fne.data.published import FILE
from fne.report.figures.names import FIGURES
from fne.report.page.build import build
from fne.report.page.content import content
from fne.report.page.svg import read_figures
from fne.report.picks.queries import compared, rankings
from fne.results import reference
from fne.results.made_from import fingerprints
from fne.results.study import StudyResults, load
from fne.steps.audit import TABLES
from fne.study import paths
from fne.study.api import Study
from fne.utils.files import sha256_file, write_json, write_text


def run(study: str | Study, root: str | Path = ".") -> list[Path]:
    """Write ``reports/<study>/report.html`` and ``record.json`` from results and from the drawn figures.

    Args:
        study: Id of the study, or the study itself where the command line changed something of it.
        root: Root of the project.

    Raises:
        UserError: A result file is missing or damaged, or the figures were not drawn yet.
    """
    results = load(study, root)
    folder = Path(root) / paths.reports_folder(results.definition)
    figures = read_figures(folder / "figures", FIGURES, results.id)
    write_text(folder / "report.html", build(content(results, figures)))
    write_json(folder / "record.json", record(results, folder))
    return [folder / "report.html", folder / "record.json"]


def record(study: StudyResults, folder: Path) -> dict[str, Any]:
    """What the report was made from, and what was made: SHA-256 of every file, no times of its own."""
    read = sorted(path for path in _inputs(study) if path.is_file())
    made = sorted(
        path for path in folder.rglob("*") if path.is_file() and path.name != "record.json" and path.name[0] != "."
    )
    return {
        "schema": 1,
        "study": study.id,
        "fne": fne.__version__,
        "variants": [variant.id for variant in study.variants],
        "seeds": list(study.seeds),
        "runs": {variant.id: [run["record"] for run in variant.runs] for variant in study.variants},
        "digests": {variant.id: sorted({run["digest"] for run in variant.runs}) for variant in study.variants},
        "code": {variant.id: sorted({run["code"] for run in variant.runs}) for variant in study.variants},
        "fingerprints": fingerprints(study),
        "protocols": {name: facts["id"] for name, facts in sorted(study.protocols.items())},
        "test_readings": study.test_readings,
        "missing": [
            {key: row[key] for key in ("variant", "seed", "stage", "reason")}
            for row in study.missing.to_dict("records")
        ],
        "inputs": {str(path.relative_to(study.root)): sha256_file(path) for path in read},
        "outputs": {str(path.relative_to(folder)): sha256_file(path) for path in made},
    }


def _inputs(study: StudyResults) -> Iterable[Path]:
    for name in ("runs", "intervals", "contrasts", "missing", "curves", "audit"):
        yield study.folder / f"{name}.csv"
    yield from (study.folder / name for name in TABLES)
    yield study.folder / "protocols.json"
    yield from study.reading_logs
    if data := paths.prepared(study.definition, study.root):
        yield data / "manifest.json"
    yield from (file for path in paths.tuned_files(study.definition) if (file := study.root / path).is_file())
    if study.definition.published is not None:
        yield study.root / FILE
    if reference.find(study.definition, study.root) is not None:
        yield from (study.root / paths.reference(study.definition), study.folder / "verify.json")
    for name in compared(study):
        yield from rankings(study, name).values()
    for variant in study.variants:
        for folder in variant.folders:
            for name in ("run.json", "picks.npz", "distributions.json", "queries.test.npz"):
                yield folder / name
