"""Picks under conditions, and their pictures in a notebook."""

from __future__ import annotations

import html
import json
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
from tests.report.synthetic import write_study


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


def shown(page: str) -> dict:
    """What the viewer in a frame of a notebook shows."""
    inside = html.unescape(page.partition('srcdoc="')[2].partition('"></iframe>')[0])
    return json.loads(inside.partition('id="picks-data">')[2].partition("</script>")[0])


def test_a_selection_of_picks_is_shown_in_the_viewer(paper: Made) -> None:
    picks = paper.results.picks(false_under="infonce", not_false_under="fne")
    anchors = len(picks[[*ANCHOR]].drop_duplicates())
    data = shown(picks._repr_html_())
    assert len(data["items"]) == min(SHOWN, anchors) and {name for name, *_ in data["strategies"]} == {"infonce", "fne"}
    assert {anchor["kind"] for anchor in data["items"]} == {"selected"}
    (row,) = picks.query("direction == 0").head(1).to_dict("records")
    (anchor,) = shown(picks.query("direction == 0").head(1)._repr_html_())["items"]
    ((_, item, similarity, *_, truth),) = anchor["picks"]
    assert similarity == pytest.approx(row["similarity"], rel=1e-3) and truth == row["false_negative"]
    assert len(shown(picks.show(1)._repr_html_())["items"]) == 1
    with pytest.raises(UserError, match="anchors: wrong number.*1 to 200"):
        picks.show(0)
    for table in (picks.groupby("variant").agg(n=("similarity", "size")), picks.head(0), picks[["similarity"]]):
        assert "<iframe" not in table._repr_html_() and "<table" in table._repr_html_()


def test_titles_and_captions_are_escaped(hostile: Made) -> None:
    page = hostile.results.picks()._repr_html_()
    assert page.startswith("<iframe ") and page.count("<") == 2 and shown(page)["items"]


def test_without_data_there_is_a_table_and_why(lonely: Made) -> None:
    page = lonely.results.picks()._repr_html_()
    assert "are not on this machine" in page and "<table" in page


def test_help_lists_the_kinds_of_slices_and_an_unknown_one_names_the_nearest(paper: Made) -> None:
    assert all(f'``"{rule}"``' in StudyResults.slices.__doc__ for rule in RULES)
    with pytest.raises(UserError, match="did you mean 'caption_length'.*true_positives.*function"):
        paper.results.slices("fne", "caption_lenght")


def test_a_study_names_the_overrides_it_was_made_with(paper: Made) -> None:
    assert repr(load(replace(paper.study, overrides={"seeds": "0-4"}), paper.root)).endswith("; with seeds=0-4>")
