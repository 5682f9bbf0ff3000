"""Named random streams: reproducible, independent of each other, zero is a seed."""

from __future__ import annotations

import hashlib

import pytest

from fne.utils.seeding import stream_seed, torch_stream


def test_stream_seed_is_the_documented_hash() -> None:
    digest = hashlib.sha256(b"3\x1forder\x1f7").digest()
    assert stream_seed(3, "order", 7) == int.from_bytes(digest[:8], "big") // 2


def test_streams_are_distinct_for_every_seed_and_name() -> None:
    seeds = {
        stream_seed(seed, *names) for seed in range(50) for names in [("a",), ("b",), ("a", 1), ("a", 11), ("a1",)]
    }
    assert len(seeds) == 250
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert stream_seed(1, "1", "a") != stream_seed(11, "a") and stream_seed(1, "a", "b") != stream_seed(1, "ab")
    assert stream_seed(1, "epoch", 2) == stream_seed(1, "epoch", "2")


def test_torch_streams_are_reproducible_and_on_the_cpu() -> None:
    import torch

    item, same, other = (torch.rand(5, generator=torch_stream(seed, "init")) for seed in (0, 0, 1))
    assert torch.equal(item, same) and not torch.equal(item, other)
    assert torch_stream(0, "init").device.type == "cpu"
    state = torch.random.get_rng_state()
    torch_stream(5, "init")
    assert torch.equal(torch.random.get_rng_state(), state), "the global stream is left alone"


@pytest.mark.parametrize("seed", [-1, 0.0, 1.5, "1", None, True, False])
def test_what_is_not_a_seed(seed: object) -> None:
    with pytest.raises(ValueError, match="integer >= 0"):
        stream_seed(seed, "a")  # type: ignore[arg-type]
