"""Dropout whose masks are a function of a key per item, so that each replicate has its own stream on any device."""

from __future__ import annotations

import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 2^64 / golden ratio, as a signed 64-bit integer
_MIX = (-49064778989728563, -4265267296055464877)  # multipliers of the 64-bit finaliser of MurmurHash3


def uniform(keys: Tensor, width: int) -> Tensor:
    """Uniform numbers in [0, 1) from a hash: the same keys give the same numbers on every device.

    ``u_d = top 24 bits of fmix64(key + d * 2^64/phi) / 2^24``, where fmix64 is the finaliser of MurmurHash3.

    Args:
        keys: (...) int64, one per item, drawn at random.
        width: Numbers per item.

    Returns:
        (..., width) float32.
    """
    x = keys.unsqueeze(-1) + torch.arange(1, width + 1, device=keys.device) * _GOLDEN
    for multiplier in _MIX:
        x = (x ^ ((x >> 33) & 0x7FFFFFFF)) * multiplier
    x = x ^ ((x >> 33) & 0x7FFFFFFF)
    return ((x >> 40) & 0xFFFFFF).float() * 2.0**-24


def dropout(values: Tensor, keys: Tensor, share: float) -> Tensor:
    """Set a share of the features of each item to 0 and scale the others by 1 / (1 - share).

    Args:
        values: (R, B, ..., D), standardised features; tokens of one item are masked alike.
        keys: (R, B) int64.
        share: In [0, 1); 0 returns ``values``.

    *Source*: Srivastava et al., JMLR 2014.
    """
    if share == 0:
        return values
    kept = (uniform(keys, values.shape[-1]) >= share).to(values.dtype) / (1 - share)
    return values * kept.reshape(*kept.shape[:2], *[1] * (values.ndim - 3), kept.shape[-1])
