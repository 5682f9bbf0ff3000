"""The contract catches what it promises to catch: for every promise, rules that break it and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fne.checks.contract import check
from fne.losses.loss import Loss, pick, positive_similarity
from fne.negatives.registry import Entry
from fne.negatives.strategy import Selection, Strategy, draw, hardest, usable
from fne.utils.errors import UserError


class Sound(Strategy):
    """Draws in proportion to similarity, above the mean of all it has seen; one class attribute breaks it."""

    breaks = ""

    def __init__(self) -> None:
        self.mean: torch.Tensor | None = None
        self.steps = 0

    def observe(self, similarities, same_image):
        mean = similarities.double().mean(dim=(-1, -2))
        self.mean = mean if self.mean is None or self.mean.shape != mean.shape else 0.9 * self.mean + 0.1 * mean

    def select(self, similarities, excluded, positive, uniform):
        allowed = usable(similarities, excluded)
        level = torch.zeros(()) if self.mean is None else self.mean
        weights = (similarities.float() - level.float()[..., None, None]).exp().masked_fill(~allowed, 0)
        return Selection(draw(weights, uniform), weights, allowed.any(dim=-1))

    def state(self):
        return {} if self.mean is None else {"mean": self.mean}

    def load_state(self, state):
        self.mean = state.get("mean")


def changed(found: Selection, **values) -> Selection:
    return Selection(**{**vars(found), **values})


class Raises(Sound):
    def select(self, similarities, excluded, positive, uniform):
        return super().select(similarities, excluded, positive, uniform[:, None])


class NoSelection(Sound):
    def select(self, *inputs):
        return super().select(*inputs).index


class IndexOfFloats(Sound):
    def select(self, *inputs):
        found = super().select(*inputs)
        return changed(found, index=found.index.float())


class IndexPerCandidate(Sound):
    def select(self, *inputs):
        found = super().select(*inputs)
        return changed(found, index=found.index.unsqueeze(-1))


class GivesAll(Sound):
    def select(self, *inputs):
        return changed(super().select(*inputs), index=None)


class AlwaysValid(Sound):
    def select(self, *inputs):
        found = super().select(*inputs)
        return changed(found, valid=torch.ones_like(found.valid))


class PicksThePositive(Sound):
    def select(self, similarities, excluded, positive, uniform):
        allowed = usable(similarities, excluded)
        return Selection(hardest(similarities, ~similarities.isnan()), None, allowed.any(dim=-1))


class PicksNaN(Sound):
    def select(self, similarities, excluded, positive, uniform):
        found = super().select(similarities, excluded, positive, uniform)
        return changed(found, index=similarities.masked_fill(excluded, -9).argmax(dim=-1))


class NaNWeight(Sound):
    def select(self, *inputs):
        found = super().select(*inputs)
        return changed(found, weights=found.weights / found.weights.sum(dim=-1, keepdim=True))


class InfiniteWeight(Sound):
    def select(self, *inputs):
        found = super().select(*inputs)
        return changed(found, weights=found.weights * torch.inf if found.weights.all() else found.weights)


class NegativeWeight(Sound):
    def select(self, similarities, excluded, positive, uniform):
        found = super().select(similarities, excluded, positive, uniform)
        weights = similarities.masked_fill(~usable(similarities, excluded), 0)
        return changed(found, weights=weights)


class WeightOnExcluded(Sound):
    def select(self, *inputs):
        found = super().select(*inputs)
        return changed(found, weights=found.weights + 1e-3)


class PosteriorAboveOne(Sound):
    def select(self, similarities, excluded, positive, uniform):
        return changed(super().select(similarities, excluded, positive, uniform), posterior=similarities + 0.5)


class HiddenRandomness(Sound):
    def select(self, similarities, excluded, positive, uniform):
        return super().select(similarities, excluded, positive, torch.rand_like(uniform))


class MixesReplicates(Sound):
    def observe(self, similarities, same_image):
        super().observe(similarities, same_image)
        self.mean = torch.full_like(self.mean, self.mean.mean())


class ChangesItsInput(Sound):
    def select(self, similarities, excluded, positive, uniform):
        similarities.masked_fill_(excluded, -1)
        return super().select(similarities, excluded, positive, uniform)


class ForgetsItsState(Sound):
    def state(self):
        return {}


class StateOfNumbers(Sound):
    def state(self):
        return {"mean": float(self.mean.mean())}


class CountsInSecret(Sound):
    def select(self, similarities, excluded, positive, uniform):
        self.steps += 1
        return super().select(similarities, excluded, positive, (uniform * self.steps) % 1)


BROKEN = {
    Raises: ("answers every input", "select raised RuntimeError"),
    NoSelection: ("answers every input", "returned Tensor, no Selection"),
    IndexOfFloats: ("shapes and types", "index is torch.float32, not torch.int64"),
    IndexPerCandidate: ("shapes and types", "index has shape (1, 1), not (1,)"),
    GivesAll: ("shapes and types", "says that it gives 'one' negatives, but gives 'all'"),
    AlwaysValid: ("valid exactly where", "valid is wrong for"),
    PicksThePositive: ("never picks an excluded candidate", "picked a candidate that is excluded for"),
    PicksNaN: ("never picks an excluded candidate", "NaN"),
    NaNWeight: ("weights are finite", "a weight is NaN"),
    InfiniteWeight: ("weights are finite", "a weight is infinite"),
    NegativeWeight: ("weights are finite", "a weight is negative"),
    WeightOnExcluded: ("weights are finite", "an excluded candidate has a weight"),
    PosteriorAboveOne: ("posterior is a probability", "not within 0 to 1"),
    HiddenRandomness: ("the same draws", "the picks differ"),
    MixesReplicates: ("no replicate depends on another", "weights differs"),
    ChangesItsInput: ("inputs stay as they are", "similarities is changed in place"),
    ForgetsItsState: ("state is all that it remembers", "weights differs"),
    StateOfNumbers: ("state is all that it remembers", "no flat dict of tensors"),
    CountsInSecret: ("state is all that it remembers", "the picks differ"),
}


def entry(of: type, negatives: tuple[str, ...] = ("one",)) -> Entry:
    target, section = f"{__name__}:{of.__name__}", "negatives" if issubclass(of, Strategy) else "loss"
    return Entry(of.__name__, target, section, Path(__file__), "", f"{section}.", {}, negatives=negatives)


@pytest.mark.parametrize("quick", [False, True])
def test_a_sound_strategy_holds(quick: bool) -> None:
    before = torch.random.get_rng_state()
    assert len(check(entry(Sound), "negatives", {}, "mine", quick=quick)) == 10
    assert torch.equal(torch.random.get_rng_state(), before), "no global stream is touched"


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("of", BROKEN, ids=lambda of: of.__name__)
def test_a_broken_promise_is_named(of: type, quick: bool) -> None:
    promise, how = BROKEN[of]
    with pytest.raises(UserError) as caught:
        check(entry(of), "negatives", {}, "mine:Rule", quick=quick)
    told = str(caught.value)
    assert "mine:Rule: breaks the contract '" in told and promise in told.split("'")[1], told
    assert how in told


class SoundLoss(Loss):
    """The squared hinge."""

    def __call__(self, anchors, candidates, selection):
        negative = (anchors * pick(candidates, selection.index)).sum(dim=-1)
        positive = positive_similarity(anchors, candidates, self.positive_of(selection))
        loss = (0.4 + negative - positive).clamp(min=0).square()
        return torch.where(selection.valid, loss, 0)

    def positive_of(self, selection):
        return selection.positive_index

    def at_collapse(self, selection):
        return 0.16 * selection.valid.float()


class OneNumber(SoundLoss):
    def __call__(self, *given):
        return super().__call__(*given).sum(dim=-1)


class NaNLoss(SoundLoss):
    def __call__(self, *given):
        return super().__call__(*given) / (super().__call__(*given) > 0)


class ChargesTheInvalid(SoundLoss):
    def __call__(self, *given):
        return super().__call__(*given) + 0.1


class Detached(SoundLoss):
    def __call__(self, anchors, candidates, selection):
        return super().__call__(anchors, candidates.detach(), selection)


class WrongAtCollapse(SoundLoss):
    def at_collapse(self, selection):
        return 0.4 * selection.valid.float()


class MeanOverReplicates(SoundLoss):
    def __call__(self, anchors, candidates, selection):
        each = super().__call__(anchors, candidates, selection)
        shared = each.flatten(0, -2).mean(dim=0) if each.ndim > 1 else each
        return 0.5 * each + 0.5 * shared.expand_as(each)


class OwnPairOnly(SoundLoss):
    def positive_of(self, selection):
        return None


class Counts(SoundLoss):
    calls = 0

    def __call__(self, *given):
        self.calls += 1
        return super().__call__(*given) * (1 if self.calls % 2 else 2)


class TakesAll(SoundLoss):
    def __call__(self, anchors, candidates, selection):
        similarities = anchors @ candidates.transpose(-1, -2)
        return torch.where(selection.valid, (similarities.square() * selection.weights).sum(dim=-1), 0)

    def at_collapse(self, selection):
        return selection.weights.sum(dim=-1)

    def shares(self, similarities, positive, selection):
        return similarities


BROKEN_LOSSES = {
    OneNumber: ("finite number", "has shape (), not (4,)"),
    NaNLoss: ("finite number", "NaN or infinite"),
    ChargesTheInvalid: ("without negatives costs nothing", "not zero"),
    Detached: ("gradient", "differs"),
    WrongAtCollapse: ("at_collapse", "another number"),
    OwnPairOnly: ("positive is the candidate that the selection names", "the named positive is not what it takes"),
    MeanOverReplicates: ("no replicate depends on another", "differs"),
    Counts: ("same inputs give the same loss", "another loss"),
    TakesAll: ("shares are finite", "negative"),
}


@pytest.mark.parametrize("quick", [False, True])
def test_a_sound_loss_holds(quick: bool) -> None:
    assert len(check(entry(SoundLoss), "loss", {}, "mine", quick=quick)) == 8


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("of", BROKEN_LOSSES, ids=lambda of: of.__name__)
def test_a_broken_promise_of_a_loss_is_named(of: type, quick: bool) -> None:
    promise, how = BROKEN_LOSSES[of]
    with pytest.raises(UserError) as caught:
        check(entry(of, ("all",) if of is TakesAll else ("one",)), "loss", {}, "mine:Rule", quick=quick)
    told = str(caught.value)
    assert "mine:Rule: breaks the contract '" in told and promise in told.split("'")[1], told
    assert how in told
