"""The first sentence says what the numbers say, also when they say no."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from fne.report.text import contrast_text
from fne.report.text import headline as module
from fne.report.text.headline import headline
from fne.results.study import Contrast, StudyResults
from tests.report.conftest import Made

NAN = math.nan
FLOOR = 9 / 10_001
HOLM = ", by this interval alone and not after Holm's correction"
TESTED = "over test images, given these seeds, after Holm."


@pytest.mark.parametrize(("difference", "low", "high", "p", "verdict", "end"), [
    (0.081, 0.037, 0.125, 0.02, "beats the baseline, {}: +8.1 rsum [+3.7, +12.5], 5 seeds", f"; p = 0.020 {TESTED}"),
    (-0.081, -0.125, -0.037, FLOOR, "does not win: it is worse than the baseline, {}: −8.1 ", f"; p ≤ 0.0009 {TESTED}"),
    (0.081, 0.037, 0.125, 0.81, f"is ahead of the baseline, {{}}{HOLM}: ", f"; p = 0.810 {TESTED}"),
    (-0.081, -0.125, -0.037, NAN, f"does not win: it is behind the baseline, {{}}{HOLM}: ", "5 seeds."),
    (0.081, -0.01, 0.17, 0.02, "does not win: no difference to the baseline, {}, is shown: +8.1 ", TESTED),
    (0.081, 0.0, 0.16, 0.02, "does not win: no difference to the baseline, {}, is shown: +8.1 ", TESTED),
    (0.081, NAN, NAN, NAN, "against the baseline, {}: +8.1 rsum, but 5 seeds cannot show whether that is chance.", ""),
])  # fmt: skip
def test_the_verdict_follows_the_interval_and_the_test(
    paper: Made, monkeypatch: pytest.MonkeyPatch, difference: float, low: float, high: float, p: float, verdict: str,
    end: str,
) -> None:  # fmt: skip
    result = Contrast("fne", "hardest_in_batch", difference, low, high, p, p, FLOOR, 0.0625, 0.0625, 5, "")
    monkeypatch.setattr(StudyResults, "contrast", lambda self, variant, *rest: result)
    words = headline(paper.results)[0]
    assert words.startswith(f"FNE (released rule) {verdict.format('Hardest in batch (VSE++)')}") and words.endswith(end)


def test_the_best_variant_and_its_picks(paper: Made) -> None:
    sentences = headline(paper.results)
    assert sentences[0].startswith("FNE (released rule) beats")
    assert sentences[1].startswith("FNE (as its abstract says) has the best mean rsum, 46")
    assert sentences[3].startswith("Of the negatives picked in epochs 5 to 16, after the warm-up of every variant, ")
    assert "are in truth matches under FNE (released rule), against" in sentences[3]
    assert sentences[4] == "1 of 50 runs has no result; the main table says why."


def test_studies_without_fne_or_with_fne_as_baseline_make_no_claim_about_it(
    lonely: Made, paper: Made, hostile: Made
) -> None:
    assert headline(lonely.results) == (headline(lonely.results)[0],)
    assert headline(lonely.results)[0].endswith("the only variant with a result.")
    assert "(2 seeds in common cannot show whether that is chance)" in headline(hostile.results)[1]
    other = StudyResults(replace(paper.study, baseline="fne"), paper.root)
    assert " has the best mean rsum" in headline(other)[0]


def test_a_posterior_that_never_decided_says_nothing_about_the_elimination(
    paper: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    unused = "decided about no candidate in any epoch"
    assert not any(unused in sentence for sentence in headline(paper.results))
    study = StudyResults(paper.study, paper.root)
    study.__dict__["curves"] = study.curves.assign(override_share_i2t=0.0, override_share_t2i=0.0)
    assert any(unused in sentence for sentence in headline(study))
    assert not any("FNE without elimination" in sentence for sentence in headline(study)[1:])


def test_without_a_result_nothing_is_claimed(paper: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StudyResults, "contrast", lambda self, variant, *rest: None)
    assert headline(paper.results)[0].endswith("cannot be said: no seed has a result of both.")
    monkeypatch.setattr(StudyResults, "values", lambda self, variant, *rest: {})
    assert headline(paper.results) == ("No run of this study has a result yet.",)


@pytest.mark.parametrize(("low", "high", "verdict"), [
    (0.01, 0.05, "a gain"), (-0.05, -0.01, "a loss"), (-0.01, 0.05, "no difference is shown"),
])  # fmt: skip
def test_what_the_elimination_adds(
    paper: Made, monkeypatch: pytest.MonkeyPatch, low: float, high: float, verdict: str
) -> None:
    monkeypatch.setattr(contrast_text, "paired_interval", lambda *given: (low, high))
    alike = lambda study, variant: {"negatives": {"elimination": variant}}  # noqa: E731
    monkeypatch.setattr(module, "resolve", alike)
    mine, its = (paper.results.values(name) for name in ("fne", "fne_no_elimination"))
    difference = sum(mine[seed] - its[seed] for seed in mine) / 5
    words = next(words for words in headline(paper.results) if words.startswith("What the elimination itself adds"))
    assert f": +{100 * difference:.1f} rsum [" in words and words.endswith(f"({verdict}).")
    apart = lambda study, variant: {"loss": {"margin": len(variant)}}  # noqa: E731
    monkeypatch.setattr(module, "resolve", apart)
    words = next(words for words in headline(paper.results) if "minus FNE without elimination" in words)
    assert words.endswith("not the effect of the elimination alone, since the two were tuned separately.")


def test_where_few_matches_are_known_the_picks_say_so(paper: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "truth_kind", lambda *given: "captions")
    words = headline(paper.results)[3]
    assert "are known to match (few matches are known here) under FNE" in words and "in truth" not in words
