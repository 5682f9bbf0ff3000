"""Heads, their momentum copies and the keyed dropout."""

from __future__ import annotations

import copy

import pytest
import torch

from fne.negatives.memory.momentum import moving, update_momentum
from fne.training.dropout import dropout, uniform
from fne.training.heads import DualEncoder


def model(seeds=(1, 2, 3)) -> DualEncoder:
    return DualEncoder("mlp", 7, 5, 11, 4, [torch.Generator().manual_seed(seed) for seed in seeds])


def test_each_replicate_is_a_plain_mlp_with_unit_embeddings() -> None:
    heads = model()
    x = torch.randn(3, 6, 7, generator=torch.Generator().manual_seed(0))
    result = heads.image(x)
    torch.testing.assert_close(result.norm(dim=-1), torch.ones(3, 6))
    for r in range(3):
        hidden = torch.nn.functional.gelu(x[r] @ heads.image.first.weight[r] + heads.image.first.bias[r])
        y = hidden @ heads.image.second.weight[r] + heads.image.second.bias[r]
        torch.testing.assert_close(result[r], y / y.norm(dim=-1, keepdim=True))


def test_initial_weights_come_from_the_replicates_own_stream() -> None:
    block, alone = model((4, 9)), model((9,))
    for name, value in alone.state_dict().items():
        assert torch.equal(block.state_dict()[name][1], value[0])
    bound = 7**-0.5
    assert 0.8 * bound < block.image.first.weight.abs().max() <= bound


def test_momentum_update_by_hand() -> None:
    online, momentum = model(), model((5, 6, 7))
    before = copy.deepcopy(momentum.state_dict())
    update_momentum(moving(momentum), moving(online), 0.9)
    for name, value in momentum.state_dict().items():
        torch.testing.assert_close(value, 0.9 * before[name] + 0.1 * online.state_dict()[name])


def scalar_fmix64(key: int, d: int) -> float:
    mask = 2**64 - 1
    x = (key + d * 0x9E3779B97F4A7C15) & mask
    for multiplier in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        x = ((x ^ (x >> 33)) * multiplier) & mask
    x ^= x >> 33
    return (x >> 40) / 2**24


def test_uniform_equals_the_hash_in_plain_integers() -> None:
    for key in (0, 1, -5, 2**62 + 12345, -(2**63)):
        result = uniform(torch.tensor([key]), 6)[0].tolist()
        assert result == [scalar_fmix64(key, d) for d in range(1, 7)]


@pytest.mark.parametrize("shape", [(2, 50, 40), (2, 50, 3, 40)])
def test_dropout_drops_its_share_and_keeps_the_mean(shape) -> None:
    keys = torch.randint(-(2**63), 2**63 - 1, shape[:2], generator=torch.Generator().manual_seed(0))
    result = dropout(torch.ones(shape), keys, 0.25)
    torch.testing.assert_close(result.unique(), torch.tensor([0.0, 4 / 3]))
    assert (result == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
    assert (dropout(torch.ones(shape), keys, 0.0) == 1).all()
    if len(shape) == 4:
        assert torch.equal(result[:, :, 0], result[:, :, 2]), "tokens of one item are masked alike"
