"""How well calibrated the posteriors are that the variants use: raw, and after isotonic regression or Platt's map."""

from __future__ import annotations

import math
from typing import Any

from fne.protocols import DIRECTION_NAMES
from fne.report.tables.cells import ABSENT, Cell, Column, Table
from fne.report.text.wording import NO_POSITIVE, listing, number
from fne.results.study import StudyResults
from fne.utils.text import clean

SCORES = {
    "ece": ("ECE", "expected calibration error, 15 bins of equal mass"),
    "brier": ("Brier", "mean squared error of the probability"),
    "log_loss": ("Log loss", "mean surprise, in nats"),
    "auroc": ("AUROC", "how often a false negative has the greater probability than a true one"),
    "average_precision": ("AP", "average precision"),
}
MAPS = {"none": "raw", "isotonic": "isotonic", "platt": "Platt"}
TRUTH = {"exact": "exact", "judged": "judged pairs", "equal_captions": "equal captions"}
LIMITS = {
    "judged": "Judged pairs were chosen because image and caption look alike: shares and scores are conditional on "
    "that choice, and no prevalence.",
    "equal_captions": "Equal captions: other relevant pairs are not known and count as not relevant, so true shares "
    "are higher, and ECE, Brier score and log loss say little about the probability.",
}
"""What scores on pairs of a source cannot say."""
KEY = ["variant", "posterior", "source", "direction", "recalibration"]

TITLE = "Calibration"
COLUMNS = (
    Column("Variant", numeric=False),
    Column("Posterior", numeric=False),
    Column("Truth", numeric=False, help="what is known of the scored pairs"),
    Column("Direction", numeric=False),
    Column("Map", numeric=False, help="fitted on the known pairs of the validation split, all or the rated ones"),
    *(Column(name, help=words) for name, words in SCORES.values()),
    Column("Positive pairs"),
    Column("Seeds"),
)


def calibration_table(study: StudyResults) -> Table:
    """A row per variant, posterior, source of truth, direction and map, in the order of the study; or none at all."""
    if not (study.folder / "calibration.csv").is_file():
        return Table("calibration", TITLE, "Nothing was scored yet: `fne audit` writes calibration.csv.", COLUMNS, ())
    frame = study.calibration
    order = {variant.id: place for place, variant in enumerate(study.variants)}
    frame = frame[frame["variant"].isin(list(order)) & (frame["own"].astype(str) == "True")]
    result: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for row in frame.to_dict("records"):
        result.setdefault(tuple(row[name] for name in KEY), {})[row["metric"]] = row
    rows, records = [], []
    maps, unknown = list(MAPS), []
    for key in sorted(result, key=lambda key: (order[key[0]], *key[1:4], maps.index(key[4]))):
        variant, posterior, source, direction, kind = key
        scores = result[key]
        any_one = next(iter(scores.values()))
        if not any_one["positives"]:
            unknown.append(f"{clean(study[variant].title)} ({TRUTH.get(source, source)})")
            continue
        rows.append(
            (
                Cell(clean(study[variant].title), note=variant, code=True),
                Cell(posterior),
                Cell(TRUTH.get(source, source)),
                Cell(DIRECTION_NAMES.get(direction, direction)),
                Cell(MAPS.get(kind, kind)),
                *(_score(scores.get(metric)) for metric in SCORES),
                Cell(f"{int(any_one['positives']):,} of {int(any_one['pairs']):,}", float(any_one["positives"])),
                Cell(str(int(any_one["seeds"])), float(any_one["seeds"])),
            )
        )
        records += [
            {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}
            for row in scores.values()
        ]
    made = sorted({str(row["method"]) for row in records if row["low"] is not None})
    caption = (
        "Does a false-negative probability mean what it says? Pairs of the test split, the posterior that each variant "
        f"itself uses under its selected weights; means over seeds{' with 95 % intervals' if made else ''}."
    )
    notes = [f"Intervals: {method}." for method in made]
    notes += [words for source, words in LIMITS.items() if any(row["source"] == source for row in records)]
    if unknown:
        notes.append(f"Without a row: {listing(dict.fromkeys(unknown))}: {NO_POSITIVE}.")
    if not rows:
        caption = (
            f"Nothing to score: {NO_POSITIVE}."
            if unknown
            else "No variant of this study with a finished run has a false-negative probability that was scored."
        )
        notes = []
    return Table("calibration", TITLE, caption, COLUMNS, tuple(rows), tuple(notes), tuple(records), sortable=True)


def _score(row: dict[str, Any] | None) -> Cell:
    """A score with its interval below; a dash where it is not defined, as AUROC is without a false negative."""
    if row is None or not math.isfinite(row["value"]):
        return ABSENT
    interval = f"[{number(row['low'], 4)}, {number(row['high'], 4)}]" if math.isfinite(row["low"]) else ""
    return Cell(number(row["value"], 4), float(row["value"]), note=interval)
