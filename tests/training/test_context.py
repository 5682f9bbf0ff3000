"""What the engine gives to rules that need more than similarities."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fne.study.library import Library
from fne.study.validate import check_together
from fne.training.engine import Engine
from fne.utils.errors import UserError
from tests.rules import LOSSES, STRATEGIES
from tests.training import toy

CPU = toy.CPU
ROOT = Path(__file__).resolve().parents[2]
toy.RULES["fnc_attract"]["negatives"]["score_threshold"] = 0.0
toy.RULES["glofnd"]["negatives"] |= {"filtered_share": 0.2, "threshold_rate": 0.4}
toy.RULES["infonce_multi_positive"]["loss"]["multi_positive"] = True
toy.RULES["relabel"]["negatives"]["oracle"] = "relabel"


def seen_by(sections) -> tuple[Engine, list]:
    """An engine, and what its strategy and its loss were given in each main step, with what it came from."""
    engine = Engine(toy.config(**sections), [0, 1], toy.split(), toy.split(seed=5), CPU)
    losses, select, loss = engine.step_of.losses, engine.rule.strategy.select, type(engine.rule.loss).__call__
    result: list[dict] = []

    def spy_losses(rule, context, moment):
        if moment.main:
            encoder = getattr(engine.memory, "encoder", None)
            weights = {k: v.clone() for k, v in encoder.state_dict().items()} if encoder else None
            result.append({"batch": context.batch, "candidates": context.candidates, "given": [], "momentum": weights})
        return losses(rule, context, moment)

    def spy_select(*args, **kwargs):
        result[-1]["given"].append(kwargs)
        return select(*args, **kwargs)

    class Spy(type(engine.rule.loss)):
        def __call__(self, *args, **kwargs):
            result[-1]["given"][-1].update(kwargs)
            return loss(self, *args, **kwargs)

    engine.step_of.losses, engine.rule.strategy.select = spy_losses, spy_select
    engine.rule.loss.__class__ = Spy
    engine.run(lambda score: None)
    return engine, result


@torch.no_grad()
def embedded(engine: Engine, weights) -> tuple[torch.Tensor, torch.Tensor]:
    model = engine.learner.momentum_copy()
    model.load_state_dict(weights)
    return engine.learner.embed_split(engine.train, model)


def check_cosines(step, image, text, name: str, direction: int, queue: bool) -> None:
    """By plain loops over one anchor in four: embeddings of the split, looked up by row."""
    batch, candidates, given = step["batch"], step["candidates"], step["given"][direction][name]
    for r in range(2):
        for i in range(0, given.shape[1], 4):
            for j in range(given.shape[2] if queue else given.shape[1]):
                row = candidates.image_row[r, j] if direction else candidates.caption_row[r, j]
                if row < 0:
                    if name == "guide":
                        assert given[r, i, j] == -1
                    continue
                anchor = text[r, batch.caption_row[r, i]] if direction else image[r, batch.image_row[r, i]]
                other = image[r, row] if direction else text[r, row]
                assert given[r, i, j].item() == pytest.approx(float(anchor.double() @ other.double()), abs=1e-5)


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
        image, text = embedded(engine, step["momentum"])
        for direction in range(2):
            check_cosines(step, image, text, "teacher", direction, queue=False)
    assert result[-1]["given"][0]["teacher"].shape == (2, 16, 56)
    alone = seen_by(toy.RULES[name] | {"memory": {"size": 0}})[1]  # a momentum encoder without a queue
    assert alone[-1]["given"][0]["teacher"].shape == (2, 16, 16)


def test_anchors_and_images_are_those_of_the_direction() -> None:
    for step in seen_by(toy.RULES["glofnd"])[1]:
        for direction, given in enumerate(step["given"]):
            assert given["direction"] == direction
            expected = step["batch"].caption_row if direction else step["batch"].image_row
            assert torch.equal(given["anchor"], expected)
    own = 0
    for step in seen_by(toy.RULES["infonce_multi_positive"])[1]:
        for given in step["given"]:
            rows, others = step["batch"].image_row, step["candidates"].image_row
            for r in range(2):
                for i in range(0, 16, 3):
                    same = [bool(others[r, j] == rows[r, i]) for j in range(others.shape[1])]
                    assert given["same_image"][r, i].tolist() == same
                    own += sum(same) > 1
    assert own > 0


@pytest.mark.parametrize("name", [n for n, e in {**STRATEGIES, **LOSSES}.items() if "teacher" in e.needs])
def test_a_teacher_without_a_momentum_encoder_is_refused(name: str) -> None:
    flat = Library(ROOT).merged(name) | {"data.dataset": "scenes"}
    check_together(flat, "file")
    with pytest.raises(UserError, match=f"needs a momentum encoder; memory.kind is 'none'.*{name}.*size may be 0"):
        check_together(flat | {"memory.kind": "none"}, "file")


def test_a_guide_without_a_warmup_is_refused() -> None:
    flat = Library(ROOT).merged("gist") | {"data.dataset": "scenes"}
    check_together(flat, "file")
    check_together(flat, "file", "finetune")
    with pytest.raises(UserError, match="needs a guide.*warmup.epochs is 0"):
        check_together(flat | {"warmup.epochs": 0}, "file")


def test_attracted_candidates_need_a_loss_that_takes_them() -> None:
    flat = Library(ROOT).merged("fnc_attract") | {"data.dataset": "scenes"}
    with pytest.raises(UserError, match="negatives.strategy.*does not fit loss.kind 'dcl'"):
        check_together(flat | {"loss.kind": "dcl"}, "file")
