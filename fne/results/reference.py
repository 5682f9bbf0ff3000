"""A reference: scores of a study's seeds and what made them, in ``ablations/reference/<study>.json``.

A later run of the study is set against it (``fne.steps.verify``). It holds no captions and no places of a machine, and
the same results give the same bytes.
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fne.analysis.retraining import MIN_SEEDS, RULE, Tolerance, tolerance_of
from fne.results.code import Code
from fne.results.made_from import fingerprints, versions
from fne.study import paths
from fne.study.api import Study, evaluation_digest, resolve, training_digest
from fne.utils.errors import UserError, bad_input
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
            raise bad_input(
                "a reference needs every run, and these have no result", file=study.folder, key=variant,
                value=f"seeds {', '.join(map(str, absent))}", hint=hint,
            )  # fmt: skip
    content: dict[str, Any] = {
        "schema": SCHEMAS["reference"],
        "study": study.id,
        "primary": dict(definition.primary),
        "baseline": study.baseline,
        "tolerance": {"rule": RULE, "score": 1.0, "difference": 1.0},
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
    _check_seeds(content, study.folder)
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
    try:
        datetime.date.fromisoformat(content["date"])
    except ValueError:
        raise bad_input("not a date", file=file, key="date", value=content["date"], allowed="YYYY-MM-DD") from None
    _check_seeds(content, file)
    if content["tolerance"]["rule"] != RULE:
        raise bad_input("unknown rule", file=file, key="tolerance.rule", value=content["tolerance"]["rule"],
                        allowed=[RULE])  # fmt: skip
    result = _tolerance(content, file)
    for name, value in (("score", result.score), ("difference", result.difference)):
        if not math.isclose(content["tolerance"][name], value, rel_tol=1e-9):
            problem = f"not what the rule {RULE!r} gives for these scores"
            raise bad_input(problem, file=file, key=f"tolerance.{name}", value=content["tolerance"][name],
                            allowed=[value])  # fmt: skip
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
    if (problem := _mismatch(study, content, file)) is not None:
        raise problem
    return content


def find(study: Study, root: Path) -> dict[str, Any] | None:
    """The reference that a study can be set against; None where there is none, or none of its variants.

    Raises:
        UserError: As :func:`read`.
    """
    file = root / paths.reference(study)
    content = read(file) if file.is_file() else None
    return content if content is not None and _mismatch(study, content, file) is None else None


def _mismatch(study: Study, content: Mapping[str, Any], file: Path) -> UserError | None:
    """Why a reference is not about this study."""
    for variant in content["variants"]:
        if variant not in study.variants:
            problem = f"has a variant that study {study.name!r} lacks"
            return bad_input(problem, file=file, key="variants", value=variant, allowed=study.variants)
    if content["baseline"] != study.baseline:
        problem = f"another baseline than of study {study.name!r}"
        return bad_input(problem, file=file, key="baseline", value=content["baseline"], allowed=[study.baseline])
    if content["primary"] != dict(study.primary):
        problem = f"another primary metric than of study {study.name!r}"
        return bad_input(problem, file=file, key="primary", value=" ".join(content["primary"].values()),
                         allowed=[" ".join(study.primary[key] for key in content["primary"])])  # fmt: skip
    return None


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


def _check_seeds(content: Mapping[str, Any], file: Path) -> None:
    seeds, variants = content["seeds"], content["variants"]
    if len(set(seeds)) < len(seeds):
        twice = next(seed for seed in seeds if seeds.count(seed) > 1)
        raise bad_input("a seed comes twice", file=file, key="seeds", value=twice)
    if len(seeds) < MIN_SEEDS or min(seeds) < 0:
        raise bad_input("too few seeds, or none that can be", file=file, key="seeds", value=seeds,
                        allowed=f"at least {MIN_SEEDS} integers >= 0")  # fmt: skip
    if content["baseline"] not in variants:
        raise bad_input("is no variant", file=file, key="baseline", value=content["baseline"], allowed=variants)
    if len(variants) < 2:
        raise bad_input("has no variant beside the baseline", file=file, key="variants", value=content["baseline"])
    for variant, entry in variants.items():
        if len(entry["scores"]) != len(seeds):
            raise bad_input("other than one score a seed", file=file, key=f"variants.{variant}.scores",
                            value=len(entry["scores"]), allowed=[len(seeds)])  # fmt: skip


def _tolerance(content: Mapping[str, Any], file: Path) -> Tolerance:
    """What the rule gives for the scores of a reference."""
    scores = np.array([entry["scores"] for entry in content["variants"].values()], dtype=np.float64)
    result = tolerance_of(scores, list(content["variants"]).index(content["baseline"]))
    if not (result.score > 0 and result.difference > 0):
        problem = "scores do not differ between seeds, so that no noise of training is known"
        raise bad_input(problem, file=file, key="variants")
    return result
