"""The page's line on how a study compares with its reference, from what ``fne verify`` left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fne.analysis.equivalence import REPRODUCED, VERDICTS
from fne.protocols import metric_of
from fne.report.text.wording import listing, number
from fne.results import reference
from fne.results.study import StudyResults
from fne.study import paths
from fne.utils.files import read_record, sha256_file
from fne.utils.shape import ANY
from fne.utils.text import clean

COUNTS = dict.fromkeys(VERDICTS, int)
VERIFY = {
    "made_from": {ANY: str},
    "primary": {"metric": str, "direction": str},
    "counts": {"score": COUNTS, "difference": COUNTS},
    "reasons": {ANY: int},
    "differs": {},
    "tolerance": {"score": float, "difference": float},
    "reference": {"date": str, "machine": {"kernel_switches": str, "cpu": str, "cpu_capability": str}},
}
"""What is read of a ``verify.json``."""


def line(study: StudyResults) -> str:
    """What verifying gave; empty where the study has no reference.

    Raises:
        UserError: The reference or ``verify.json`` is damaged or of another schema.
    """
    if reference.find(study.definition, study.root) is None:
        return ""
    file = study.folder / "verify.json"
    if file.is_file():
        result = read_record(file, "verify", VERIFY, f"run `fne verify {study.id}` again")
        if result["made_from"] == made_from(study):
            return sentence(result)
    return f"These results were not set against the reference that is recorded of this study: `fne verify {study.id}`."


def made_from(study: StudyResults) -> dict[str, str]:
    """SHA-256 of the files whose content decides what verifying gives."""
    files = (paths.reference(study.definition), paths.results_folder(study.definition) / "runs.csv")
    return {file.as_posix(): sha256_file(study.root / file) for file in files}


def sentence(result: Mapping[str, Any]) -> str:
    """The content of ``verify.json`` in a sentence or two."""
    machine, primary = result["reference"]["machine"], result["primary"]
    kernels = machine["kernel_switches"] if machine["kernel_switches"] != "none" else ""
    where = ", ".join(part for part in (machine["cpu"], machine["cpu_capability"], kernels) if part)
    unit = metric_of(primary["metric"]).label
    unit += "" if primary["direction"] == "both" else f" ({primary['direction']})"
    parts = [
        f"{counts[REPRODUCED]} of {sum(counts.values())} {quantity}s within "
        f"±{number(100 * result['tolerance'][quantity])} {unit}"
        for quantity, counts in result["counts"].items()
    ]
    other = {
        verdict: sum(counts[verdict] for counts in result["counts"].values())
        for verdict in result["counts"]["score"]
        if verdict != REPRODUCED
    }
    rest = "".join(f"; {verdict}: {many}" for verdict, many in other.items() if many)
    total = sum(sum(counts.values()) for counts in result["counts"].values())
    noise = f"{result['reasons'].get('within_noise', 0)} of {total} changes are no larger than retraining explains"
    text = (
        f"Set against the reference of {result['reference']['date']}{f' ({where})' if where else ''}, reproduced: "
        f"{listing(parts)}{rest}; {noise}."
    )
    if result["differs"]:
        text += f" Not the same here: {listing(reason.removeprefix('other_') for reason in result['differs'])}."
    return clean(text)
