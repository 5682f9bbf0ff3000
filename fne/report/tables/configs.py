"""What sets each variant apart: the change it makes to its parent, and the values tuning chose for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fne.report.tables.cells import Cell, Column, Table
from fne.report.text.released import released
from fne.results.configs import diff
from fne.results.study import StudyResults
from fne.study import paths
from fne.study.api import resolve
from fne.utils.fields import flatten
from fne.utils.text import clean
from fne.utils.yaml_file import read_mapping

UNREAD = "not read"


def configs_table(study: StudyResults) -> Table:
    """Build one row per variant; the CSV file holds every value that differs from the baseline's run."""
    columns = (
        Column("Variant", numeric=False),
        Column("Starts from", numeric=False),
        Column("Changes", numeric=False),
        Column("Tuned values", numeric=False),
        Column("What it asks", numeric=False),
    )
    tuned = tuning(study)
    chosen = {variant.id: flatten(tuned.get("values", {}).get(variant.id) or {}) for variant in study.variants}
    reasons = {name: clean(str(text)) for name, text in tuned.get("reasons", {}).items()}
    rows = []
    for variant in study.variants:
        stated = study.definition.library[variant.id]
        parent = study.definition.configs.get(stated.parent, {})
        changes = [change(key, parent.get(key), value) for key, value in stated.set.items()]
        values = [f"{key} = {show(value)}" for key, value in chosen[variant.id].items()]
        rows.append(
            (
                Cell(clean(variant.title), note=variant.id, code=True),
                Cell(stated.parent),
                Cell("; ".join(changes) or "nothing"),
                Cell("; ".join(values) or "none", note=reasons.get(variant.id, "")),
                Cell(clean(variant.asks)),
            )
        )
    budget = tuned.get("declared", {}).get("budget")
    caption = (
        "Each variant changes one thing in its parent (base: ablations/base.yaml, whose rule is that of the authors' "
        "release; it says which of its values are not). "
        + (
            f"Tuned values were chosen on the validation split, by {f'at most {budget}' if budget else 'some'} trials "
            "of each variant over the keys that it reads; another search might choose others, and what that changes is "
            "counted nowhere."
            if study.definition.tuned
            else "Nothing was tuned for single variants: all share the other values."
        )
    )
    records = tuple(differences(study, chosen))
    notes = tuple(note for note in (released(study.definition), border_note(study)) if note)
    return Table("configs", "What sets each variant apart", caption, columns, tuple(rows), notes, records)


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
    """The config a variant ran with; the one the study asks for where nothing was run."""
    return study[variant].config or resolve(study.definition, variant)


def tuning(study: StudyResults) -> dict[str, Any]:
    """The study's tuned file as it stands, or an empty mapping."""
    if study.definition.tuned is None:
        return {}
    return read_mapping(study.root / paths.tuned_files(study.definition)[0])


def border_note(study: StudyResults) -> str:
    """Which variants' best values lie at the border of the range that was searched; empty where none does."""
    border = tuning(study).get("border") or {}
    flagged = [f"{variant.id} ({', '.join(keys)})" for variant in study.variants if (keys := border.get(variant.id))]
    lead = "Best value at the border of the range that was searched, so that a wider range may hold a better one"
    return f"{lead}: {'; '.join(flagged)}." if flagged else ""


def change(key: str, before: Any, after: Any) -> str:
    """One change in words; the old value is told where the parent is in the study."""
    return f"{key}: {show(before)} → {show(after)}" if before is not None else f"{key} = {show(after)}"


def show(value: Any) -> str:
    """A config value as a reader wants it."""
    if value is None:
        return UNREAD
    return f"{value:g}" if isinstance(value, float) else clean(str(value))
