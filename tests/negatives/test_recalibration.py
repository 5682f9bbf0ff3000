"""Recalibrated posteriors inside training: against numpy's maps, plain loops, and the truth of a tiny world."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fne.negatives import maps
from fne.negatives.recalibration import Recalibration
from fne.study.library import Library
from fne.training.calibration import known_pairs
from fne.training.engine import Engine
from fne.utils.errors import UserError
from tests.negatives.released import fne
from tests.training import toy

CPU = torch.device("cpu")
KINDS = maps.MAPS


def pairs(lead: tuple[int, ...], count: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities that say too much, with many ties, and outcomes."""
    generator = torch.Generator().manual_seed(3)
    p = (torch.rand(*lead, count, generator=generator) * 60).round() / 60
    return p, torch.rand(*lead, count, generator=generator) < 0.4 * p**2


@pytest.mark.parametrize("kind", KINDS)
def test_the_map_of_each_replicate_is_numpys(kind: str) -> None:
    p, y = pairs((2, 3))
    mine = Recalibration(kind)
    mine.fit(p, y, torch.ones(2, 3, dtype=torch.bool))
    requested = torch.rand(2, 3, 4, 50, generator=torch.Generator().manual_seed(0))
    requested[..., 0, :3] = torch.tensor([0.0, 1.0, float(p[0, 0, 0])])
    result = mine(requested)
    assert result.dtype == requested.dtype
    for i in range(2):
        for j in range(3):
            theirs = maps.fit(kind, p[i, j].numpy(), y[i, j].numpy())
            np.testing.assert_allclose(result[i, j], theirs(requested[i, j].numpy()), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_one_replicate_that_cannot_be_fitted_keeps_what_it_had(kind: str) -> None:
    p, y = pairs((3,))
    requested = torch.rand(3, 2, 9)
    mine = Recalibration(kind)
    assert mine(requested) is requested
    mine.fit(p, y, torch.tensor([True, False, True]))
    first = mine(requested)
    assert torch.equal(first[1], requested[1]) and not torch.equal(first[0], requested[0])
    p = p.clone()
    p[2, 5] = math.nan
    mine.fit(p, ~y, torch.tensor([True, True, True]))
    second = mine(requested)
    assert torch.equal(second[2], first[2])
    assert not torch.equal(second[0], first[0]) and not torch.equal(second[1], first[1])
    again = Recalibration(kind)
    again.load_state({**mine.state(), "prior": torch.zeros(3)})
    assert torch.equal(again(requested), second)
    meta = Recalibration(kind)  # a meta tensor has no values: nothing may wait for the device
    meta.load_state({name: value.to("meta") for name, value in mine.state().items()})
    assert meta(requested.to("meta")).shape == requested.shape


@pytest.mark.parametrize("kind", KINDS)
def test_fne_passes_its_probability_through_the_map_once_enough_was_counted(kind: str) -> None:
    generator = torch.Generator().manual_seed(5)
    online = torch.rand(12, 12, generator=generator) * 0.6 + 0.4 * torch.eye(12)
    own, truth = torch.eye(12, dtype=torch.bool), online > 0.45
    raw, mapped = (fne(recalibration=r, min_positives=5, prior=0.3, elimination="power", elimination_power=1.0,
                       cut_down="none") for r in ("none", kind))  # fmt: skip
    mapped.calibrate(online, truth)  # nothing was counted: it waits
    assert not mapped.state() and raw.calibration_images == 0 and mapped.calibration_images == 60
    given = (online, own, online.diagonal(), torch.zeros(12))
    for item in (raw, mapped):
        item.observe(online, own)
    before = raw.select(*given)
    assert torch.equal(mapped.select(*given).posterior, before.posterior)
    mapped.calibrate(online, truth)
    after = mapped.select(*given)
    p, y = before.posterior[~own].numpy(), truth[~own].numpy()
    assert 0 < y.mean() < 1 and len(np.unique(p)) > 20
    expected = maps.fit(kind, p, y)(before.posterior.numpy())
    np.testing.assert_allclose(after.posterior, expected, rtol=1e-5, atol=1e-7)
    weights = torch.exp(-0.5 * (online - online.diagonal()[:, None]) ** 2) * (1 - after.posterior)
    torch.testing.assert_close(after.weights, weights.masked_fill(own, 0))
    mapped.start_epoch()
    assert mapped.select(*given).posterior is None
    few = torch.zeros_like(online)
    few[0, 0] = 1.0
    mapped.observe(few, own)  # one reliable positive: p is 0, whatever the map makes of 0
    assert (mapped.select(*given).posterior == 0).all()


def engine(kind: str, seeds: list[int], val=None, **negatives) -> Engine:
    settings = {"recalibration": kind, "elimination": "power", "min_positives": 2, **negatives}
    return Engine(toy.config(negatives=settings), seeds, toy.split(), val or toy.split(seed=5), CPU)


def test_the_pairs_are_drawn_anew_each_epoch_by_name_and_their_truth_is_looked_up() -> None:
    result = engine("platt", [0, 7])
    val = result.val
    similarities, truth = known_pairs(result.learner, val, [0, 7], 2, 30)
    again, _ = known_pairs(engine("platt", [7]).learner, val, [7], 2, 30)
    torch.testing.assert_close(similarities[1], again[0])
    other, _ = known_pairs(result.learner, val, [0, 7], 3, 30)
    assert not torch.equal(similarities, other)
    image, text = result.learner.embed_split(val)
    every = image @ text.transpose(-1, -2)
    for r in range(2):
        # The place of a pair is found by its similarity, which no other pair has.
        for i, j in [(0, 0), (3, 3), (2, 9), (17, 4)]:
            near = (every[r] - similarities[r, i, j]).abs()
            at = int(near.argmin())
            row, caption = divmod(at, every.shape[-1])
            assert float(near.flatten()[at]) < 1e-6
            assert bool(truth[r, i, j]) == bool(int(val.truth[caption, row // 8]) >> (row % 8) & 1)
            assert (int(val.caption_image[caption]) == row) == (i == j)
    assert known_pairs(result.learner, val, [0, 7], 2, 10**6)[0].shape == (2, 80, 80)


def test_without_exact_truth_of_validation_a_run_is_refused_before_it_begins() -> None:
    unknown = toy.split(seed=5)
    object.__setattr__(unknown, "truth", None)
    with pytest.raises(UserError, match=r"negatives.strategy.*not known exactly"):
        engine("platt", [0], unknown)
    engine("none", [0], unknown)
    library = Library(toy.ROOT)
    flat = library.merged("fne_platt")
    from fne.study.validate import check_together

    assert flat["negatives.recalibration"] == "platt"
    given = {"encoders.image.checkpoint": "hub/image", "encoders.text.checkpoint": "hub/text"}
    with pytest.raises(UserError, match=r"negatives.recalibration.*'coco' it is not"):
        check_together({**flat, **given, "data.dataset": "coco"}, "here")
    check_together({**library.merged("fne"), **given, "data.dataset": "coco"}, "here")
