"""Recalibrated posteriors inside training: against numpy's maps, plain loops, and the truth of a tiny world."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from fne.negatives import maps
from fne.negatives.recalibration import Recalibration
from fne.study.library import Library
from fne.training import checkpoint
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
    asked = torch.rand(2, 3, 4, 50, generator=torch.Generator().manual_seed(0))
    asked[..., 0, :3] = torch.tensor([0.0, 1.0, float(p[0, 0, 0])])
    found = mine(asked)
    assert found.dtype == asked.dtype
    for i in range(2):
        for j in range(3):
            theirs = maps.fit(kind, p[i, j].numpy(), y[i, j].numpy())
            np.testing.assert_allclose(found[i, j], theirs(asked[i, j].numpy()), rtol=1e-6, atol=1e-7)


def test_isotonic_by_the_min_max_formula_at_its_own_probabilities() -> None:
    p, y = pairs((), 60)
    mine = Recalibration("isotonic")
    mine.fit(p, y, torch.tensor(True))
    levels = sorted(set(p.tolist()))
    hits = {x: [float(b) for a, b in zip(p.tolist(), y.tolist(), strict=True) if a == x] for x in levels}

    def mean(low: int, high: int) -> float:
        values = [value for x in levels[low : high + 1] for value in hits[x]]
        return sum(values) / len(values)

    for at, x in enumerate(levels):
        expected = max(min(mean(low, high) for high in range(at, len(levels))) for low in range(at + 1))
        assert float(mine(torch.tensor([[x]]))) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_one_replicate_that_cannot_be_fitted_keeps_what_it_had(kind: str) -> None:
    p, y = pairs((3,))
    asked = torch.rand(3, 2, 9)
    mine = Recalibration(kind)
    assert mine(asked) is asked
    mine.fit(p, y, torch.tensor([True, False, True]))
    first = mine(asked)
    assert torch.equal(first[1], asked[1]) and not torch.equal(first[0], asked[0])
    p = p.clone()
    p[2, 5] = math.nan
    mine.fit(p, ~y, torch.tensor([True, True, True]))
    second = mine(asked)
    assert torch.equal(second[2], first[2])
    assert not torch.equal(second[0], first[0]) and not torch.equal(second[1], first[1])
    again = Recalibration(kind)
    again.load_state({**mine.state(), "prior": torch.zeros(3)})
    assert torch.equal(again(asked), second)
    meta = Recalibration(kind)  # a meta tensor has no values: nothing may wait for the device
    meta.load_state({name: value.to("meta") for name, value in mine.state().items()})
    assert meta(asked.to("meta")).shape == asked.shape


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
    for one in (raw, mapped):
        one.observe(online, own)
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


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_run_and_a_seed_alone_are_the_same(kind: str, tmp_path) -> None:
    whole = engine(kind, [1, 2])
    whole.run(lambda score: None)
    assert whole.state()["strategy/map_fitted"].all()
    for stop in (6, 11, 16):  # before the first fit, in the middle of an epoch, and after one
        part, resumed = engine(kind, [1, 2]), engine(kind, [1, 2])

        class Stop(Exception):
            pass

        def after(score, part=part, stop=stop) -> None:
            if part.step == stop:
                raise Stop

        with pytest.raises(Stop):
            part.run(after)
        checkpoint.save(part, tmp_path, {"seeds": [1, 2]})
        assert checkpoint.load(resumed, tmp_path, {"seeds": [1, 2]})
        resumed.run(lambda score: None)
        left, right = whole.state(), resumed.state()
        assert left.keys() == right.keys()
        assert all(torch.equal(left[name].nan_to_num(-9), right[name].nan_to_num(-9)) for name in left)
    alone = engine(kind, [2])
    alone.run(lambda score: None)
    for name, value in alone.model.state_dict().items():
        torch.testing.assert_close(whole.model.state_dict()[name][1], value[0], rtol=1e-3, atol=1e-5)


def test_the_pairs_are_drawn_anew_each_epoch_by_name_and_their_truth_is_looked_up() -> None:
    found = engine("platt", [0, 7])
    val = found.val
    similarities, truth = known_pairs(found.learner, val, [0, 7], 2, 30)
    again, _ = known_pairs(engine("platt", [7]).learner, val, [7], 2, 30)
    torch.testing.assert_close(similarities[1], again[0])
    other, _ = known_pairs(found.learner, val, [0, 7], 3, 30)
    assert not torch.equal(similarities, other)
    image, text = found.learner.embed_split(val)
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
    assert known_pairs(found.learner, val, [0, 7], 2, 10**6)[0].shape == (2, 80, 80)


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


@pytest.mark.parametrize("kind", KINDS)
def test_where_the_raw_posterior_is_far_off_the_recalibrated_one_comes_near_the_true_rate(kind: str) -> None:
    """Fit on the pairs of one draw of validation, judged on those of another, with seeds that are fixed."""
    found = engine(kind, [0, 1, 2], val=toy.split(200, seed=5), prior=0.5, recalibration_images=200)
    found.run(lambda score: None)
    strategy = found.rule.strategy
    posterior = strategy.posterior
    assert posterior.map.state()["map_fitted"].all()
    strategy.calibrate(*known_pairs(found.learner, found.val, found.seeds, 0, 200))
    similarities, truth = known_pairs(found.learner, found.val, found.seeds, 1, 200)
    others = ~torch.eye(similarities.shape[-1], dtype=torch.bool)
    raw, ready = posterior.raw(similarities)
    mapped = posterior.map(raw)
    assert ready.all()
    for r in range(3):
        likely = others & (raw[r] >= raw[r][others].quantile(0.9))  # what the raw posterior is surest of
        rate = float(truth[r][likely].double().mean())
        before, after = (float(p[r][likely].double().mean()) for p in (raw, mapped))
        assert 0.02 < rate < 0.05 and before > 10 * rate and abs(after - rate) < 0.25 * rate
