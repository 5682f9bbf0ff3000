"""The contract of every registered kind of memory; a new entry is tested without a new line here."""

from __future__ import annotations

import inspect
import itertools
from pathlib import Path

import pytest
import torch

from fne.negatives.catalog import MEMORIES
from fne.training.engine import Engine
from tests.training import toy

# For each option of a registered class: values that reach every branch. A new option must be named here.
OPTIONS = {
    "size": [0, 40],
    "momentum": [0.0, 0.9],
    "initial": ["empty", "random"],
    "fill": ["after_warmup", "always"],
    "refresh": [None, 2],
}
CASES = [
    {"kind": kind, **dict(zip(entry.options, values, strict=True))}
    for kind, entry in MEMORIES.items()
    for values in itertools.product(*(OPTIONS[option] for option in entry.options))
]


IDS = ["-".join(map(str, memory.values())) for memory in CASES]


def engine_of(memory: dict) -> Engine:
    config = toy.config(negatives={"strategy": "hardest"}, train={"epochs": 3}) | {"memory": memory}
    return Engine(config, [0, 3], toy.split(), toy.split(seed=5), toy.CPU)


@pytest.mark.parametrize("kind", MEMORIES)
def test_entry_matches_its_class(kind: str) -> None:
    """The options of the catalogue are the keyword-only arguments of the class, without defaults."""
    entry = MEMORIES[kind]
    declared = [p for p in inspect.signature(entry.load()).parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert [p.name for p in declared] == list(entry.options)
    assert all(p.default is p.empty for p in declared), "defaults stand in base.yaml, not in code"


@pytest.mark.parametrize("memory", CASES, ids=IDS)
def test_candidates_are_the_batch_first_and_then_what_is_remembered_without_gradient(memory: dict) -> None:
    engine = engine_of(memory)
    held, original = [], engine.memory.candidates

    def spy(image, text, inputs, batch, *, main):
        result = original(image, text, inputs, batch, main=main)
        count, full = image.shape[1], result.image_row >= 0
        assert torch.equal(result.image_row[:, :count], batch.image_row)
        assert torch.equal(result.caption_row[:, :count], batch.caption_row)
        assert result.image.shape == result.text.shape == (*result.image_row.shape, image.shape[-1])
        if not main:
            assert result.image is image and result.text is text and result.entered is None
        if result.entered is not None:
            assert torch.equal(result.entered[:, count:] >= 0, full[:, count:]), "an age only where a pair was entered"
            owner = engine.train.caption_image[result.caption_row.clamp(min=0)]
            assert (owner == result.image_row)[full].all() and (result.caption_row[~full] < 0).all()
        for remembered, source in ((result.image[:, count:], image), (result.text[:, count:], text)):
            if remembered.requires_grad:
                (gradient,) = torch.autograd.grad(remembered.sum(), source, retain_graph=True)
                assert not gradient.any()
        held.append(result.image_row.shape[1])
        return result

    engine.memory.candidates = spy
    engine.run(lambda score: None)
    assert held[0] == 16 and len(held) == engine.total_steps


@pytest.mark.parametrize("memory", CASES, ids=IDS)
def test_resume_is_bit_equal(memory: dict, tmp_path: Path) -> None:
    toy.assert_resumes(lambda: engine_of(memory), (3, 5, 8), tmp_path)
