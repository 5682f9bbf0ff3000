"""The figure of one-key sweeps: which variants belong to which panel, where they stand, what is drawn of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import PathCollection

from fne.report.figures import registry as figures
from fne.report.figures.sensitivity import Point, Sweep, places, score, sweeps
from fne.results.study import StudyResults, load
from fne.study.api import load_study
from tests.report.synthetic import Fake, write_study

CHOSEN = "fne,hardest_in_batch,fne_tau,fne_density,fne_power,fne_momentum"
GONE = "fne_tau--negatives_tau-50.0"


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, root: Path) -> StudyResults:
    folder = tmp_path_factory.mktemp("sensitivity")
    shutil.copytree(root / "ablations", folder / "ablations")
    study = load_study("sensitivity", {"variants": CHOSEN}, root=folder)
    fakes = tuple(
        Fake(name, study.library[name].title, "fne", 450 + place, 0.01 + place / 1000, 0.3)
        for place, name in enumerate(study.variants)
    )
    missing = tuple((GONE, seed, "train", "out of memory") for seed in study.seeds)
    write_study(folder, study=study, fakes=fakes, missing=missing)
    return load(study, folder)


def test_members_of_a_sweep_stand_together_with_what_they_depart_from(swept: StudyResults) -> None:
    result = {sweep.key: sweep for sweep in sweeps(swept)}
    assert list(result) == [
        "negatives.tau", "negatives.density", "negatives.elimination_power", "memory.momentum"
    ]  # fmt: skip
    assert [(p.value, p.origin) for p in result["negatives.tau"].points] == [
        (0.0, False), (0.5, True), (5.0, False), (50.0, False)
    ]  # fmt: skip
    assert [p.value for p in result["negatives.density"].points][:2] == ["normal", "tied"]
    assert result["negatives.density"].points[0].variant == "fne" and not result["negatives.density"].numeric
    # fne does not read the power, so it has no value on that axis.
    assert [p.value for p in result["negatives.elimination_power"].points] == [1.0, 2.0, 4.0]
    assert [p.value for p in result["memory.momentum"].points] == [0.0, 0.9, 0.99, 0.999]


def test_where_values_stand() -> None:
    def of(*values: object) -> list[float]:
        return places(Sweep("k", tuple(Point(value, "v") for value in values)))

    assert of(0.05, 0.1, 0.3) == [0.05, 0.1, 0.3], "numbers of one decade, by value"
    assert of(1e-5, 1e-4, 1e-2) == pytest.approx([-5, -4, -2]), "decades, by logarithm"
    assert of(0.0, 0.9, 100) == [0, 1, 2], "with zero in a row"
    assert of("normal", "tied") == [0, 1]
    assert of(True, False) == [0, 1]
    assert of(7) == [7.0]


def test_every_member_is_drawn_at_its_mean_and_a_missing_one_keeps_its_place(swept: StudyResults) -> None:
    picture = figures.draw(swept, "sensitivity")
    shown = [axes for axes in picture.drawing.axes if axes.get_visible()]
    assert len(shown) == 8
    tau = next(axes for axes in shown if axes.get_title(loc="left") == "negatives.tau")
    drawn = sorted(float(mark.get_offsets()[0][1]) for mark in tau.collections if isinstance(mark, PathCollection))
    members = ["fne", "fne_tau--negatives_tau-0.0", "fne_tau--negatives_tau-5.0"]
    requested = sorted(100 * float(np.mean(list(swept.values(member).values()))) for member in members)
    assert drawn == pytest.approx(requested)
    assert len(tau.get_xticks()) == 4 and tau.get_xlim()[1] > max(tau.get_xticks())
    assert score(swept, GONE) is None
    assert "negatives.tau: 0.0: " in picture.alt and "50.0" not in picture.alt
    assert "3 seeds per variant" in picture.caption and "95 % interval" in picture.caption
