"""More variants than a page has room for: figures, parts and tables show some and say what they leave out."""

from __future__ import annotations

import re

import numpy as np
import pytest
from matplotlib.colors import to_hex

from fne.analysis.search import best_after
from fne.report.figures import highlight
from fne.report.figures import registry as figures
from fne.report.figures.style import MUTED
from fne.report.figures.variant_styles import looks_of
from fne.report.notebook import load
from fne.report.page import build as page
from fne.report.page import content, variants
from fne.report.tables import registry as tables
from fne.report.tables.registry import build
from fne.report.text.summary import ranked
from fne.report.tuning import first_round
from fne.results.study import StudyResults
from fne.steps import audit, report
from fne.study.api import Study
from tests.report.conftest import Made
from tests.report.synthetic import PAPER, Fake, write_search, write_study

STRATEGIES = ("fne", "hardest", "all", "random")


def crowd(size: int) -> tuple[Fake, ...]:
    """As many variants as asked for, the paper's first."""
    more = (
        Fake(f"v{place}", f"Variant {place}", STRATEGIES[place % 4], 400.0 + 60 * (place * 0.618 % 1),
             0.002 + 0.1 * (place * 0.382 % 1), 0.3, 0.01, memory=False)
        for place in range(size - len(PAPER))
    )  # fmt: skip
    return (*PAPER, *more)


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> StudyResults:
    """Thirty variants of two seeds, audited and with data."""
    folder = tmp_path_factory.mktemp("crowded")
    study: Study = write_study(folder, fakes=crowd(30), seeds=(0, 1), name="crowded")
    audit.run(study, folder)
    return load(study, folder)


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
        words = " 4 variants are drawn, the baseline and the best by the primary metric; 6 more are in the tables."
        assert drawn.caption.endswith(words)
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


def test_a_table_that_is_too_long_is_cut_and_says_so(paper: Made) -> None:
    whole = build(paper.results, "contrasts")
    cut = content._cut(whole, 7)
    assert cut.rows == whole.rows[:7] and cut.notes[-1].startswith("Here are the first 7 of 135 rows")
    assert content._cut(cut, 7) is cut


@pytest.mark.parametrize("name", ["curves", "false_negatives"])
def test_of_a_crowd_a_few_lines_are_drawn_in_full_and_the_others_grey(crowded: StudyResults, name: str) -> None:
    if name == "curves":
        order = [variant for variant, _ in ranked(crowded)]
    else:
        rows = crowded.audited("epochs")
        rows = rows[rows["epoch"].isna() & (rows["direction"] == "both")].sort_values("rate", ascending=False)
        order = list(rows["variant"])
    rest = [variant for variant in order if variant not in (crowded.baseline, "fne")]
    wanted = {crowded.baseline, "fne", *rest[:6], *rest[-2:]}
    picture = figures.draw(crowded, name)
    for panel in picture.drawing.axes:
        lines = [line for line in panel.lines if len(line.get_xdata()) > 1]
        faint = [line for line in lines if line.get_color() == MUTED and line.get_alpha() is not None]
        assert len(lines) == 30 and len(faint) == 20
        seen = {(to_hex(line.get_color()).upper(), str(line.get_linestyle())) for line in lines if line not in faint}
        assert {colour for colour, _ in seen} == {looks_of(crowded)[variant].colour.upper() for variant in wanted}
        names = {text.get_text() for text in panel.texts} & {variant.title for variant in crowded.variants}
        assert names == {crowded[variant].title for variant in wanted}
    assert "10 of 30 variants are drawn in full" in picture.caption
    assert "thin and grey: 20 more" in {text.get_text() for text in picture.drawing.axes[-1].texts}
    assert all(crowded[variant].title in picture.alt for variant in order), "the words leave out none"


def test_of_a_crowd_that_was_tuned_a_few_lines_have_bands(crowded: StudyResults) -> None:
    study = StudyResults(write_search(crowded.root, crowded.definition, {"random": "fne"}), crowded.root)
    picture = figures.draw(study, "budget")
    (panel,) = picture.drawing.axes
    scores, _ = first_round(study.definition, study.root)
    best = max(scores, key=lambda variant: best_after(scores[variant], 8).expected)
    full = [line for line in panel.lines if len(line.get_xdata()) == 8 and line.get_alpha() is None]
    assert len(full) == 10 and "10 of 29 variants are drawn in full" in picture.caption
    wide = [band for band in panel.collections if np.ptp(band.get_paths()[0].vertices[[1, -2], 1]) > 0]
    assert len(wide) == len({study.baseline, "fne", best})
    assert "thin and grey: 19 more" in {text.get_text() for text in panel.texts}


def test_up_to_twelve_lines_are_all_drawn(paper: Made) -> None:
    assert highlight.featured(paper.results) == set(paper.study.variants)
    assert "in full" not in figures.draw(paper.results, "curves").caption


def test_a_variant_looks_the_same_in_figures_of_some_and_on_the_page(
    crowded: StudyResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "MOST", 20)
    some = figures.shown(crowded)
    assert len(some.variants) == 20 and looks_of(some) == looks_of(crowded)
    picture = figures.draw(crowded, "cost")
    drawn = [marks for marks in picture.drawing.axes[0].collections if len(marks.get_paths()) == 1]
    seen = [(to_hex(marks.get_facecolor()[0]).upper(), len(marks.get_paths()[0].vertices)) for marks in drawn]
    looks = [looks_of(crowded)[variant.id] for variant in some.variants]
    corners = [len(look.corners) + 1 if look.shape else 5 for look in looks]  # a diamond: four corners, closed
    assert seen == [(look.colour.upper(), size) for look, size in zip(looks, corners, strict=True)]
    html = page.build(content.content(crowded, []))
    for dot, variant in zip(re.findall(r'<svg class="dot".*?</svg>', html), crowded.variants, strict=True):
        look = looks_of(crowded)[variant.id]
        assert f'fill="{look.colour}"' in dot and ("<circle" in dot) == (look.shape is None)
        points = re.search(r'points="([^"]*)"', dot)
        assert (points.group(1).split() if points else []) == [f"{x},{y}" for x, y in look.corners]
    assert '"polygon(' in html, "the viewer's swatches have shapes"


def test_a_study_of_very_many_variants_has_a_page(crowded: StudyResults, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (figures, variants):
        monkeypatch.setattr(module, "MOST", 6)
    monkeypatch.setattr(content, "FEW_ROWS", 50)
    for step in (tables, figures, report):
        step.run(crowded.definition, crowded.root)
    text = (crowded.root / "reports/crowded/report.html").read_text("utf-8")
    assert text.count('class="variant"') == 6 and 'id="table-contrasts"' not in text
    for table, rows in (("main", 30), ("contrasts-primary", 29), ("record", 30), ("popular", 50)):
        found = re.search(rf'<table id="table-{table}".*?<tbody>(.*?)</table>', text, re.DOTALL)
        assert found is not None and found.group(1).count("<tr") == rows, table
    assert f"Those of all metrics, {len(crowded.contrasts)} rows, are in <code>tables/contrasts.csv</code>" in text
    assert "6 variants; 24 more are in the tables" in text
    assert "Only the 6 variants that the figures show take part" in text
    assert "Below are the first 6 variants; 24 more are in the tables" in text
