"""Shares, costs and who is best, against plain loops and against a score equation solved by bisection."""

from __future__ import annotations

import csv
import math
from dataclasses import replace

import numpy as np
import pytest

from fne.analysis.intervals import hierarchical_intervals
from fne.analysis.proportion import method
from fne.report.text import summary
from fne.report.text.summary import paired_interval, pick_share, ranked, share, supported_best, truth_kind
from fne.results.study import StudyResults
from tests.report.conftest import Made


def wilson_by_bisection(hits: int, total: int) -> tuple[float, float]:
    """Both p with |x/n - p| = z sqrt(p (1-p) / n), found without the closed form."""
    z, rate = 1.959963984540054, hits / total

    def beyond(p: float) -> bool:
        return abs(rate - p) > z * math.sqrt(p * (1 - p) / total)

    ends = []
    for inside, outside in ((rate, 0.0), (rate, 1.0)):
        if not beyond(outside) and outside == rate:
            ends.append(outside)
            continue
        for _ in range(200):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if beyond(middle) else (middle, outside)
        ends.append(inside)
    return ends[0], ends[1]


@pytest.mark.parametrize(("hits", "total"), [(3, 50), (0, 40), (40, 40), (500, 1000), (1, 7)])
def test_seeds_that_are_alike_give_wilsons_interval(hits: int, total: int) -> None:
    result = share(np.array([hits] * 3), np.array([total] * 3))
    low, high = wilson_by_bisection(3 * hits, 3 * total)
    assert result.value == hits / total and (result.hits, result.total) == (3 * hits, 3 * total)
    assert result.low == pytest.approx(low, abs=1e-9)
    assert result.high == pytest.approx(high, abs=1e-9)


def test_unequal_seeds_widen_the_interval() -> None:
    hits, totals = [10, 60, 30], [1000, 1200, 800]
    result = share(np.array(hits), np.array(totals))
    p = sum(hits) / sum(totals)
    squares = sum((x - p * n) ** 2 for x, n in zip(hits, totals, strict=True))
    reach = 4.302652729911275 * math.sqrt(3 / 2 * squares) / sum(totals)  # t quantile, 2 degrees of freedom
    assert result.value == pytest.approx(p)
    assert result.high == pytest.approx(p + reach, rel=1e-9)
    assert result.low == max(0.0, p - reach)
    low, high = wilson_by_bisection(sum(hits), sum(totals))
    assert result.high > high and result.low < low


@pytest.mark.parametrize("hits", [[10], [10, 60]])
def test_with_fewer_than_three_seeds_a_share_has_no_interval(hits: list[int]) -> None:
    result = share(np.array(hits), np.array([1000, 1200][: len(hits)]))
    assert result.hits == sum(hits) and math.isnan(result.low) and math.isnan(result.high)
    assert method(len(hits)).startswith("none: ") and not method(3).startswith("none")


def test_pick_share_equals_a_loop_over_the_file(paper: Made) -> None:
    with open(paper.root / "results/paper/audit.csv", encoding="utf-8") as handle:
        rows = [row for row in csv.DictReader(handle) if row["variant"] == "hardest_buffer"]
    for direction in (None, "t2i"):
        kept = [row for row in rows if direction in (None, row["direction"])]
        hits, total = (sum(int(row[key]) for row in kept) for key in ("false_negatives", "picks"))
        result = pick_share(paper.results, "hardest_buffer", direction)
        assert result is not None and (result.hits, result.total) == (hits, total)


def test_an_unknown_truth_is_not_a_share_of_zero(lonely: Made) -> None:
    assert pick_share(lonely.results, "hardest_in_batch") is None
    assert truth_kind(lonely.results, "train") is None


def test_where_the_truth_is_exact_no_false_negative_is_a_share_of_zero(paper: Made) -> None:
    study = StudyResults(paper.results.definition, paper.root)
    study.__dict__["audit"] = study.audit.assign(false_negatives=0, candidate_false_negatives=0)
    for kind in ("exact", "equal_captions"):
        truth = {split: {**entry, "kind": kind} for split, entry in study.manifest.truth_files.items()}
        study.__dict__["manifest"] = replace(study.manifest, truth_files=truth)
        result = pick_share(study, "hardest_buffer")
        assert summary.truth_is_known(study) == (kind == "exact")
        assert result is None if kind != "exact" else (result.value == 0 and result.total > 0 and result.high > 0)
    study.__dict__["audit"] = study.audit.iloc[:0]
    assert not summary.truth_is_known(study)


def test_cost_is_that_of_one_seed(paper: Made) -> None:
    variant = paper.results["hardest_buffer"]  # four seeds of one block are left
    assert summary.seconds_per_run(variant) == pytest.approx(0.012 * 16 * 47)
    assert summary.seconds_per_step(variant) == pytest.approx(0.012)


def test_ranking_is_by_mean_and_low_ranks_are_good(paper: Made) -> None:
    order = ranked(paper.results)
    means = {v.id: np.mean(list(paper.results.values(v.id).values())) for v in paper.results.variants}
    assert [name for name, _ in order] == sorted(means, key=lambda name: -means[name])
    ranks = ranked(paper.results, "median_rank", "i2t", "own")
    assert [value for _, value in ranks] == sorted(value for _, value in ranks)


def test_the_lead_is_judged_by_paired_seeds_and_images(paper: Made) -> None:
    study = paper.results
    first, second = study.layout("fne_abstract"), study.layout("fne")
    column = first.keys.index(("own", "both", "rsum"))
    result = hierarchical_intervals((first.influence - second.influence)[:, :, [column]])
    assert paired_interval(study, "fne_abstract", "fne") == (float(result.low[0]), float(result.high[0]))
    assert paired_interval(study, "hardest_buffer", "fne") != paired_interval(study, "fne", "hardest_buffer")
    assert supported_best(study) == ("fne_abstract" if result.low[0] > 0 else None)
