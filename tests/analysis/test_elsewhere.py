"""The second interval: for another encoder and world, from recorded components of variance."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t

from fne.analysis import layout
from fne.analysis.components import Another, Component, Components
from fne.analysis.intervals import variance_of_mean
from fne.results.elsewhere import elsewhere
from fne.results.schema import ELSEWHERE
from fne.results.variance import FILE, write_variance
from fne.steps import aggregate, compare
from fne.study import paths
from fne.study.api import Study
from fne.study.series import Series
from tests.analysis import stats_study as studies

FACTORS = {"encoders.draw": (0, 1, 2), "data.seed": (0, 1, 2)}
OWN, ALL = 4e-2, 1e-2


def components(size: float) -> Components:
    sources = {name: Component(size / 2, 0.0, size) for name in (*FACTORS, "seed", "images")}
    return Components(sources, Another(size, size / 2, 3), 9, 27)


def record(root: Path, study: Study) -> None:
    """Write components that hold for the data and encoders of the study; its variant fne has its own."""
    series = Series("draws", "Draws", "How much?", FACTORS, ({name: 0 for name in FACTORS},), (study,))
    result = {("level", ""): components(ALL), ("difference", ""): components(ALL),
             ("level", "fne"): components(OWN), ("difference", "fne"): components(OWN)}  # fmt: skip
    write_variance(root / FILE, series, result)


def rows(root: Path, study: Study) -> dict[str, list[dict[str, str]]]:
    aggregate.run(study, root)
    compare.run(study, root, resamples=500, flips=99)
    result = {}
    for name in ("intervals", "contrasts"):
        with open(root / paths.results_folder(study) / f"{name}.csv", newline="") as handle:
            result[name] = list(csv.DictReader(handle))
    return result


def values(root: Path, study: Study, variant: str) -> np.ndarray:
    """Influence values of rsum."""
    files = [root / paths.queries(study, variant, block, "test") for block in ("0-1", "4")]
    result = layout.load(files)
    return result.influence[:, :, result.keys.index(("own", "both", "rsum"))]


@pytest.fixture
def study(tmp_path: Path) -> Study:
    made = studies.study()
    studies.write(tmp_path, made)
    return made


def test_it_is_the_variance_of_both_and_nothing_else_changes(study: Study, tmp_path: Path) -> None:
    before = rows(tmp_path, study)
    record(tmp_path, study)
    after = rows(tmp_path, study)
    for name in ("intervals", "contrasts"):
        bare = [[{key: value for key, value in row.items() if key not in ELSEWHERE} for row in result[name]]
                for result in (before, after)]  # fmt: skip
        assert bare[0] == bare[1]
        for old, row in zip(before[name], after[name], strict=True):
            assert old["low_elsewhere"] == old["high_elsewhere"] == ""
            if row["metric"] != "rsum":
                assert [row[key] for key in ELSEWHERE] == ["", "", ""]
                continue
            assert old["method_elsewhere"].startswith("none: there is no ablations/variance.yaml")
            data = values(tmp_path, study, row["variant"])
            if name == "contrasts":
                data = data - values(tmp_path, study, study.baseline)
            size = OWN if row["variant"] == "fne" else ALL
            variance, freedom = (float(item[0]) for item in variance_of_mean(data[:, :, None]))
            total = variance + 2 * size
            degrees = max(total**2 / (variance**2 / freedom + 2 * (size / 2) ** 2), min(freedom, 2))
            half = t.ppf(0.975, degrees) * math.sqrt(total)
            mean, low, high = data.mean(), float(row["low"]), float(row["high"])
            assert float(row["low_elsewhere"]) == pytest.approx(min(low, mean - half))
            assert float(row["high_elsewhere"]) == pytest.approx(max(high, mean + half))
            whose = "fne" if row["variant"] == "fne" else "all variants together"
            assert row["method_elsewhere"].startswith(f"components of variance of {whose}, study draws, ")


def test_it_never_leaves_out_a_part_of_the_first_interval() -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(0, 1, (5, 30)) + rng.normal(0, 0.3, (5, 1))
    low, high = elsewhere(data, -9.0, 0.1, Another(0.0, 0.0, 6))
    assert low == -9.0 and high > 0.1
    narrow, wide = (elsewhere(data, -0.1, 0.1, Another(size, size / 2, 6)) for size in (0.01, 0.1))
    assert wide[0] < narrow[0] < -0.1 and 0.1 < narrow[1] < wide[1]


def test_components_of_other_data_widen_nothing_and_it_is_said_why(study: Study, tmp_path: Path) -> None:
    record(tmp_path, replace(study, data={**study.data, "prevalence": 0.25}))
    for row in (row for result in rows(tmp_path, study).values() for row in result if row["metric"] == "rsum"):
        assert row["low_elsewhere"] == "" and row["low"] != ""
        requested = "none: study draws measured components of variance with data.prevalence 0.25, not "
        assert row["method_elsewhere"].startswith(requested)
