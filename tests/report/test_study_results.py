"""Opening a study: three lines, clear errors, and no results of another config."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fne.report.figures.variant_styles import looks_of
from fne.report.notebook import load
from fne.results.schema import read_table, write_table
from fne.results.study import StudyResults, find_root
from fne.utils.errors import UserError
from tests.report.conftest import SMALL, Made
from tests.report.synthetic import write_study
from tests.tables import edit

MODULES = ("fne.results.study", "fne.steps.report", "fne.report.tables.registry", "fne.report.figures.registry")


def test_three_lines(paper: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = paper.root / "results" / "paper"
    monkeypatch.chdir(inside)
    assert find_root() == paper.root
    study = load("paper")
    assert repr(study) == "<study paper: 10 variants, 49 of 50 runs>"
    assert len(study.table()) == 10


def test_the_environment_may_name_study_and_root(paper: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FNE_ROOT", str(paper.root))
    assert load().id == "paper"
    monkeypatch.setenv("FNE_STUDY", "smoke")
    with pytest.raises(UserError, match="no results of this study yet.*study=smoke"):
        load()


def test_errors_name_what_is_wrong(paper: Made, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'paper'"):
        load("papers", paper.root)
    with pytest.raises(UserError, match="did you mean 'fne_abstract'"):
        paper.results["fne_abstrakt"]
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="ablations/studies"):
        find_root()
    with pytest.raises(UserError, match="no such file"):
        read_table(tmp_path / "none.csv")


def test_values_are_those_of_the_file(paper: Made) -> None:
    with open(paper.root / "results/paper/runs.csv", encoding="utf-8") as handle:
        rows = list(csv.DictReader(handle))
    for metric, direction, protocol in (("rsum", "both", "own"), ("p1", "t2i", "truth"), ("r5", "i2t", "own")):
        key = ("test", "fne", metric, direction, protocol)
        names = ("split", "variant", "metric", "direction", "protocol")
        kept = [row for row in rows if tuple(row[name] for name in names) == key]
        requested = {int(row["seed"]): float(row["value"]) for row in kept}
        assert len(requested) == 5
        assert paper.results.values("fne", metric, direction, protocol) == requested
    frame = paper.results.by_seed()
    assert frame.shape == (10, 5) and np.isnan(frame.loc["hardest_buffer", 3]) and frame.isna().sum().sum() == 1
    assert paper.results.values("fne") == paper.results.values("fne", "rsum", "both", "own")
    assert paper.results.key() == ("own", "both", "rsum")


def test_missing_estimates_are_none(hostile: Made, lonely: Made) -> None:
    assert hostile.results.estimate("infonce") is None and hostile.results.contrast("infonce") is None
    assert hostile.results.layout("infonce") is None
    assert lonely.results.contrast("hardest_in_batch") is None


def test_a_part_of_a_study_holds_nothing_of_the_others(paper: Made) -> None:
    kept = {"fne", "infonce"}
    few = paper.results.only([*kept, "not in this study"])
    assert {variant.id for variant in few.variants} == kept == set(few.definition.variants)
    frames = {name: getattr(few, name) for name in ("runs", "test", "intervals", "contrasts", "missing", "curves")}
    frames |= {name: getattr(few, name) for name in ("audit", "calibration", "reliability")}
    frames |= {name: few.audited(name) for name in ("epochs", "risk", "agreement")}
    for name, rows in frames.items():
        assert set(rows["variant"]) <= kept, name
        assert name in ("missing", "contrasts", "calibration", "reliability") or len(rows), name
    pairs = paper.results.audited("agreement")
    inside = pairs["variant"].isin(kept) & pairs["other"].isin(kept)
    assert 0 < inside.sum() < len(pairs) and few.audited("agreement").equals(pairs[inside])
    assert type(few) is type(paper.results) and not few.figure("curves").empty, "it can be looked at like the whole"
    assert looks_of(few) == looks_of(paper.results) and set(looks_of(few)) == set(paper.study.variants)


def test_what_trains_nothing_has_no_curve_and_no_pick(paper: Made) -> None:
    configs = paper.study.configs
    untrained = replace(paper.study, configs={**configs, "infonce": {**configs["infonce"], "model.head": "none"}})
    results = StudyResults(untrained, paper.root)
    for rows in (results.curves, results.audit, results.audited("epochs"), results.audited("agreement")):
        assert len(rows) and "infonce" not in {*rows["variant"], *rows.get("other", ())}
    assert "infonce" in {*paper.results.curves["variant"]}


def test_nan_in_a_run_is_no_value(tmp_path: Path) -> None:
    study = write_study(tmp_path, fakes=SMALL[:2], seeds=(0, 1), resources=False)
    key = {"split": "test", "metric": "rsum", "variant": "fne", "seed": "0"}
    edit(tmp_path / "results/paper/runs.csv", lambda row: row.update(value="") if key.items() <= row.items() else None)
    assert list(load(study, tmp_path).values("fne")) == [1]


def test_runs_of_another_config_are_left_out(tmp_path: Path) -> None:
    study = write_study(tmp_path, fakes=SMALL[:2], seeds=(0, 1), resources=False)
    file = tmp_path / "results/paper/fne/0-1/run.json"
    run = json.loads(file.read_text("utf-8"))
    run["config"]["negatives"]["tau"] = 5.0
    file.write_text(json.dumps(run), "utf-8")
    study_results = load(study, tmp_path)
    assert study_results["fne"].runs == () and study_results.picks("fne").empty
    assert study_results["hardest_in_batch"].seeds == (0, 1)


def test_words_that_look_like_nothing_stay_words(tmp_path: Path) -> None:
    write_table(tmp_path, "runs", [{"variant": "none", "value": 1}, {"variant": "NA"}, {"variant": "=1+1"}])
    frame = read_table(tmp_path / "runs.csv")
    assert list(frame["variant"]) == ["none", "NA", "=1+1"] and np.isnan(frame["value"][1])


def test_nothing_here_imports_torch_and_imports_are_light() -> None:
    code = (
        f"import sys, importlib, pkgutil, fne.report; [importlib.import_module(m) for m in {MODULES!r}]\n"
        "heavy = {'torch', 'transformers', 'pandas', 'scipy', 'matplotlib', 'seaborn', 'jinja2'} & "
        "set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "[importlib.import_module(m.name) for m in pkgutil.walk_packages(fne.report.__path__, "
        "'fne.report.')]\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
