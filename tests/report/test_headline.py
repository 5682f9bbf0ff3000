"""The first sentence says what the numbers say, also when they say no."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from fne.report.text.headline import headline
from fne.results.study import Contrast, StudyResults
from tests.report.conftest import Made

NAN = math.nan
FLOOR = 9 / 10_001


def told(
    made: Made, monkeypatch: pytest.MonkeyPatch, difference: float, low: float, high: float, p: float = 0.02
) -> str:
    result = Contrast("fne", "hardest_in_batch", difference, low, high, p, p, FLOOR, 0.0625, 0.0625, 5, "")
    monkeypatch.setattr(StudyResults, "contrast", lambda self, variant, *rest: result)
    return headline(made.results)[0]


def test_fne_wins(paper: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    words = told(paper, monkeypatch, 0.081, 0.037, 0.125)
    assert words == (
        "FNE (released rule) beats the baseline, Hardest in batch (VSE++): +8.1 rsum [+3.7, +12.5], 5 seeds; "
        "p = 0.020 over test images, given these seeds, after Holm."
    )


def test_fne_loses(paper: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    words = told(paper, monkeypatch, -0.081, -0.125, -0.037, FLOOR)
    assert words.startswith(
        "FNE (released rule) does not win: it is worse than the baseline, Hardest in batch (VSE++): −8.1"
    )
    assert words.endswith("; p ≤ 0.0009 over test images, given these seeds, after Holm.")


@pytest.mark.parametrize(("sign", "verdict"), [(1, "is ahead of"), (-1, "does not win: it is behind")])
def test_an_interval_that_holm_does_not_follow_is_no_win(
    paper: Made, monkeypatch: pytest.MonkeyPatch, sign: int, verdict: str
) -> None:
    words = told(paper, monkeypatch, sign * 0.081, *sorted((sign * 0.037, sign * 0.125)), 0.81)
    start = f"FNE (released rule) {verdict} the baseline, Hardest in batch (VSE++), by this interval alone and not "
    assert words.startswith(start)
    assert "beats" not in words and "p = 0.810 over test images, given these seeds, after Holm" in words


@pytest.mark.parametrize(("low", "high"), [(-0.01, 0.17), (0.0, 0.16)])
def test_nothing_is_shown(paper: Made, monkeypatch: pytest.MonkeyPatch, low: float, high: float) -> None:
    words = told(paper, monkeypatch, 0.081, low, high)
    assert words.startswith("FNE (released rule) does not win: no difference to the baseline")
    assert "beats" not in words


def test_no_interval_is_no_claim(paper: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    words = told(paper, monkeypatch, 0.081, NAN, NAN, NAN)
    assert words == (
        "FNE (released rule) is 8.1 rsum points higher than the baseline, Hardest in batch (VSE++), but 5 "
        "seeds cannot show whether that is chance."
    )


def test_the_best_variant_and_its_picks(paper: Made) -> None:
    sentences = headline(paper.results)
    assert sentences[0].startswith("FNE (released rule) beats")
    assert sentences[1].startswith("Best mean rsum: FNE (as its abstract says) with 46")
    assert sentences[3].startswith("Of the negatives picked in epochs 5 to 16, after the warm-up of every variant, ")
    assert "are in truth matches under FNE (released rule), against" in sentences[3]
    assert sentences[4] == "1 of 50 runs has no result; the main table says why."


def test_an_unsupported_lead_is_called_so(paper: Made, hostile: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    import fne.report.text.headline as module

    words = headline(hostile.results)[1]  # two seeds: there is no interval to speak of
    assert "2 seeds cannot show whether its lead over the runner-up, " in words and words.endswith(", is chance.")
    monkeypatch.setattr(module, "paired_interval", lambda *given: (-0.01, 0.05))
    assert "is not supported by the interval of their difference" in headline(paper.results)[1]


def test_studies_without_fne_or_with_fne_as_baseline_make_no_claim_about_it(lonely: Made, paper: Made) -> None:
    assert headline(lonely.results) == (headline(lonely.results)[0],)
    assert headline(lonely.results)[0].endswith("the only variant with a result.")
    other = StudyResults(replace(paper.study, baseline="fne"), paper.root)
    assert headline(other)[0].startswith("Best mean rsum")


def test_fne_without_a_result(paper: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    original = StudyResults.values
    monkeypatch.setattr(
        StudyResults, "values", lambda self, variant, *rest: {} if variant == "fne" else original(self, variant, *rest)
    )
    words = "Whether FNE beats the baseline cannot be said: FNE (released rule) has no result."
    assert headline(paper.results)[0] == words


def test_no_run_at_all(paper: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StudyResults, "values", lambda self, variant, *rest: {})
    assert headline(paper.results) == ("No run of this study has a result yet.",)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.01, 0.05, "it helps"), (-0.05, -0.01, "it hurts"), (-0.01, 0.05, "no difference is shown")],
)
def test_what_the_elimination_adds(
    paper: Made, monkeypatch: pytest.MonkeyPatch, low: float, high: float, verdict: str
) -> None:
    import fne.report.text.headline as module

    monkeypatch.setattr(module, "paired_interval", lambda *given: (low, high))
    monkeypatch.setattr(
        module, "resolve", lambda study, variant: {"negatives": {"elimination": variant}}
    )  # all else alike
    mine, its = (paper.results.values(name) for name in ("fne", "fne_no_elimination"))
    difference = sum(mine[seed] - its[seed] for seed in mine) / 5
    words = next(words for words in headline(paper.results) if words.startswith("What the elimination itself adds"))
    assert f": +{100 * difference:.1f} rsum [" in words and words.endswith(f"; {verdict}.")


def test_two_variants_tuned_apart_do_not_show_what_the_elimination_adds(
    paper: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fne.report.text.headline as module

    def resolved(study: object, variant: str) -> dict:
        margin = 0.2 if variant == "fne" else 0.1
        return {"loss": {"margin": margin}, "negatives": {"elimination": variant}}

    monkeypatch.setattr(module, "resolve", resolved)
    words = next(words for words in headline(paper.results) if "minus FNE without elimination" in words)
    summary = "not the effect of the elimination alone, since the two were tuned separately."
    assert words.startswith("FNE (released rule) minus") and words.endswith(summary)


def test_where_few_matches_are_known_the_picks_are_told_so(paper: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    import fne.report.text.headline as module

    monkeypatch.setattr(module, "truth_kind", lambda *given: "captions")
    words = headline(paper.results)[3]
    assert "are known to be matches, as few of those that are can be, under FNE" in words and "in truth" not in words
