"""Recalibrated posteriors inside training: against numpy's maps, plain loops, and the truth of a tiny world."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch

from fne.negatives import maps
from fne.negatives.recalibration import Recalibration
from fne.study.library import Library
from fne.study.validate import check_together
from fne.training.calibration import known_pairs
from fne.training.engine import Engine
from fne.utils.errors import UserError
from tests.negatives.released import fne
from tests.training import toy

KINDS = maps.MAPS


def pairs(lead: tuple[int, ...], count: int = 400) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities that say too much, with many ties, and outcomes."""
    generator = torch.Generator().manual_seed(3)
    p = (torch.rand(*lead, count, generator=generator) * 60).round() / 60
    return p, torch.rand(*lead, count, generator=generator) < 0.4 * p**2


@pytest.mark.parametrize("kind", KINDS)
def test_the_map_of_each_replicate_is_that_of_numpy(kind: str) -> None:
    p, y = pairs((2, 3))
    fitted = Recalibration(kind)
    fitted.fit(p, y, torch.ones(2, 3, dtype=torch.bool))
    requested = torch.rand(2, 3, 4, 50, generator=torch.Generator().manual_seed(0))
    requested[..., 0, :3] = torch.tensor([0.0, 1.0, float(p[0, 0, 0])])
    result = fitted(requested)
    for place in itertools.product(range(2), range(3)):
        expected = maps.fit(kind, p[place].numpy(), y[place].numpy())(requested[place].numpy())
        np.testing.assert_allclose(result[place], expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", KINDS)
def test_one_replicate_that_cannot_be_fitted_keeps_what_it_had(kind: str) -> None:
    p, y = pairs((3,))
    requested, mine, again = torch.rand(3, 2, 9), Recalibration(kind), Recalibration(kind)
    assert mine(requested) is requested
    mine.fit(p, y, torch.tensor([True, False, True]))
    first = mine(requested)
    assert torch.equal(first[1], requested[1]) and not torch.equal(first[0], requested[0])
    p[2, 5] = math.nan
    mine.fit(p, ~y, torch.tensor([True, True, True]))
    second = mine(requested)
    assert [torch.equal(second[r], first[r]) for r in range(3)] == [False, False, True]
    again.load_state({**mine.state(), "prior": torch.zeros(3)})
    assert torch.equal(again(requested), second)


@pytest.mark.parametrize("kind", KINDS)
def test_fne_passes_its_probability_through_the_map_once_enough_was_counted(kind: str) -> None:
    generator = torch.Generator().manual_seed(5)
    online = torch.rand(12, 12, generator=generator) * 0.6 + 0.4 * torch.eye(12)
    own, truth = torch.eye(12, dtype=torch.bool), online > 0.45
    raw, mapped = (fne(recalibration=r, min_positives=5, prior=0.3, elimination="power", elimination_power=1.0,
                       cut_down="none") for r in ("none", kind))  # fmt: skip
    given = (online, own, online.diagonal(), torch.zeros(12))
    mapped.calibrate(online, truth)  # nothing was counted: it waits
    for item in (raw, mapped):
        item.observe(online, own)
    before = raw.select(*given)
    assert torch.equal(mapped.select(*given).posterior, before.posterior)
    mapped.calibrate(online, truth)
    after = mapped.select(*given)
    expected = maps.fit(kind, before.posterior[~own].numpy(), truth[~own].numpy())(before.posterior.numpy())
    np.testing.assert_allclose(after.posterior, expected, rtol=1e-5, atol=1e-7)
    weights = torch.exp(-0.5 * (online - online.diagonal()[:, None]) ** 2) * (1 - after.posterior)
    torch.testing.assert_close(after.weights, weights.masked_fill(own, 0))
    mapped.start_epoch()
    assert mapped.select(*given).posterior is None


def engine(kind: str, seeds: list[int], val=None) -> Engine:
    settings = {"recalibration": kind, "elimination": "power", "min_positives": 2}
    return Engine(toy.config(negatives=settings), seeds, toy.split(), val or toy.split(seed=5), toy.CPU)


def test_the_pairs_are_drawn_anew_each_epoch_by_name_and_their_truth_is_looked_up() -> None:
    result = engine("platt", [0, 7])
    val = result.val
    similarities, truth = known_pairs(result.learner, val, [0, 7], 2, 30)
    again, _ = known_pairs(engine("platt", [7]).learner, val, [7], 2, 30)
    torch.testing.assert_close(similarities[1], again[0])
    assert not torch.equal(similarities, known_pairs(result.learner, val, [0, 7], 3, 30)[0])
    image, text = result.learner.embed_split(val)
    for r, (i, j) in itertools.product(range(2), [(0, 0), (3, 3), (2, 9), (17, 4)]):
        # The place of a pair is known by its similarity, which no other pair has.
        near = (image[r] @ text[r].T - similarities[r, i, j]).abs()
        row, caption = divmod(int(near.argmin()), len(text[r]))
        assert near[row, caption] < 1e-6 and (int(val.caption_image[caption]) == row) == (i == j)
        assert bool(truth[r, i, j]) == bool(val.truth.contains(torch.tensor(row), torch.tensor(caption)))


def test_without_exact_truth_of_validation_a_run_is_refused_before_it_begins() -> None:
    unknown = dataclasses.replace(toy.split(seed=5), truth=None)
    with pytest.raises(UserError, match=r"negatives.strategy.*not known exactly"):
        engine("platt", [0], unknown)
    engine("none", [0], unknown)
    coco = {"encoders.image.checkpoint": "hub/i", "encoders.text.checkpoint": "hub/t", "data.dataset": "coco"}
    with pytest.raises(UserError, match=r"negatives.recalibration.*coco"):
        check_together(Library(toy.ROOT).merged("fne_platt") | coco, "here")
    check_together(Library(toy.ROOT).merged("fne") | coco, "here")
