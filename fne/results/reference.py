"""A reference: scores of a study's seeds and what made them, in ``ablations/reference/<study>.json``.

A later run of the study is set against it (``fne.steps.verify``). It holds no captions and no places of a machine, and
the same results give the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fne.analysis.retraining import MIN_SEEDS, RULE, Tolerance, tolerance_of
from fne.results.code import Code
from fne.results.made_from import fingerprints, versions
from fne.study import paths
from fne.study.api import Study, evaluation_digest, resolve, training_digest
from fne.utils.errors import bad_input
from fne.utils.files import MOST_RECORD, SCHEMAS, read_json, require_schema, write_json
from fne.utils.shape import ANY, check

if TYPE_CHECKING:
    from fne.results.study import StudyResults

SHAPE = {
    "schema": int,
    "study": str,
    "primary": {"metric": str, "protocol": str, "direction": str},
    "baseline": str,
    "tolerance": {"rule": str, "score": float, "difference": float},
    "seeds": [int],
    "variants": {ANY: {"scores": [float], "training": str, "evaluation": str, "code": str}},
    "fingerprints": {ANY: str},
    "versions": {ANY: str},
    "machine": {ANY: str},
    "date": str,
    "commit": str,
}
"""Keys and kinds; ``ANY`` stands for names. ``training`` and ``evaluation`` are digests of the variant's config,
``code`` of what trained it, ``fingerprints`` those of data, of features (or encoders) and of the test protocol
(``protocol.<name>``). An empty text is unknown and explains nothing. Scores are fractions, by seed."""
PACKAGES = ("fne", "torch", "transformers", "tokenizers", "safetensors", "numpy", "scipy", "pillow")
"""Packages whose version training or evaluation may depend on."""


def build(study: StudyResults) -> dict[str, Any]:
    """The reference that a finished study gives, its tolerance by the rule ``retraining``.

    Raises:
        UserError: A run has no score, the runs read different data or features, or the rule can give no tolerance.
    """
    definition = study.definition
    scores = {variant: study.values(variant) for variant in definition.variants}
    for variant, by_seed in scores.items():
        if absent := [seed for seed in study.seeds if seed not in by_seed]:
            hint = f"run it first: snakemake --cores all --config study={study.id}"
            raise bad_input("a reference needs every run, and these have no result", file=study.folder, key=variant,
                            value=f"seeds {', '.join(map(str, absent))}", hint=hint)  # fmt: skip
    content: dict[str, Any] = {
        "schema": SCHEMAS["reference"],
        "study": study.id,
        "primary": dict(definition.primary),
        "baseline": study.baseline,
        "tolerance": {},
        "seeds": list(study.seeds),
        "variants": {
            variant: {"scores": [by_seed[seed] for seed in study.seeds], **digests(definition, variant)}
            for variant, by_seed in scores.items()
        },
        **made_by(study),
        **_ended(study),
    }
    for name, value in content["fingerprints"].items():
        if "," in value:
            problem = "the runs did not all read the same"
            raise bad_input(problem, file=study.folder, key=name, value=value, hint="run the study again")
    result = _tolerance(content, study.folder)
    return content | {"tolerance": {"rule": RULE, "score": result.score, "difference": result.difference}}


def write(content: Mapping[str, Any], file: Path) -> None:
    """Write a reference; one of other content is never replaced.

    Raises:
        UserError: There is one of other content.
    """
    if file.exists() and read_json(file) != json.loads(json.dumps(content)):
        raise bad_input("another reference is there already", file=file, hint="remove it to record a new one")
    write_json(file, content)


def read(file: Path) -> dict[str, Any]:
    """Read a reference and check all of it.

    Raises:
        UserError: It is damaged, of another schema or another study than its name says; a key is missing or unknown, a
            value of another kind or not finite; seeds are too few or come twice; a variant has other than one score a
            seed; or the tolerance is not what its rule gives.
    """
    hint = "record it again with this version: remove it, then fne verify STUDY --record"
    content = read_json(file, hint, MOST_RECORD)
    require_schema(content, "reference", file, hint)
    check(content, SHAPE, file)
    if content["study"] != file.stem:
        raise bad_input("of another study than its name says", file=file, key="study", value=content["study"],
                        allowed=[file.stem])  # fmt: skip
    result = _tolerance(content, file)
    requested = {"rule": RULE, "score": result.score, "difference": result.difference}
    own = content["tolerance"]
    if own["rule"] != RULE or not np.allclose([own["score"], own["difference"]], [result.score, result.difference]):
        raise bad_input("not what the rule gives for these scores", file=file, key="tolerance",
                        value=own, allowed=[requested])  # fmt: skip
    return content


def require(study: Study, root: Path) -> dict[str, Any]:
    """The reference of a study as it is loaded.

    Raises:
        UserError: As :func:`read`; or there is none, or it is of variants that the study lacks, of another baseline or
            another primary metric.
    """
    file = root / paths.reference(study)
    if not file.is_file():
        known = sorted(each.stem for each in file.parent.glob("*.json"))
        hint = f"of finished results one is made by: fne verify {study.name} --record"
        raise bad_input("no reference of this study", file=file, value=study.name, allowed=known, hint=hint)
    content = read(file)
    for name, (its, here) in _mismatch(study, content).items():
        raise bad_input(f"of another {name} than study {study.name!r}", file=file, key=name, value=its, allowed=here)
    return content


def find(study: Study, root: Path) -> dict[str, Any] | None:
    """The reference that a study can be set against; None where there is none, or none of its variants.

    Raises:
        UserError: As :func:`read`.
    """
    file = root / paths.reference(study)
    content = read(file) if file.is_file() else None
    return content if content is not None and not _mismatch(study, content) else None


def _mismatch(study: Study, content: Mapping[str, Any]) -> dict[str, tuple[str, list[str]]]:
    """In what a reference is not about this study: its value, and what the study has."""
    others: dict[str, tuple[str, list[str]]] = {}
    if unknown := [variant for variant in content["variants"] if variant not in study.variants]:
        others["variants"] = unknown[0], list(study.variants)
    if content["baseline"] != study.baseline:
        others["baseline"] = content["baseline"], [study.baseline]
    if content["primary"] != dict(study.primary):
        others["primary"] = " ".join(content["primary"].values()), [" ".join(study.primary.values())]
    return others


def digests(study: Study, variant: str) -> dict[str, str]:
    """Digests of what training and what evaluation alone read of a variant, and of the code that trains it."""
    config = resolve(study, variant)
    code = Code(study.root).training(config)
    return {"training": training_digest(config), "evaluation": evaluation_digest(config), "code": code}


def made_by(study: StudyResults) -> dict[str, dict[str, str]]:
    """What made a study's numbers: the entries ``fingerprints``, ``versions`` and ``machine`` of a reference.

    Where runs differ, every value stands there once, joined by commas.
    """
    runs = [run for variant in study.variants for run in variant.runs]
    records, known = [run["record"] for run in runs], versions(study)
    facts = study.protocols.get(study.protocol, {})
    machine = {
        key: _each(record.get(key) for record in records)
        for key in ("platform", "cpu", "cpu_capability", "threads", "device")
    }
    switches = [record["kernel_switches"] for record in records if record.get("kernel_switches") is not None]
    settings = (", ".join(f"{name}={value}" for name, value in sorted(each.items())) or "none" for each in switches)
    return {
        "fingerprints": fingerprints(study) | {f"protocol.{study.protocol}": str(facts.get("id", ""))},
        "versions": {name: known[name] for name in ("python", *PACKAGES) if name in known},
        "machine": machine | {"kernel_switches": _each(settings)},
    }


def _each(values: Iterable[Any]) -> str:
    """Every known value once."""
    return ", ".join(sorted({str(value) for value in values if value is not None}))


def _ended(study: StudyResults) -> dict[str, str]:
    """When the last run ended, and the code's commits."""
    records = [run["record"] for variant in study.variants for run in variant.runs]
    ends = [record.get("finished") for record in records]
    if not ends or None in ends:
        raise bad_input("a run does not say when it ended", file=study.folder, key="record.finished",
                        hint="train it again with this version")  # fmt: skip
    commits = (f"{record['commit']}{'+' * bool(record.get('dirty'))}" for record in records if record.get("commit"))
    return {"date": max(ends)[:10], "commit": _each(commits)}


def _tolerance(content: Mapping[str, Any], file: Path) -> Tolerance:
    """What the rule gives for the scores of a reference."""
    seeds, variants = content["seeds"], content["variants"]
    if len({*seeds}) < max(MIN_SEEDS, len(seeds)):
        raise bad_input(f"needs at least {MIN_SEEDS} different seeds", file=file, key="seeds", value=seeds)
    if len(variants) < 2 or content["baseline"] not in variants:
        raise bad_input("is no variant, or the only one", file=file, key="baseline", value=content["baseline"],
                        allowed=variants)  # fmt: skip
    for variant, entry in variants.items():
        if len(entry["scores"]) != len(seeds):
            raise bad_input("other than one score a seed", file=file, key=f"variants.{variant}.scores",
                            value=len(entry["scores"]), allowed=[len(seeds)])  # fmt: skip
    scores = np.array([entry["scores"] for entry in variants.values()], dtype=np.float64)
    result = tolerance_of(scores, list(variants).index(content["baseline"]))
    if not (result.score > 0 and result.difference > 0):
        problem = "scores do not differ between seeds, so that no noise of training is known"
        raise bad_input(problem, file=file, key="variants")
    return result
