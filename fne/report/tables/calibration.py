"""How well calibrated the posteriors are that the variants use: raw, and after isotonic regression or Platt's map."""

from __future__ import annotations

import math
from typing import Any

from fne.protocols import DIRECTION_NAMES
from fne.report.tables.cells import ABSENT, Cell, Column, Table, in_order, records_of, title, whole
from fne.report.text.wording import NO_POSITIVE, listing, number, titles
from fne.results.study import StudyResults

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
    frame = frame[frame["own"].astype(str) == "True"].assign(map=frame["recalibration"].map([*MAPS].index))
    own = in_order(study, frame.sort_values([*KEY[1:4], "map"], kind="stable").drop(columns="map"))
    scored = [row for row in own if row["positives"]]
    groups: dict[tuple[Any, ...], dict[str, dict[str, Any]]] = {}
    for row in scored:
        groups.setdefault(tuple(row[name] for name in KEY), {})[row["metric"]] = row
    rows = []
    for (variant, posterior, source, direction, kind), scores in groups.items():
        pairs = next(iter(scores.values()))
        rows.append(
            (
                title(study[variant]),
                Cell(posterior),
                Cell(TRUTH.get(source, source)),
                Cell(DIRECTION_NAMES.get(direction, direction)),
                Cell(MAPS.get(kind, kind)),
                *(_score(scores.get(metric)) for metric in SCORES),
                Cell(f"{int(pairs['positives']):,} of {int(pairs['pairs']):,}", float(pairs["positives"])),
                whole(pairs["seeds"]),
            )
        )
    if not rows:
        none = "No variant of this study with a finished run has a false-negative probability that was scored."
        return Table("calibration", TITLE, f"Nothing to score: {NO_POSITIVE}." if own else none, COLUMNS, ())
    made = sorted({str(row["method"]) for row in scored if math.isfinite(row["low"])})
    caption = (
        "Does a false-negative probability mean what it says? Pairs of the test split, the posterior that each variant "
        f"itself uses under its selected weights; means over seeds{' with 95 % intervals' if made else ''}."
    )
    notes = [f"Intervals: {listing(made)}."] if made else []
    notes += [words for source, words in LIMITS.items() if any(row["source"] == source for row in scored)]
    unknown = [f"{titles(study, [row['variant']])} ({TRUTH.get(row['source'])})" for row in own if not row["positives"]]
    if unknown:
        notes.append(f"Without a row: {listing(dict.fromkeys(unknown))}: {NO_POSITIVE}.")
    return Table("calibration", TITLE, caption, COLUMNS, tuple(rows), tuple(notes), records_of(scored), sortable=True)


def _score(row: dict[str, Any] | None) -> Cell:
    """A score with its interval below; a dash where it is not defined, as AUROC is without a false negative."""
    if row is None or not math.isfinite(row["value"]):
        return ABSENT
    interval = f"[{number(row['low'], 4)}, {number(row['high'], 4)}]" if math.isfinite(row["low"]) else ""
    return Cell(number(row["value"], 4), float(row["value"]), note=interval)
