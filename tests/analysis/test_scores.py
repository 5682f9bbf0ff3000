"""Scores of a probability, its recalibration, and rates on judged pairs, each against plain loops in float64."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from fne.analysis.scores import BINS, METRICS, Scored, bootstrap
from fne.data.truth import Truth
from fne.negatives.maps import Platt, fit
from fne.results.human_annotations import judged
from fne.study.api import training_digest
from fne.utils.errors import UserError
from fne.utils.files import SCHEMAS


def by_loops(p: list[float], y: list[int]) -> dict[str, float]:
    n = len(p)
    groups: dict[int, list[int]] = {}
    for i in range(n):
        groups.setdefault(BINS * sum(p[j] < p[i] for j in range(n)) // n, []).append(i)
    ece = sum(abs(sum(p[i] - y[i] for i in group)) for group in groups.values()) / n
    brier = sum((p[i] - y[i]) ** 2 for i in range(n)) / n
    kept = [min(max(value, 1e-7), 1 - 1e-7) for value in p]
    loss = -sum(math.log(kept[i]) if y[i] else math.log(1 - kept[i]) for i in range(n)) / n
    positive, negative = [i for i in range(n) if y[i]], [i for i in range(n) if not y[i]]
    wins = sum((p[a] > p[b]) + 0.5 * (p[a] == p[b]) for a in positive for b in negative)
    precision, recall = 0.0, 0.0
    for level in sorted(set(p), reverse=True):
        above = [i for i in range(n) if p[i] >= level]
        hits = sum(y[i] for i in above)
        precision += hits / len(above) * (hits / len(positive) - recall)
        recall = hits / len(positive)
    return {"ece": ece, "brier": brier, "log_loss": loss, "auroc": wins / len(positive) / len(negative),
            "average_precision": precision}  # fmt: skip


@pytest.mark.parametrize("levels", [3, 40, 10**6])
def test_scores_equal_plain_loops_also_with_ties_and_weights(levels: int) -> None:
    rng = np.random.default_rng(levels)
    p = rng.integers(0, levels + 1, 180) / levels
    y = rng.random(180) < 0.2 + 0.5 * p
    result = Scored(p, y).scores()
    assert result == pytest.approx(list(by_loops(p.tolist(), y.astype(int).tolist()).values()), rel=1e-12)
    weights = rng.integers(0, 4, 180)
    many = np.repeat(np.arange(180), weights)
    repeated, weighted = Scored(p[many], y[many]).scores(), Scored(p, y).scores(weights)
    assert weighted[1:] == pytest.approx(repeated[1:], rel=1e-12)  # a weight is a repetition; bins stay where they were
    bins = BINS * np.searchsorted(np.sort(p), p) // 180
    gaps = [abs(sum(weights[i] * (p[i] - y[i]) for i in np.flatnonzero(bins == b))) for b in range(BINS)]
    assert weighted[0] == pytest.approx(sum(gaps) / weights.sum())
    ascending = np.argsort(p, kind="stable")
    assert Scored(p[ascending], y[ascending]).scores(weights[ascending]) == pytest.approx(weighted, rel=1e-12)


def test_reliability_and_degenerate_outcomes() -> None:
    p, y = np.linspace(0, 1, 150), np.arange(150) % 3 == 0
    rows = Scored(p, y).reliability()
    assert len(rows) == BINS and {row["pairs"] for row in rows} == {10}
    assert rows[0]["probability"] == pytest.approx(p[:10].mean()) and rows[0]["positives"] == 4
    constant = Scored(np.zeros(9), np.ones(9, bool))
    assert constant.reliability() == [{"bin": 0, "probability": 0.0, "positives": 9, "pairs": 9}]
    scores = dict(zip(METRICS, constant.scores(), strict=True))
    assert math.isnan(scores["auroc"]) and scores["log_loss"] == pytest.approx(-math.log(1e-7)) and scores["ece"] == 1
    assert np.isnan(constant.scores(np.zeros(9))).all()


def test_the_bootstrap_repeats_images_with_their_captions() -> None:
    rng, n = np.random.default_rng(0), 12
    image, caption = (side.ravel() for side in np.nonzero(~np.eye(n, dtype=bool)))
    p, y = rng.random(len(image)), rng.random(len(image)) < 0.3
    ranks = np.argsort(np.argsort(p)) // 40 / 10  # of the same pairs, with ties
    result, tied = bootstrap([Scored(p, y), Scored(ranks, y)], image, caption, n, 5, np.random.default_rng(7))
    again = np.random.default_rng(7)
    for row, coarse in zip(result, tied, strict=True):
        drawn = again.integers(0, n, n).tolist()
        pairs = [k for a in drawn for b in drawn if a != b for k in np.flatnonzero((image == a) & (caption == b))]
        assert row[1:] == pytest.approx(Scored(p[pairs], y[pairs]).scores()[1:])
        assert coarse[1:] == pytest.approx(Scored(ranks[pairs], y[pairs]).scores()[1:])
    (wide,) = bootstrap([Scored(p, y)], image, caption, n, 400, np.random.default_rng(1))
    assert np.nanstd(wide[:, 1]) > 0


def test_platt_recovers_a_known_map_is_a_maximum_and_survives_separable_or_silent_posteriors() -> None:
    rng = np.random.default_rng(5)
    p = rng.uniform(0.02, 0.98, 60_000)
    logits = np.log(p / (1 - p))
    y = rng.random(60_000) < 1 / (1 + np.exp(-(0.7 * logits - 1.0)))
    result = Platt.fit(p, y)
    assert (result.slope, result.offset) == pytest.approx((0.7, -1.0), abs=0.05)

    def loss(slope: float, offset: float) -> float:
        line = slope * logits + offset
        target = np.where(y, (y.sum() + 1) / (y.sum() + 2), 1 / ((~y).sum() + 2))
        return float((np.logaddexp(0, line) - target * line).mean())

    best = loss(result.slope, result.offset)
    assert all(best <= loss(result.slope + a, result.offset + b) for a in (-0.01, 0, 0.01) for b in (-0.01, 0, 0.01))
    apart = Platt.fit(np.array([0.1, 0.2, 0.8, 0.9]), np.array([False, False, True, True]))
    assert math.isfinite(apart.slope) and apart.slope > 0
    silent = fit("platt", np.zeros(100), np.arange(100) < 10)(np.zeros(2))
    assert silent == pytest.approx(0.1, abs=0.01)
    assert fit("isotonic", np.zeros(100), np.arange(100) < 10)(np.zeros(2)) == pytest.approx(0.1)
    assert Platt.fit(p, ~y).slope == 0  # the wrong way round: only the share is learnt


def test_rates_on_judged_pairs_equal_plain_loops(tmp_path) -> None:
    rng, images = np.random.default_rng(2), 30
    owner = np.repeat(np.arange(images), 2)
    pairs = sorted({(int(rng.integers(images)), int(rng.integers(60))) for _ in range(700)})
    verdict = {pair: bool(rng.random() < 0.3) for pair in pairs}
    nobody = np.zeros(0, np.int32)
    extra = {"judged_pairs": np.array(pairs, np.int32),
             "judged_positive": np.array([verdict[pair] for pair in pairs], np.uint8)}  # fmt: skip
    truth = Truth("judged", np.zeros((0, 2), np.int32), nobody, nobody, extra)
    files, tops = [], {"i2t": [], "t2i": []}
    for seed in range(3):
        arrays = {
            "caption_image": owner,
            "meta": np.array(json.dumps({"schema": SCHEMAS["rankings"], "config": {"a": 1}})),
        }
        for direction, (queries, gallery) in {"i2t": (30, 60), "t2i": (60, 30)}.items():
            top = np.stack([rng.permutation(gallery)[:10] for _ in range(queries)])
            arrays[f"{seed}/{direction}/top_ids"] = top
            tops[direction].append(top.tolist())
        np.savez(tmp_path / f"{seed}.npz", **arrays)
        files.append(tmp_path / f"{seed}.npz")
    for row in judged("v", files, owner, truth):
        negatives = result = true = 0
        for top in tops[row["direction"]]:
            for query, ids in enumerate(top):
                for item in ids[: row["depth"]]:
                    image, caption = (query, item) if row["direction"] == "i2t" else (item, query)
                    if owner[caption] != image:
                        negatives += 1
                        result += (image, caption) in verdict
                        true += verdict.get((image, caption), False)
        assert (row["negatives"], row["judged"], row["true"], row["seeds"]) == (negatives, result, true, 3)
        assert row["rate"] == pytest.approx(true / result) and row["low"] < row["rate"] < row["high"]
    with pytest.raises(UserError, match=r"1\.npz: other captions than those of the prepared data"):
        judged("v", files[1:], owner[::-1], truth)
    with pytest.raises(UserError, match=r"1\.npz: made from runs of another config.*rank it again"):
        judged("v", files[1:], owner, truth, training_digest({"a": 2}))
    assert judged("v", files, owner, truth, training_digest({"a": 1})) == judged("v", files, owner, truth)
    whole = files[1].read_bytes()
    files[1].write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"1\.npz: damaged or cut short.*rank it again"):
        judged("v", files, owner, truth)
