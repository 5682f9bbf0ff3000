"""What the engine gives to rules that need more than similarities."""

from __future__ import annotations

import itertools

import pytest
import torch

from fne.study.library import Library
from fne.study.validate import check_together
from fne.training.engine import Engine
from fne.utils.errors import UserError
from tests.rules import LOSSES, STRATEGIES
from tests.training import toy


def seen_by(sections) -> tuple[Engine, list]:
    """An engine, and of each main step what its strategy and its loss were given, in both directions."""
    engine = Engine(toy.config(**sections), [0, 1], toy.split(), toy.split(seed=5), toy.CPU)
    select, loss, given = engine.rule.strategy.select, type(engine.rule.loss).__call__, []

    def seen() -> dict:
        encoder = getattr(engine.memory, "encoder", None)
        return {"momentum": {k: v.clone() for k, v in encoder.state_dict().items()} if encoder else {}}

    chosen: list[dict] = []

    def spy_select(*args, **kwargs):  # a rule that needs nothing may be asked for both directions at once
        chosen.append(kwargs)
        return select(*args, **kwargs)

    class Spy(type(engine.rule.loss)):
        def __call__(self, *args, **kwargs):
            given.append(seen() | (chosen[-1] if engine.rule.strategy.needs else {}) | kwargs)
            return loss(self, *args, **kwargs)

    engine.rule.strategy.select, engine.rule.loss.__class__ = spy_select, Spy
    steps = [step for step in toy.watched(engine) if step.main]
    for number, step in enumerate(steps):
        step.given = given[2 * number : 2 * number + 2]
    return engine, steps


@torch.no_grad()
def embedded(engine: Engine, weights) -> tuple[torch.Tensor, torch.Tensor]:
    model = engine.learner.momentum_copy()
    model.load_state_dict(weights)
    return engine.learner.embed_split(engine.train, model)


def check_cosines(step, image, text, name: str, direction: int, queue: bool) -> None:
    """By plain loops over one anchor in four: embeddings of the split, looked up by row."""
    batch, candidates, given = step.context.batch, step.context.candidates, step.given[direction][name]
    anchors, others = ((image, text), (text, image))[direction]
    anchor_rows = (batch.image_row, batch.caption_row)[direction]
    rows = (candidates.caption_row, candidates.image_row)[direction]
    columns = range(given.shape[2] if queue else given.shape[1])
    for r, i, j in itertools.product(range(2), range(0, given.shape[1], 4), columns):
        if rows[r, j] >= 0:
            expected = anchors[r, anchor_rows[r, i]].double() @ others[r, rows[r, j]].double()
            assert given[r, i, j].item() == pytest.approx(float(expected), abs=1e-5)
        elif name == "guide":
            assert given[r, i, j] == -1


def test_the_guide_is_the_encoder_at_the_end_of_the_warmup() -> None:
    engine, result = seen_by(toy.RULES["gist"])
    at_end = toy.trained([0, 1], engine.steps, **toy.RULES["gist"])
    image, text = embedded(at_end, at_end.model.state_dict())
    for step in (result[0], result[-1]):
        for direction in range(2):
            check_cosines(step, image, text, "guide", direction, queue=True)
    for name, value in at_end.model.state_dict().items():
        assert torch.equal(engine.state()[f"guide/{name}"], value)
        assert not torch.equal(engine.model.state_dict()[name], value)


@pytest.mark.parametrize("name", ["fnc_attract", "albef_distill"])
def test_the_teacher_is_the_momentum_encoder(name: str) -> None:
    engine, result = seen_by(toy.RULES[name])
    for step in (result[0], result[-1]):
        image, text = embedded(engine, step.given[0]["momentum"])
        for direction in range(2):
            check_cosines(step, image, text, "teacher", direction, queue=False)
    assert result[-1].given[0]["teacher"].shape == (2, 16, 56)
    alone = seen_by(toy.RULES[name] | {"memory": {"size": 0}})[1]  # a momentum encoder without a queue
    assert alone[-1].given[0]["teacher"].shape == (2, 16, 16)


def test_anchors_and_images_are_those_of_the_direction() -> None:
    for step in seen_by(toy.RULES["glofnd"])[1]:
        for direction, given in enumerate(step.given):
            assert given["direction"] == direction
            assert torch.equal(
                given["anchor"], (step.context.batch.image_row, step.context.batch.caption_row)[direction]
            )
    own = 0
    for step in seen_by(toy.RULES["infonce_multi_positive"])[1]:
        for given in step.given:
            expected = step.context.batch.image_row.unsqueeze(-1) == step.context.candidates.image_row.unsqueeze(-2)
            assert torch.equal(given["same_image"], expected)
            own += int((expected.sum(dim=-1) > 1).sum())
    assert own > 0


TEACHERS = [name for name, entry in {**STRATEGIES, **LOSSES}.items() if "teacher" in entry.needs]


@pytest.mark.parametrize(
    ("name", "change", "saying"),
    [
        *((name, {"memory.kind": "none"}, f"momentum encoder.*memory.kind.*{name}") for name in TEACHERS),
        ("gist", {"warmup.epochs": 0}, "needs a guide.*warmup.epochs"),
        ("fnc_attract", {"loss.kind": "dcl"}, "negatives.strategy.*loss.kind 'dcl'"),
    ],
)
def test_a_rule_without_what_it_needs_is_refused(name: str, change: dict, saying: str) -> None:
    flat = Library(toy.ROOT).merged(name) | {"data.dataset": "scenes"}
    check_together(flat, "file")
    with pytest.raises(UserError, match=saying):
        check_together(flat | change, "file")
