"""The tuning protocol: equal budgets, declared ranges, validation only, an outcome that the config reads."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import yaml

from fne.results.configs import oracle_bases
from fne.steps import tune
from fne.study.api import Study, load_study, resolve, training_digest
from fne.study.tuning import Tuning
from fne.utils.errors import UserError
from fne.utils.fields import flatten
from tests.training import project

SEARCH = {
    "train.learning_rate": [1e-3, 3e-3],
    "loss.margin": [0.1, 0.2],
    "loss.temperature": [0.05, 0.1],
    "memory.size": [64, 128],
}


def test_every_variant_gets_the_same_budget_over_the_axes_it_reads() -> None:
    study = load_study("paper")
    wide = {
        "train.learning_rate": [1e-4, 1e-3, 3e-3],
        "loss.margin": [0.1, 0.2],
        "loss.temperature": [0.05, 0.1],
        "memory.size": [256, 1024],
        "memory.momentum": [0.9, 0.99],
    }
    plans = {variant: tune.trials(flatten(resolve(study, variant)), wide, 6) for variant in study.variants}
    assert {len(plan) for plan in plans.values()} == {6}
    for variant, plan in plans.items():
        config = flatten(resolve(study, variant))
        points = [tuple(point.items()) for point in plan]
        assert len(set(points)) == 6
        assert all(set(point) == {key for key in wide if key in config} for point in plan)
    assert plans["fne"] == plans["hardest_buffer"], "variants with the same axes try the same points"
    assert "memory.size" not in plans["hardest_in_batch"][0] and "loss.margin" not in plans["infonce"][0]


def test_a_small_grid_is_tried_whole() -> None:
    assert tune.trials({"loss.margin": 0.2}, SEARCH, 6) == [{"loss.margin": 0.1}, {"loss.margin": 0.2}]


def test_the_reason_names_scores_and_borders() -> None:
    search = {"a": [1, 2, 3], "b": [5, 6], "c": ["global", "none"]}
    assert tune.at_border({"a": 2, "b": 6, "c": "none"}, search) == ["b"]
    assert tune.at_border({"a": 1, "b": 5, "c": "global"}, search) == ["a", "b"]
    assert tune.at_border({"a": 2}, search) == []
    text = tune.reason([125.0, 150.0], ["b"])
    assert text == "best of 2 trials: validation rsum 150.0 (next 125.0, worst 125.0); at the border: b"
    assert tune.reason([150.0], []) == "best of 1 trials: validation rsum 150.0"


def test_recorded_trials_hold_under_the_same_seeds_config_data_features_and_code_only() -> None:
    declared = Tuning(budget=2, seeds=[9], search={"loss.margin": (0.1, 0.2)})
    mark = {"digest": "ab", "data": "d", "features": "f", "code": "c"}
    trials = [{"variant": "fne", "val_rsum": 300.5, **mark, "loss.margin": 0.1}, {"variant": "fne"}]
    outcome, marks = {"declared": declared.plain(), "trials": trials}, {("fne", 0): mark}
    assert tune.recorded(outcome, declared, marks) == ({("fne", 0): 300.5}, [])
    wider = Tuning(budget=3, seeds=[9], search={"loss.margin": (0.1, 0.3)})
    assert tune.recorded(outcome, wider, marks)[0] == {("fne", 0): 300.5}
    assert tune.recorded(outcome, declared.model_copy(update={"seeds": [8]}), marks) == ({}, [])
    assert tune.recorded(outcome, declared, {("fne", 0): {**mark, "digest": "cd"}}) == ({}, [])
    assert tune.recorded({}, declared, marks) == ({}, [])
    for name in tune.MADE_FROM:
        for row in ({**trials[0], name: "other"}, {key: value for key, value in trials[0].items() if key != name}):
            found = tune.recorded({**outcome, "trials": [row]}, declared, marks)
            assert found == ({}, [f"1 trials are of other {name} than are here"])


def test_an_oracle_takes_over_the_values_of_its_base(searched: Path) -> None:
    names = ["hardest_in_batch_oracle_remove", "hardest_in_batch", "fne_oracle_only"]
    file = searched / "ablations" / "studies" / "smoke.yaml"
    content = yaml.safe_load(file.read_text()) | {"variants": names, "method": names[2]}
    file.write_text(yaml.safe_dump(content))
    study = load(searched)
    assert oracle_bases(study) == {names[0]: names[1]}, "fne is not in this study: its oracle searches by itself"
    tune.run(study, searched, 2, "cpu")
    outcome = yaml.safe_load((searched / "ablations" / "tuned" / "smoke.yaml").read_text())
    assert {trial["variant"] for trial in outcome["trials"]} == set(names[1:]) and list(outcome["values"]) == names
    assert outcome["values"][names[0]] == outcome["values"][names[1]]
    assert outcome["reasons"][names[0]] == "those of hardest_in_batch: only the oracle differs"
    load(searched, tuned=True)


@pytest.fixture
def searched(tmp_path: Path) -> Path:
    """A project whose study `smoke` declares a search."""
    project.make(tmp_path)
    file = tmp_path / "ablations" / "studies" / "smoke.yaml"
    search = "tune: {budget: 2, seeds: [9], search: {train.learning_rate: [1.0e-7, 3.0e-3]}}"
    file.write_text(file.read_text().replace("tuned: null", search))
    return tmp_path


def load(root: Path, *, tuned: bool = False, **overrides: object) -> Study:
    return load_study("smoke", project.OVERRIDES | overrides, root, tuned=tuned)


def test_a_search_writes_values_that_the_study_then_uses(searched: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(UserError, match="not made yet"):
        load(searched, tuned=True)
    study, file = load(searched), searched / "ablations" / "tuned" / "smoke.yaml"
    tune.run(study, searched, 2, "cpu")
    outcome = yaml.safe_load(file.read_text())
    assert len(outcome["trials"]) == 2 * len(study.variants)
    assert outcome["declared"] == study.tune.plain() and outcome["protocol"]["command"] == "fne tune smoke"
    for variant in study.variants:
        assert outcome["values"][variant] == {"train.learning_rate": 3e-3}, "an untrained head cannot win"
        assert outcome["reasons"][variant].startswith("best of 2 trials")
        assert outcome["border"][variant] == ["train.learning_rate"]
    assert "at the border of a range, where a wider one may hold better values: hardest" in capsys.readouterr().out
    tuned = load(searched, tuned=True)
    assert resolve(tuned, "fne")["train"]["learning_rate"] == 3e-3
    for trial in outcome["trials"]:
        config = resolve(study, trial["variant"])
        config["train"]["learning_rate"] = trial["train.learning_rate"]
        assert trial["digest"] == training_digest(config)


def test_a_variant_that_is_added_runs_its_own_trials_only(searched: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tune.run(load(searched), searched, 2, "cpu")
    file = searched / "ablations" / "tuned" / "smoke.yaml"
    before = file.read_text()
    shutil.rmtree(searched / "scratch")
    pool = tune.ProcessPoolExecutor
    submitted: list[dict] = []

    class Counting(pool):
        def submit(self, work: object, config: dict, *rest: object) -> object:
            submitted.append(config)
            return super().submit(work, config, *rest)

    monkeypatch.setattr(tune, "ProcessPoolExecutor", Counting)
    tune.run(load(searched), searched, 2, "cpu")
    assert not submitted and file.read_text() == before
    study = searched / "ablations" / "studies" / "smoke.yaml"
    study.write_text(study.read_text().replace("fne, infonce]", "fne, infonce, random]"))
    with pytest.raises(UserError, match="lacks variants"):
        load(searched, tuned=True)
    tune.run(load(searched), searched, 2, "cpu")
    assert len(submitted) == 2 and {config["negatives"]["strategy"] for config in submitted} == {"random"}
    after = yaml.safe_load(file.read_text())
    assert after["trials"][:-2] == yaml.safe_load(before)["trials"]
    assert list(after["values"]) == ["hardest_in_batch", "fne", "infonce", "random"]


def test_what_cannot_be_tuned(searched: Path) -> None:
    with pytest.raises(UserError, match="whole study"):
        tune.run(load(searched, variants=["hardest_in_batch", "fne"]), searched, 1, "cpu")
    with pytest.raises(UserError, match="flickr30k: tune: declares no search"):
        tune.run(load_study("flickr30k", complete=False), searched, 1, "cpu")


def test_a_killed_worker_is_one_clear_error_and_nothing_is_lost(
    searched: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = tune.ProcessPoolExecutor

    class Killed(pool):
        """Its second trial ends as under a kill."""

        trials = 0

        def submit(self, work: object, *rest: object) -> object:
            self.trials += 1
            return super().submit(work, *rest) if self.trials == 1 else super().submit(os._exit, 1)

    monkeypatch.setattr(tune, "ProcessPoolExecutor", Killed)
    with pytest.raises(UserError, match="tune smoke: a process that ran a trial was killed.*same command again"):
        tune.run(load(searched), searched, 1, "cpu")
    assert len(list((searched / "scratch/tune/smoke").glob("*.json"))) <= 1
    assert not (searched / "ablations/tuned/smoke.yaml").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("trials: [3]", r"trials\[0\]: wrong kind"),
        ("trials: [{variant: fne, digest: x, val_rsum: high}]", r"trials\[0\].val_rsum: wrong kind"),
        ("declared: [1]", "declared: wrong kind"),
    ],
)
def test_a_damaged_outcome_is_one_clear_error(searched: Path, text: str, words: str) -> None:
    file = searched / "ablations/tuned/smoke.yaml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    with pytest.raises(UserError, match=f"smoke.yaml: {words}.*remove it"):
        tune.run(load(searched), searched, 1, "cpu")
