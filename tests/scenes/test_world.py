"""The world: codes, keys, uniqueness, situations, and the pictures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fne.scenes.captions import draw_form, full_form
from fne.scenes.draw import Chooser
from fne.scenes.grammar import MAX_WORDS, say
from fne.scenes.render import _DISTANCE, GROUND, PALETTE, render
from fne.scenes.situations import NEAR_MISSES, SITUATIONS, Sampler, draw_situations
from fne.scenes.world import (
    CODES,
    RESERVED,
    Object,
    Scene,
    Scenes,
    decode,
    encode,
    from_scene_list,
    reserved,
    sample_reserved,
    sample_scenes,
)
from tests.scenes.oracle import evaluate


def test_codes_round_trip() -> None:
    attributes = [decode(code) for code in range(1, CODES + 1)]
    assert len(set(attributes)) == CODES == 6 * 8 * 2
    assert [encode(*values) for values in attributes] == list(range(1, CODES + 1))


def test_keys_tell_scenes_apart() -> None:
    base = Scene(0, (Object(0, 0, 0, 0, 0), Object(1, 7, 5, 2, 2)))
    variants = [
        base,
        Scene(3, base.objects),
        Scene(0, (Object(1, 0, 0, 0, 0), base.objects[1])),
        Scene(0, (Object(0, 0, 0, 0, 1), base.objects[1])),
        Scene(0, (*base.objects, Object(0, 0, 0, 0, 1))),
        # The largest content there is: every digit of the key at its maximum.
    ]
    keys = from_scene_list([*variants, base]).keys()
    assert len(set(keys[:-1].tolist())) == len(variants) and keys[-1] == keys[0]
    top = Scenes(np.full((1, 9), CODES, np.uint8), np.array([3], np.uint8)).keys()
    assert int(top[0]) == 3 * (CODES + 1) ** 9 + sum(CODES * (CODES + 1) ** i for i in range(9))


def test_one_scene_in_eight_is_reserved_by_its_content_alone() -> None:
    scenes = sample_scenes(40_000, np.random.default_rng(2))
    keys = scenes.keys()
    result = reserved(keys)
    assert abs(result.mean() - 1 / RESERVED) < 0.006
    for key, item in zip(keys[:300].tolist(), result[:300].tolist(), strict=True):
        mixed = key
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ (mixed >> shift)) * factor % 2**64
        assert item == ((mixed ^ (mixed >> 31)) % 8 == 0)
    # an attribute says nothing about it
    for background in range(4):
        assert abs(result[scenes.background == background].mean() - 1 / RESERVED) < 0.012


def test_reserved_scenes_are_drawn_without_repeats() -> None:
    drawn = sample_reserved(500, np.random.default_rng(3))
    keys = drawn.keys()
    assert len(drawn) == len(set(keys.tolist())) == 500 and reserved(keys).all()
    assert len(sample_reserved(0, np.random.default_rng(3))) == 0
    np.testing.assert_array_equal(keys, sample_reserved(500, np.random.default_rng(3)).keys())


@pytest.fixture(scope="module")
def situations():
    return draw_situations(Chooser(np.random.default_rng(0)))


def test_scenes_show_their_situation_and_no_other(situations) -> None:
    members = np.repeat(np.arange(SITUATIONS), 20)
    scenes = Sampler(situations, Chooser(np.random.default_rng(1))).draw(members)
    own = [evaluate(situations[index].form, scene) for index, scene in zip(members, scenes, strict=True)]
    assert 0.5 * NEAR_MISSES < 1 - np.mean(own) < 1.5 * NEAR_MISSES
    for index, scene in zip(members, scenes, strict=True):
        looks = {(item.colour, item.shape) for item in scene.objects}
        marks = {number for number, situation in enumerate(situations) if situation.pair <= looks}
        assert marks <= {index}
        assert 2 <= len(scene.objects) <= 4


def test_sentences_fit_and_vary() -> None:
    rng = np.random.default_rng(3)
    scenes, choose = sample_scenes(600, rng), Chooser(rng)
    texts = [say(draw_form(scene, level, choose), choose) for scene in scenes for level in range(5)]
    assert max(len(text.split()) for text in texts) <= MAX_WORDS
    assert all(text == " ".join(text.split()) and text.replace(" ", "").isalpha() for text in texts)
    words = {word for text in texts for word in text.split()}
    assert len(words) > 85
    form = full_form(scenes[0])
    assert len({say(form, choose) for _ in range(50)}) > 40


def test_sentences_by_hand() -> None:
    """Every phrase of a form is said, and converses turn the order round."""
    red_circle, blue_star = (1, 0, 0, -1, -1), (-1, 5, 5, 0, 2)
    choose = Chooser(np.random.default_rng(0))
    for _ in range(200):
        text = say((("left", red_circle, blue_star), ("on", 2)), choose)
        assert any(place in text for place in ("snow", "snowy")) and "star" in text
        red = min(text.find(word) for word in ("red", "scarlet") if word in text)
        blue = text.find("blue")
        if "left of" in text:
            assert red < blue
        else:
            assert "right of" in text and blue < red
        assert "top right" in text
        assert any(word in text for word in ("large", "big", "huge"))
    plurals = {say((("number", (-1, 0, 4, -1, -1), 2),), choose) for _ in range(100)}
    assert all("two" in text and ("crosses" in text or "pluses" in text) for text in plurals)
    assert not any("there is two" in text for text in plurals)
    assert any("an orange" in say((("some", (-1, 1, 0, -1, -1)),), choose) for _ in range(20))


def test_the_last_bit_of_a_processors_functions_moves_no_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    """``arctan2`` and ``hypot`` end in other bits on other processors; data that differ by a pixel are other data."""
    scenes = sample_scenes(1500, np.random.default_rng(0))
    pictures = render(scenes, np.random.default_rng(1), 48)

    def elsewhere(distance: Callable[..., np.ndarray], end: float) -> Callable[..., np.ndarray]:
        return lambda x, y: np.nextafter(result := distance(x, y), result.dtype.type(end))

    for end in (np.inf, -np.inf):
        others = {name: elsewhere(distance, end) for name, distance in _DISTANCE.items()}
        with monkeypatch.context() as patched:
            patched.setattr("fne.scenes.render._DISTANCE", others)
            np.testing.assert_array_equal(render(scenes, np.random.default_rng(1), 48), pictures)


def hue(colour: np.ndarray) -> np.ndarray:
    """Direction of a colour: the dark rim of an object does not change it."""
    return colour / np.linalg.norm(colour, axis=-1, keepdims=True)


@pytest.mark.parametrize("size", [24, 48, 96])
def test_each_cell_shows_its_object(size: int) -> None:
    """The middle of an occupied cell has the object's colour, an empty cell the ground's."""
    rng = np.random.default_rng(0)
    scenes = sample_scenes(300, rng)
    pictures = render(scenes, rng, size).astype(float)
    cell, right, objects = size // 3, 0, 0
    for scene, picture in zip(scenes, pictures, strict=True):
        taken = {(item.row, item.col): item for item in scene.objects}
        for row in range(3):
            for col in range(3):
                top, left = row * cell + cell // 2 - 1, col * cell + cell // 2 - 1
                middle = picture[top : top + 2, left : left + 2].mean(axis=(0, 1))
                item = taken.get((row, col))
                if item is None:
                    assert np.abs(middle - GROUND[scene.background]).max() < 80, (row, col)
                else:
                    objects += 1
                    right += np.linalg.norm(hue(PALETTE) - hue(middle), axis=1).argmin() == item.colour
    assert right / objects > (0.85 if size == 24 else 0.97)
