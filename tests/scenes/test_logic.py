"""Logical forms: the oracle on cases worked out by hand, and the vectorised evaluator against the oracle."""

from __future__ import annotations

import numpy as np
import pytest

from fne.scenes import relevance
from fne.scenes.captions import draw_form, full_form
from fne.scenes.draw import Chooser
from fne.scenes.logic import ANY, RELATIONS, form_of, relation, spec_of, write_forms
from fne.scenes.relevance import count_matches, relevant_pairs
from fne.scenes.world import Object, Scene, Scenes, from_scene_list, sample_scenes
from tests.scenes.oracle import evaluate, read_forms

RED, BLUE, CIRCLE, STAR, SMALL, LARGE = 0, 5, 0, 5, 0, 1
# A large red circle at the top left, a small blue star at its right, a small red circle at the bottom right.
SCENE = Scene(2, (Object(LARGE, RED, CIRCLE, 0, 0), Object(SMALL, BLUE, STAR, 0, 1), Object(SMALL, RED, CIRCLE, 2, 2)))


def spec(size: int = ANY, colour: int = ANY, shape: int = ANY, row: int = ANY, col: int = ANY):
    return (size, colour, shape, row, col)


@pytest.mark.parametrize(
    ("atom", "expected"),
    [
        (("on", 2), True),
        (("on", 1), False),
        (("count", 3), True),
        (("count", 2), False),
        (("some", spec(LARGE, RED, CIRCLE)), True),
        (("some", spec(LARGE, BLUE)), False),
        (("some", spec(SMALL, row=0)), True),
        (("some", spec(colour=BLUE, row=0, col=1)), True),
        (("some", spec(colour=BLUE, row=1)), False),
        (("some", spec(colour=BLUE, col=0)), False),
        (("number", spec(colour=RED), 2), True),
        (("number", spec(colour=RED), 1), False),
        (("number", spec(shape=STAR), 2), False),
        (("number", spec(), 3), True),
        (("left", spec(colour=RED), spec(colour=BLUE)), True),
        (("left", spec(colour=BLUE), spec(colour=RED)), True),  # the small circle is further right
        (("left", spec(colour=BLUE), spec(LARGE, RED)), False),
        (("left", spec(SMALL, RED, CIRCLE), spec()), False),
        (("above", spec(colour=RED), spec(colour=RED)), True),
        (("above", spec(colour=RED), spec(LARGE)), False),
        (("above", spec(LARGE), spec(colour=BLUE)), False),  # the same row
        (("beside", spec(LARGE), spec(colour=BLUE)), True),
        (("beside", spec(SMALL, RED), spec(colour=BLUE)), False),
        (("beside", spec(colour=BLUE), spec(colour=BLUE)), False),  # never beside itself
    ],
)
def test_atoms_by_hand(atom, expected: bool) -> None:
    assert evaluate((atom,), SCENE) is expected
    assert (count_matches(from_scene_list([SCENE]), [(atom,)]) == 1).item() is expected


def test_converses_are_the_same_atom() -> None:
    item, other = spec(colour=RED), spec(colour=BLUE)
    assert relation("right", item, other) == relation("left", other, item) == ("left", other, item)
    assert relation("below", item, other) == relation("above", other, item) == ("above", other, item)
    assert relation("beside", item, other) == relation("beside", other, item)
    assert relation("left", item, other) != relation("left", other, item)


def many_forms(seed: int, count: int) -> tuple[Scenes, list]:
    """Random scenes, forms true of some of them, and forms of atoms thrown together."""
    rng = np.random.default_rng(seed)
    scenes, choose = sample_scenes(60, rng), Chooser(rng)
    forms = [draw_form(scenes[choose.below(60)], choose.below(5), choose) for _ in range(count)]

    def some_spec():
        item = choose.pick(scenes[choose.below(60)].objects)
        return spec_of(item, *(choose.chance(0.3) for _ in range(5)))

    for _ in range(count):
        kinds = [choose.pick(("on", "count", "some", "number", *RELATIONS)) for _ in range(1 + choose.below(2))]
        made = {
            "on": lambda: ("on", choose.below(4)),
            "count": lambda: ("count", 2 + choose.below(3)),
            "some": lambda: ("some", some_spec()),
            "number": lambda: ("number", some_spec(), 1 + choose.below(3)),
            **{kind: lambda kind=kind: (kind, some_spec(), some_spec()) for kind in RELATIONS},
        }
        forms.append(form_of(made[kind]() for kind in kinds))
    return scenes, forms


@pytest.mark.parametrize("seed", range(3))
def test_evaluator_equals_the_oracle(seed: int) -> None:
    scenes, forms = many_forms(seed, 150)
    expected = np.array([[evaluate(form, scene) for form in forms] for scene in scenes])
    # Every kind of atom must occur both true and false often enough for the comparison to mean something.
    for kind in ("on", "count", "some", "number", *RELATIONS):
        having = [index for index, form in enumerate(forms) if len(form) == 1 and form[0][0] == kind]
        assert expected[:, having].any() and not expected[:, having].all(), kind
    assert 0.02 < expected.mean() < 0.5
    pairs = relevant_pairs(scenes, forms)
    np.testing.assert_array_equal(pairs, np.argwhere(expected))
    assert pairs.dtype == np.int32
    np.testing.assert_array_equal(count_matches(scenes, forms), expected.sum(axis=0))


def test_chunks_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scenes, forms = many_forms(7, 40)
    whole = relevant_pairs(scenes, forms)
    # 24 scenes a chunk and one byte column a block: 60 scenes make two full chunks and a ragged one.
    monkeypatch.setattr(relevance, "SCENE_CHUNK", 24)
    monkeypatch.setattr(relevance, "BLOCK_CELLS", 1)
    np.testing.assert_array_equal(relevant_pairs(scenes, forms), whole)
    np.testing.assert_array_equal(count_matches(scenes, forms), np.bincount(whole[:, 1], minlength=len(forms)))


@pytest.mark.parametrize("level", range(5))
def test_drawn_forms_are_true_of_their_scene(level: int) -> None:
    rng = np.random.default_rng(level)
    scenes, choose = sample_scenes(300, rng), Chooser(rng)
    forms = [draw_form(scene, level, choose) for scene in scenes]
    assert all(evaluate(form, scene) for form, scene in zip(forms, scenes, strict=True))
    # More detail means fewer other scenes.
    others = count_matches(sample_scenes(2000, rng), forms).mean()
    assert others < (30, 20, 3, 0.1, 0.001)[level]


def test_a_full_form_is_true_of_equal_scenes_only() -> None:
    rng = np.random.default_rng(5)
    scenes = sample_scenes(200, rng)
    assert relevant_pairs(scenes, [full_form(scene) for scene in scenes]).tolist() == [[i, i] for i in range(200)]
    # One object less, or one more, is another scene.
    fewer = [Scene(scene.background, scene.objects[:-1]) for scene in scenes if len(scene.objects) > 2]
    for less, more in zip(fewer, (scene for scene in scenes if len(scene.objects) > 2), strict=True):
        assert not evaluate(full_form(less), more) and not evaluate(full_form(more), less)


def test_forms_round_trip_in_words(tmp_path) -> None:
    _, forms = many_forms(9, 100)
    write_forms(tmp_path / "forms.json", forms)
    assert read_forms(tmp_path / "forms.json") == forms
    text = (tmp_path / "forms.json").read_text()
    assert '"some"' in text and '"circle"' in text and '"top"' in text and "null" in text
