"""What a search for tuned values left behind, read for tables, figures and the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fne.report.tables.cells import Table
from fne.results.study import StudyResults
from fne.results.trials import read_trials
from fne.study import paths
from fne.study.api import Study
from fne.study.tuned import OLD_PROTOCOL
from fne.utils.yaml_file import read_mapping


def tuning(study: StudyResults) -> dict[str, Any]:
    """The study's tuned file as it stands, or an empty mapping."""
    if study.definition.tuned is None:
        return {}
    return read_mapping(study.root / paths.tuned_files(study.definition)[0])


def searched(study: StudyResults) -> list[str]:
    """The variants of the study that have a search of their own; others take over its values."""
    cost = tuning(study).get("cost") or {}
    return [variant for variant in study.definition.variants if variant in cost]


def first_round(study: Study, root: Path) -> tuple[dict[str, list[float]], str]:
    """Validation rsum of the trials of the first round, by variant in the order of the study; where none, why.

    Of a config that was tried more than once, such as with earlier code, the latest counts.
    """
    if study.tuned is None:
        return {}, "no value was tuned for single variants in this study"
    file = paths.tuned_files(study)[1]
    result: dict[str, dict[str, float]] = {variant: {} for variant in study.variants}
    for item in read_trials(root / file):
        if item.round == "1" and item.variant in result:
            result[item.variant][item.digest] = item.val_rsum
    scores = {variant: [*by_digest.values()] for variant, by_digest in result.items() if by_digest}
    return scores, "" if scores else f"{file.as_posix()} holds no trial of these variants"


def budgets(trials: int) -> list[int]:
    """1, 2, 4, 8, ... and all trials."""
    return [*(1 << power for power in range((trials - 1).bit_length())), trials]


def marked(table: Table, notes: Sequence[str]) -> Table:
    """The table of a study with these notes; where its values were tuned under an earlier protocol, it says so."""
    if OLD_PROTOCOL not in notes:
        return table
    return replace(table, notes=(*table.notes, f"Tuned values are of an {OLD_PROTOCOL}."))
