"""``verify``: a finished study set against its reference: is every score, and every difference, reproduced?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fne.analysis.equivalence import INCONCLUSIVE, REPRODUCED, VERDICTS, Verdict
from fne.analysis.intervals import LEVEL
from fne.analysis.retraining import Change, compare, overall
from fne.report.text.verified import made_from, sentence
from fne.report.text.wording import percent, signed, span
from fne.results import reference
from fne.results.made_from import group_of
from fne.results.schema import write_table
from fne.results.study import StudyResults, load
from fne.study import paths
from fne.study.api import Study
from fne.utils.files import SCHEMAS, write_json
from fne.utils.text import columns, harmless

CHANGE = ("n_reference", "n_here", "reference", "here", "change", "low", "high", "tolerance")
SCORE, DIFFERENCE = "score", "difference"
REASONS = {
    "within_noise": "the interval holds no change at all, so retraining explains what there is",
    "no_result": "no seed has a result here",
    "other_protocol": "the test queries, or what counts as right, differ from the reference's; the interval leaves the "
    "noise of test images out, so that such a row is never called reproduced",
    "other_data": "the data differ",
    "other_features": "the features (or encoders) differ",
    "other_config": "the config of the variant, or of the baseline, differs",
    "other_versions": "versions of Python or of packages differ",
    "other_code": "the code that trains it differs",
    "other_machine": "processor, kernels, threads or device differ",
}
"""Why a row may be what it is, beside :data:`fne.analysis.equivalence.REASONS`: none of them decides its verdict but
``other_protocol``."""


@dataclass(frozen=True)
class Row:
    """One verdict: of a variant's score, or of its difference to the baseline; reasons by name."""

    quantity: str
    variant: str
    change: Change
    reasons: tuple[str, ...]
    verdict: str


def run(study: Study, root: Path, record: bool = False) -> str:
    """Write ``verify.csv`` and ``verify.json``, or the study's reference, and return what a terminal shows.

    Args:
        study: The study.
        root: The project's folder.
        record: Make the reference from the finished study instead.

    Raises:
        UserError: As :func:`fne.results.reference.require`, or :func:`fne.results.reference.build` and ``write``; or
            the study has no results.
    """
    if record:
        content, file = reference.build(load(study, root)), root / paths.reference(study)
        reference.write(content, file)
        return f"{file}: {_tolerances(content)}"
    known = reference.require(study, root)
    results = load(study, root)
    differs = _differs(known, results)
    rows = _rows(known, results, differs)
    names = {"study": study.name, **study.primary}
    write_table(results.folder, "verify", [names | _cells(row, study) for row in rows])
    summary = _summary(known, results, differs, rows)
    write_json(results.folder / "verify.json", summary)
    return _text(known, summary, rows)


def _differs(known: Mapping[str, Any], study: StudyResults) -> dict[str, dict[str, list[str]]]:
    """What is known on both sides and differs, by reason: name -> there, here."""
    variants = {variant: reference.digests(study.definition, variant) for variant in known["variants"]}
    there, here = _by_reason(known), _by_reason({**reference.made_by(study), "variants": variants})
    differs: dict[str, dict[str, list[str]]] = {}
    for (reason, name), value in there.items():
        if value and (other := here.get((reason, name))) and other != value:
            differs.setdefault(reason, {})[name] = [value, other]
    return {reason: differs[reason] for reason in REASONS if reason in differs}


def _by_reason(content: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """What may explain a change, by reason and name."""
    facts = {(f"other_{group_of(name)}", name): value for name, value in content["fingerprints"].items()}
    facts |= {("other_versions", name): value for name, value in content["versions"].items()}
    facts |= {("other_machine", name): value for name, value in content["machine"].items()}
    for variant, entry in content["variants"].items():
        facts |= {("other_config", f"{variant}.{kind}"): entry[kind] for kind in ("training", "evaluation")}
        facts["other_code", f"{variant}.code"] = entry["code"]
    return facts


def _rows(known: Mapping[str, Any], study: StudyResults, differs: Mapping[str, Any]) -> list[Row]:
    """The scores of all variants of the reference, then their differences to the baseline."""
    base, tolerance = known["baseline"], known["tolerance"]
    there = {name: dict(zip(known["seeds"], entry["scores"], strict=True)) for name, entry in known["variants"].items()}
    here = {name: study.values(name) for name in there}
    rows = [_row(SCORE, name, here[name], there[name], tolerance[SCORE], differs, base) for name in there]
    for name in (name for name in there if name != base):
        mine, theirs = (_paired(side[name], side[base]) for side in (here, there))
        rows.append(_row(DIFFERENCE, name, mine, theirs, tolerance[DIFFERENCE], differs, base))
    return rows


def _paired(variant: Mapping[int, float], baseline: Mapping[int, float]) -> dict[int, float]:
    """Differences of the seeds that both have."""
    return {seed: variant[seed] - baseline[seed] for seed in variant if seed in baseline}


def _row(
    quantity: str,
    variant: str,
    here: Mapping[int, float],
    there: Mapping[int, float],
    tolerance: float,
    differs: Mapping[str, Mapping[str, Any]],
    baseline: str,
) -> Row:
    mine, theirs = (np.array(list(side.values()), dtype=np.float64) for side in (here, there))
    change = compare(mine, theirs, tolerance)
    by_numbers = change.verdict if here else Verdict(INCONCLUSIVE, "no_result")
    counted = {variant} | ({baseline} if quantity == DIFFERENCE else set())
    other = [
        reason
        for reason, names in differs.items()
        if reason not in ("other_config", "other_code") or counted & {name.rpartition(".")[0] for name in names}
    ]
    reasons = (by_numbers.reason, *(["within_noise"] if change.within_noise else []), *other)
    verdict = by_numbers.verdict
    if verdict == REPRODUCED and "other_protocol" in other:
        verdict = INCONCLUSIVE
    return Row(quantity, variant, change, reasons, verdict)


def _cells(row: Row, study: Study) -> dict[str, Any]:
    return {
        "quantity": row.quantity, "variant": row.variant,
        "baseline": study.baseline if row.quantity == DIFFERENCE else None,
        **{name: getattr(row.change, name) for name in CHANGE}, "level": LEVEL,
        "reasons": " ".join(row.reasons), "verdict": row.verdict,
    }  # fmt: skip


def _summary(
    known: Mapping[str, Any], study: StudyResults, differs: Mapping[str, Any], rows: list[Row]
) -> dict[str, Any]:
    """The content of ``verify.json``."""
    counts = {
        quantity: {name: sum(row.quantity == quantity and row.verdict == name for row in rows) for name in VERDICTS}
        for quantity in (SCORE, DIFFERENCE)
    }
    return {
        "schema": SCHEMAS["verify"],
        "study": study.id,
        "primary": known["primary"],
        "verdict": overall(row.verdict for row in rows),
        "counts": counts,
        "reasons": dict(Counter(reason for row in rows for reason in row.reasons)),
        "differs": differs,
        "tolerance": known["tolerance"],
        "reference": {key: known[key] for key in ("date", "commit", "machine", "versions", "seeds")},
        "not_in_reference": [name for name in study.definition.variants if name not in known["variants"]],
        "made_from": made_from(study),
    }


def _text(known: Mapping[str, Any], summary: Mapping[str, Any], rows: list[Row]) -> str:
    """The rows as a table, the verdict over all of them, and what differs."""
    cells = [["", "reference", "here", "change [95 %]", "tolerance", "reasons", "verdict"]]
    for row in rows:
        change = row.change
        show = percent if row.quantity == SCORE else signed
        name = row.variant if row.quantity == SCORE else f"{row.variant} - {known['baseline']}"
        ends = f"{signed(change.change)} {span(change.low, change.high, sign=True)}".rstrip()
        cells.append([name, show(change.reference), show(change.here), ends, f"±{percent(change.tolerance)}",
                      ", ".join(row.reasons), row.verdict])  # fmt: skip
    lines = [*columns(cells), "", sentence(summary), f"Study {summary['study']}: {summary['verdict']}."]
    for reason, names in summary["differs"].items():
        apart = "; ".join(f"{name}: {there} there, {here} here" for name, (there, here) in names.items())
        lines.append(f"{reason}: {apart}")
    if summary["not_in_reference"]:
        lines.append(f"Not in the reference: {', '.join(summary['not_in_reference'])}.")
    if "other_protocol" not in summary["differs"]:
        lines.append("The test queries are the same on both sides, so that the intervals count seeds alone.")
    return "\n".join(map(harmless, lines))


def _tolerances(content: Mapping[str, Any]) -> str:
    tolerance = content["tolerance"]
    return (
        f"{len(content['variants'])} variants, {len(content['seeds'])} seeds; by the rule {tolerance['rule']} a score "
        f"is reproduced within ±{percent(tolerance[SCORE])}, a difference within ±{percent(tolerance[DIFFERENCE])}"
    )
