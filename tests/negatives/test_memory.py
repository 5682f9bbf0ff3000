"""The memory queue against a plain list."""

from __future__ import annotations

import pytest
import torch

from fne.negatives.memory.kind import EMPTY, RANDOM
from fne.negatives.memory.queue import MemoryQueue


def queue(size: int, initial: str = "empty") -> MemoryQueue:
    generators = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
    return MemoryQueue(2, size, 3, torch.device("cpu"), generators, initial)


@pytest.mark.parametrize("size", [0, 1, 5, 7, 12])
def test_holds_the_newest_pairs_whatever_the_batch_size(size: int) -> None:
    memory, history = queue(size), []
    for step, batch in enumerate((3, 1, 4, 9, 2, 5)):
        image, text = torch.randn(2, batch, 3), torch.randn(2, batch, 3)
        rows = torch.arange(2 * batch).reshape(2, batch) + 100 * step
        memory.push(image, text, rows, rows + 7, step)
        history += [(image[:, i], text[:, i], rows[:, i], step) for i in range(batch)]
        newest = history[-size:] if size else []
        held = {int(row): slot for slot, row in enumerate(memory.image_row[0].tolist()) if row != EMPTY}
        assert set(held) == {int(rows[0]) for _, _, rows, _ in newest}
        for image_, text_, rows_, step_ in newest:
            slot = held[int(rows_[0])]
            assert torch.equal(memory.image[:, slot], image_) and torch.equal(memory.text[:, slot], text_)
            assert torch.equal(memory.image_row[:, slot], rows_)
            assert torch.equal(memory.caption_row[:, slot], rows_ + 7)
            assert (memory.entered[:, slot] == step_).all()


def test_random_start_is_unit_vectors_of_no_image_and_differs_between_seeds() -> None:
    memory = queue(6, "random")
    torch.testing.assert_close(memory.image.norm(dim=-1), torch.ones(2, 6))
    torch.testing.assert_close(memory.text.norm(dim=-1), torch.ones(2, 6))
    assert (memory.image_row == RANDOM).all()
    assert not torch.equal(memory.image[0], memory.image[1])
