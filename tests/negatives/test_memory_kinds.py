"""Every kind of memory in a training run, against plain lists: which candidates, and how embedded."""

from __future__ import annotations

import pytest
import torch

from fne.negatives.memory.kind import RANDOM
from fne.negatives.memory.queue import MemoryQueue
from fne.training.data import EpochPlan
from fne.training.engine import Engine
from tests.training import toy

BATCH = 16


def watched(memory: dict, **sections: dict) -> tuple[Engine, list]:
    """A finished run of the hardest negative without dropout, and what each of its steps saw."""
    given = toy.rule("hardest") | {"model": {"dropout_image": 0.0, "dropout_text": 0.0}, "memory": memory} | sections
    engine = Engine(toy.config(**given), [0, 7], toy.split(), toy.split(seed=5), toy.CPU)
    return engine, toy.watched(engine)


def embedded(side: str, weights: dict, r: int, values: torch.Tensor) -> torch.Tensor:
    """One item under a head, in float64."""
    part = {name.split(".", 1)[1]: value[r] for name, value in weights.items() if name.startswith(side)}
    x = values.double()
    hidden = torch.nn.functional.gelu(x @ part["first.weight"] + part["first.bias"][0])
    y = hidden @ part["second.weight"] + part["second.bias"][0]
    return y / y.norm()


def items(of: object, r: int) -> list[tuple]:
    """The candidates of a replicate that hold a pair: (step entered, image row, caption row, image, text)."""
    entered = torch.full_like(of.image_row, -1) if of.entered is None else of.entered
    rows = zip(entered[r].tolist(), of.image_row[r].tolist(), of.caption_row[r].tolist(), strict=True)
    return [(*row, of.image[r, j], of.text[r, j]) for j, row in enumerate(rows) if row[1] >= 0]


@pytest.mark.parametrize(("kind", "fill"), [("momentum", "after_warmup"), ("xbm", "after_warmup"), ("xbm", "always")])
@pytest.mark.parametrize("size", [0, 7, 40, 300])
def test_a_queue_holds_the_batch_and_the_newest_pairs_before_it_as_they_were_embedded(kind, size, fill) -> None:
    """A plain list of ``size`` + B slots: enqueue, drop the oldest, and what it holds are the candidates, each once."""
    momentum = {"momentum": 0.9} if kind == "momentum" else {}
    _, seen = watched({"kind": kind, "size": size, "initial": "empty", "fill": fill, **momentum})
    for r in range(2):
        slots: list[tuple] = []
        for step, saw in enumerate(seen):
            context, result = saw.context, items(saw.context.candidates, r)
            if not saw.main:
                assert len(result) == BATCH
                if fill == "after_warmup":
                    continue
            for i in range(BATCH):
                rows = int(context.batch.image_row[r, i]), int(context.batch.caption_row[r, i])
                slots.append((step, *rows, context.candidates.image[r, i], context.candidates.text[r, i]))
            slots = slots[-(size + BATCH) :]
            if not saw.main:
                continue
            assert [row[0] for row in result[:BATCH]] == [-1] * BATCH
            assert torch.equal(context.candidates.image[:, :BATCH], context.image) == (kind == "xbm")
            named = {(step if row[0] < 0 else row[0], *row[1:3]): row[3:] for row in result}
            expected = {row[:3]: row[3:] for row in slots}
            assert named.keys() == expected.keys() and len(result) == len(slots), "each item once"
            for key, (image, text) in named.items():
                assert torch.equal(image, expected[key][0]) and torch.equal(text, expected[key][1])


def test_a_random_start_is_unit_vectors_of_no_image_and_differs_between_seeds() -> None:
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    memory = MemoryQueue(2, 6, 3, toy.CPU, generators, "random")
    for values in (memory.slots.image, memory.slots.text):
        torch.testing.assert_close(values.norm(dim=-1), torch.ones(2, 6))
        assert not torch.equal(values[0], values[1])
    assert (memory.slots.image_row == RANDOM).all()


@pytest.mark.parametrize(("refresh", "unit"), [(None, "images"), (1, "images"), (2, "captions")])
def test_bank_holds_every_other_pair_of_the_epoch_as_embedded_when_it_was_last_due(refresh, unit) -> None:
    engine, seen = watched({"kind": "bank", "refresh": refresh}, train={"epoch_unit": unit})
    plans = [EpochPlan.draw(engine.train, engine.seeds, epoch, BATCH, unit) for epoch in range(engine.epochs)]
    weights, due = {}, -1
    for step, saw in enumerate(seen):
        epoch, at = divmod(step, engine.steps)
        if epoch == 0:
            continue
        if at == 0 or (refresh and at % refresh == 0):
            weights, due = saw.weights, step
        for r in range(2):
            pairs = list(zip(plans[epoch].image_row[r].tolist(), plans[epoch].caption_row[r].tolist(), strict=True))
            own, result = list(zip(*pairs[at], strict=True)), items(saw.context.candidates, r)
            everything = [pair for of in pairs for pair in zip(*of, strict=True)]
            assert [row[1:3] for row in result[:BATCH]] == own
            assert sorted(row[1:3] for row in result) == sorted(everything), "every pair once"
            for j, (entered, image_row, caption_row, image, text) in enumerate(result):
                assert entered == (-1 if j < BATCH else due)
                now = saw.weights if j < BATCH else weights
                sides = ("image", image_row, image), ("text", caption_row, text)
                for side, row, got in sides if j % 5 == 0 or step % 7 == 0 else ():
                    requested = embedded(side, now, r, getattr(engine.train, side).values[row])
                    torch.testing.assert_close(got.double(), requested, atol=2e-6, rtol=1e-5)
