"""``export``: a study's results as one bundle, documented column by column; no captions and no images in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import fne
from fne.analysis import layout
from fne.encoders.checkpoints import is_path
from fne.report.tuning import tuning
from fne.results.bundle import FORMATS, MOST_ROWS, Bundle, Table, has_parquet, read_csv, write
from fne.results.made_from import code, fingerprints, versions
from fne.results.readme import readme
from fne.results.schema import TABLES, table_bytes, verb_of
from fne.results.study import StudyResults, load
from fne.study import paths
from fne.study.api import Study, digest, resolve
from fne.study.model import PATH_KEYS
from fne.study.tuned import SECTIONS
from fne.utils.errors import bad_input
from fne.utils.fields import flatten, unflatten
from fne.utils.files import SCHEMAS, reading


def run(study: Study, root: Path, out: Path | None = None, form: str | None = None) -> Path:
    """Write the bundle of a study.

    Args:
        study: The study.
        root: The project's folder.
        out: A folder, or a file ``*.zip``; ``reports/<study>-bundle`` unless given.
        form: ``csv`` or ``parquet``; CSV, and Parquet where pyarrow is installed, unless given.

    Raises:
        UserError: The study has no results, or they were made under another config than its present one.
    """
    out = out or root / "reports" / f"{study.name}-bundle"
    bundle = build(load(study, root))
    formats = (form,) if form else FORMATS if has_parquet() else FORMATS[:1]
    write(bundle, out, formats, readme(bundle, formats))
    return out


def build(study: StudyResults) -> Bundle:
    """The bundle of a study, in memory.

    Raises:
        UserError: As :func:`run`.
    """
    _require_current(study)
    tables = {name: _table(study.folder / f"{name}.csv", name) for name in
              ("runs", "intervals", "contrasts", "curves", "audit", "missing")}  # fmt: skip
    left_out = []
    for name in ("calibration", "calibration_bins"):
        if (file := study.folder / f"{name}.csv").is_file():
            tables[name] = _table(file, name)
        else:
            left_out.append(f"{name}: `fne audit` was not run")
    for name, made in (("images", _images(study)), ("ranks", _ranks(study))):
        rows = len(made["seed"])
        if 0 < rows <= MOST_ROWS[name]:
            tables[name] = Table(TABLES[name][1], made)
        else:
            why = f"{rows:,} rows, more than {MOST_ROWS[name]:,}" if rows else "the runs kept none"
            left_out.append(f"{name}: {why}")
    tuned = tuning(study)
    facts = {
        "schema": SCHEMAS["bundle"],
        "fne": fne.__version__,
        "study": study.id,
        "title": study.title,
        "question": study.question,
        "dataset": study.dataset,
        "regime": study.definition.regime,
        "baseline": study.baseline,
        "primary": dict(study.definition.primary),
        "test": study.definition.test,
        "seeds": list(study.seeds),
        "notes": list(study.definition.notes),
        "protocols": study.protocols,
        "fingerprints": fingerprints(study),
        "packages": versions(study),
        "variants": {variant.id: _variant(study, variant.id) for variant in study.variants},
        "tuning": {key: tuned[key] for key in ("declared", "protocol", *SECTIONS, "border") if key in tuned},
        "records": {variant.id: [run["record"] for run in variant.runs] for variant in study.variants},
        "test_accesses": study.test_readings,
        "left_out": left_out,
    }
    return Bundle(facts, tables, f"study {study.id}")


def _require_current(study: StudyResults) -> None:
    """Refuse rows of a variant that is no longer in the study; those of another config ``study.test`` refuses."""
    for variant in sorted({*study.test["variant"]} - {*study.definition.variants}):
        hint = f"run `fne aggregate --study {study.id}` and `fne compare --study {study.id}` again"
        problem = "holds results of a variant that the study no longer has"
        raise bad_input(problem, file=study.folder / "runs.csv", key="variant", value=variant, hint=hint)


def _variant(study: StudyResults, name: str) -> dict[str, Any]:
    declared, config = study.definition.library[name], resolve(study.definition, name)
    return {
        "title": declared.title,
        "question": declared.question,
        "parent": declared.parent,
        "role": declared.role,
        "digest": digest(config),
        "code": code(study[name].runs),
        "seeds": sorted(study.values(name)),
        "config": _without_places(config),
    }


def _without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config without places on this machine; of an encoder's folder its name stays."""
    flat = {key: value for key, value in flatten(config).items() if key not in PATH_KEYS}
    for key, value in flat.items():
        if key.endswith(".checkpoint") and is_path(value):
            flat[key] = Path(value).name
    return unflatten(flat)


def _table(file: Path, name: str) -> Table:
    """A CSV file of the results."""
    content = table_bytes(file)
    with reading(file, f"run `fne {verb_of(name)} --study {file.parent.name}` again"):
        return read_csv(content, TABLES[name][1])


def _images(study: StudyResults) -> dict[str, list[Any]]:
    """Influence values of the primary metric; see ``fne.analysis.layout``."""
    parts: dict[str, list[Any]] = {key: [] for key in TABLES["images"][1]}
    for variant in study.variants:
        result = study.layout(variant.id)
        if result is None or study.key() not in result.keys:
            continue
        values = result.influence[:, :, result.keys.index(study.key())]
        n, images = values.shape
        parts["variant"] += [variant.id] * values.size
        parts["seed"] += np.repeat(result.seeds, images).tolist()
        parts["image"] += np.tile(np.arange(images), n).tolist()
        parts["influence"] += values.ravel().tolist()
    return parts


def _ranks(study: StudyResults) -> dict[str, list[Any]]:
    parts: dict[str, list[Any]] = {key: [] for key in TABLES["ranks"][1]}
    for variant in study.variants:
        done = set(study.values(variant.id))
        for folder in variant.folders:
            file = folder / paths.queries(study.definition, variant.id, folder.name, "test").name
            if not file.is_file():
                continue
            stored = layout.read(file)
            seeds = stored["seeds"].tolist()
            kept = [place for place, seed in enumerate(seeds) if seed in done]
            for key in (key for key in stored if key.endswith("/rank")):
                protocol, direction, _ = key.split("/")
                ranks = stored[key][kept]
                queries = ranks.shape[1]
                parts["variant"] += [variant.id] * ranks.size
                parts["seed"] += [seeds[place] for place in kept for _ in range(queries)]
                parts["protocol"] += [protocol] * ranks.size
                parts["direction"] += [direction] * ranks.size
                parts["query"] += np.tile(np.arange(queries), len(kept)).tolist()
                parts["rank"] += ranks.ravel().astype(float).tolist()
    return parts
