"""The page of a study: which table and figure answers which question, and what is folded away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fne.report.page.parts import Page, glossary, part
from fne.report.picks import queries
from fne.report.picks.viewer import viewer
from fne.report.published import comparisons, sentence
from fne.report.tables import registry as tables
from fne.report.tables.contrasts import primary_contrasts
from fne.report.text import verified
from fne.report.text.contrast_text import truth_sentences
from fne.report.text.headline import headline
from fne.report.text.wording import count, duration, given, interval_phrase, listing, metric_name, seed_list
from fne.report.tuning import marked
from fne.results.made_from import fingerprints, versions
from fne.results.study import StudyResults
from fne.utils.text import clean

SWEPT = ("sensitivity", "heatmap")
"""Figures that answer the question of a study of sweeps."""


def content(study: StudyResults, figures: Mapping[str, dict[str, Any]]) -> Page:
    """The page of a study.

    Args:
        study: A finished study.
        figures: The drawn figures by name: their words, ``svg``, and ``empty`` where there was nothing to draw.
    """
    built = {name: tables.build(study, name) for name in tables.TABLES}

    def by_question(name: str, *more: Any, folded: bool = True) -> list[Any]:
        """A figure under its own question, with what belongs to it."""
        figure = figures[name]
        return part(f"about-{name}", figure["question"], figure, *more, folded=folded)

    contrasts = marked(primary_contrasts(study), study.definition.notes)
    against = study.definition.published
    words = sentence(comparisons(study, against)) if against and against.entries else ""
    published = [words, built["published"], built["methods"]] if against else []
    first, worst = queries.of_study(study)
    parts = [
        *part("contrasts", figures["contrasts"]["question"], contrasts, figures["contrasts"], folded=False),
        *part("results", f"What {metric_name(study)} does each variant reach?", built["main"], folded=False),
        *(item for name in SWEPT for item in by_question(name, folded=False)),
        *by_question("false_negatives", folded=False),
        *by_question("distributions", folded=False),
        *part("truth", "What would knowing every false negative change?", *truth_sentences(study)),
        *by_question("scores"),
        *part("metrics", "Do other metrics say the same?", built["contrasts"]),
        *part("ablation", "What does each part of the method contribute?",
              built["ablation"] if len(built["ablation"].rows) > 1 else ""),
        *part("published", "Do the numbers agree with the reference and with published ones?",
              verified.line(study), *published),
        *by_question("picks", built["judged"]),
        *by_question("risk_hardness"),
        *by_question("agreement"),
        *by_question("distributions_all"),
        *by_question("calibration", built["calibration"]),
        *by_question("curves"),
        *part("tuning", "How were values tuned, and who is best at which budget?",
              figures["budget"], built["tuning"], built["budget"]),
        *part("queries", queries.QUESTION, first, ("viewer", worst)),
        *part("picks", "What did each strategy pick for the same anchor?", ("viewer", viewer(study))),
        *part("variants", "What sets each variant apart?", built["configs"]),
        *part("record", "How was every number made?", _cost(study), _readings(study), built["record"],
              ("facts", [*_protocols(study), *versions(study).items(), *fingerprints(study).items()])),
        *part("words", "What do the words mean?", ("facts", glossary())),
    ]  # fmt: skip
    return Page(study.id, clean(study.title), clean(study.question), headline(study), _setting(study), tuple(parts))


def _setting(study: StudyResults) -> str:
    done = sum(len(study.values(variant.id)) for variant in study.variants)
    several = "s" if len(study.variants) != 1 else ""
    seeds = f"seed{'s' if len(study.seeds) != 1 else ''} {seed_list(study.seeds)}"
    requested = len(study.variants) * len(study.seeds)
    intervals = f"; intervals over seeds and test images, {given(study)}" if interval_phrase(study) else ""
    return (
        f"{count(len(study.variants))} variant{several}, {seeds}: {done} of {requested} runs have a result. "
        f"{metric_name(study)} on the test split of {study.dataset}{intervals}."
    )


def _cost(study: StudyResults) -> str:
    """What all runs of the study cost together."""
    runs = [run for variant in study.variants for run in variant.runs]
    if not runs:
        return "No run was trained."
    seeds, seconds = sum(len(run["seeds"]) for run in runs), sum(run["cost"]["seconds_total"] for run in runs)
    devices = sorted({clean(str(run["record"].get("device") or "unknown")) for run in runs})
    return f"Training of {count(seeds)} runs took {duration(seconds)} in all, on {listing(devices)}."


def _readings(study: StudyResults) -> str:
    times = count(len(study.test_readings))
    return f"The test split was read {times} times; readings.*.jsonl in the folder of each run lists when."


def _protocols(study: StudyResults) -> list[tuple[str, str]]:
    """Every protocol with its fingerprint and what it is made of."""
    return [
        (
            f"protocol {name}",
            f"{clean(facts['name'])}, fingerprint {facts['id']}: "
            + "; ".join(f"{key} {_words(value)}" for key, value in facts.items() if key not in ("id", "name")),
        )
        for name, facts in sorted(study.protocols.items())
    ]


def _words(value: Any) -> str:
    """A small JSON value as a person reads it."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(item)}" for key, item in value.items())
    if isinstance(value, list):
        return " to ".join(_words(item) for item in value)
    return count(value) if isinstance(value, int) and not isinstance(value, bool) else clean(str(value))
