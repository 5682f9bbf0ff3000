"""Published against reproduced: every number with a declared tolerance, its verdict and the reason for it."""

from __future__ import annotations

import math
from typing import Any

from fne.data.published import CONFIDENCE
from fne.protocols import DIRECTION_NAMES, METRICS
from fne.report.published import REASON_WORDS, Comparison, comparisons
from fne.report.tables.cells import ABSENT, Cell, Column, Table, finite, whole
from fne.report.text.wording import interval_phrase, number
from fne.results.study import StudyResults
from fne.utils.text import clean

TITLE = "Published against reproduced"
COLUMNS = (
    Column("Metric", numeric=False),
    Column("Verdict", help="with its reason code", numeric=False),
    Column("Published"),
    Column("Tolerance", help="half the width of what counts as the same, declared in the study"),
    Column("Here", help="mean over seeds"),
    Column("Seeds"),
)


def published_table(study: StudyResults) -> Table:
    """Build one row per published number; a study that is compared with nothing has a table that says so."""
    against = study.definition.published
    if against is None:
        caption = f"{clean(study.title)}. This study is compared with no published result."
        return Table("published", TITLE, caption, COLUMNS, ())
    result = comparisons(study, against)
    sections: dict[tuple[str, str], int] = {}
    for place, item in enumerate(result):
        sections.setdefault((item.variant, item.entry.id), place)
    intervals = interval_phrase(study)
    rule = (
        f"Reproduced: the {intervals} lies wholly within the published number ± the tolerance that the study declares; "
        "not reproduced: wholly outside it; else inconclusive. These are two one-sided tests at 2.5 % each, so where "
        "the true mean differs by the tolerance or more, a number is called reproduced at most once in forty studies."
        if intervals
        else "With so few seeds every number is inconclusive."
    )
    caption = (
        f"{clean(study.title)}. Percent; rsum in points of 600. {rule} Every number has a verdict of its own, and the "
        "published one is taken as exact. Only numbers of the same data set, protocol, stated encoders and way of "
        "training are compared."
    )
    summary = "; ".join(f"{code}: {REASON_WORDS[code]}" for code in dict.fromkeys(item.reason for item in result))
    notes = [f"Reason codes: {summary}."] if summary else []
    notes += [_note(study, result[place]) for place in sections.values()]
    return Table(
        "published",
        TITLE,
        caption,
        COLUMNS,
        tuple(_row(item) for item in result),
        tuple(notes),
        tuple(_record(item) for item in result),
        sections=tuple((place, _heading(study, result[place])) for place in sections.values()),
    )


def printed(value: float) -> str:
    """A published number with the digits it was given with, one at least."""
    return f"{value:.1f}" if round(value, 1) == value else f"{value}"


def fraction(value: float | None) -> float | None:
    """Percent as a fraction; None stays, and NaN is None."""
    return None if value is None else finite(value / 100)


def metric_words(direction: str, metric: str) -> str:
    """``R@1, image → text``; rsum has no direction."""
    if direction == "all":
        return "all"
    where = {"both": "", "mean": ", mean of both directions"}.get(direction, f", {DIRECTION_NAMES.get(direction)}")
    return METRICS[metric].label + where


def _heading(study: StudyResults, item: Comparison) -> str:
    entry, title = item.entry, clean(study[item.variant].title)
    words = f"{title} against {clean(entry.method)}, {clean(str(entry.backbone))} ({entry.id})"
    return words if entry.available else f"{words}: not available here, see doi {entry.doi}"


def _row(item: Comparison) -> tuple[Cell, ...]:
    here = ABSENT
    if math.isfinite(item.mean):
        interval = f"[{number(item.low)}, {number(item.high)}]" if math.isfinite(item.low) else ""
        here = Cell(number(item.mean), item.mean, note=interval)
    published = ABSENT if item.published is None else Cell(printed(item.published), item.published)
    return (
        Cell(metric_words(item.direction, item.metric)),
        Cell(item.verdict, note=item.reason, code=True, strong=item.reason.startswith("interval_")),
        published,
        ABSENT if item.tolerance is None else Cell(f"±{printed(item.tolerance)}", item.tolerance),
        here,
        whole(item.n_seeds) if item.n_seeds else ABSENT,
    )


def _note(study: StudyResults, item: Comparison) -> str:
    """What a reader must know about a published result: how the setting differs, where it stands, how sure it is."""
    entry = item.entry
    words = f"{clean(study[item.variant].title)} against {entry.id}: " + "".join(
        f"{remark}; " for remark in item.setting
    )
    words += f"source: {clean(entry.source)}"
    if entry.confidence is not None:
        words += f" (confidence {entry.confidence}: {CONFIDENCE[entry.confidence]})"
    return words + (f"; {clean(entry.note)}" if entry.note else "") + "."


def _record(item: Comparison) -> dict[str, Any]:
    """One flat row for the CSV file; fractions, as in every file of results."""
    entry = item.entry
    return {
        "variant": item.variant,
        "published_id": entry.id,
        "method": entry.method,
        "backbone_image": entry.backbone.image,
        "backbone_text": entry.backbone.text,
        "dataset": entry.dataset,
        "protocol": entry.protocol,
        "ensemble": entry.ensemble,
        "direction": item.direction,
        "metric": item.metric,
        **{key: fraction(getattr(item, key)) for key in ("published", "tolerance", "mean", "low", "high")},
        "n_seeds": item.n_seeds,
        "verdict": item.verdict,
        "reason": item.reason,
        "setting_differs": ";".join(item.differs),
        "setting": "; ".join(item.setting),
        "source": entry.source,
        "doi": entry.doi,
        "confidence": entry.confidence,
    }
