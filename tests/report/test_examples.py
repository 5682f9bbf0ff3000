"""Example picks: the right pictures beside the right captions, always the same draw, within a budget."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

from fne.report.picks.items import SIDE, Gallery, sample, thumbnail
from tests.report.conftest import Made
from tests.report.synthetic import HOSTILE, WARMUP


def test_they_are_picks_of_the_main_phase_and_always_the_same(paper: Made) -> None:
    picks = paper.results.picks("hardest_buffer")
    first = sample(paper.results, "hardest_buffer")
    assert repr(first) == repr(sample(paper.results, "hardest_buffer"))
    assert [example.kind for example in first] == ["random"] * 3 + ["false"] * 3
    assert all(example.truth == 1 for example in first[3:])
    for example in first:
        match = picks[
            np.isclose(picks["similarity"], example.similarity)
            & (picks["seed"] == example.seed)
            & (picks["epoch"] == example.epoch - 1)
        ]
        assert len(match) == 1 and match["epoch"].item() >= WARMUP
        assert match["false_negative"].item() == example.truth


def test_anchor_and_pick_are_the_rows_of_the_train_split(paper: Made) -> None:
    view = paper.results.manifest.split("train")
    picks = paper.results.picks("hardest_buffer").set_index("similarity")
    seen = set()
    for example in sample(paper.results, "hardest_buffer", at_random=40, false_ones=0):
        row = picks.loc[np.float32(example.similarity)]
        image, caption = (
            (row["anchor"], row["candidate"]) if row["direction"] == 0 else (row["candidate"], row["anchor"])
        )
        with_image, with_caption = (
            (example.anchor, example.picked) if row["direction"] == 0 else (example.picked, example.anchor)
        )
        seen.add(int(row["direction"]))
        assert (with_image.asked, with_caption.asked) == ("image", "caption")
        assert with_image.image.name == f"train-{int(image)}.png"
        assert with_image.caption == view.texts[list(view.caption_image).index(image)]
        assert with_caption.caption == view.texts[int(caption)]
        assert with_caption.image.name == f"train-{view.caption_image[int(caption)]}.png"
    assert seen == {0, 1}


def test_without_runs_or_data_there_are_none(hostile: Made, lonely: Made) -> None:
    assert sample(hostile.results, "infonce") == []
    assert sample(lonely.results, "hardest_in_batch") == []


def test_thumbnails_are_small_and_true(tmp_path) -> None:
    Image.new("RGB", (400, 200), (250, 10, 10)).save(tmp_path / "wide.png")
    address = thumbnail(tmp_path / "wide.png")
    with Image.open(io.BytesIO(base64.b64decode(address.partition(",")[2]))) as picture:
        assert picture.size == (SIDE, SIDE // 2)
        assert np.abs(np.array(picture, int).mean(axis=(0, 1)) - [250, 10, 10]).max() < 6


def test_a_file_that_is_no_picture_is_left_out(tmp_path) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    assert thumbnail(tmp_path / "bad.png") is None
    assert thumbnail(tmp_path / "absent.png") is None


def test_the_gallery_of_a_notebook_is_escaped(hostile: Made) -> None:
    html = hostile.results.show_picks("fne")._repr_html_()
    assert "<script" not in html and html.count("<img") == 12
    assert "No picks" in Gallery("t", ())._repr_html_()
    assert HOSTILE not in html
