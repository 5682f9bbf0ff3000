"""The report of a study: one page, and the record of what it was made from."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import fne
from fne import paths
from fne.config import Study
from fne.configuration.published import FILE
from fne.configuration.schema import flatten
from fne.errors import bad_input
from fne.files import read_json, sha256_file, write_json, write_text
from fne.reporting import page, tables
from fne.reporting.cells import Table
from fne.reporting.examples import Thumbnails, sample
from fne.reporting.figures import FIGURES, WORDS
from fne.reporting.headline import headline
from fne.reporting.published import comparisons, sentence
from fne.reporting.table_configs import border_note, differences, tuning
from fne.reporting.table_contrasts import primary_contrasts
from fne.reporting.table_main import missing_seeds
from fne.reporting.table_record import fingerprints, test_readings, versions
from fne.reporting.wording import clean, count, protocol_words, seed_list
from fne.study_results import StudyResults, load

PICTURE_BUDGET = 3_000_000
"""Bytes of example pictures on a page."""
GROUPS = {"random": "Drawn from all picks", "false": "Drawn from the picks that are false negatives"}


def run(study: str | Study, root: str | Path = ".") -> list[Path]:
    """Write ``reports/<study>/report.html`` and ``record.json`` from results and from the drawn figures.

    Args:
        study: Id of the study, or the study itself where the command line changed something of it.
        root: Root of the project.

    Raises:
        UserError: A result file is missing or damaged, or the figures were not drawn yet.
    """
    results = load(study, root)
    folder = Path(root) / paths.reports_folder(results.definition)
    pictures = _figures(folder / "figures")
    write_text(folder / "report.html", page.build(content(results, pictures)))
    write_json(folder / "record.json", record(results, folder))
    return [folder / "report.html", folder / "record.json"]


def content(study: StudyResults, pictures: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything that the page's template asks for."""
    built = {name: tables.build(study, name) for name in tables.TABLES}
    thumbnails = Thumbnails(PICTURE_BUDGET)
    picks = [
        (clean(variant.title), groups)
        for variant in study.variants
        if (groups := _picks(study, variant.id, thumbnails))
    ]
    chosen = {name: flatten(values or {}) for name, values in tuning(study).get("values", {}).items()}
    chosen = {variant.id: chosen.get(variant.id, {}) for variant in study.variants}
    apart = differences(study, chosen)
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
        "main": built["main"],
        **_published(study, built),
        "figures": pictures,
        "contrasts": built["contrasts"],
        "primary": primary_contrasts(study),
        "configs": built["configs"],
        "differences": [
            (clean(variant.title), rows)
            for variant in study.variants
            if (rows := [row for row in apart if row["variant"] == variant.id])
        ],
        "picks": picks,
        "picks_note": _picks_note(study, bool(picks), thumbnails.spent_out),
        "tiny": study.dataset == "scenes",
        "missing": missing,
        "tuning": _tuning(study),
        "protocols": [_protocol(name, facts) for name, facts in sorted(study.protocols.items())],
        "record": built["record"],
        "facts": [*versions(study).items(), *fingerprints(study).items()],
        "readings": [_words(entry) for entry in test_readings(study)],
    }


def record(study: StudyResults, folder: Path) -> dict[str, Any]:
    """What the report was made from, and what was made: SHA-256 of every file, no times of its own."""
    read = sorted(path for path in _inputs(study) if path.is_file())
    made = sorted(
        path for path in folder.rglob("*") if path.is_file() and path.name != "record.json" and path.name[0] != "."
    )
    return {
        "schema": 1,
        "study": study.id,
        "fne": fne.__version__,
        "protocol": fne.PROTOCOL,
        "variants": [variant.id for variant in study.variants],
        "seeds": list(study.seeds),
        "runs": {variant.id: [run["record"] for run in variant.runs] for variant in study.variants},
        "digests": {variant.id: sorted({run["digest"] for run in variant.runs}) for variant in study.variants},
        "fingerprints": fingerprints(study),
        "protocols": {name: facts["id"] for name, facts in sorted(study.protocols.items())},
        "test_readings": test_readings(study),
        "missing": [
            {key: row[key] for key in ("variant", "seed", "stage", "reason")}
            for row in study.missing.to_dict("records")
        ],
        "inputs": {str(path.relative_to(study.root)): sha256_file(path) for path in read},
        "outputs": {str(path.relative_to(folder)): sha256_file(path) for path in made},
    }


def _inputs(study: StudyResults) -> Iterable[Path]:
    for name in ("runs", "intervals", "contrasts", "missing", "curves", "audit"):
        yield study.folder / f"{name}.csv"
    yield study.folder / "protocols.json"
    yield study.root / paths.test_accesses(study.definition)
    yield study.root / paths.manifest(study.definition)
    if study.definition.tuned is not None:
        yield study.root / paths.tuned(study.definition)
    if study.definition.published is not None:
        yield study.root / FILE
    for variant in study.variants:
        for folder in variant.folders:
            for name in ("run.json", "picks.npz", "distributions.json", "queries.test.npz"):
                yield folder / name


def _figures(folder: Path) -> list[dict[str, Any]]:
    """The drawn figures with their words, in the order of the report."""
    if not (folder / WORDS).is_file():
        raise bad_input("the figures were not drawn yet", file=folder / WORDS, hint="run `fne figures` first")
    words = {entry["id"]: entry for entry in read_json(folder / WORDS)}
    found = []
    for name in FIGURES:
        file = folder / f"{name}.svg"
        if name not in words or not file.is_file():
            raise bad_input("this figure was not drawn", file=file, hint="run `fne figures` again")
        svg = page.inline_svg(file.read_text(encoding="utf-8"), name, words[name]["alt"])
        found.append({**words[name], "svg": svg})
    return found


def _setting(study: StudyResults) -> str:
    done = sum(len(study.values(variant.id)) for variant in study.variants)
    asked = len(study.variants) * len(study.seeds)
    return (
        f"{len(study.variants)} variant{'s' if len(study.variants) != 1 else ''}, seeds "
        f"{seed_list(study.seeds)}: {done} of {asked} runs have a result. Scores are on "
        f"{protocol_words(study, 'own')}. Checkpoints were chosen on the validation split."
        + "".join(f" Note: {note}." for note in study.definition.notes)
    )


def _picks(study: StudyResults, variant: str, thumbnails: Thumbnails) -> list[tuple[str, list[dict[str, Any]]]]:
    examples = [
        {
            **vars(example),
            "verdict": example.verdict,
            **{
                role: {**vars(item), "picture": thumbnails(item.image)}
                for role, item in (("anchor", example.anchor), ("picked", example.picked))
            },
        }
        for example in sample(study, variant)
    ]
    groups = [(heading, [one for one in examples if one["kind"] == kind]) for kind, heading in GROUPS.items()]
    return [(heading, found) for heading, found in groups if found]


def _picks_note(study: StudyResults, any_shown: bool, cut: bool) -> str:
    if not any_shown:
        why = (
            "no run kept any"
            if study.manifest is not None
            else "the prepared data (images and captions) are not on this machine"
        )
        return f"There are no examples to show: {why}."
    return (
        "A few negatives that training picked after the warm-up, drawn at random (always the same draw), not "
        "chosen by hand. Training compared the outlined image with the caption in bold, and pushed them "
        "apart. What stands paler was not compared: it is the partner of each, there so that you can judge "
        "for yourself whether image and "
        "caption fit." + (" Pictures beyond the page's budget are left out." if cut else "")
    )


def _published(study: StudyResults, built: dict[str, Table]) -> dict[str, Any]:
    """The section of what was published; nothing of it where the study is set against nothing."""
    against = study.definition.published
    words = sentence(comparisons(study, against)) if against and against.entries else ""
    return {"published": built["published"] if against else None, "methods": built["methods"], "verdicts": words,
            "ablation": built["ablation"]}  # fmt: skip


def _tuning(study: StudyResults) -> list[tuple[str, str]]:
    found = tuning(study)
    declared = found.get("declared", {})
    rows = [(key, clean(str(value))) for key, value in found.get("protocol", {}).items()]
    rows += [(key, clean(str(declared[key]))) for key in ("budget", "seeds") if key in declared]
    rows += [(f"searched {key}", clean(str(value))) for key, value in flatten(declared.get("search", {})).items()]
    return rows + ([("at the border", clean(border_note(study)))] if border_note(study) else [])


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
