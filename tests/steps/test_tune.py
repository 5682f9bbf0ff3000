"""The tuning protocol: the same ranges, trials and rounds for every variant, resumable, judged on validation alone."""

from __future__ import annotations

import csv
import math
import os
import shutil
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from fne.results.configs import oracle_bases
from fne.results.trials import Trial, read_trials, write_trials
from fne.steps import tune
from fne.study.api import Study, load_study, resolve, training_digest
from fne.utils.errors import UserError
from fne.utils.fields import flatten
from tests.training import project

SEARCH = {
    "trials": 8,
    "budget": 12,
    "finalists": 2,
    "seeds": [9, 10, 11, 12],
    "search": {"train.learning_rate": {"log": [1e-4, 1e-2]}, "loss.margin": {"log": [0.05, 0.3]}},
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose study `smoke` declares a search."""
    root = tmp_path_factory.mktemp("tune")
    project.make(root)
    declare(root)
    return root


@pytest.fixture
def root(prepared: Path, tmp_path: Path) -> Path:
    shutil.copytree(prepared / "ablations", tmp_path / "ablations")
    (tmp_path / "resources").symlink_to(prepared / "resources")
    return tmp_path


def declare(root: Path, **changes: Any) -> None:
    """Edit the study; ``tune`` is laid over the declaration."""
    file = root / "ablations/studies/smoke.yaml"
    content = {key: value for key, value in yaml.safe_load(file.read_text()).items() if key != "tuned"}
    content |= changes | {"tune": SEARCH | changes.get("tune", {})}
    file.write_text(yaml.safe_dump(content, sort_keys=False))


def load(root: Path, *, tuned: bool = False, **overrides: object) -> Study:
    return load_study("smoke", project.OVERRIDES | overrides, root, tuned=tuned)


def search(root: Path, draw: int = 0, **overrides: object) -> dict[str, Any]:
    """Make the search, and read its outcome."""
    tune.run(load(root, **overrides), root, 2, "cpu", draw)
    return yaml.safe_load(files(root, draw)[0].read_text())


def files(root: Path, draw: int = 0) -> tuple[Path, Path]:
    """The outcome of a draw and its trials."""
    stem = f"smoke.{draw}" if draw else "smoke"
    return root / f"ablations/tuned/{stem}.yaml", root / f"ablations/tuned/{stem}.csv"


def rows(root: Path, draw: int = 0) -> list[dict[str, str]]:
    with files(root, draw)[1].open(newline="") as content:
        return list(csv.DictReader(content))


def score(config: dict[str, Any], seed: int) -> float:
    """Stands in for a training: best at a learning rate of 2e-3 and a margin of 0.15."""
    flat = flatten(config)
    off = 12 * math.log10(flat["train.learning_rate"] / 2e-3) ** 2 + 800 * (flat.get("loss.margin", 0.15) - 0.15) ** 2
    return (470 - off + np.random.default_rng([seed, round(1e4 * off)]).normal()) / 100


class Simulated:
    """In place of a pool of processes: makes trials at once, in this process, and counts them.

    Args:
        fail: In place of which submission an error is raised, and which.
    """

    def __init__(self, fail: tuple[int, Exception] | None = None) -> None:
        self.submitted: list[tuple[dict[str, Any], list[int]]] = []
        self.fail = fail

    def __call__(self, *given: object) -> Simulated:
        return self

    def submit(self, work: object, config: dict[str, Any], seeds: list[int]) -> Future:
        self.submitted.append((config, seeds))
        future: Future = Future()
        if self.fail and self.fail[0] == len(self.submitted):
            future.set_exception(self.fail[1])
        else:
            future.set_result(([score(config, seed) for seed in seeds], 0.5 * len(seeds)))
        return future

    def shutdown(self, **options: object) -> None:
        pass


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Simulated]:
    def use(fail: tuple[int, Exception] | None = None) -> Simulated:
        made = Simulated(fail)
        monkeypatch.setattr(tune, "ProcessPoolExecutor", made)
        monkeypatch.setattr(tune, "as_completed", list)  # in the order of submission
        return made

    use()
    return use


def test_a_search_writes_values_that_the_study_then_uses(root: Path, capsys: pytest.CaptureFixture) -> None:
    declare(root, variants=["infonce", "fne"], baseline="infonce")
    with pytest.raises(UserError, match=r"smoke\.yaml: tune: this search was not made yet; run `fne tune smoke`"):
        load(root, tuned=True)
    outcome, study = search(root), load(root)
    assert outcome["declared"] == study.tune.plain() and outcome["protocol"]["command"] == "fne tune smoke"
    trials = read_trials(files(root)[1])
    for item in trials:
        config = resolve(study, item.variant)
        for key, value in item.values.items():
            config[key.split(".")[0]][key.split(".")[1]] = value
        assert item.digest == training_digest(config)
    tuned, said = load(root, tuned=True), capsys.readouterr().out
    for variant in study.variants:
        finals = [item for item in trials if item.variant == variant and item.round == "final"]
        assert {item.seed for item in finals} == {10, 11, 12} and len(finals) == 6
        by_point: dict[str, list[float]] = {}
        for item in finals:
            by_point.setdefault(item.digest, []).append(item.val_rsum)
        best = max(by_point, key=lambda digest: sum(by_point[digest]))
        assert training_digest(resolve(tuned, variant)) == best, "the mean over further seeds chooses"
        first = {item.digest: item.val_rsum for item in trials if item.variant == variant and item.seed == 9}
        assert {*by_point} == {*sorted(first, key=lambda digest: -first[digest])[:2]}, "the first seed names finalists"
        reason = outcome["reasons"][variant]
        assert reason.startswith(f"mean validation rsum {sum(by_point[best]) / 3:.1f} over 3 further seeds")
        assert f"{variant}: {reason}" in said
        cost, mine = outcome["cost"][variant], [item for item in trials if item.variant == variant]
        assert (cost["trials"], cost["runs"]) == (len(mine) - 6, len(mine)) and cost["rounds"] in (2, 3)
        assert cost["seconds"] == round(sum(item.seconds for item in mine))
        assert len(first) > 8 and max(first.values()) > 100, "it was trained"


def test_every_variant_gets_the_same_trials_and_those_with_the_same_axes_the_same_points(
    root: Path, pool: Callable
) -> None:
    search(root)
    points: dict[str, list] = {}
    for row in rows(root):
        if row["round"] == "1":
            points.setdefault(row["variant"], []).append((row["train.learning_rate"], row["loss.margin"]))
    assert {len({*listed}) for listed in points.values()} == {8}
    assert points["hardest_in_batch"] == points["fne"] != points["infonce"]
    assert all(margin == "" for _, margin in points["infonce"]) and all(margin for _, margin in points["fne"])


def test_a_finished_search_runs_nothing_again(root: Path, pool: Callable) -> None:
    search(root)
    before, again = [file.read_bytes() for file in files(root)], pool()
    search(root)
    assert not again.submitted and [file.read_bytes() for file in files(root)] == before


@pytest.mark.parametrize("error", [BrokenProcessPool(), UserError("no memory left")])
@pytest.mark.parametrize("at", [6, 27])
def test_an_interrupted_search_keeps_its_trials_and_ends_as_any_other(
    root: Path, pool: Callable, at: int, error: Exception
) -> None:
    whole = pool()
    expected, content = search(root), files(root)[1].read_bytes()
    for file in files(root):
        file.unlink()
    assert len(whole.submitted) > at
    pool((at, error))
    with pytest.raises(UserError, match="tune smoke: a process .* was killed.*same command again|^no memory left$"):
        search(root)
    kept, again = rows(root) if at > 1 else [], pool()
    assert not files(root)[0].exists() and len({row["digest"] + row["seed"] for row in kept}) == len(kept) >= at - 1
    assert search(root) == expected and files(root)[1].read_bytes() == content
    assert len(again.submitted) <= len(whole.submitted) - at + 1


def test_a_killed_worker_is_one_clear_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = tune.ProcessPoolExecutor

    class Killed(real):
        def submit(self, *given: object) -> object:
            return super().submit(os._exit, 1)

    monkeypatch.setattr(tune, "ProcessPoolExecutor", Killed)
    with pytest.raises(UserError, match="tune smoke: a process that ran a trial was killed.*same command again"):
        search(root)
    assert not any(file.exists() for file in files(root))


def test_a_variant_that_is_added_runs_its_own_trials_only(root: Path, pool: Callable) -> None:
    before, trials, more = search(root), rows(root), pool()
    declare(root, variants=["hardest_in_batch", "fne", "infonce", "random"])
    with pytest.raises(UserError, match=r"smoke\.yaml: lacks variants of the study; got 'random'; run `fne tune smoke"):
        load(root, tuned=True)
    after = search(root)
    assert {config["negatives"]["strategy"] for config, _ in more.submitted} == {"random"}
    assert list(after["values"]) == ["hardest_in_batch", "fne", "infonce", "random"]
    assert rows(root)[: len(trials)] == trials
    for section in ("values", "reasons", "where", "ranges", "cost"):
        assert {item: value for item, value in after[section].items() if item != "random"} == before[section]


def test_trials_of_other_data_features_or_code_are_named_and_made_again(
    root: Path, pool: Callable, capsys: pytest.CaptureFixture
) -> None:
    search(root)
    file = files(root)[1]
    before, trials = file.read_bytes(), read_trials(file)
    other = [Trial(**{**vars(item), "val_rsum": 0.0, "made_from": {**item.made_from, "features": "0"}})
             if item.variant == "fne" and item.round == "1" else item for item in trials]  # fmt: skip
    write_trials(file, other)
    capsys.readouterr()
    again = pool()
    search(root)
    said = capsys.readouterr().err
    assert f"note: {file}: 8 trials were made from other data, features or code; they are made again" in said
    assert said.count("note: ") == 1 and len(again.submitted) == 8 and file.read_bytes() == before


def test_an_oracle_takes_over_the_values_of_its_base(root: Path, pool: Callable) -> None:
    names = ["hardest_in_batch_oracle_remove", "hardest_in_batch", "fne_oracle_only"]
    declare(root, variants=names, method=names[2])
    study = load(root)
    assert oracle_bases(study) == {names[0]: names[1]}, "fne is not in this study: its oracle searches by itself"
    outcome = search(root)
    assert {row["variant"] for row in rows(root)} == {*names[1:]} and list(outcome["values"]) == names
    for section in ("values", "where", "ranges"):
        assert outcome[section][names[0]] == outcome[section][names[1]]
    assert outcome["reasons"][names[0]] == "those of hardest_in_batch: only the oracle differs"
    assert names[0] not in outcome["cost"]
    assert load(root, tuned=True).chosen[names[0]] == outcome["values"][names[1]]


def test_another_draw_has_points_seeds_and_files_of_its_own(root: Path, pool: Callable) -> None:
    first, trials = search(root), [file.read_bytes() for file in files(root)]
    other = search(root, 1, variants=["fne", "infonce"], baseline="fne")
    assert [file.read_bytes() for file in files(root)] == trials
    assert list(other["values"]) == ["fne", "infonce"]
    assert other["protocol"]["draw"] == 1 and other["protocol"]["command"] == "fne tune smoke --draw 1"
    assert other["declared"] == first["declared"]
    assert {int(row["seed"]) for row in rows(root, 1)} == {1009, 1010, 1011, 1012}
    assert not {row["digest"] for row in rows(root)} & {row["digest"] for row in rows(root, 1)}


def test_trials_of_what_was_left_out_once_serve_again(root: Path, pool: Callable) -> None:
    before, whole = search(root), [file.read_bytes() for file in files(root)]
    declare(root, variants=["hardest_in_batch", "fne"])
    search(root)
    assert {row["round"] for row in rows(root) if row["variant"] == "infonce"} == {"other"}
    declare(root, variants=[*before["values"]])
    again = pool()
    search(root)
    assert not again.submitted and [file.read_bytes() for file in files(root)] == whole


def test_a_variant_that_reads_no_axis_is_tried_once(root: Path, pool: Callable) -> None:
    declare(root, tune={"search": {"loss.margin": {"log": [0.05, 0.3]}}})
    outcome = search(root)
    mine = [row for row in rows(root) if row["variant"] == "infonce"]
    assert [(row["round"], row["seed"]) for row in mine] == [
        ("1", "9"),
        *(("final", str(item)) for item in (10, 11, 12)),
    ]
    assert outcome["values"]["infonce"] == outcome["where"]["infonce"] == {}
    assert outcome["cost"]["infonce"]["trials"] == 1 and outcome["cost"]["infonce"]["rounds"] == 1
    assert outcome["cost"]["fne"]["trials"] > 8
    load(root, tuned=True)


@pytest.mark.parametrize(
    ("ends", "place", "extended"),
    [([2e-4, 2e-2], "inside", False), ([2e-6, 2e-4], "inside", True), ([1e-8, 1e-7], "open end", True)],
)
def test_further_rounds_extend_a_range_whose_best_lies_at_its_end(
    root: Path, pool: Callable, capsys: pytest.CaptureFixture, ends: list[float], place: str, extended: bool
) -> None:
    declare(root, tune={"budget": 24, "search": {"train.learning_rate": {"log": ends}}})
    outcome = search(root)
    said = capsys.readouterr().out
    cost, (low, high) = outcome["cost"]["infonce"], outcome["ranges"]["infonce"]["train.learning_rate"].split(" to ")
    assert cost["trials"] == 24 and cost["rounds"] == 3
    assert float(low) == ends[0] and (float(high) > ends[1]) == extended
    assert outcome["where"]["infonce"] == {"train.learning_rate": place}
    opened = "at an open end, beyond which better values may lie: hardest_in_batch (train.learning_rate); fne"
    assert (opened in said) == (place == "open end")


def test_what_cannot_be_tuned(root: Path, pool: Callable) -> None:
    with pytest.raises(UserError, match=r"variants: cannot be set for this search.*--draw"):
        search(root, variants=["hardest_in_batch", "fne"])
    with pytest.raises(UserError, match=r"flickr30k: tune: declares no search"):
        tune.run(load_study("flickr30k", complete=False), root, 1, "cpu")
    with pytest.raises(UserError, match=r"loss.margin, train.epochs: cannot be set for this search"):
        search(root, 1, **{"loss.margin": 0.2, "train.epochs": 2})
    with pytest.raises(UserError, match=r"command line: --draw: are seeds of the study too; got \[1009\]"):
        search(root, 1, seeds="1008-1009")


@pytest.mark.parametrize(
    ("damage", "words"), [(lambda text: text.replace("val_rsum", "rsum", 1), "val_rsum: has no such column")]
)
def test_a_damaged_file_of_trials_is_one_clear_error(root: Path, pool: Callable, damage: Callable, words: str) -> None:
    search(root)
    file, again = files(root)[1], pool()
    file.write_text(damage(file.read_text()))
    with pytest.raises(UserError, match=rf"smoke\.csv: {words}.*remove it"):
        search(root)
    assert not again.submitted
