"""The worst queries: chosen as plain loops choose them, marked by each source of truth, within a budget."""

from __future__ import annotations

import html
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fne.data.manifest import SplitView
from fne.report.picks.book import Viewer
from fne.report.picks.queries import KINDS, QUOTA, SHOWN, compared, of_study, page
from fne.results.ranked import Known, Ranked
from fne.results.study import load
from fne.utils.errors import UserError
from tests.report.conftest import Made
from tests.report.synthetic import CAPTIONS, HOSTILE_CAPTION, similarity, true_pairs


@pytest.fixture(scope="module")
def shown(paper: Made) -> tuple[object, Viewer]:
    return of_study(paper.results)


@pytest.fixture(scope="module")
def data(shown: tuple[object, Viewer]) -> dict:
    return json.loads(shown[1].data)


def first_rank(scores: np.ndarray, right: list[bool]) -> float:
    """The mean rank of the first right item over all orders of equal scores, by counting."""
    best = max(score for score, is_right in zip(scores, right, strict=True) if is_right)
    above = sum(score > best for score in scores)
    equal = sum(score == best for score in scores)
    hits = sum(score == best and is_right for score, is_right in zip(scores, right, strict=True))
    return above + (equal + 1) / (hits + 1)


def by_loops(name: str, direction: int) -> tuple[list[dict], dict[str, list[int]]]:
    """What a variant ranked for each query of seed 0, and its worst queries of each kind."""
    scores = similarity(name, 0) if direction == 0 else similarity(name, 0).T
    known = {(int(image), int(caption)) for image, caption in true_pairs(len(similarity(name, 0)))}
    queries = []
    for query, row in enumerate(scores):
        pairs = [(query, item) if direction == 0 else (item, query) for item in range(len(row))]
        own = [caption // CAPTIONS == image for image, caption in pairs]
        match = [pair in known for pair in pairs]
        top = sorted(range(len(row)), key=lambda item: (-row[item], item))[:SHOWN]
        queries.append(
            {"own": first_rank(row, own), "match": first_rank(row, match), "top": top, "scores": row[top],
             "marks": [[0] if own[item] else [1] if match[item] else [] for item in top]}
        )  # fmt: skip
    worst = {}
    for kind, key in (("own", "own"), ("match", "match"), ("first", "own")):
        rows = [(-one[key], query) for query, one in enumerate(queries) if one[key] > 1]
        worst[kind] = [query for _, query in sorted(rows) if kind != "first" or queries[query]["marks"][0] == [1]]
    return queries, {kind: chosen[:QUOTA] for kind, chosen in worst.items()}


def test_the_worst_queries_are_those_of_plain_loops(paper: Made, data: dict) -> None:
    names = compared(paper.results)
    assert data["models"] == [paper.results[name].title for name in names] and len(names) == 2
    view = paper.results.manifest.split("test")
    rows = [[view.image_ids.index(name) for _, _, name in data["images"]],
            [view.texts.index(text) for text, _ in data["captions"]]]  # fmt: skip
    seen = {}
    for direction in (0, 1):
        made = [by_loops(name, direction) for name in names]
        items = [item for item in data["items"] if item["direction"] == direction]
        for item in items:
            query = rows[direction][item["item"]]
            why = [[kind, at] for kind in KINDS for at, (_, worst) in enumerate(made) if query in worst[kind]]
            assert item["why"] == why
            for ranking, (queries, _) in zip(item["rankings"], made, strict=True):
                expected = queries[query]
                assert ranking["own"] == pytest.approx(expected["own"], rel=1e-3)
                assert ranking["match"] == pytest.approx(expected["match"], rel=1e-3)
                assert [rows[1 - direction][place] for place, *_ in ranking["top"]] == expected["top"]
                assert [score for _, score, _ in ranking["top"]] == pytest.approx(list(expected["scores"]), rel=1e-3)
                assert [marks for *_, marks in ranking["top"]] == expected["marks"]
        seen[direction] = {rows[direction][item["item"]] for item in items}
        assert seen[direction] == {query for _, worst in made for chosen in worst.values() for query in chosen}
        assert all(worst["first"] for _, worst in made) and len(items) == len(seen[direction])
    assert len(seen[1]) < 100, "not every caption is among the worst"


def test_the_table_counts_what_was_ranked_first(paper: Made, shown: tuple) -> None:
    rows = iter(shown[0].rows)
    for name in compared(paper.results):
        for direction in (0, 1):
            firsts = [one["marks"][0] for one in by_loops(name, direction)[0]]
            own, match = firsts.count([0]), firsts.count([1])
            expected = [own / len(firsts), match / len(firsts), firsts.count([]) / len(firsts)]
            assert [cell.sort for cell in next(rows)[2:]] == pytest.approx([match / (len(firsts) - own), *expected])


def test_slices_hold_the_queries_that_they_name(paper: Made, data: dict) -> None:
    view = paper.results.manifest.split("test")
    names = [piece["name"] for piece in data["slices"]]
    at = names.index("Caption length, text → image")
    for item in data["items"]:
        part = item["slices"][at]
        assert (part >= 0) == (item["direction"] == 1)
        if part >= 0:
            low, *high = map(int, data["slices"][at]["parts"][part].split(" to "))
            assert low <= len(data["captions"][item["item"]][0].split()) <= (high or [low])[0]
    assert any(name.startswith("True positives") for name in names) and len(view.texts) == 100


def test_the_budget_ends_the_queries_and_the_choice_is_always_the_same(paper: Made, shown: tuple, data: dict) -> None:
    assert of_study(paper.results)[1] == shown[1]
    budget = sum(map(len, data["pictures"])) // 2
    small = of_study(paper.results, budget=budget)[1]
    result = json.loads(small.data)
    assert 0 < small.items < shown[1].items and "why there are no more" in small.rule
    assert sum(map(len, result["pictures"])) <= budget
    assert [item["why"] for item in result["items"]] == [item["why"] for item in data["items"]][: small.items]


def a_page(texts: list[str], **more: object) -> tuple[str, dict]:
    """Two images with a caption each, both ranked second."""
    rows = np.arange(2)
    view = SplitView("test", rows, rows, rows, texts, ["dog.jpg", "cat.jpg"], ["0", "1"])
    wrong = Ranked(np.array([[1, 0], [0, 1]]), own=np.array([2.0, np.inf]), match=more.pop("match", None))
    text = page(HOSTILE_CAPTION, {HOSTILE_CAPTION: {"t2i": wrong}}, view, **more)
    return text, json.loads(text.partition('id="queries-data">')[2].partition("</script>")[0])


def test_without_images_and_truth_the_page_says_so() -> None:
    text, made = a_page(["a dog", "a cat"])
    assert "Only own pairs are known to match here" in text and "ids stand in for images" in text
    assert [item["rankings"][0]["own"] for item in made["items"]] == [None, 2.0], "beyond all that was ranked is worst"
    assert [name for _, _, name in made["images"]] == ["cat.jpg", "dog.jpg"] and made["pictures"] == []


def test_an_item_bears_every_source_that_knows_it() -> None:
    pairs = [{"t2i": np.array(rows, int).reshape(-1, 2)} for rows in ([], [[1, 0]], [[1, 0], [0, 1]])]
    known = [Known(name, each) for name, each in zip(("exact truth", "ECCV Caption", "CxC"), pairs, strict=True)]
    made = a_page(["a dog", "a cat"], known=known, match=np.array([1.0, 1.0]))[1]
    assert made["sources"][1:] == ["exact truth", "ECCV Caption", "CxC"] and not made["complete"]
    marks = {made["captions"][item["item"]][0]: item["rankings"][0]["top"][0][2] for item in made["items"]}
    assert marks == {"a dog": [2, 3], "a cat": [3]}


def test_hostile_words_stay_words() -> None:
    text, made = a_page([HOSTILE_CAPTION, "a cat"])
    assert HOSTILE_CAPTION not in text and "<script>alert" not in text and text.count("</script>") == 2
    assert "alert" in made["captions"][1][0] and "alert" in made["models"][0]


def test_a_notebook_shows_other_variants_and_seeds(paper: Made) -> None:
    frame = html.unescape(paper.results.show_queries("infonce", seed=3)._repr_html_())
    assert paper.results["infonce"].title in frame and "of seed 3" in frame
    absent = paper.results.show_queries("hardest_buffer", seed=3)._repr_html_()
    assert "not every variant has rankings" in absent
    with pytest.raises(UserError, match="did you mean 'infonce'"):
        paper.results.show_queries("infoncee")


def test_without_data_it_says_why(lonely: Made) -> None:
    table, viewer = of_study(lonely.results)
    assert table is None and viewer.data is None and "are not on this machine" in viewer.rule


def test_damaged_or_other_rankings_are_named(hostile: Made, tmp_path: Path) -> None:
    shutil.copytree(hostile.root, tmp_path / "cut")
    study = load(hostile.study, tmp_path / "cut")
    file = study["fne"].folders[0] / "rankings.test.npz"
    stored = dict(np.load(file))
    for key, value, saying in (("own/i2t/pairs", stored["own/i2t/pairs"][5:], "do not belong together"),
                               ("caption_image", stored["caption_image"][::-1], "other captions")):  # fmt: skip
        np.savez(file, **stored | {key: value})
        with pytest.raises(UserError, match=saying):
            of_study(study)
