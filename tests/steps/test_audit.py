"""The audit's tables, recounted by plain loops from picks that hold every case."""

from __future__ import annotations

import math
import random

import numpy as np
import pandas as pd
import pytest

from fne.analysis.most_picked import TOP, concentration, gini, poisson_gini, popular
from fne.analysis.pick_overlap import agreement, keyed
from fne.analysis.proportion import share
from fne.analysis.rates import age_bins, ages, epochs, prepared, rate, risk

WARMUP, SHARED = 1, range(2, 4)
"""Its own warm-up ends before the epochs that all variants share."""


def made(seed: int, seeds: int = 3, items: int = 40) -> pd.DataFrame:
    """Picks of 4 epochs of 3 steps; every seed and step has the same anchors whatever ``seed`` is."""
    draw, rows = random.Random(seed), []
    for s in range(seeds):
        for step in range(12):
            for direction in (0, 1):
                anchors = random.Random(1000 * s + 10 * step + direction).sample(range(items), 8)
                if step % 4 == 0:
                    anchors.append(anchors[0])  # met twice in a batch
                for anchor in anchors:
                    if draw.random() < 0.1:
                        continue  # every candidate was excluded
                    queued = draw.random() < 0.4
                    rows.append(
                        {"seed": s, "epoch": step // 3, "step": step, "direction": direction, "anchor": anchor,
                         "candidate": draw.choice(range(12)), "similarity": draw.uniform(0, 0.9),
                         "positive_similarity": draw.uniform(0.3, 0.9), "posterior": draw.random(), "weight": math.nan,
                         "from_queue": int(queued), "age": draw.randrange(1, 20) if queued else -1,
                         "false_negative": int(draw.random() < 0.3)}
                    )  # fmt: skip
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def raw() -> pd.DataFrame:
    return made(1)


@pytest.fixture(scope="module")
def picks(raw) -> pd.DataFrame:
    return prepared(raw, WARMUP, SHARED)


def chosen(raw: pd.DataFrame, direction: str, keep=lambda row: True) -> list[dict]:
    requested = {"i2t": (0,), "t2i": (1,), "both": (0, 1)}[direction]
    return [row for row in raw.to_dict("records") if row["direction"] in requested and keep(row)]


def check_rate(found: dict, rows: list[dict]) -> None:
    by_seed = {}
    for row in rows:
        hits, total = by_seed.get(row["seed"], (0, 0))
        by_seed[row["seed"]] = hits + row["false_negative"], total + 1
    assert found["picks"] == len(rows) and found["seeds"] == len(by_seed)
    assert found["false_negatives"] == sum(hits for hits, _ in by_seed.values())
    assert found["rate"] == pytest.approx(found["false_negatives"] / len(rows))
    item = share(np.array([hits for hits, _ in by_seed.values()]), np.array([total for _, total in by_seed.values()]))
    assert ("clusters" in found["method"]) == (len(by_seed) >= 3)
    if len(by_seed) >= 3:
        assert (found["low"], found["high"]) == (item.low, item.high) and item.low <= found["rate"] <= item.high
    else:
        assert math.isnan(found["low"]) and math.isnan(found["high"])


def test_epochs(raw, picks) -> None:
    result = epochs("v", picks)
    assert len(result) == 5 * 3
    for row in result:
        epoch = row["epoch"]
        inside = SHARED if epoch is None else {epoch}
        mine = [r for r in chosen(raw, row["direction"]) if r["epoch"] in inside]
        check_rate(row, mine)
        assert row["phase"] == ("warmup" if epoch == 0 else "main")
        assert row["hardness"] == pytest.approx(sum(r["similarity"] for r in mine) / len(mine))
        assert row["gap"] == pytest.approx(sum(r["similarity"] - r["positive_similarity"] for r in mine) / len(mine))
        assert row["posterior"] == pytest.approx(sum(r["posterior"] for r in mine) / len(mine))
        assert math.isnan(row["weight"])
        queued = [r["age"] for r in mine if r["from_queue"]]
        assert row["from_queue"] == pytest.approx(len(queued) / len(mine))
        assert row["age"] == pytest.approx(sum(queued) / len(queued))


def test_risk_against_hardness(raw, picks) -> None:
    result = risk("v", picks)
    for direction in ("i2t", "t2i", "both"):
        counted = 0
        for row in [row for row in result if row["direction"] == direction]:
            assert row["gap_high"] == pytest.approx(row["gap_low"] + 0.05)
            main = chosen(raw, direction, lambda r: r["epoch"] in SHARED)
            gaps = [r["similarity"] - r["positive_similarity"] for r in main]
            mine = [r for r, gap in zip(main, gaps, strict=True) if row["gap_low"] <= gap < row["gap_high"]]
            check_rate(row, mine)
            counted += len(mine)
        assert counted == len(chosen(raw, direction, lambda r: r["epoch"] in SHARED))


def test_rounding_does_not_move_an_exact_twin_to_the_bin_below(picks) -> None:
    assert {row["gap_low"] for row in risk("v", picks.assign(gap=-1.2e-7))} == {0.0}


def test_ages(raw, picks) -> None:
    result = ages("v", picks)
    assert age_bins([3, -1, 9]) == [(-1, -1), (0, 0), (1, 1), (2, 3), (4, 7), (8, 15)]
    for direction in ("i2t", "t2i", "both"):
        main = chosen(raw, direction, lambda r: r["epoch"] in SHARED)
        rows = [row for row in result if row["direction"] == direction]
        assert sum(row["picks"] for row in rows) == len(main)
        for row in rows:
            check_rate(row, [r for r in main if row["age_low"] <= r["age"] <= row["age_high"]])
            assert row["share_of_picks"] == pytest.approx(row["picks"] / len(main))


def test_popular_and_concentration(raw, picks) -> None:
    ids = {d: [f"{d}{k}" for k in range(40)] for d in ("i2t", "t2i")}
    result = popular("v", picks, ids)
    for direction in ("i2t", "t2i"):
        main = chosen(raw, direction, lambda r: r["epoch"] in SHARED)
        counts = {}
        for r in main:
            counts[r["candidate"]] = counts.get(r["candidate"], 0) + 1
        order = sorted(counts, key=lambda c: (-counts[c], c))[:TOP]
        rows = [row for row in result if row["direction"] == direction]
        assert [row["candidate"] for row in rows] == order
        for row in rows:
            mine = [r for r in main if r["candidate"] == row["candidate"]]
            assert row["id"] == f"{direction}{row['candidate']}" and row["picks"] == len(mine)
            assert row["anchors"] == len({r["anchor"] for r in mine})
            assert row["false_negatives"] == sum(r["false_negative"] for r in mine)
    for row in concentration("v", picks, {"i2t": 40, "t2i": 40}):
        main = chosen(raw, row["direction"], lambda r: r["epoch"] in SHARED)
        per_item = [sum(r["candidate"] == item for r in main) for item in range(40)]
        differences = [abs(a - b) for a in per_item for b in per_item]
        assert row["gini"] == pytest.approx(sum(differences) / 40**2 / (2 * len(main) / 40))
        assert row["items_picked"] == sum(count > 0 for count in per_item) and row["items"] == 40
        assert row["top_share"] == pytest.approx(max(per_item) / len(main))
        assert 0 < row["gini_by_chance"] < row["gini"] < 1


def test_gini_by_chance_is_that_of_uniform_draws() -> None:
    rng = np.random.default_rng(0)
    for mean in (0.05, 1.0, 12.0):
        drawn = np.mean([gini(np.bincount(rng.integers(0, 2000, int(2000 * mean)), minlength=2000)) for _ in range(20)])
        assert poisson_gini(mean) == pytest.approx(drawn, abs=0.005)
    assert gini(np.array([3.0, 3.0])) == 0 and math.isnan(gini(np.zeros(4)))


def test_agreement(raw, picks) -> None:
    other = made(2)
    result = agreement("a", "b", keyed(picks), keyed(prepared(other, WARMUP, SHARED)))
    assert [row["direction"] for row in result] == ["i2t", "t2i", "both"]

    def by_anchor(frame: pd.DataFrame) -> dict[tuple, list[int]]:
        table: dict[tuple, list[int]] = {}
        for r in frame.to_dict("records"):
            if r["epoch"] in SHARED:
                key = r["seed"], r["step"], r["direction"], r["anchor"]
                table.setdefault(key, []).append(r["candidate"])
        return {key: picked for key, picked in table.items() if len(picked) == 1}

    item, two = by_anchor(raw), by_anchor(other)
    for row in result:
        requested = {"i2t": (0,), "t2i": (1,), "both": (0, 1)}[row["direction"]]
        common = [key for key in item if key in two and key[2] in requested]
        assert len(common) > 100
        assert row["anchors"] == len(common)
        assert row["same"] == sum(item[key] == two[key] for key in common)
        expected = 0.0
        for key in common:  # deal the picks of the step anew: any of its anchors may get any of them
            step = [k for k in common if k[:3] == key[:3]]
            expected += sum(item[a] == two[b] for a in step for b in step) / len(step) ** 2
        assert row["expected"] == pytest.approx(expected / len(common))
        assert row["kappa"] == pytest.approx((row["agreement"] - row["expected"]) / (1 - row["expected"]))
        assert row["kappa_low"] < row["kappa"] < row["kappa_high"]
        assert abs(row["kappa"]) < 0.1  # the picks were drawn independently


def test_a_strategy_agrees_with_itself_and_with_nobody_who_picks_elsewhere(picks) -> None:
    mine = keyed(picks)
    assert {row["kappa"] for row in agreement("a", "a", mine, mine)} == {1.0}
    apart = keyed(picks.assign(candidate=picks["candidate"] + 1000))
    assert all(row["same"] == 0 and row["expected"] == 0 for row in agreement("a", "b", mine, apart))
    assert agreement("a", "b", mine, keyed(picks.assign(step=picks["step"] + 99))) == []


def test_without_truth_there_is_no_rate_and_one_seed_says_so(raw) -> None:
    unknown = pd.array([pd.NA] * len(raw), "Int8")
    blind = rate(prepared(raw.assign(false_negative=unknown), WARMUP, SHARED))
    assert math.isnan(blind["rate"]) and math.isnan(blind["false_negatives"]) and "truth of no pick" in blind["method"]
    lonely = rate(prepared(raw[raw["seed"] == 0], WARMUP, SHARED))
    assert lonely["method"] == "none: 1 seed is too few" and lonely["rate"] > 0
    assert math.isnan(lonely["low"]) and math.isnan(lonely["high"])
    assert epochs("v", prepared(raw.iloc[:0], WARMUP, SHARED)) == []


def test_where_the_truth_is_known_in_part_only_the_rate_counts_what_is_known(raw) -> None:
    """Only matches are known, as by equal captions: the same rates, for not known is no match that is known."""
    truth = raw["false_negative"].astype("Int8")
    partly = raw.assign(false_negative=truth.mask(truth == 0))
    whole, part = (prepared(frame, WARMUP, SHARED) for frame in (raw, partly))
    for table in (epochs, risk, ages):
        pd.testing.assert_frame_equal(pd.DataFrame(table("v", part)), pd.DataFrame(table("v", whole)))
    assert popular("v", part, {}) == popular("v", whole, {})
    # Nothing is known of one epoch, but something of the variant's picks.
    first = partly[partly["epoch"] == 2].iloc[:5].assign(false_negative=pd.array([pd.NA] * 5, "Int8"))
    some = pd.concat([first, partly[partly["epoch"] == 3]])
    rows = epochs("v", prepared(some, WARMUP, SHARED))
    assert {row["rate"] for row in rows if row["epoch"] == 2} == {0.0}
