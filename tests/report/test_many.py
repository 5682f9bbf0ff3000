"""More variants than a page has room for: figures, parts and tables show some and say what they leave out."""

from __future__ import annotations

from itertools import pairwise

import pytest
from matplotlib.colors import to_hex

from fne.report.figures import highlight
from fne.report.figures import registry as figures
from fne.report.figures.style import MUTED
from fne.report.figures.variant_styles import looks_of
from fne.report.notebook import load
from fne.report.page import parts
from fne.report.tables.registry import build
from fne.report.text.summary import ranked
from fne.results.study import StudyResults
from fne.steps import audit
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
        words = " 4 variants are drawn, the baseline and the best; 6 more are in the tables."
        assert drawn.caption.endswith(words)
        assert "Random negative" not in drawn.alt


@pytest.mark.parametrize("name", ["curves", "false_negatives"])
def test_of_a_crowd_a_few_lines_are_drawn_in_full_and_the_others_grey(crowded: StudyResults, name: str) -> None:
    if name == "curves":
        order = [variant for variant, _ in ranked(crowded)]
    else:
        rows = crowded.audited("epochs")
        rows = rows[rows["epoch"].isna() & (rows["direction"] == "both")].sort_values("rate", ascending=False)
        order = list(rows["variant"])
    rest = [variant for variant in order if variant not in (crowded.baseline, "fne")]
    requested = {crowded.baseline, "fne", *rest[:3], *rest[-2:]}
    picture = figures.draw(crowded, name)
    for panel in picture.drawing.axes:
        lines = [line for line in panel.lines if len(line.get_xdata()) > 1]
        faint = [line for line in lines if line.get_color() == MUTED and line.get_alpha() is not None]
        assert len(lines) == 30 and len(faint) == 23
        seen = {(to_hex(line.get_color()).upper(), str(line.get_linestyle())) for line in lines if line not in faint}
        assert {colour for colour, _ in seen} == {looks_of(crowded)[variant].colour.upper() for variant in requested}
        names = {text.get_text() for text in panel.texts} & {variant.title for variant in crowded.variants}
        assert names == {crowded[variant].title for variant in requested}
    assert "7 of 30 variants are drawn in full" in picture.caption
    assert "thin and grey: 23 more" in {text.get_text() for text in picture.drawing.axes[-1].texts}
    assert all(crowded[variant].title in picture.alt for variant in order), "the words leave out none"


def test_of_a_crowd_that_was_tuned_a_few_lines_have_bands(crowded: StudyResults) -> None:
    study = StudyResults(write_search(crowded.root, crowded.definition, {"random": "fne"}), crowded.root)
    picture = figures.draw(study, "budget")
    (panel,) = picture.drawing.axes
    full = [line for line in panel.lines if len(line.get_xdata()) == 8 and line.get_alpha() is None]
    assert len(full) == 7 and "7 of 29 variants are drawn in full" in picture.caption
    assert (
        len(panel.collections) == 2
        and "Bands are drawn of Hardest in batch (VSE++) and FNE (released rule) alone" in picture.caption
    )
    assert "thin and grey: 22 more" in {text.get_text() for text in panel.texts}


def test_a_table_that_is_too_long_is_cut_and_says_so(paper: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "MOST_ROWS", 7)
    whole = build(paper.results, "contrasts")
    cut = parts.cut(whole)
    assert cut.rows == whole.rows[:7] and cut.notes[-1].startswith("These are the first 7 of 135 rows")
    assert parts.cut(cut) is cut


def test_up_to_three_lines_are_all_drawn_with_their_bands(paper: Made) -> None:
    few = highlight.highlight(paper.results.only(paper.study.variants[:3]), "rsum")
    assert few.full == few.banded == {*paper.study.variants[:3]} and few.caption == ""
    many = highlight.highlight(paper.results, "rsum")
    assert len(many.full) == 7 and many.banded == {"fne", paper.study.baseline}


def test_a_variant_looks_the_same_in_figures_of_some(crowded: StudyResults, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "MOST", 20)
    some = figures.shown(crowded)
    assert len(some.variants) == 20 and looks_of(some) == looks_of(crowded)


def test_names_and_numbers_of_sixty_rows_overlap_nothing(crowded: StudyResults) -> None:
    for name in ("scores", "contrasts"):
        drawn = figures.draw(crowded, name).drawing
        drawn.draw_without_rendering()
        (axes,) = drawn.axes
        marks = axes.get_window_extent()
        names = [label.get_window_extent() for label in axes.get_yticklabels()]
        numbers = [text.get_window_extent() for text in axes.texts if text.get_position()[0] > 1]
        assert len(names) == len(numbers) >= 29
        assert all(0 <= box.x0 and box.x1 <= marks.x0 for box in names)
        assert all(marks.x1 <= box.x0 and box.x1 <= drawn.bbox.x1 for box in numbers)
        for column in (names, numbers):
            assert all(above.y0 >= below.y1 for above, below in pairwise(column)), name
