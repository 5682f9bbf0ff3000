"""Every loss against plain loops in float64."""

from __future__ import annotations

import math

import pytest
import torch

from fne.losses.infonce import InfoNCELoss
from fne.losses.loss import pick
from fne.losses.triplet import TripletLoss
from fne.negatives.all import AllNegatives
from fne.negatives.strategy import Selection


def embeddings(batch: int = 5, count: int = 9, dim: int = 6):
    generator = torch.Generator().manual_seed(11)
    anchors, candidates = (
        torch.nn.functional.normalize(torch.randn(2, n, dim, generator=generator, dtype=torch.float64), dim=-1)
        for n in (batch, count)
    )
    excluded = torch.rand(2, batch, count, generator=generator) < 0.2
    excluded[:, range(batch), range(batch)] = True
    return anchors, candidates, excluded


def dense(anchors, candidates, excluded):
    similarities = anchors @ candidates.transpose(-1, -2)
    positive = similarities.diagonal(dim1=-2, dim2=-1)
    return similarities, positive, AllNegatives().select(similarities, excluded, positive, torch.zeros_like(positive))


def test_triplet_of_a_picked_negative() -> None:
    anchors, candidates, _ = embeddings()
    index = torch.tensor([[3, 8, 0, 7, 2], [1, 5, 6, 4, 8]])
    valid = torch.ones(2, 5, dtype=torch.bool)
    valid[1, 4] = False
    found = TripletLoss(margin=0.2)(anchors, candidates, Selection(index, None, valid))
    for r in range(2):
        for i in range(5):
            s = float(anchors[r, i] @ candidates[r, index[r, i]])
            expected = max(0.0, 0.2 + s - float(anchors[r, i] @ candidates[r, i])) if valid[r, i] else 0.0
            assert found[r, i].item() == pytest.approx(expected, abs=1e-12)
    assert (found > 0).any() and (found == 0).any()


def test_sum_of_hinges_and_infonce() -> None:
    anchors, candidates, excluded = embeddings()
    similarities, positive, selection = dense(anchors, candidates, excluded)
    hinges = TripletLoss(margin=0.3)(anchors, candidates, selection)
    softmax = InfoNCELoss(temperature=0.1, multi_positive=False)(anchors, candidates, selection)
    for r in range(2):
        for i in range(5):
            own = positive[r, i].item()
            negatives = [similarities[r, i, j].item() for j in range(9) if not excluded[r, i, j]]
            assert hinges[r, i].item() == pytest.approx(sum(max(0.0, 0.3 + s - own) for s in negatives), abs=1e-12)
            total = math.exp(own / 0.1) + sum(math.exp(s / 0.1) for s in negatives)
            assert softmax[r, i].item() == pytest.approx(-math.log(math.exp(own / 0.1) / total), abs=1e-10)


@pytest.mark.parametrize("loss", [TripletLoss(margin=0.2), InfoNCELoss(temperature=0.07, multi_positive=False)])
def test_shares_are_the_gradient_on_each_negative(loss) -> None:
    """d loss / d s_ij up to a factor per anchor, from autograd over similarities that are free variables."""
    anchors, candidates, excluded = embeddings()
    similarities, positive, selection = dense(anchors, candidates, excluded)
    free = candidates.unsqueeze(1).expand(-1, 5, -1, -1).clone().requires_grad_()
    shares = loss.shares(similarities, positive, selection)
    for i in range(5):
        others = free[:, i]
        one = torch.cat([others[:, i : i + 1].detach(), others], dim=1)
        weights = torch.cat([torch.zeros(2, 1, 1), selection.weights[:, i : i + 1]], dim=-1)
        loss(anchors[:, i : i + 1], one, Selection(None, weights, selection.valid[:, i : i + 1])).sum().backward()
    gradient = torch.einsum("ricd,rid->ric", free.grad, anchors)
    norm = gradient.sum(dim=-1, keepdim=True)
    mine = shares / shares.sum(dim=-1, keepdim=True).clamp(min=1e-12)
    kept = (norm > 1e-9).expand_as(mine)
    assert kept.any()
    torch.testing.assert_close(mine[kept], (gradient / norm)[kept], atol=1e-9, rtol=1e-7)


def test_loss_of_a_collapsed_model_is_the_alarm_value() -> None:
    anchors = torch.nn.functional.normalize(torch.ones(1, 4, 3, dtype=torch.float64), dim=-1)
    candidates = anchors[:, :1].expand(1, 6, 3)
    excluded = torch.zeros(1, 4, 6, dtype=torch.bool)
    excluded[:, range(4), range(4)] = True
    _, _, selection = dense(anchors, candidates, excluded)
    one = Selection(torch.tensor([[1, 2, 3, 0]]), None, torch.ones(1, 4, dtype=torch.bool))
    for loss, chosen in (
        (TripletLoss(margin=0.2), selection),
        (TripletLoss(margin=0.2), one),
        (InfoNCELoss(temperature=0.05, multi_positive=False), selection),
    ):
        torch.testing.assert_close(loss(anchors, candidates, chosen), loss.at_collapse(chosen).double())


def test_pick_gathers_and_its_gradient_adds_up() -> None:
    candidates = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    index = torch.randint(4, (2, 3, 6), generator=torch.Generator().manual_seed(1))
    found = pick(candidates, index)
    found.sum().backward()
    for a in range(2):
        for b in range(3):
            for i in range(6):
                assert torch.equal(found[a, b, i], candidates[a, b, index[a, b, i]])
            for j in range(4):
                assert candidates.grad[a, b, j, 0].item() == (index[a, b] == j).sum().item()
