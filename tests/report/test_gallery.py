"""Picks under conditions, and their pictures in a notebook."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from fne.report.notebook import load
from fne.report.picks.gallery import SHOWN
from fne.results.runs import ANCHOR
from fne.results.slices import RULES
from fne.results.study import StudyResults
from fne.utils.errors import UserError
from tests.report.conftest import SMALL, Made
from tests.report.synthetic import HOSTILE, write_study


def test_picks_that_are_false_under_one_variant_and_not_under_another(paper: Made) -> None:
    """Against a plain loop over the rows."""
    study = paper.results
    rows = {name: study.picks(name).to_dict("records") for name in ("infonce", "fne")}
    truth = {name: {} for name in rows}
    for name, picks in rows.items():
        for pick in picks:
            known = pick["false_negative"]
            truth[name].setdefault(tuple(pick[key] for key in ANCHOR), []).append(-1 if known is pd.NA else int(known))
    met = {key for key, values in truth["infonce"].items() if 1 in values and {*truth["fne"].get(key, [-1])} == {0}}
    result = study.picks(false_under="infonce", not_false_under=["fne"])
    keys = list(result[[*ANCHOR]].itertuples(index=False, name=None))
    assert 0 < len(met) < len(truth["infonce"]) and {*keys} == met
    assert len(result) == sum(len(truth[name][key]) for name in rows for key in met)
    assert list(dict.fromkeys(keys)) == sorted(met), "picks for one anchor stand together"
    assert set(study.picks("random", false_under="infonce")["variant"]) == {"random"}
    assert set(study.picks("fne", false=True)["false_negative"]) == {1}
    assert set(study.picks("fne", false=False)["false_negative"]) == {0}
    assert set(study.picks()["variant"]) == set(study.definition.variants)


@pytest.mark.parametrize(
    ("conditions", "saying"),
    [
        ({"false": "fne"}, "false: unknown value.*True, False or None.*false_under"),
        ({"false_under": "infonse"}, "did you mean 'infonce'"),
    ],
)
def test_wrong_conditions_are_refused(paper: Made, conditions: dict, saying: str) -> None:
    with pytest.raises(UserError, match=saying):
        paper.results.picks(**conditions)


def test_a_condition_on_a_variant_without_picks_is_refused(tmp_path: Path) -> None:
    study = load(write_study(tmp_path, fakes=SMALL[:2], seeds=(0, 1), resources=False), tmp_path)
    (tmp_path / "results/paper/fne/0-1/run.json").unlink()
    with pytest.raises(UserError, match="kept no picks.*'fne'"):
        load(study.definition, tmp_path).picks(not_false_under="fne")


def test_a_selection_of_picks_shows_pictures(paper: Made) -> None:
    picks = paper.results.picks(false_under="infonce", not_false_under="fne")
    anchors = len(picks[[*ANCHOR]].drop_duplicates())
    page = picks._repr_html_()
    assert page.count("<section>") == min(SHOWN, anchors) and f"of {anchors:,} anchors" in page
    assert page.count("<img ") == page.count('src="data:image/jpeg;base64,') >= 2 * min(SHOWN, anchors)
    few = picks.sort_values("similarity").query("direction == 0").head(1)
    (row,) = few.to_dict("records")
    page, view = few._repr_html_(), paper.results.manifest.split("train")
    assert f"similarity {row['similarity']:.3f}" in page and f"own pair {row['positive_similarity']:.3f}" in page
    assert html.escape(view.texts[row["candidate"]]) in html.unescape(page)
    assert paper.results[row["variant"]].title in html.unescape(page)
    assert picks.show(1)._repr_html_().count("<section>") == 1
    with pytest.raises(UserError, match="anchors: wrong number.*1 to 200"):
        picks.show(0)
    for table in (picks.groupby("variant").agg(n=("similarity", "size")), picks.head(0), picks[["similarity"]]):
        assert "<section>" not in table._repr_html_() and "<table" in table._repr_html_()


def test_titles_and_captions_are_escaped(hostile: Made) -> None:
    page = hostile.results.picks()._repr_html_()
    assert "<section>" in page and HOSTILE not in page
    assert not re.search(r"<script|onerror\s*=\s*[^&]", html.unescape(re.sub(r"&lt;.*?&gt;", "", page)))


def test_without_pictures_there_is_a_table_that_says_so(lonely: Made, paper: Made, tmp_path: Path) -> None:
    page = lonely.results.picks()._repr_html_()
    assert "are not on this machine" in page and "<table" in page and "<img" not in page
    study = load(paper.study, paper.root)
    study.manifest = replace(paper.results.manifest, root=tmp_path)
    page = study.picks("fne")._repr_html_()
    assert "no image file of these picks can be read" in page and "<table" in page and str(tmp_path) not in page


def test_help_lists_the_kinds_of_slices_and_an_unknown_one_names_the_nearest(paper: Made) -> None:
    assert all(f'``"{rule}"``' in StudyResults.slices.__doc__ for rule in RULES)
    with pytest.raises(UserError, match="did you mean 'caption_length'.*true_positives.*function"):
        paper.results.slices("fne", "caption_lenght")


def test_a_study_names_the_overrides_it_was_made_with(paper: Made) -> None:
    assert repr(load(replace(paper.study, overrides={"seeds": "0-4"}), paper.root)).endswith("; with seeds=0-4>")
