"""More variants than a page has room for: figures, parts and tables show some and say what they leave out."""

from __future__ import annotations

import pytest

from fne.reporting import figures
from fne.reporting.facts import ranked
from fne.reporting.page import content, variants
from fne.reporting.tables import build
from tests.reporting.conftest import Made


def test_figures_draw_the_baseline_and_the_best(paper: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "MOST", 4)
    best = [name for name, _ in ranked(paper.results) if name != paper.study.baseline][:3]
    few = figures.shown(paper.results)
    assert {variant.id for variant in few.variants} == {paper.study.baseline, *best}
    assert [variant.id for variant in few.variants] == [v for v in paper.study.variants if v in few.definition.variants]
    assert few.values("fne") == paper.results.values("fne")
    assert set(few.curves["variant"]) == set(few.definition.variants)
    for name in ("scores", "curves", "picks"):
        drawn = figures.draw(paper.results, name)
        assert drawn.caption.endswith("4 variants; 6 more are in the tables.")
        assert "Random negative" not in drawn.alt


def test_few_variants_are_all_drawn(paper: Made) -> None:
    assert figures.shown(paper.results) is paper.results
    assert "more are in the tables" not in figures.draw(paper.results, "scores").caption


def test_parts_are_of_the_first_variants_and_of_the_baseline(paper: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(variants, "MOST", 3)
    ids = [variant.id for variant in variants.told(paper.results)]
    assert len(ids) == 3 and paper.study.baseline in ids
    made = content.content(paper.results, [])
    assert made["variants_left"] == 7 and list(made["links"]) == ids


def test_a_table_that_is_too_long_is_cut_and_says_so(paper: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content, "MOST_ROWS", 7)
    whole = build(paper.results, "contrasts")
    cut = content._cut(whole)
    assert cut.rows == whole.rows[:7] and cut.notes[-1].startswith("Here are the first 7 of 135 rows")
    assert content._cut(cut) is cut
