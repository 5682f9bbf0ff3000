"""The same anchor under several strategies: the picks of the files, beside the right pictures, escaped."""

from __future__ import annotations

import pytest

from fne.report.picks.selection import Comparison
from fne.utils.errors import UserError
from tests.report.conftest import Made
from tests.report.synthetic import HOSTILE


def test_an_anchor_shows_what_each_variant_picked_at_that_step(paper: Made) -> None:
    study, names = paper.results, ("fne", "hardest_in_batch", "infonce")
    comparison = study.anchors(*names)
    view = study.manifest.split("train")
    titles = {study[name].title: name for name in names}
    assert comparison.count("disagree") > 3
    for place in range(comparison.count("disagree")):
        anchor = comparison.anchor("disagree", place)
        assert len(anchor.choices) > 1 and {by[0] for one in anchor.choices for by in one.by} <= set(titles)
        for choice in anchor.choices:
            for title, _, similarity, _ in choice.by:
                picks = study.picks(titles[title])
                rows = picks[(picks["seed"] == anchor.seed) & (picks["epoch"] == anchor.epoch - 1)]
                (row,) = rows[(rows["similarity"] - similarity).abs() < 1e-7].to_dict("records")
                assert row["false_negative"] == choice.truth
                own, other = (row["anchor"], row["candidate"]) if row["direction"] == 0 else (
                    row["candidate"], row["anchor"])  # fmt: skip
                image, caption = (anchor.item, choice.item) if row["direction"] == 0 else (choice.item, anchor.item)
                assert (image.asked, caption.asked) == ("image", "caption")
                assert image.image.name == f"train-{own}.png" and caption.caption == view.texts[other]


def test_kinds_hold_what_they_promise_and_are_always_the_same(paper: Made) -> None:
    one, other = paper.results.anchors(), paper.results.anchors()
    shown = one.some("false", 3)
    assert len(shown.anchors) == 3 and repr(shown) == repr(other.some("false", 3))
    assert all(any(choice.truth == 1 for choice in anchor.choices) for anchor in shown.anchors)
    with pytest.raises(UserError, match="did you mean 'disagree'"):
        one.some("disagre", 3)
    with pytest.raises(UserError, match="did you mean 'infonce'"):
        paper.results.anchors("infoncee")


def test_nothing_of_the_users_words_is_code(hostile: Made) -> None:
    html = hostile.results.anchors().some("random", 2)._repr_html_()
    assert "<script" not in html and HOSTILE not in html and html.count("<img") >= 4


def test_without_data_there_is_a_line(lonely: Made) -> None:
    comparison = Comparison(lonely.results)
    assert comparison.count("random") == 0
    assert "No picks to show" in comparison.some("random", 3)._repr_html_()
