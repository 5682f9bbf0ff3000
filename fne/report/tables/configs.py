"""What sets each variant apart: the change it makes to its parent, and the values tuning chose for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fne.report.tables.cells import Cell, Column, Table, title
from fne.report.text.released import released
from fne.report.tuning import tuning
from fne.results.configs import diff
from fne.results.study import StudyResults
from fne.study.api import resolve
from fne.study.series import TUNING_DRAW
from fne.utils.fields import flatten
from fne.utils.text import clean

UNREAD = "not read"


def configs_table(study: StudyResults) -> Table:
    """Build one row per variant; the CSV file holds every value that differs from the baseline's run."""
    columns = [
        Column(name, numeric=False) for name in ("Variant", "Starts from", "Changes", "Tuned values", "Question")
    ]
    tuned = tuning(study)
    chosen = {variant.id: flatten(tuned.get("values", {}).get(variant.id) or {}) for variant in study.variants}
    reasons = {name: clean(str(text)) for name, text in tuned.get("reasons", {}).items()}
    rows = []
    for variant in study.variants:
        library = study.definition.library
        declared = library[variant.id]
        parent = study.definition.configs.get(declared.parent, {})
        changes = [change(key, parent.get(key), value) for key, value in declared.set.items()]
        values = [f"{key} = {show(value)}" for key, value in chosen[variant.id].items()]
        rows.append(
            (
                title(variant),
                Cell(clean(library[declared.parent].title) if declared.parent in library else declared.parent),
                Cell("; ".join(changes) or "nothing"),
                Cell("; ".join(values) or "none", note=reasons.get(variant.id, "")),
                Cell(clean(variant.question)),
            )
        )
    caption = (
        "Each variant changes one thing in its parent (base: ablations/base.yaml, whose rule is that of the authors' "
        f"release; it says which of its values are not). {_chosen(study)}"
    )
    records = tuple(differences(study, chosen))
    notes = tuple(filter(None, [released(study.definition)]))
    return Table("configs", "What sets each variant apart", caption, tuple(columns), tuple(rows), notes, records)


def _chosen(study: StudyResults) -> str:
    """How values were tuned, and whether any interval counts what another search would choose."""
    if study.definition.tuned is None:
        return "Nothing was tuned for single variants: all share the other values."
    record, _ = study.known
    counted = record is not None and TUNING_DRAW in record.factors
    return "Tuned values were chosen on the validation split, as the table “How values were tuned” says" + (
        "." if counted else "; what another search would change is counted nowhere."
    )


def differences(study: StudyResults, chosen: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every leaf value in which a variant's run differs from the baseline's, and whether tuning chose it."""
    base = run_config(study, study.baseline)
    return [
        {
            "variant": variant.id,
            "key": key,
            "baseline": show(before),
            "value": show(after),
            "tuned": key in chosen[variant.id] or key in chosen[study.baseline],
        }
        for variant in study.variants
        for key, (before, after) in diff(base, run_config(study, variant.id)).items()
    ]


def run_config(study: StudyResults, variant: str) -> dict[str, Any]:
    """The config a variant ran with; the one that the study declares where nothing was run."""
    return study[variant].config or resolve(study.definition, variant)


def change(key: str, before: Any, after: Any) -> str:
    """One change in words; the old value is given where the parent is in the study."""
    return f"{key}: {show(before)} → {show(after)}" if before is not None else f"{key} = {show(after)}"


def show(value: Any) -> str:
    """A config value in words."""
    if value is None:
        return UNREAD
    return f"{value:g}" if isinstance(value, float) else clean(str(value))
