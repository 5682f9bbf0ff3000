"""Everything that the page's template asks for, out of a study's results."""

from __future__ import annotations

from typing import Any

import fne
from fne.report.page import variants
from fne.report.picks.viewer import viewer
from fne.report.published import comparisons, sentence
from fne.report.tables import registry as tables
from fne.report.tables.cells import Table
from fne.report.tables.contrasts import primary_contrasts
from fne.report.text import verified
from fne.report.text.headline import headline
from fne.report.text.summary import missing_seeds
from fne.report.text.wording import count, duration, interval_phrase, protocol_words, seed_list
from fne.report.tuning import marked
from fne.results.made_from import fingerprints, versions
from fne.results.study import StudyResults
from fne.utils.text import clean

PLACED = ("main", "contrasts", "configs", "tuning", "record", "published", "methods", "ablation")
"""Tables that have a place of their own on the page; every other one with rows stands among the further tables."""
MOST_ROWS = 3000
"""A longer table is on the page up to here only, and says so."""
FEW_ROWS = 1000
"""The same for tables of several rows a variant, where variants are more than have a part of their own."""
WHOLE = ("main", "configs", "tuning", "record")
"""Tables of one row a variant."""
MOST_READINGS = 500
"""Readings of the test split, and missing runs, that the page lists."""


def content(study: StudyResults, pictures: list[dict[str, Any]]) -> dict[str, Any]:
    """Gather what the template asks for.

    Args:
        study: A finished study.
        pictures: The drawn figures: their words, ``svg``, and ``empty`` where there was nothing to draw.
    """
    crowded = len(study.variants) > variants.MOST
    built = {
        name: _cut(tables.build(study, name), MOST_ROWS if name in WHOLE or not crowded else FEW_ROWS)
        for name in tables.TABLES
    }
    parts = variants.sections(study)
    readings = study.test_readings
    missing = [
        {"variant": variant.id, "seed": seed, "reason": why, "stage": stage}
        for variant in study.variants
        for seed, (stage, why) in missing_seeds(study, variant.id).items()
    ]
    return {
        "study": study.id,
        "version": fne.__version__,
        "title": clean(study.title),
        "question": clean(study.question),
        "headline": headline(study),
        "setting": _setting(study),
        "intervals": bool(interval_phrase(study)),
        "verified": verified.line(study),
        "main": built["main"],
        **_published(study, built),
        "figures": [picture for picture in pictures if not picture["empty"]],
        "not_drawn": [picture for picture in pictures if picture["empty"]],
        "contrasts": None if crowded else built["contrasts"],
        "contrasts_all": len(study.contrasts),
        "primary": _cut(marked(primary_contrasts(study), study.definition.notes), MOST_ROWS),
        "further": [built[name] for name in tables.TABLES if name not in PLACED and built[name].rows],
        "configs": built["configs"],
        "variants": parts,
        "variants_left": len(study.variants) - len(parts),
        "links": {part["name"]: part["id"] for part in parts},
        "picks": viewer(study),
        "missing": missing[:MOST_READINGS],
        "missing_all": len(missing),
        "tuning": built["tuning"],
        "protocols": [_protocol(name, facts) for name, facts in sorted(study.protocols.items())],
        "record": built["record"],
        "cost": _cost(study),
        "facts": [*versions(study).items(), *fingerprints(study).items()],
        "readings": [_words(entry) for entry in readings[:MOST_READINGS]],
        "readings_all": len(readings),
    }


def _cut(table: Table, most: int) -> Table:
    """The first rows of a table that is too long for a page, with a note that says so."""
    from dataclasses import replace

    if len(table.rows) <= most:
        return table
    note = (
        f"Here are the first {count(most)} of {count(len(table.rows))} rows; all of them are in tables/{table.id}.csv."
    )
    return replace(
        table,
        rows=table.rows[:most],
        sections=tuple(section for section in table.sections if section[0] < most),
        notes=(*table.notes, note),
    )


def _setting(study: StudyResults) -> str:
    done = sum(len(study.values(variant.id)) for variant in study.variants)
    asked = len(study.variants) * len(study.seeds)
    return (
        f"{count(len(study.variants))} variant{'s' if len(study.variants) != 1 else ''}, "
        f"seed{'s' if len(study.seeds) != 1 else ''} {seed_list(study.seeds)}: {done} of {asked} runs have a result. "
        f"Scores are on {protocol_words(study, 'own')}. Checkpoints were chosen on the validation split."
        + "".join(f" Note: {note}." for note in study.definition.notes)
    )


def _published(study: StudyResults, built: dict[str, Table]) -> dict[str, Any]:
    """The section of what was published; nothing of it where the study is set against nothing."""
    against = study.definition.published
    words = sentence(comparisons(study, against)) if against and against.entries else ""
    return {"published": built["published"] if against else None, "methods": built["methods"], "verdicts": words,
            "ablation": built["ablation"]}  # fmt: skip


def _cost(study: StudyResults) -> str:
    """What all runs of the study cost together."""
    runs = [run for variant in study.variants for run in variant.runs]
    if not runs:
        return "No run was trained."
    seeds, seconds = sum(len(run["seeds"]) for run in runs), sum(run["cost"]["seconds_total"] for run in runs)
    devices = sorted({clean(str(run["record"].get("device") or "unknown")) for run in runs})
    return f"Training of {count(seeds)} runs took {duration(seconds)} in all, on {', '.join(devices)}."


def _protocol(name: str, facts: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    rows = [(key, _words(value)) for key, value in facts.items() if key != "id"]
    return f"{name}: {facts['name']}", {"id": facts["id"], "rows": rows}


def _words(value: Any) -> str:
    """A small JSON value as a person reads it."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(item)}" for key, item in value.items())
    if isinstance(value, list):
        return " to ".join(_words(item) for item in value)
    return count(value) if isinstance(value, int) and not isinstance(value, bool) else clean(str(value))
