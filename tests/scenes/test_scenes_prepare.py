"""The prepared world: exact truth, prevalence on target, disjoint splits, repeatable bytes."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fne.data.manifest import Manifest
from fne.data.truth import prevalence
from fne.scenes import prepare as scenes_prepare
from fne.scenes.draw import Chooser
from fne.scenes.prepare import build_splits, load_scenes
from fne.scenes.prevalence import draw_split_forms
from fne.scenes.relevance import count_matches, relevant_pairs
from fne.scenes.situations import Sampler, draw_situations
from fne.scenes.world import reserved
from fne.steps import prepare
from fne.utils.errors import UserError
from tests.scenes.conftest import SMALL, scenes_section
from tests.scenes.oracle import evaluate, read_forms


def test_truth_is_recomputed_from_the_stored_forms_and_scenes(prepared: Path) -> None:
    """The whole relevance matrix of val, one pair at a time, from the files alone."""
    manifest = Manifest.load(prepared)
    truth = manifest.truth("val")
    scenes, forms = list(load_scenes(prepared / "scenes.val.npz")), read_forms(prepared / "forms.val.json")
    expected = [[i, c] for i, scene in enumerate(scenes) for c, form in enumerate(forms) if evaluate(form, scene)]
    assert truth.pairs.tolist() == expected
    assert truth.kind == "exact"
    assert truth.image_queries.tolist() == list(range(80)) and truth.caption_queries.tolist() == list(range(240))
    measured = prevalence(len(expected), 80, 240)
    assert manifest.truth_files["val"]["prevalence"] == measured > 0
    counts = np.sort(np.bincount([c for _, c in expected]))
    said = manifest.truth_files["val"]["matches_per_caption"]
    assert said == {"median": counts[120], "p90": counts[216], "p99": counts[237], "max": counts[-1]}


def test_pictures_are_those_of_the_scenes(prepared: Path) -> None:
    """Files are in scene order: the middle of every cell tells whether it is empty."""
    manifest = Manifest.load(prepared)
    cells = np.concatenate([load_scenes(prepared / f"scenes.{split}.npz").cells for split in ("train", "val", "test")])
    for row in range(0, len(cells), 17):
        picture = np.asarray(Image.open(manifest.image_paths()[row]), float)
        assert picture.shape == (48, 48, 3)
        blocks = picture.reshape(3, 16, 3, 16, 3).transpose(0, 2, 1, 3, 4).reshape(9, 16, 16, 3)
        # Objects have edges, grounds only texture.
        contrast = blocks.max(axis=(1, 2)) - blocks.min(axis=(1, 2))
        assert contrast[cells[row] > 0].max(axis=1).min() > contrast[cells[row] == 0].max(axis=1).max()


def test_splits_share_no_scene_and_hold_none_that_is_reserved(small_world) -> None:
    everything = np.concatenate([split.scenes.keys() for split in small_world.values()])
    assert len(np.unique(everything)) == len(everything) == 240 + 80 + 120
    assert not reserved(everything).any()


@pytest.mark.parametrize("target", [0.001, 0.003, 0.01, 0.03])
def test_prevalence_meets_the_target(target: float) -> None:
    data = scenes_section(train=1100, val=400, test=500, captions_per_image=5, prevalence=target, seed=1)
    for split in build_splits(data).values():
        pairs = relevant_pairs(split.scenes, split.forms)
        n, m = len(split.scenes), len(split.forms)
        assert prevalence(len(pairs), n, m) == pytest.approx(target, rel=0.1)
        matches = np.bincount(pairs[:, 1], minlength=m) - 1
        # Heavy-tailed: most captions match (nearly) nothing else, a minority matches many.
        assert np.median(matches) <= max(1, matches.mean() / 3)
        assert matches.max() > 3 * target * (n - 1)


def test_prevalence_zero_is_exactly_zero() -> None:
    data = scenes_section(train=1300, prevalence=0)  # more than one block
    for split in build_splits(data).values():
        assert (count_matches(split.scenes, split.forms) == 1).all()


def test_worlds_of_other_prevalence_hold_the_same_scenes() -> None:
    """What is pictured, and what a caption says of which nothing had to change, stay the same."""
    worlds = [build_splits(scenes_section(prevalence=target)) for target in (0, 0.003, 0.01)]
    for name in ("train", "val", "test"):
        splits = [world[name] for world in worlds]
        assert len({split.scenes.keys().tobytes() for split in splits}) == 1
        same = [sum(a == b for a, b in zip(splits[0].forms, split.forms, strict=True)) for split in splits]
        assert len(splits[0].forms) == same[0] > same[1] > same[2] > 0


def test_a_target_out_of_reach_is_an_error() -> None:
    situations = draw_situations(Chooser(np.random.default_rng(0)))
    members = np.arange(400) % len(situations)  # equal shares: nobody is frequent
    choose = Chooser(np.random.default_rng(1))
    scenes = scenes_prepare._draw_unique(Sampler(situations, choose), members, np.zeros(0, np.int64))
    with pytest.raises(UserError, match=r"data\.prevalence: the val split.*got 0\.03; allowed: at most 0\.0"):
        draw_split_forms(scenes, members, situations, 5, 0.03, choose, "val")


def test_the_same_seed_gives_the_same_bytes(prepared: Path, tmp_path: Path) -> None:
    again = tmp_path / prepared.name
    prepare.run(dict(SMALL), again)
    names = sorted(path.relative_to(prepared) for path in prepared.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert len(names) == 440 + 2 + 3 * 3
    for name in names:
        assert (prepared / name).read_bytes() == (again / name).read_bytes(), name


def test_texts_say_the_forms(small_world) -> None:
    """Spot check in the other direction: every colour, number and ground of a form is a word of its text."""
    words = {
        "colour": [
            {"red", "scarlet"},
            {"orange"},
            {"yellow", "golden"},
            {"green"},
            {"cyan", "turquoise"},
            {"blue"},
            {"purple", "violet"},
            {"pink"},
        ],
        "on": [{"sand", "sandy", "beach"}, {"grass", "grassy", "lawn"}, {"snow", "snowy"}, {"night", "dark"}],
    }
    for split in small_world.values():
        for form, text in zip(split.forms, split.texts, strict=True):
            said = set(text.split())
            colours = {part[1] for atom in form for part in atom if isinstance(part, tuple)} - {-1}
            grounds = {atom[1] for atom in form if atom[0] == "on"}
            for index, names in enumerate(words["colour"]):
                assert bool(names & said) == (index in colours), (text, form)
            for index, names in enumerate(words["on"]):
                assert bool(names & said) == (index in grounds), (text, form)


@pytest.mark.parametrize("entries", range(8))
def test_a_manifest_stands_only_beside_all_of_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entries: int
) -> None:
    """Prepared over an older world and cut off between two entries, the folder has no manifest."""
    data = scenes_section(train=20, val=5, test=5)
    prepare.run(data, tmp_path / "out")
    moved = []

    def replace(source: Path, target: Path, rename=os.replace) -> None:
        if target.parent == tmp_path / "out":
            if len(moved) == entries:
                raise KeyboardInterrupt
            moved.append(target)
        rename(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        prepare.run(data | {"train": 10}, tmp_path / "out")
    assert not (tmp_path / "out" / "manifest.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_preparing_again_keeps_features_and_replaces_data(tmp_path: Path) -> None:
    folder = tmp_path / "scenes-x"
    data = scenes_section(train=20, val=5, test=5)
    prepare.run(data, folder)
    (folder / "features").mkdir()
    (folder / "features" / "store").write_text("kept")
    prepare.run(data | {"train": 10}, folder)
    assert len(list((folder / "images").iterdir())) == 20
    assert Manifest.load(folder).data["train"] == 10
    assert (folder / "features" / "store").read_text() == "kept"
    assert json.loads((folder / "manifest.json").read_text())["data_id"] == "scenes-x"
    assert [path.name for path in tmp_path.iterdir()] == ["scenes-x"]
