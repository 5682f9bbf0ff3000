"""Named random streams: one integer seed, one independent stream per purpose; variants with equal seeds are paired."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def stream_seed(seed: int, *names: str | int) -> int:
    """Derive the 63-bit seed of a named stream.

    The first eight bytes of SHA-256 over ``seed`` and ``names``, so that streams are independent of each other, of the
    order in which they are asked for, and of every config value that is not in ``names``. Zero is a seed.

    Args:
        seed: The run's integer seed, >= 0.
        names: What the stream is for, e.g. ``"order", epoch``.

    Raises:
        ValueError: ``seed`` is negative or not an integer, or no name is given.
    """
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise ValueError(f"a seed is an integer >= 0, got {seed!r}")
    if not names:
        raise ValueError("a stream needs a name")
    key = "\x1f".join([str(seed), *(str(name) for name in names)])
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1


def numpy_stream(seed: int, *names: str | int) -> np.random.Generator:
    """A numpy generator for the named stream (see :func:`stream_seed`)."""
    return np.random.default_rng(stream_seed(seed, *names))


def torch_stream(seed: int, *names: str | int) -> torch.Generator:
    """A CPU torch generator for the named stream (see :func:`stream_seed`).

    Draws are made on the CPU and moved, so that a CPU run and a GPU run see the same numbers.
    """
    import torch

    return torch.Generator().manual_seed(stream_seed(seed, *names))
