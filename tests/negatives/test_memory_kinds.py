"""Every kind of memory in a training run, against plain lists: which candidates, how embedded, how old."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fne.training.data import EpochPlan
from fne.training.engine import Engine
from tests.training import toy

CPU = torch.device("cpu")
BATCH, STEPS = 16, 5
HARDEST = {"negatives": {"strategy": "hardest"}, "model": {"dropout_image": 0.0, "dropout_text": 0.0}}


def watched(memory: dict, **sections: dict) -> tuple[Engine, list[dict]]:
    """A finished run and what each of its steps saw: candidates, embeddings, batch, weights and picks."""
    engine = Engine(toy.config(**HARDEST | sections, memory=memory), [0, 7], toy.split(), toy.split(seed=5), CPU)
    seen, original = [], engine.step_of.losses

    def spy(rule, context, moment):
        image, text, batch, candidates = context.image, context.text, context.batch, context.candidates
        behind = torch.cat([candidates.image[:, BATCH:], candidates.text[:, BATCH:]]).sum()
        result = torch.autograd.grad(behind, (image, text), retain_graph=True) if behind.requires_grad else ()
        assert all(not gradient.any() for gradient in result), "what is remembered carries no gradient"
        weights = {name: value.double().clone() for name, value in engine.model.state_dict().items()}
        seen.append(
            {"candidates": candidates, "image": image, "text": text, "batch": batch, "weights": weights}
            | {"main": moment.main}
        )
        losses, picks = original(rule, context, replace(moment, watch=True, keep=True))
        seen[-1]["picks"] = [{**result} for result in picks]
        return losses, picks if moment.keep else []

    engine.step_of.losses = spy
    engine.run(lambda score: None)
    return engine, seen


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


@pytest.mark.parametrize("size", [0, 7, 40, 300])
@pytest.mark.parametrize("fill", ["after_warmup", "always"])
def test_xbm_is_a_longer_memory_that_the_batch_entered_before_its_loss(size, fill) -> None:
    """A plain list of ``size`` + B slots: enqueue, drop the oldest, and what it holds are the candidates, each once."""
    _, seen = watched({"kind": "xbm", "size": size, "initial": "empty", "fill": fill})
    for r in range(2):
        slots: list[tuple] = []
        for step, saw in enumerate(seen):
            batch, result = saw["batch"], items(saw["candidates"], r)
            if not saw["main"]:
                assert len(result) == BATCH
                if fill == "after_warmup":
                    continue
            for i in range(BATCH):
                rows = int(batch.image_row[r, i]), int(batch.caption_row[r, i])
                slots.append((step, *rows, saw["image"][r, i], saw["text"][r, i]))
            slots = slots[-(size + BATCH) :]
            if not saw["main"]:
                continue
            assert [row[0] for row in result[:BATCH]] == [-1] * BATCH
            named = [(step if row[0] < 0 else row[0], *row[1:]) for row in result]
            assert len({row[:3] for row in named}) == len(named) == len(slots), "no item appears twice"
            expected = {row[:3]: row[3:] for row in slots}
            assert set(expected) == {row[:3] for row in named}
            for *key, image, text in named:
                assert torch.equal(image, expected[tuple(key)][0]) and torch.equal(text, expected[tuple(key)][1])


@pytest.mark.parametrize("unit", ["images", "captions"])
@pytest.mark.parametrize("refresh", [None, 1, 2])
def test_bank_holds_every_other_pair_of_the_epoch_as_embedded_when_it_was_last_due(refresh, unit) -> None:
    engine, seen = watched({"kind": "bank", "refresh": refresh}, train={"epoch_unit": unit})
    assert engine.steps == {"images": STEPS, "captions": len(engine.train.caption_image) // BATCH}[unit]
    plans = [EpochPlan.draw(engine.train, engine.seeds, epoch, BATCH, unit) for epoch in range(engine.epochs)]
    weights, due = {}, -1
    for step, saw in enumerate(seen):
        epoch, at = divmod(step, engine.steps)
        if epoch == 0:
            assert saw["candidates"].entered is None and saw["candidates"].image.shape[1] == BATCH
            continue
        if at == 0 or (refresh and at % refresh == 0):
            weights, due = saw["weights"], step
        for r in range(2):
            pairs = list(zip(plans[epoch].image_row[r].tolist(), plans[epoch].caption_row[r].tolist(), strict=True))
            own, result = list(zip(*pairs[at], strict=True)), items(saw["candidates"], r)
            everything = [pair for of in pairs for pair in zip(*of, strict=True)]
            assert [row[1:3] for row in result[:BATCH]] == own
            assert sorted(row[1:3] for row in result) == sorted(everything), "every pair once"
            for j, (entered, image_row, caption_row, image, text) in enumerate(result):
                assert entered == (-1 if j < BATCH else due)
                now = saw["weights"] if j < BATCH else weights
                sides = ("image", image_row, image), ("text", caption_row, text)
                for side, row, got in sides if j % 5 == 0 or step % 7 == 0 else ():
                    requested = embedded(side, now, r, getattr(engine.train, side).values[row])
                    torch.testing.assert_close(got.double(), requested, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize(
    "memory",
    [
        {"kind": "xbm", "size": 40, "initial": "empty", "fill": "after_warmup"},
        {"kind": "momentum", "size": 40, "momentum": 0.9, "initial": "empty", "fill": "after_warmup"},
        {"kind": "bank", "refresh": 3},
    ],
    ids=lambda memory: memory["kind"],
)
def test_the_age_of_picks_is_the_time_since_they_were_embedded(memory) -> None:
    engine, seen = watched(memory)
    for r in range(2):
        for epoch in range(1, engine.epochs):
            ages = []
            for step in range(epoch * STEPS, (epoch + 1) * STEPS):
                saw = seen[step]
                for picks in saw["picks"]:
                    known = {}
                    for entered, *rows in items(saw["candidates"], r):
                        known.setdefault(rows[int(picks["direction"][0, 0] == 0)], []).append(entered)
                    for i in range(BATCH):
                        if not picks["picked"][r, i] or not picks["from_queue"][r, i]:
                            continue
                        of = [entered for entered in known[int(picks["candidate"][r, i])] if entered >= 0]
                        ages.append([step - entered for entered in of])
            row = next(row for row in engine.curves if row["seed"] == engine.seeds[r] and row["epoch"] == epoch)
            assert ages and all(of for of in ages)
            low, high = (sum(pick(of) for of in ages) / len(ages) for pick in (min, max))
            assert low - 1e-9 <= row["queue_age"] <= high + 1e-9


def test_the_kind_none_remembers_nothing() -> None:
    engine, seen = watched({"kind": "none"})
    for saw in seen:
        assert saw["candidates"].entered is None and saw["candidates"].image is saw["image"]
    assert engine.memory.state() == {} and all(row["queue_age"] is None for row in engine.curves)
    with pytest.raises(ValueError, match="no state"):
        engine.memory.load_state({"image": torch.zeros(1)})
