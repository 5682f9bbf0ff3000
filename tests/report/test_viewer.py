"""The picks viewer's data: the picks of the same anchors side by side, drawn always alike, within a budget."""

from __future__ import annotations

import base64
import html
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fne.report.picks.book import safe_json
from fne.report.picks.thumbnails import SIDE, Pictures, thumbnail
from fne.report.picks.viewer import NOTEBOOK_BUDGET, QUOTA, SEEDS, choose, shared_picks, viewer
from fne.results.study import load
from fne.utils.errors import UserError
from tests.report.conftest import Made
from tests.report.synthetic import HOSTILE, WARMUP


@pytest.fixture(scope="module")
def data(paper: Made) -> dict:
    return json.loads(viewer(paper.results).data)


def test_every_pick_is_one_of_the_logs(paper: Made, data: dict) -> None:
    logs = {}
    for variant in paper.results.variants:
        for row in paper.results.picks(variant.id).to_dict("records"):
            key = (variant.id, row["seed"], row["step"], row["direction"], row["anchor"])
            logs.setdefault(key, row)  # the first of an anchor that comes twice in a batch
    view = paper.results.manifest.split("train")
    image_at = {name: place for place, name in enumerate(view.image_ids)}
    caption_at = {text: place for place, text in enumerate(view.texts)}
    rows = {"image": [image_at[name] for _, _, name in data["images"]],
            "caption": [caption_at[text] for text, _ in data["captions"]]}  # fmt: skip
    seen = 0
    for anchor in data["items"]:
        mine, other = ("image", "caption") if anchor["direction"] == 0 else ("caption", "image")
        assert anchor["epoch"] > WARMUP and anchor["seed"] < SEEDS
        expected = []
        for variant in paper.results.variants:
            key = (variant.id, anchor["seed"], anchor["step"], anchor["direction"], rows[mine][anchor["item"]])
            if key in logs:
                expected.append((variant.id, logs[key]))
        assert len(anchor["picks"]) == len(expected) >= 2
        for (number, picked, similarity, own, posterior, weight, queued, age, truth), (name, row) in zip(
            anchor["picks"], expected, strict=True
        ):
            assert data["strategies"][number][0] == name
            assert rows[other][picked] == row["candidate"]
            for summary, logged in ((similarity, row["similarity"]), (own, row["positive_similarity"]),
                                 (posterior, row["posterior"]), (weight, row["weight"])):  # fmt: skip
                assert summary == pytest.approx(logged, rel=1e-3) if np.isfinite(logged) else summary is None
            assert (queued, truth) == (row["from_queue"], row["false_negative"])
            assert age == (row["age"] if queued else None)
            seen += 1
    assert seen > 500


def test_captions_and_images_point_at_each_other(paper: Made, data: dict) -> None:
    view = paper.results.manifest.split("train")
    for place, (text, image) in enumerate(data["captions"]):
        assert view.image_ids[view.caption_image[view.texts.index(text)]] == data["images"][image][2], place
    for _, caption, name in data["images"]:
        first = list(view.caption_image).index(view.image_ids.index(name))
        assert data["captions"][caption][0] == view.texts[first]


def test_quotas_by_kind_and_direction(paper: Made, data: dict) -> None:
    for kind in ("false", "disagree", "random"):
        for direction in (0, 1):
            mine = [item for item in data["items"] if (item["kind"], item["direction"]) == (kind, direction)]
            assert 0 < len(mine) <= QUOTA
            if kind == "false":
                assert all(any(pick[-1] == 1 for pick in item["picks"]) for item in mine)
            if kind == "disagree":
                assert all(len({pick[1] for pick in item["picks"]}) > 1 for item in mine)
    keys = [(item["seed"], item["step"], item["direction"], item["item"]) for item in data["items"]]
    assert len(keys) == len(set(keys))


def test_the_draw_is_always_the_same_and_fills_its_quotas(paper: Made) -> None:
    picks = shared_picks(paper.results)
    chosen = choose(picks)
    assert chosen == choose(picks.sample(frac=1.0, random_state=1).sort_values(list(picks.columns), kind="stable"))
    assert sum(kind == "random" for kind, _ in chosen) == 2 * QUOTA
    assert viewer(paper.results).data == viewer(paper.results).data


def test_the_budget_ends_the_anchors_not_their_pictures(paper: Made, data: dict) -> None:
    budget = sum(map(len, data["pictures"])) // 2
    small = viewer(paper.results, budget=budget)
    result = json.loads(small.data)
    assert 0 < small.items < 120 and "why there are no more" in small.rule
    assert sum(map(len, result["pictures"])) <= budget
    assert all(picture is not None for picture, _, _ in result["images"])


def test_a_picture_is_embedded_once_and_all_of_an_anchor_or_none(tmp_path: Path) -> None:
    for name, ink in (("a.png", 0), ("b.png", 255)):
        Image.new("RGB", (8, 8), (ink, ink, ink)).save(tmp_path / name)
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    a, b, bad = (tmp_path / name for name in ("a.png", "b.png", "bad.png"))
    item = len(thumbnail(a))
    made = Pictures(item + len(thumbnail(b)))
    assert made.admit([a, a]) and made.admit([a]) and made.used == item
    assert made.admit([bad]) and made.number(bad) is None and made.unreadable == 1
    assert made.admit([b]) and (made.number(a), made.number(b)) == (0, 1)
    tight = Pictures(item)
    assert not tight.admit([a, b]) and tight.used == 0 and tight.embedded == []


def test_thumbnails_are_small_and_true(tmp_path: Path) -> None:
    Image.new("RGB", (400, 200), (250, 10, 10)).save(tmp_path / "wide.png")
    address = thumbnail(tmp_path / "wide.png")
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as picture:
        assert picture.size == (SIDE, SIDE // 2)
        assert np.abs(np.array(picture, int).mean(axis=(0, 1)) - [250, 10, 10]).max() < 6
    assert thumbnail(tmp_path / "absent.png") is None


def test_a_notebook_shows_the_same_viewer_in_a_frame_that_reaches_nothing(paper: Made, hostile: Made) -> None:
    frame = paper.results.show_picks("infonce", "fne")._repr_html_()
    assert frame.startswith("<iframe ") and 'sandbox="allow-scripts"' in frame and frame.count("<") == 2
    page = html.unescape(frame.partition('srcdoc="')[2].rpartition('"')[0])
    summary = json.loads(page.partition('id="picks-data">')[2].partition("</script>")[0])
    assert {name for name, *_ in summary["strategies"]} == {"infonce", "fne"} and len(summary["items"]) > QUOTA
    assert summary == json.loads(viewer(paper.results.only(["infonce", "fne"]), NOTEBOOK_BUDGET).data)
    assert "http-equiv" in page and HOSTILE not in html.unescape(hostile.results.show_picks()._repr_html_())
    with pytest.raises(UserError, match="did you mean 'infonce'"):
        paper.results.show_picks("infoncee")


def test_json_cannot_end_its_element() -> None:
    summary = ["</script><!--<script>", "\u2028\u2029 & 'ü\"", "\ud800"]
    text = safe_json(summary)
    assert text.isascii() and not set("<>&") & set(text)
    assert json.loads(text) == summary


def test_without_runs_or_data_it_says_why(lonely: Made) -> None:
    shown = viewer(lonely.results)
    assert shown.data is None and "are not on this machine" in shown.rule
    assert "are not on this machine" in lonely.results.show_picks()._repr_html_()


def test_a_truncated_file_of_picks_is_named(hostile: Made, tmp_path: Path) -> None:
    shutil.copytree(hostile.root, tmp_path / "cut")
    file = next((tmp_path / "cut" / "results").rglob("picks.npz"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(UserError, match=r"picks\.npz: damaged or cut short .* train this variant again"):
        viewer(load(hostile.study, tmp_path / "cut"))


def test_runs_of_another_schema_are_refused(hostile: Made, tmp_path: Path) -> None:
    shutil.copytree(hostile.root, tmp_path / "old")
    file = next((tmp_path / "old" / "results").rglob("run.json"))
    file.write_text(file.read_text("utf-8").replace('"schema": 1', '"schema": 0'), "utf-8")
    with pytest.raises(UserError, match=r"run\.json: schema: another schema; got 0; allowed: 1"):
        _ = load(hostile.study, tmp_path / "old").variants


def test_a_run_of_other_code_is_none_of_the_study(hostile: Made, tmp_path: Path) -> None:
    shutil.copytree(hostile.root, tmp_path / "mixed")
    file = next((tmp_path / "mixed" / "results").rglob("run.json"))
    run = json.loads(file.read_text("utf-8"))
    file.write_text(json.dumps(run | {"code": "0" * 12}), "utf-8")
    assert load(hostile.study, tmp_path / "mixed")[run["variant"]].runs == ()
