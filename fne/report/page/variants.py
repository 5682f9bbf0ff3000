"""A part of the page for each variant: what it changes, how it trained, what its runs were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fne.report.figures.curves import per_epoch
from fne.report.figures.variant_styles import looks_of
from fne.report.page.sparks import MEASURES, chart
from fne.report.tables.configs import differences, show
from fne.report.tables.record import facts
from fne.report.text.summary import collapses, missing_seeds
from fne.report.text.wording import count, duration, metric_name, percent, runs_of, seed_list, span
from fne.report.tuning import tuning
from fne.results.study import StudyResults, Variant
from fne.study import paths
from fne.utils.fields import flatten
from fne.utils.text import clean

MOST = 60
"""Variants that get a part of their own; all of them are in the tables."""


def anchor(variant: str) -> str:
    """The id of a variant's part on the page."""
    return f"variant-{variant}"


def told(study: StudyResults) -> list[Variant]:
    """The variants that get a part: the first ones of the study, and always its baseline."""
    first = list(study.variants[:MOST])
    if study.baseline not in {variant.id for variant in first}:
        first[-1] = study[study.baseline]
    return first


def sections(study: StudyResults) -> list[dict[str, Any]]:
    """What the template asks for about every variant, in the order of the study."""
    tuned = {name: flatten(values or {}) for name, values in tuning(study).get("values", {}).items()}
    chosen = {variant.id: tuned.get(variant.id, {}) for variant in study.variants}
    apart: dict[str, list[dict[str, Any]]] = {}
    for row in differences(study, chosen):
        apart.setdefault(row["variant"], []).append(row)
    curves = per_epoch(study.curves) if len(study.curves) else study.curves
    found = []
    for variant in told(study):
        rows = curves[curves["variant"] == variant.id]
        stated = study.definition.library[variant.id]
        found.append(
            {
                "id": anchor(variant.id),
                "name": variant.id,
                "look": looks_of(study)[variant.id],
                "title": clean(variant.title),
                "question": clean(variant.question),
                "role": stated.role,
                "parent": stated.parent,
                "baseline": variant.id == study.baseline,
                "result": _result(study, variant),
                "changes": [
                    (key, _before(study, stated.parent, key), show(value)) for key, value in stated.set.items()
                ],
                "apart": apart.get(variant.id, []),
                "charts": [made for measure in MEASURES if len(rows) and (made := chart(rows, measure)) is not None],
                "alarm": _alarm(rows),
                "fallen": any(not one.recovered for one in collapses(rows)),
                "missing": [
                    f"seed {seed}: {why} ({stage})" for seed, (stage, why) in missing_seeds(study, variant.id).items()
                ],
                "records": _records(study, variant),
            }
        )
    return found


def _result(study: StudyResults, variant: Variant) -> str:
    estimate = study.estimate(variant.id)
    if estimate is None:
        return "no result"
    return f"{metric_name(study)} {percent(estimate.mean)} {span(estimate.low, estimate.high)}".strip()


def _before(study: StudyResults, parent: str, key: str) -> str:
    """The value that a variant's parent has; empty where it is the base's own."""
    library: Mapping[str, Any] = study.definition.library
    if parent in study.definition.configs and key in study.definition.configs[parent]:
        return show(study.definition.configs[parent][key])
    while parent in library:
        if key in library[parent].set:
            return show(library[parent].set[key])
        parent = library[parent].parent
    return ""


def _alarm(rows: Any) -> str:
    """Which seeds collapsed, when, and whether they recovered; empty where none did."""
    return "; ".join(
        f"seed {one.seed} in epoch{'s' if len(one.epochs) > 1 else ''} {runs_of(one.epochs)}, "
        + ("then recovered" if one.recovered else "the last, not recovered")
        for one in collapses(rows)
    )


def _records(study: StudyResults, variant: Variant) -> list[tuple[str, str]]:
    if not variant.runs:
        return []
    entry = facts(study, variant)
    memory = entry["peak_memory_mb"]
    folders = [str(folder.relative_to(study.root)) for folder in variant.folders]
    return [
        ("seeds", seed_list(variant.seeds)),
        ("selected epochs", entry["selected_epochs"]),
        ("config digest", entry["digest"]),
        ("commit", entry["commit"]),
        ("source digest", entry["source"]),
        ("device", entry["device"]),
        ("training of one seed", duration(entry["seconds_per_run"])),
        ("peak memory", "not known" if memory is None else f"{count(memory)} MB"),
        ("readings of the test split", str(entry["test_readings"])),
        ("files", ", ".join(folders) or str(paths.results_folder(study.definition))),
    ]
