"""The tuning protocol: equal budgets, declared ranges, validation only, an outcome that the config reads."""

from __future__ import annotations

import pytest
import yaml

from fne.config import load_study, resolve
from fne.configuration.schema import flatten
from fne.errors import UserError
from fne.training import tune
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
    plan = [{"a": 1, "b": 5}, {"a": 2, "b": 6}]
    text = tune.reason(plan, [1.25, 1.5], 1, {"a": [1, 2, 3], "b": [5, 6]})
    assert text == "best of 2 trials: validation rsum 150.0 (next 125.0, worst 125.0); at the border: b"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protocol": {"budget": 0, "seeds": [9]}}, "protocol.budget"),
        ({"protocol": {"budget": 2, "seeds": [0]}}, "seeds of the study too"),
        ({"search": {"loss.margni": [0.1, 0.2]}}, "did you mean 'loss.margin'"),
        ({"search": {"loss.margin": [0.1]}}, "at least two values"),
        ({"search": {"loss.margin": [0.1, "wide"]}}, "loss.margin"),
        ({"search": {}}, "must be a mapping"),
    ],
)
def test_a_faulty_declaration_is_one_clear_error(change, message, tmp_path) -> None:
    declared = {"protocol": {"budget": 2, "seeds": [9]}, "search": dict(SEARCH), **change}
    with pytest.raises(UserError, match=message):
        tune.read_protocol(declared, tmp_path / "tuned.yaml", load_study("smoke"))


def test_a_search_writes_values_that_the_study_then_uses(tmp_path) -> None:
    study = project.make(tmp_path)
    file = tmp_path / "ablations" / "tuned" / "smoke.yaml"
    file.parent.mkdir(exist_ok=True)
    protocol = {"metric": "validation rsum", "budget": 2, "seeds": [9], "date": "never", "command": "fne tune"}
    declared = {
        "protocol": protocol,
        "search": {"train.learning_rate": [1e-7, 3e-3]},
        "values": {},
        "reasons": {},
        "trials": [],
    }
    file.write_text(yaml.safe_dump(declared))
    tune.run(study, tmp_path, 2, "cpu")
    outcome = yaml.safe_load(file.read_text())
    assert len(outcome["trials"]) == 2 * len(study.variants)
    assert outcome["search"] == declared["search"] and outcome["protocol"]["budget"] == 2
    for variant in study.variants:
        assert outcome["values"][variant] == {"train.learning_rate": 3e-3}, "an untrained head cannot win"
        assert outcome["reasons"][variant].startswith("best of 2 trials")
    text = tmp_path / "ablations" / "studies" / "smoke.yaml"
    text.write_text(text.read_text().replace("tuned: null", "tuned: smoke"))
    tuned = load_study("smoke", project.OVERRIDES, tmp_path)
    assert resolve(tuned, "fne")["train"]["learning_rate"] == 3e-3
    before = file.read_text()
    tune.run(study, tmp_path, 2, "cpu")
    assert yaml.safe_load(file.read_text())["trials"] == yaml.safe_load(before)["trials"], "finished trials are kept"
