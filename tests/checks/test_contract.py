"""The contract catches what it promises to catch: for every promise, rules that break it and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from fne.checks.contract import check
from fne.losses.loss import Loss, pick, positive_similarity
from fne.negatives.strategy import Selection, Strategy, draw, hardest, usable
from fne.utils.errors import UserError


class Valid(Strategy):
    """Draws in proportion to similarity, above the mean of all it has seen."""

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


class ValidLoss(Loss):
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


def rule(**methods: Callable) -> type:
    """The valid strategy with some methods replaced."""
    return type("Rule", (Valid,), methods)


def given(change: Callable) -> type:
    """A strategy that selects by other inputs than it was given."""
    return rule(select=lambda self, *inputs: Valid.select(self, *change(*inputs)))


def found(**parts: Callable) -> type:
    """A strategy whose selection has other parts, each a function of the valid one and of the inputs."""

    def select(self, *inputs):
        valid = Valid.select(self, *inputs)
        return dataclasses.replace(valid, **{name: part(valid, *inputs) for name, part in parts.items()})

    return rule(select=select)


def loss(call: Callable, **methods: Callable) -> type:
    """The valid loss with what a call gives, and some methods, replaced."""
    return type("Loss", (ValidLoss,), {"__call__": call, **methods})


def picks_the_positive(self, similarities, excluded, positive, uniform):
    every = ~similarities.isnan()
    return Selection(hardest(similarities, every), None, usable(similarities, excluded).any(dim=-1))


def counts_in_secret(self, similarities, excluded, positive, uniform):
    self.steps += 1
    return Valid.select(self, similarities, excluded, positive, (uniform * self.steps) % 1)


def knows_its_shape(self, similarities, *others):
    if self.mean is not None:
        self.mean = self.mean.reshape(similarities.shape[:-2])
    return Valid.select(self, similarities, *others)


def doubles_every_second(self, *inputs):
    self.calls = getattr(self, "calls", 0) + 1
    return ValidLoss.__call__(self, *inputs) * (1 if self.calls % 2 else 2)


def takes_all(self, anchors, candidates, selection):
    similarities = anchors @ candidates.transpose(-1, -2)
    return torch.where(selection.valid, (similarities.square() * selection.weights).sum(dim=-1), 0)


valid_loss = ValidLoss.__call__
BROKEN = {
    "raises": (given(lambda s, e, p, u: (s, e, p, u[:, None])), "answers every input", "select raised RuntimeError"),
    "no_selection": (rule(select=lambda *inputs: Valid.select(*inputs).index), "answers every input",
                     "returned Tensor, no Selection"),
    "index_of_floats": (found(index=lambda f, *_: f.index.float()), "shapes and types",
                        "index is torch.float32, not torch.int64"),
    "gives_all": (found(index=lambda *_: None), "shapes and types",
                  "says that it gives 'one' negatives, but gives 'all'"),
    "positive": (rule(select=picks_the_positive), "never picks an excluded candidate",
                 "picked a candidate that is excluded for"),
    "nan": (found(index=lambda f, s, e, *_: s.masked_fill(e, -9).argmax(dim=-1)), "never picks an excluded candidate",
            "NaN"),
    "negative_weight": (found(weights=lambda f, s, e, *_: s.masked_fill(~usable(s, e), 0)), "weights are finite",
                        "a weight is negative"),
    "posterior_above_one": (found(posterior=lambda f, s, *_: s + 0.5), "posterior is a probability",
                            "not within 0 to 1"),
    "hidden_randomness": (given(lambda s, e, p, u: (s, e, p, torch.rand_like(u))), "the same draws",
                          "the picks differ"),
    "changes_its_input": (given(lambda s, e, p, u: (s.masked_fill_(e, -1), e, p, u)), "inputs stay as they are",
                          "similarities is changed in place"),
    "forgets_its_state": (rule(state=lambda self: {}), "state is all that it remembers", "weights differs"),
    "counts_in_secret": (rule(select=counts_in_secret), "state is all that it remembers", "the picks differ"),
    "knows_its_shape": (rule(select=knows_its_shape), "both directions at once as for each",
                        "select raised RuntimeError"),
    "nan_loss": (loss(lambda *inputs: valid_loss(*inputs) / (valid_loss(*inputs) > 0)), "finite number",
                 "NaN or infinite"),
    "charges_the_invalid": (loss(lambda *inputs: valid_loss(*inputs) + 0.1), "without negatives costs nothing",
                            "not zero"),
    "wrong_at_collapse": (loss(valid_loss, at_collapse=lambda self, s: 0.4 * s.valid.float()), "at_collapse",
                          "another number"),
    "doubles_every_second": (loss(doubles_every_second), "same inputs give the same loss", "another loss"),
    "takes_all": (loss(takes_all, at_collapse=lambda self, s: s.weights.sum(dim=-1), shares=lambda self, s, *_: s),
                  "shares are finite", "negative"),
}  # fmt: skip


def run(of: type, *, quick: bool, negatives: str = "one") -> list[str]:
    entry = SimpleNamespace(load=lambda: of, negatives=(negatives,), file=Path(__file__))
    return check(entry, "negatives" if issubclass(of, Strategy) else "loss", {}, "mine:Rule", quick=quick)


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize(("of", "promises"), [(Valid, 12), (ValidLoss, 9)])
def test_a_valid_rule_holds(of: type, promises: int, quick: bool) -> None:
    before = torch.random.get_rng_state()
    assert len(run(of, quick=quick)) == promises
    assert torch.equal(torch.random.get_rng_state(), before), "no global stream is touched"


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_promise_is_named(name: str, quick: bool) -> None:
    of, promise, how = BROKEN[name]
    with pytest.raises(UserError) as caught:
        run(of, quick=quick, negatives="all" if name == "takes_all" else "one")
    message = str(caught.value)
    assert "mine:Rule: breaks the contract '" in message and promise in message.split("'")[1], message
    assert how in message
