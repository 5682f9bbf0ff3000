"""On scenes the whole audit, from training to tables and figures, recomputed from the logical forms by plain loops."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from fne.results.study import StudyResults
from fne.scenes.world import Scenes
from fne.steps import audit
from fne.steps import train as job
from fne.steps.audit import TABLES
from fne.study import paths
from fne.study.api import Study, load_study
from tests.scenes.oracle import evaluate, read_forms
from tests.training import project

KEPT = {"audit.picks": "sampled", "audit.steps": 2, "train.epochs": 3}


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Study, StudyResults]:
    root = tmp_path_factory.mktemp("audited")
    project.make(root)
    study = load_study("smoke", project.OVERRIDES | KEPT, root)
    for variant in ("hardest_in_batch", "fne"):
        job.run(study, variant, "0-1", root, 1, "cpu")
    audit.run(study, root)
    return root, study, StudyResults(study, root)


@pytest.fixture(scope="module")
def truth(made):
    """(image, caption) -> whether the caption is true of the scene, evaluated from its logical form, once each."""
    root, study, _ = made
    folder = root / paths.data_folder(study)
    forms = read_forms(folder / "forms.train.json")
    with np.load(folder / "scenes.train.npz", allow_pickle=False) as stored:
        scenes = Scenes(stored["cells"], stored["background"])
    known: dict[tuple[int, int], bool] = {}

    def holds(image: int, caption: int) -> bool:
        if (image, caption) not in known:
            known[image, caption] = evaluate(forms[caption], scenes[image])
        return known[image, caption]

    return holds


def table(root: Path, study: Study, name: str) -> list[dict]:
    with open(root / paths.results_folder(study) / name, newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def logged(study: StudyResults, variant: str) -> list[dict]:
    return study.picks(variant).to_dict("records")


def false(row: dict, truth) -> bool:
    image, caption = (row["anchor"], row["candidate"]) if row["direction"] == 0 else (row["candidate"], row["anchor"])
    return truth(int(image), int(caption))


def test_all_variants_have_the_same_anchors_at_the_same_step_and_seed(made) -> None:
    _, _, results = made
    keys = [
        {(r["seed"], r["step"], r["direction"], r["anchor"]) for r in logged(results, variant)}
        for variant in ("hardest_in_batch", "fne")
    ]
    assert keys[0] == keys[1]
    # in the warm-up, the first of three epochs of 6 steps, an anchor whose hinges are all zero has no pick
    main = {key for key in keys[0] if key[1] >= 6}
    assert len(main) == 2 * 4 * 2 * 64 and 0.99 * 2 * 2 * 2 * 64 < len(keys[0] - main) <= 2 * 2 * 2 * 64


def test_rates_per_epoch_equal_a_recomputation_from_the_logical_forms(made, truth) -> None:
    root, study, results = made
    seen = 0
    for row in table(root, study, "audit_epochs.csv"):
        mine = [
            r
            for r in logged(results, row["variant"])
            if (r["epoch"] == int(row["epoch"]) if row["epoch"] else r["epoch"] >= 1)
            and (row["direction"] == "both" or r["direction"] == ("i2t", "t2i").index(row["direction"]))
        ]
        count = sum(false(r, truth) for r in mine)
        assert (int(row["picks"]), int(row["false_negatives"])) == (len(mine), count)
        assert float(row["rate"]) == pytest.approx(count / len(mine))
        seen += count
    assert seen > 100


def test_every_table_is_written(made) -> None:
    root, study, _ = made
    empty = {"audit_judged.csv", "calibration.csv", "calibration_bins.csv"}  # no judges; no run of calibrate
    assert {name for name in TABLES if not table(root, study, name)} == empty
