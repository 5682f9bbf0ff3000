"""Calibration of posteriors on a real tiny run, recomputed from similarities, logical forms and plain formulas."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from fne.analysis.posteriors import posteriors
from fne.analysis.scores import METRICS, Scored
from fne.data.manifest import Manifest
from fne.data.truth import Truth
from fne.negatives import maps
from fne.negatives.catalog import DENSITIES
from fne.results.calibration_tables import calibration_files, estimates, read, rows_of
from fne.scenes.world import Scenes
from fne.steps import audit
from fne.steps import calibrate as calibration
from fne.steps import train as job
from fne.steps.calibrate import Sample, sampled, val_batches
from fne.study import paths
from fne.study.api import Study, load_study, resolve
from fne.training.embed import embed_split
from fne.utils.errors import UserError
from fne.utils.provenance import read_readings
from tests.negatives.released import moments
from tests.scenes.oracle import evaluate, read_forms
from tests.training import project, toy


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Study]:
    root = tmp_path_factory.mktemp("calibrated")
    study = project.make(root)
    job.run(study, "fne", "0-1", root, 1, "cpu")
    calibration.run(study, "fne", "0-1", root, 1, "cpu")
    return root, study


def test_every_density_is_scored_raw_and_recalibrated_and_the_reading_of_test_is_recorded(made) -> None:
    root, study = made
    rows, draws = read(root / calibration_files(study)[0])
    assert draws.shape == (len(rows), calibration.DRAWS, len(METRICS))
    summary = {(row["seed"], row["posterior"], row["recalibration"]) for row in rows}
    assert summary == {(s, f"fne:{d}", r) for s in (0, 1) for d in DENSITIES for r in ("none", "isotonic", "platt")}
    assert {row["posterior"] for row in rows if row["own"]} == {"fne:normal"}
    purposes = [entry["purpose"] for entry in read_readings(root / paths.readings(study, "fne", "0-1", "calibrate"))]
    assert purposes == ["calibrate"]


def test_the_scores_of_the_own_posterior_equal_a_recomputation_from_the_logical_forms(made) -> None:
    root, study = made
    folder = root / paths.data_folder(study)
    forms = read_forms(folder / "forms.test.json")
    with np.load(folder / "scenes.test.npz", allow_pickle=False) as stored:
        scenes = Scenes(stored["cells"], stored["background"])
    view, rows = Manifest.load(folder).split("test"), read(root / calibration_files(study)[0])[0]
    ((source, sample),) = sampled(view, Manifest.load(folder).truth("test"))
    assert source == "exact" and (view.caption_image[sample.caption] == sample.image).all()
    val_view = Manifest.load(folder).split("val")
    val = {seed: (i, t) for seed, i, t in embed_split(study, "fne", "0-1", "val", root)}
    for seed, image, text in embed_split(study, "fne", "0-1", "test", root):
        (count, *of_pos), (_, *of_neg) = moments(
            [s.double().tolist() for s in val_batches(val_view, *val[seed], 64)]
        ).values()
        assert count > 20
        fit = [*of_pos, *of_neg]
        p, y = [], []
        for i in range(len(sample.image)):
            for j in range(len(sample.image)):
                if i != j:
                    s = float(image[sample.image[i]] @ text[sample.caption[j]])
                    p.append(by_bayes(s, *fit, prior=1e-4))
                    y.append(evaluate(forms[sample.caption[j]], scenes[int(sample.image[i])]))
        expected = Scored(np.array(p), np.array(y)).scores()
        (row,) = [r for r in rows if (r["seed"], r["posterior"], r["recalibration"]) == (seed, "fne:normal", "none")]
        assert row["positives"] == sum(y) > 20 and row["pairs"] == len(y)
        result = [row["scores"][name] for name in METRICS]
        assert result == pytest.approx(expected.tolist(), rel=2e-3, abs=1e-5)


def by_bayes(s: float, mean: float, variance: float, other: float, spread: float, *, prior: float) -> float:
    ratio = math.log(variance / spread) / 2 + (s - mean) ** 2 / (2 * variance) - (s - other) ** 2 / (2 * spread)
    return 1 / (1 + math.exp(min(700.0, ratio + math.log(1 / prior - 1))))


def test_recalibration_lowers_the_error_and_the_tables_hold_means_with_intervals(made) -> None:
    root, study = made
    audit.run(study, root)
    scores, bins = rows_of("fne", [root / calibration_files(study)[0]])
    value = {(r["posterior"], r["recalibration"], r["metric"]): r for r in scores}
    stored = read(root / calibration_files(study)[0])[0]
    for row in scores:
        mine = [
            r["scores"][row["metric"]]
            for r in stored
            if (r["posterior"], r["recalibration"]) == (row["posterior"], row["recalibration"])
        ]
        assert row["value"] == pytest.approx(np.mean(mine)) and row["seeds"] == 2
        why = "2 seeds are too few" if row["own"] else "a density that the variant does not use"
        assert math.isnan(row["low"]) and row["method"] == f"none: {why}"
    for kind in ("isotonic", "platt"):
        assert value["fne:normal", kind, "ece"]["value"] < value["fne:normal", "none", "ece"]["value"]
        assert value["fne:normal", kind, "brier"]["value"] <= value["fne:normal", "none", "brier"]["value"] + 1e-4
    own = [row for row in bins if row["posterior"] == "fne:normal" and row["recalibration"] == "none"]
    assert sum(row["pairs"] for row in own) == 2 * 100 * 99
    assert all(math.isnan(row["low"]) and 0 <= row["observed"] <= 1 for row in own)


def square(n: int = 9) -> torch.Tensor:
    return torch.rand(n, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("changed", [{}, {"population": "batch"}, {"population": "queue"}, {"prior_rule": "em"}])
def test_nothing_is_learnt_from_the_pairs_that_are_scored(changed: dict) -> None:
    """A pair's probability is that of its similarity under what validation taught, whatever else is scored with it."""
    config = toy.config(**toy.rule("fne"))
    config["negatives"] |= {"min_positives": 2, "prior": 0.05, **changed}
    draw = torch.Generator().manual_seed(3)
    batches = [torch.rand(12, 12, generator=draw, dtype=torch.float64) + torch.eye(12) for _ in range(6)]
    for posterior in posteriors(config):
        posterior.fit(batches)
        item, other = square(), square()
        other[0, 1:] = 0.9
        other[2:, 3:] -= 0.4
        first, second = posterior.probability(item), posterior.probability(other)
        assert torch.equal(first[:, 1, 2], second[:, 1, 2]) and torch.equal(first, posterior.probability(item))
        assert (first != second).any() and (first > 0).any(), posterior.name


@pytest.mark.parametrize("kind", ["isotonic", "platt"])
def test_a_variant_that_recalibrates_itself_is_scored_with_its_map(kind: str) -> None:
    config = toy.config(**toy.rule("fne"))
    config["negatives"] |= {"min_positives": 2, "prior": 0.05}
    draw = torch.Generator().manual_seed(4)
    batches = [torch.rand(12, 12, generator=draw, dtype=torch.float64) + torch.eye(12) for _ in range(6)]
    known = torch.rand(40, 40, generator=draw, dtype=torch.float64)
    truth = torch.rand(40, 40, generator=draw, dtype=torch.float64) < known / 3
    raw, mapped = posteriors(config), posteriors({**config, "negatives": {
        **config["negatives"], "recalibration": kind, "recalibration_images": 40}})  # fmt: skip
    others = ~torch.eye(40, dtype=torch.bool)
    for before, after in zip(raw, mapped, strict=True):
        for posterior in (before, after):
            posterior.fit(batches, (known, truth))
        p = before.probability(known)[0][others].numpy()
        requested = maps.fit(kind, p, truth[others].numpy())(before.probability(square())[0].numpy())
        result, apart = after.probability(square())[0].numpy(), ~np.eye(9, dtype=bool)
        assert result[apart] == pytest.approx(requested[apart], abs=1e-6), before.name


@pytest.mark.parametrize("strategy", ["semi_hard", "topk_perc", "topk_margin", "gist"])
def test_thresholds_drop_what_their_formula_says(strategy: str) -> None:
    options = {"semi_hard": {}, "topk_perc": {"relative_margin": 0.2}, "topk_margin": {"absolute_margin": 0.1},
               "gist": {"guide_margin": 0.05}}[strategy]  # fmt: skip
    config = toy.config(**toy.rule(strategy))
    config["negatives"] |= options
    assert estimates(config)
    (posterior,) = posteriors(config)
    s = square()
    result = posterior.probability(s)
    for side in (0, 1):
        for i in range(9):
            for j in range(9):
                if i == j:
                    continue
                own, value = float(s[i, i] if side == 0 else s[j, j]), float(s[i, j])
                limit = {"semi_hard": value >= own, "topk_perc": value > own - 0.2 * abs(own),
                         "topk_margin": value > own - 0.1, "gist": value > own - 0.05}[strategy]  # fmt: skip
                assert result[side, i, j] == float(limit)


def test_the_posterior_of_bcl_is_bayes_rule_over_its_two_order_statistics() -> None:
    config = toy.config(**toy.rule(None, "bcl"))
    config["loss"] |= {"positive_prior": 0.2, "location": 0.8}
    (posterior,) = posteriors(config)
    s = square()
    result = posterior.probability(s)[0]
    for i in range(9):
        negatives = [float(s[i, j]) for j in range(9) if j != i]
        for j in range(9):
            if i == j:
                continue
            u = sum(value <= float(s[i, j]) for value in negatives) / 8
            low, high = 0.0, 1.0  # F with mixture distribution u, by bisection

            def mixed(c: float) -> float:
                def side(alpha: float) -> float:  # of the lesser of two draws with probability alpha
                    return alpha * (1 - (1 - c) ** 2) + (1 - alpha) * c**2

                return 0.8 * side(0.8) + 0.2 * side(0.2)

            for _ in range(80):
                middle = (low + high) / 2
                low, high = (middle, high) if mixed(middle) < u else (low, middle)
            true, false = 0.8 * (0.8 * (1 - low) + 0.2 * low), 0.2 * (0.2 * (1 - low) + 0.8 * low)
            assert float(result[i, j]) == pytest.approx(false / (true + false), rel=1e-5)


def test_judged_pairs_are_scored_once_each_whatever_captions_they_name() -> None:
    class View:
        name, image_ids, caption_image = "test", list("abcd"), np.repeat(np.arange(4), 3)

    pairs = [(0, 4), (0, 5), (1, 0), (2, 0), (3, 4), (0, 1), (2, 11)]  # (0, 1) is the image's own
    nobody = np.zeros(0, np.int32)
    extra = {"judged_pairs": np.array(pairs, np.int32), "judged_positive": np.array([1, 0, 1, 0, 1, 1, 0], np.uint8)}
    result = []
    for source, sample in sampled(View(), Truth("judged", np.zeros((0, 2), np.int32), nobody, nobody, extra)):
        assert source == "judged" and isinstance(sample, Sample)
        for i, j in zip(*np.nonzero(sample.counted), strict=True):
            result.append(((int(sample.image[i]), int(sample.caption[j])), int(sample.positive[i, j])))
    expected = zip(pairs, [1, 0, 1, 0, 1, 1, 0], strict=True)
    assert sorted(result) == sorted(item for item in expected if item[0] != (0, 1))


def test_a_variant_that_estimates_nothing_is_refused(made) -> None:
    root, study = made
    assert not estimates(resolve(study, "infonce")) and len(calibration_files(study)) == 1
    with pytest.raises(UserError, match="estimates no false negatives"):
        calibration.run(load_study("smoke", project.OVERRIDES, root), "infonce", "0-1", root, 1, "cpu")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ({"config": {"train": {"learning_rate": 0.5}}}, "made from runs of another config than those beside it"),
        ({"config": None}, None),
    ],
)
def test_a_calibration_of_another_schema_or_of_other_runs_is_never_shown(made, edit: dict, words: str | None) -> None:
    root, study = made
    file = root / calibration_files(study)[0]
    whole = file.read_bytes()
    with np.load(file, allow_pickle=False) as stored:
        meta, draws = json.loads(str(stored["meta"])), stored["draws"]
    meta |= edit
    if words is None:
        del meta["config"]
    try:
        np.savez(file, meta=np.array(json.dumps(meta)), draws=draws)
        with pytest.raises(UserError, match=rf"calibration\.npz: .*{words or 'config: entry is missing'}"):
            audit.run(study, root)
    finally:
        file.write_bytes(whole)
