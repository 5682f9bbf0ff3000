"""Who is tuned more does not win: two rules that are the same, one searched over half of the range, do not differ.

The search itself is run; a formula stands in for training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from fne.results.trials import FINAL, Trial
from fne.steps import tune
from fne.study.api import Study, load_study
from fne.study.tuning import Axis
from tests.projects import ROOT

REPEATS = 150
SEED_SD = 2.0
WHOLE = {"train.learning_rate": Axis("log", 1.25e-4, 8.0e-3), "loss.margin": Axis("log", 0.05, 0.6)}
HALF = {"train.learning_rate": Axis("log", 1.25e-4, 1.0e-3), "loss.margin": Axis("log", 0.05, 0.6)}
"""The best learning rate, 2e-3, lies outside."""
WELL, BADLY = "hardest_in_batch", "sum_of_hinges"
"""Two variants that read the same keys; what they do is the same formula here."""


def truth(point: dict[str, float]) -> float:
    """The mean rsum of a point."""
    rate, margin = point["train.learning_rate"], point["loss.margin"]
    return 470 - 40 * (np.log10(rate) + 2.7) ** 2 - 8 * (margin - 0.2) ** 2 / 0.01


class Formula:
    """In place of the trainer: the truth, and noise with the standard deviation of a training's seed."""

    def __init__(self, study: Study, root: Path, file: Path, *rest: object) -> None:
        self.file, self.known = file, dict[Any, Trial]()
        self.random = np.random.default_rng(int(file.suffixes[0][1:]))

    def opened(self) -> Formula:
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(self, *given: object) -> None:
        pass

    def _trial(self, hunt: tune.Hunt, place: int, number: str, seed: int) -> Trial:
        score = truth(hunt.points[place]) + self.random.normal(0, SEED_SD)
        made_from = dict.fromkeys(("data", "features", "code"), "0")
        return Trial(hunt.variant, number, seed, score, 1.0, f"{place}", made_from, hunt.points[place])

    def train(self, hunts: Sequence[tune.Hunt], seed: int, label: str) -> None:
        for hunt in hunts:
            new = range(len(hunt.trials), len(hunt.points))
            hunt.trials = [*hunt.trials, *(self._trial(hunt, place, str(hunt.rounds[place]), seed) for place in new)]

    def finals(self, hunts: Sequence[tune.Hunt], count: int, seeds: Sequence[int]) -> None:
        for hunt in hunts:
            hunt.finals = {place: [self._trial(hunt, place, FINAL, item) for item in seeds]
                           for place in hunt.ranked[:count]}  # fmt: skip

    def keep(self, hunts: Sequence[tune.Hunt], **options: object) -> None:
        pass


def by_protocol(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, axes: dict[str, dict[str, Axis]]) -> np.ndarray:
    """True rsum (repeats, 2) at the values that the search chooses for the variants."""
    monkeypatch.setattr(tune, "Trainer", Formula)
    declared = load_study("literature", root=ROOT, tuned=False)
    study = replace(declared, variants=(WELL, BADLY), axes=axes)
    chosen = []
    for draw in range(1, REPEATS + 1):
        tune.run(study, tmp_path, 1, "cpu", draw)
        outcome = yaml.safe_load((tmp_path / f"ablations/tuned/literature.{draw}.yaml").read_text())
        assert {cost["trials"] for cost in outcome["cost"].values()} == {48}
        chosen.append([truth(outcome["values"][item]) for item in (WELL, BADLY)])
    return np.array(chosen)


def difference(scores: np.ndarray) -> tuple[float, float]:
    """Mean difference between the two, and its standard error."""
    apart = scores[:, 0] - scores[:, 1]
    return float(apart.mean()), float(apart.std(ddof=1) / np.sqrt(len(apart)))


def test_equal_searches_of_equal_rules_show_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apart, error = difference(by_protocol(tmp_path, monkeypatch, {WELL: WHOLE, BADLY: WHOLE}))
    assert abs(apart) <= 2.5 * error


def test_a_rule_searched_over_half_of_the_range_does_not_differ_under_the_protocol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    apart, error = difference(by_protocol(tmp_path, monkeypatch, {WELL: WHOLE, BADLY: HALF}))
    assert abs(apart) <= 2.5 * error and error < SEED_SD / 10
    kept = {key: replace(axis, reasons={"lowest": "why", "highest": "why"}) for key, axis in HALF.items()}
    apart, error = difference(by_protocol(tmp_path, monkeypatch, {WELL: WHOLE, BADLY: kept}))
    assert apart > SEED_SD and apart > 10 * error, "it is the extended range that does it"
