"""``audit``: picks of all runs of a study -> tidy tables of what was picked and whether it was known to match."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fne.analysis.pick_overlap import Keyed, agreement, keyed, pairs
from fne.analysis.rates import epochs, prepared, risk
from fne.data import cxc_sits
from fne.data.manifest import Manifest, SplitView
from fne.data.ranked_captions import first_captions
from fne.data.truth import Truth
from fne.results import schema
from fne.results.calibration_tables import estimates, rows_of
from fne.results.code import Code
from fne.results.configs import shared_epochs
from fne.results.human_annotations import judged
from fne.results.runs import finished, picks_of
from fne.study import paths
from fne.study.api import Study, resolve, training_digest

TABLES = schema.written_by("audit")
"""What is written; a variant without runs or picks has no row."""


def run(study: Study, root: Path) -> None:
    """Write the tables of :data:`TABLES` into ``results/<study>/``.

    Raises:
        UserError: A file of picks is missing; it, rankings or a calibration is damaged; or one of these is stale.
    """
    rows = tables(study, root)
    for name in TABLES:
        schema.write_table(root / paths.results_folder(study), Path(name).stem, rows[name])


def tables(study: Study, root: Path) -> dict[str, list[dict[str, Any]]]:
    """The rows of every table, by its name."""
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
    view, truth = _annotated(study, root)
    shared = shared_epochs(study)
    keys: dict[str, Keyed] = {}
    sources = Code(root)
    for variant in study.variants:
        folders = [folder for folder, _ in finished(study, root, variant, sources)]
        config = resolve(study, variant)
        trained = training_digest(config)
        if view is not None and truth is not None:
            ranked = [file for folder in folders if (file := folder / "rankings.test.npz").is_file()]
            rows["audit_judged.csv"] += judged(variant, ranked, view.caption_image, truth, trained)
        calibrated = [file for folder in folders if (file := folder / "calibration.npz").is_file()]
        calibrated = calibrated if estimates(config) else []
        scores, bins = rows_of(variant, calibrated, trained)
        rows["calibration.csv"] += scores
        rows["calibration_bins.csv"] += bins
        result = picks_of(folders)
        if result.empty:
            continue
        picks = prepared(result, config["warmup"]["epochs"], shared)
        rows["audit_epochs.csv"] += epochs(variant, picks)
        rows["audit_risk.csv"] += risk(variant, picks)
        keys[variant] = keyed(picks)
    for first, second in pairs(list(keys), study.baseline):
        rows["audit_agreement.csv"] += agreement(first, second, keys[first], keys[second])
    return rows


def _annotated(study: Study, root: Path) -> tuple[SplitView | None, Truth | None]:
    """The test split as it is ranked and what people annotated in it, where anybody did."""
    data = paths.prepared(study, root)
    if data is None:
        return None, None
    manifest = Manifest.load(data)
    if not paths.ratings_files(study) and manifest.truth_files["test"]["kind"] != "judged":
        return None, None
    view, truth, _ = first_captions(manifest.dataset, manifest.split("test"), manifest.truth("test"))
    return view, cxc_sits.known(resolve(study, study.variants[0]), view, truth)
