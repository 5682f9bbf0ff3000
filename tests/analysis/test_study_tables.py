"""aggregate and compare over a small study, against plain recomputation."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from fne.analysis.intervals import hierarchical_intervals
from fne.analysis.permutation import image_p_values, seed_p_value
from fne.protocols import fingerprint_id
from fne.results.schema import header
from fne.steps import aggregate, compare
from fne.utils.errors import UserError
from tests.analysis import stats_study as studies


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as handle:
        return list(csv.DictReader(handle))


@pytest.fixture()
def made(tmp_path: Path):
    study = studies.study()
    studies.write(tmp_path, study)
    return study


def run(study, root: Path, resamples: int = 500) -> tuple[list, list, list, list]:
    aggregate.run(study, root)
    compare.run(study, root, resamples=resamples, flips=999)
    folder = root / "results" / study.name
    return tuple(table(folder / f"{name}.csv") for name in ("runs", "missing", "intervals", "contrasts"))


def plain_recall(variant: str, seed: int, direction: str, k: int) -> float:
    images, texts = (side.double().numpy() for side in studies.embeddings(variant, seed))
    scores, own = images @ texts.T, np.arange(studies.IMAGES)[:, None] == studies.CAPTION_IMAGE
    if direction == "t2i":
        scores, own = scores.T, own.T
    return float(np.mean([own[q][np.argsort(-scores[q])[:k]].any() for q in range(len(scores))]))


def pick(rows: list[dict[str, str]], **wanted: str) -> list[dict[str, str]]:
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def test_runs_hold_every_number_of_every_run(made, tmp_path: Path) -> None:
    runs, missing, *_ = run(made, tmp_path)
    assert missing == []
    assert len(runs) == 3 * 3 * (2 * 4 + 1 + 2 * 3)
    assert {(row["study"], row["dataset"], row["regime"], row["split"], row["ensemble"]) for row in runs} == {
        ("smoke", "scenes", "head", "test", "False")
    }
    for variant, seed, direction, k in (("fne", 4, "i2t", 1), ("infonce", 0, "t2i", 5), ("fne", 1, "t2i", 10)):
        key = {"variant": variant, "seed": str(seed), "protocol": "own", "direction": direction}
        (row,) = pick(runs, **key, metric=f"r{k}")
        assert float(row["value"]) == pytest.approx(plain_recall(variant, seed, direction, k), abs=1e-12)
        assert row["selected_epoch"] == str(2 + seed)
    (row,) = pick(runs, variant="fne", seed="0", metric="rsum")
    total = sum(plain_recall("fne", 0, d, k) for d in ("i2t", "t2i") for k in (1, 5, 10))
    assert float(row["value"]) == pytest.approx(total, abs=1e-12)
    fingerprints = {row["protocol"]: row["fingerprint"] for row in runs}
    stored = json.loads((tmp_path / "results/smoke/protocols.json").read_text())
    assert fingerprints == {name: fingerprint["id"] for name, fingerprint in stored.items()}
    assert len(set(fingerprints.values())) == 2


def test_means_and_differences_are_those_of_the_runs(made, tmp_path: Path) -> None:
    """Through the per-image files and linearised ratios, with unequal caption counts and unscored images."""
    runs, _, intervals, contrasts = run(made, tmp_path)
    assert len(intervals) == 3 * 15 and len(contrasts) == 2 * 15
    for row in intervals:
        key = {name: row[name] for name in ("variant", "protocol", "direction", "metric")}
        values = [float(result["value"]) for result in pick(runs, **key)]
        assert float(row["mean"]) == pytest.approx(np.mean(values), abs=1e-12)
        assert float(row["sd_seeds"]) == pytest.approx(np.std(values, ddof=1), abs=1e-12)
        assert row["n_seeds"] == "3" and row["level"] == "0.95"
        if row["metric"] == "median_rank":
            assert row["low"] == row["high"] == "" and row["method"].startswith("none")
        else:
            assert float(row["low"]) <= float(row["mean"]) <= float(row["high"])
    for row in contrasts:
        key = {name: row[name] for name in ("protocol", "direction", "metric")}
        both = [
            [float(result["value"]) for result in pick(runs, variant=variant, **key)]
            for variant in (row["variant"], "hardest_in_batch")
        ]
        assert float(row["difference"]) == pytest.approx(np.mean(both[0]) - np.mean(both[1]), abs=1e-12)
        assert row["baseline"] == "hardest_in_batch" and row["p_seed_floor"] == "0.25"
    queries = {(row["protocol"], row["direction"]): row["n_queries"] for row in intervals}
    captions = len(studies.CAPTION_IMAGE)
    assert queries["own", "i2t"] == "40" and queries["own", "t2i"] == str(captions)
    assert queries["own", "both"] == str(40 + captions)
    assert queries["truth", "i2t"] == "20" and queries["truth", "t2i"] == str(len(range(5, captions, 3)))


def test_contrasts_are_paired_by_seed_and_image(tmp_path: Path) -> None:
    """Recomputed from the embeddings, where the baseline lacks a seed in the middle."""
    study = studies.study(seeds=(0, 1, 4, 6), block=2)
    studies.write(tmp_path, study)
    studies.write_job(tmp_path, study, "hardest_in_batch", "0-1", failed=(1,))
    *_, contrasts = run(study, tmp_path)
    own = np.arange(studies.IMAGES)[:, None] == studies.CAPTION_IMAGE
    share = studies.COUNTS / studies.COUNTS.mean()

    def per_image(variant: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Hits at 1 of every image's captions, scaled so that their mean is R@1, and the influence values."""
        images, texts = (side.double().numpy() for side in studies.embeddings(variant, seed))
        hit = own[(images @ texts.T).argmax(axis=0), np.arange(len(texts))]
        value = np.bincount(studies.CAPTION_IMAGE, hit) / studies.COUNTS.mean()
        return value, value + value.mean() * (1 - share)

    for variant in ("fne", "infonce"):
        pairs = [(per_image(variant, seed), per_image("hardest_in_batch", seed)) for seed in (0, 4, 6)]
        plain = np.array([mine[0] - base[0] for mine, base in pairs])
        influence = np.array([mine[1] - base[1] for mine, base in pairs])
        interval = hierarchical_intervals(influence[:, :, None], resamples=500)
        (row,) = pick(contrasts, variant=variant, direction="t2i", metric="r1")
        assert row["n_seeds"] == "3" and row["note"].startswith("only seeds 0, 4, 6 have results of both; ")
        assert float(row["difference"]) == pytest.approx(plain.mean(), abs=1e-12)
        assert float(row["low"]) == pytest.approx(interval.low[0], abs=1e-9)
        assert float(row["high"]) == pytest.approx(interval.high[0], abs=1e-9)
        assert float(row["p_query"]) == image_p_values(plain.mean(axis=0)[:, None], flips=999)[0]
        assert float(row["p_seed"]) == seed_p_value(plain.mean(axis=1))[0]


def test_holm_runs_over_the_primary_metric_only(made, tmp_path: Path) -> None:
    *_, contrasts = run(made, tmp_path)
    family = pick(contrasts, metric="rsum")
    p = {row["variant"]: float(row["p_query"]) for row in family}
    adjusted = {row["variant"]: float(row["p_query_holm"]) for row in family}
    low, high = sorted(p, key=p.get)
    assert adjusted[low] == pytest.approx(min(1, 2 * p[low]))
    assert adjusted[high] == pytest.approx(max(adjusted[low], p[high]))
    assert p["fne"] < 0.05 < p["infonce"]
    for row in contrasts:
        if row["metric"] != "rsum":
            assert row["p_query_holm"] == "" and row["note"]
    assert all(row["note"] == "" for row in family)


def test_results_do_not_depend_on_the_blocks_and_repeat_exactly(made, tmp_path: Path) -> None:
    first = run(made, tmp_path)
    assert run(made, tmp_path) == first
    whole = studies.study(block=3)
    studies.write(tmp_path / "whole", whole)
    again = run(whole, tmp_path / "whole")
    assert again[0] == first[0]
    for item, other in zip(first[2] + first[3], again[2] + again[3], strict=True):
        assert {k: v for k, v in item.items() if k != "mean"}.keys() == other.keys() - {"mean"}
        for name in ("low", "high", "p_query"):
            if item.get(name):
                assert float(item[name]) == pytest.approx(float(other[name]), abs=1e-12)


def test_tables_of_the_jobs_are_concatenated(made, tmp_path: Path) -> None:
    run(made, tmp_path)
    folder = tmp_path / "results/smoke"
    curves, audit, cost = (table(folder / f"{name}.csv") for name in ("curves", "audit", "cost"))
    assert len(curves) == 9 and list(curves[0]) == header("curves")
    assert {(row["variant"], row["seed"], row["picks"]) for row in audit} >= {("fne", "4", "11"), ("infonce", "0", "7")}
    assert len(cost) == 6
    assert list(cost[0]) == header("cost")
    values = ["smoke", made.variants[0], "0-1", "2", "3.5", "21", "0.1", "500.0", "cpu", "1"]
    assert list(cost[0].values()) == values
    assert curves[0]["loss"] == "0.25" and curves[0]["phase"] == ""
    job = folder / "fne/4/curves.parquet"
    pq.write_table(pq.read_table(job).drop_columns("loss"), job)
    with pytest.raises(UserError, match="other columns"):
        aggregate.run(made, tmp_path)


def test_what_is_missing_is_a_row_and_never_a_smaller_n_in_silence(made, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "results/smoke"
    (folder / "fne/4/run.json").unlink()
    (folder / "infonce/0-1/rankings.test.npz").unlink()
    (folder / "infonce/0-1/metrics.test.json").unlink()
    (folder / "infonce/4/rankings.test.npz").unlink()
    studies.write_job(tmp_path, made, "hardest_in_batch", "0-1", failed=(1,))
    runs, missing, intervals, contrasts = run(made, tmp_path)
    assert [(row["variant"], row["seed"], row["stage"]) for row in missing] == [
        ("hardest_in_batch", "1", "train"),
        ("fne", "4", "train"),
        ("infonce", "0", "rank"),
        ("infonce", "1", "rank"),
    ]
    assert "diverged" in missing[0]["reason"] and "run.json" in missing[1]["reason"]
    assert "4 of 9 runs have no result" in capsys.readouterr().err
    seeds = {row["variant"]: set() for row in runs}
    for row in runs:
        seeds[row["variant"]].add(row["seed"])
    assert seeds == {"hardest_in_batch": {"0", "4"}, "fne": {"0", "1"}, "infonce": {"4"}}
    for row in pick(intervals, metric="rsum"):
        assert row["low"] == "" and row["method"].startswith("none")
    (fne,), (infonce,) = (pick(contrasts, metric="rsum", variant=v) for v in ("fne", "infonce"))
    assert fne["n_seeds"] == "1" and fne["note"] == "only seeds 0 have results of both" and fne["low"] == ""
    assert infonce["n_seeds"] == "1" and float(infonce["p_seed"]) == 1.0
    assert float(infonce["p_query"]) > 0


def test_a_variant_or_a_baseline_without_any_result(made, tmp_path: Path) -> None:
    for file in (tmp_path / "results/smoke/fne").glob("*/metrics.test.json"):
        file.unlink()
    _, missing, intervals, contrasts = run(made, tmp_path)
    assert len(missing) == 3 and {row["stage"] for row in missing} == {"evaluate"}
    assert not pick(intervals, variant="fne")
    (row,) = pick(contrasts, variant="fne", metric="rsum")
    assert (
        row["difference"] == row["p_query_holm"] == "" and row["note"] == "not compared: no seed has a result of both"
    )
    (other,) = pick(contrasts, variant="infonce", metric="rsum")
    assert float(other["p_query_holm"]) == pytest.approx(min(1, 2 * float(other["p_query"]))), (
        "the family stays declared"
    )
    for file in (tmp_path / "results/smoke/hardest_in_batch").glob("*/metrics.test.json"):
        file.unlink()
    *_, contrasts = run(made, tmp_path)
    assert {row["note"].split(";")[0] for row in contrasts} == {"not compared: the baseline has no result"}


def test_stale_results_are_missing(made, tmp_path: Path) -> None:
    changed = dict(made.configs)
    changed["fne"] = {**changed["fne"], "negatives.tau": 0.75}
    changed["infonce"] = {**changed["infonce"], "evaluation.tie_rule": "pessimistic"}
    _, missing, *_ = run(replace(made, configs=changed), tmp_path)
    reasons = {(row["variant"], row["stage"]): row["reason"] for row in missing}
    assert reasons.keys() == {("fne", "train"), ("infonce", "evaluate")} and len(missing) == 6
    assert reasons["fne", "train"] == "stale: negatives.tau was 0.5 and is now 0.75"
    assert "pessimistic" in reasons["infonce", "evaluate"]
    moved = {name: {**flat, "data.root": "elsewhere"} for name, flat in made.configs.items()}
    with pytest.raises(UserError, match="no run of this study has a result.*stale: data.root"):
        run(replace(made, configs=moved), tmp_path)


def test_mixed_fingerprints_are_refused_naming_both_files(made, tmp_path: Path) -> None:
    file = tmp_path / "results/smoke/infonce/4/metrics.test.json"
    metrics = json.loads(file.read_text())
    metrics["fingerprint"]["own"]["gallery"]["t2i"] = 31783
    file.write_text(json.dumps(metrics))
    with pytest.raises(UserError, match="does not belong to its content"):
        aggregate.run(made, tmp_path)
    metrics["fingerprint"]["own"]["id"] = fingerprint_id(metrics["fingerprint"]["own"])
    file.write_text(json.dumps(metrics))
    for step in (aggregate.run, compare.run):
        with pytest.raises(UserError, match="hardest_in_batch.*never mixed.*gallery.*31783") as caught:
            step(made, tmp_path)
        assert "infonce/4/metrics.test.json" in str(caught.value) and "relevance" not in str(caught.value)


def test_runs_of_which_only_some_were_scored_against_all_true_matches_are_refused(made, tmp_path: Path) -> None:
    """Their columns would not be those of the others, whether Snakemake or the user alone ran them."""
    folder = tmp_path / "results/smoke/hardest_in_batch/4"
    metrics = json.loads((folder / "metrics.test.json").read_text())
    del metrics["fingerprint"]["truth"]
    metrics["rows"] = [row for row in metrics["rows"] if row["protocol"] == "own"]
    (folder / "metrics.test.json").write_text(json.dumps(metrics))
    with np.load(folder / "queries.test.npz") as stored:
        arrays = {name: stored[name] for name in stored.files if not name.startswith("truth")}
    np.savez(folder / "queries.test.npz", **arrays)
    words = r"hardest_in_batch/4/metrics.test.json.*lacks protocol 'truth', which .*0-1"
    for step in (aggregate.run, compare.run):
        with pytest.raises(UserError, match=words):
            step(made, tmp_path)


@pytest.mark.parametrize(
    ("edit", "message"), [({"schema": 2}, "another schema"), ({"seeds": [7]}, "other seeds"), ({"rows": None}, None)]
)
def test_damaged_metrics_are_refused(made, tmp_path: Path, edit: dict, message: str | None) -> None:
    file = tmp_path / "results/smoke/fne/4/metrics.test.json"
    metrics = {**json.loads(file.read_text()), **edit}
    if message is None:
        del metrics["rows"]
    file.write_text(json.dumps(metrics))
    with pytest.raises(UserError, match=message or "entry is missing"):
        aggregate.run(made, tmp_path)
    file.write_text('{"schema": 1, ')
    with pytest.raises(UserError, match="not valid JSON"):
        aggregate.run(made, tmp_path)
    assert not (tmp_path / "results/smoke/runs.csv").exists()


def spoil(root: Path, variant: str, block: str, seed: int, value: object = None, *, queries: bool = True) -> None:
    """Put a number that is none where a run's r1 of texts was: in its metrics and in its sums per image."""
    folder = root / f"results/smoke/{variant}/{block}"
    metrics = json.loads((folder / "metrics.test.json").read_text())
    for row in metrics["rows"]:
        if row["seed"] == seed and (row["protocol"], row["direction"], row["metric"]) == ("own", "i2t", "r1"):
            row["value"] = value
    (folder / "metrics.test.json").write_text(json.dumps(metrics))
    if queries:
        with np.load(folder / "queries.test.npz") as stored:
            arrays = {name: stored[name].copy() for name in stored.files}
        arrays["own/i2t/r1"][list(arrays["seeds"]).index(seed)] = math.nan
        np.savez(folder / "queries.test.npz", **arrays)


def test_a_number_that_is_none_is_a_missing_run_and_spoils_no_other(made, tmp_path: Path) -> None:
    before = run(made, tmp_path)
    spoil(tmp_path, "fne", "0-1", 1)
    runs, missing, intervals, contrasts = run(made, tmp_path)
    (row,) = missing
    assert (row["variant"], row["seed"], row["stage"]) == ("fne", "1", "evaluate")
    assert row["reason"] == "no finite number: own i2t r1 is None"
    assert runs == [row for row in before[0] if (row["variant"], row["seed"]) != ("fne", "1")]
    for old, new in ((before[2], intervals), (before[3], contrasts)):
        fixed = [[row for row in rows if row["variant"] != "fne"] for rows in (old, new)]
        for row in (row for rows in fixed for row in rows):
            row.pop("p_query_holm", None), row.pop("p_seed_holm", None)  # the family holds the spoilt variant too
            for end in ("low", "high"):  # products of other widths may end in other bits
                row[end] = row[end] and f"{float(row[end]):.12g}"
        assert fixed[0] == fixed[1]
    (mine,) = pick(intervals, variant="fne", metric="rsum")
    kept = [float(row["value"]) for row in pick(runs, variant="fne", metric="rsum")]
    assert mine["n_seeds"] == "2" and float(mine["mean"]) == pytest.approx(np.mean(kept))
    (difference,) = pick(contrasts, variant="fne", metric="rsum")
    assert difference["n_seeds"] == "2" and difference["note"] == "only seeds 0, 4 have results of both"


def test_queries_and_metrics_that_disagree_are_refused(made, tmp_path: Path) -> None:
    spoil(tmp_path, "fne", "0-1", 1, 0.5)
    with pytest.raises(UserError, match=r"fne/0-1/queries.test.npz.*seeds 0, 4 alone.*those of 0, 1, 4"):
        compare.run(made, tmp_path)


def test_a_metric_that_one_variant_lacks_is_refused_by_name(made, tmp_path: Path) -> None:
    for block in ("0-1", "4"):
        file = tmp_path / f"results/smoke/fne/{block}/queries.test.npz"
        with np.load(file) as stored:
            arrays = {name: stored[name] for name in stored.files if name != "truth/t2i/p1"}
        np.savez(file, **arrays)
    with pytest.raises(UserError, match=r"fne/0-1/queries.test.npz: truth t2i p1.*not the same metrics as of hardest"):
        compare.run(made, tmp_path)
