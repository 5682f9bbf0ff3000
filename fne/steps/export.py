"""``export``: a study's results as one bundle, documented column by column; no captions and no images in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import fne
from fne.analysis import layout
from fne.encoders.checkpoints import is_path
from fne.report.tuning import tuning
from fne.results.bundle import MOST_ROWS, Bundle, rows_of, write
from fne.results.made_from import code, fingerprints, versions
from fne.results.readme import readme
from fne.results.schema import table_bytes
from fne.results.study import StudyResults, load
from fne.study.api import Study, digest, resolve
from fne.study.model import PATH_KEYS
from fne.study.tuned import SECTIONS
from fne.utils.errors import bad_input
from fne.utils.fields import flatten, unflatten
from fne.utils.files import SCHEMAS

if TYPE_CHECKING:
    import pandas as pd


def run(study: Study, root: Path, out: Path | None = None) -> Path:
    """Write the bundle of a study.

    Args:
        study: The study.
        root: The project's folder.
        out: A folder, or a file ``*.zip``; ``reports/<study>-bundle`` unless given.

    Raises:
        UserError: The study has no results, or they were made under another config than its present one.
    """
    out = out or root / "reports" / f"{study.name}-bundle"
    bundle = build(load(study, root))
    write(bundle, out, readme(bundle))
    return out


def build(study: StudyResults) -> Bundle:
    """The bundle of a study, in memory.

    Raises:
        UserError: As :func:`run`.
    """
    import pandas as pd

    _require_current(study)
    names = ("runs", "intervals", "contrasts", "curves", "audit", "missing")
    tables = {name: table_bytes(study.folder / f"{name}.csv") for name in names}
    left_out = []
    if (rows := rows_of(tables["audit"])) > MOST_ROWS["audit"]:
        del tables["audit"]
        left_out.append(f"audit: {rows:,} rows, more than {MOST_ROWS['audit']:,}")
    for name in ("calibration", "calibration_bins"):
        if (file := study.folder / f"{name}.csv").is_file():
            tables[name] = table_bytes(file)
        else:
            left_out.append(f"{name}: `fne audit` was not run")
    for name, made in (("images", _images(study)), ("ranks", _ranks(study))):
        rows = sum(map(len, made))
        if 0 < rows <= MOST_ROWS[name]:
            tables[name] = pd.concat(made).to_csv(index=False, lineterminator="\n").encode()
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


def _images(study: StudyResults) -> list[pd.DataFrame]:
    """Influence values of the primary metric, where there are any."""
    layouts = {variant.id: study.layout(variant.id) for variant in study.variants}
    return [image_rows(variant, of, study.key()) for variant, of in layouts.items() if of and study.key() in of.keys]


def image_rows(variant: str, of: layout.Layout, key: layout.Key) -> pd.DataFrame:
    """The rows of a variant in the table ``images``; see ``fne.analysis.layout``."""
    import pandas as pd

    values = of.influence[:, :, of.keys.index(key)]
    n, images = values.shape
    columns = {"seed": np.repeat(of.seeds, images), "image": np.tile(np.arange(images), n)}
    return pd.DataFrame({"variant": variant, **columns, "influence": values.ravel()})


def _ranks(study: StudyResults) -> list[pd.DataFrame]:
    return [
        part
        for variant in study.variants
        for file in study.query_files(variant.id)
        for part in rank_rows(variant.id, layout.read(file), [*study.values(variant.id)])
    ]


def rank_rows(variant: str, stored: Mapping[str, np.ndarray], done: Sequence[int]) -> list[pd.DataFrame]:
    """The rows of a variant in the table ``ranks``, from the arrays of a queries file, of these seeds."""
    import pandas as pd

    parts = []
    kept = np.isin(stored["seeds"], done)
    for key in (key for key in stored if key.endswith("/rank")):
        protocol, direction, _ = key.split("/")
        ranks = stored[key][kept].astype(float)
        n, queries = ranks.shape
        columns = {"seed": np.repeat(stored["seeds"][kept], queries), "protocol": protocol,
                   "direction": direction, "query": np.tile(np.arange(queries), n)}  # fmt: skip
        parts.append(pd.DataFrame({"variant": variant, **columns, "rank": ranks.ravel()}))
    return parts
