"""Every loss against plain loops in float64, with its shares, its limits and its precision."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch.nn.functional import normalize

from fne.losses.albef_distill import ALBEFDistillationLoss
from fne.losses.bcl import BayesianContrastiveLoss
from fne.losses.dcl import DebiasedContrastiveLoss
from fne.losses.dense import Dense
from fne.losses.hcl import HardContrastiveLoss
from fne.losses.infonce import InfoNCELoss
from fne.losses.loss import Loss, positive_of
from fne.losses.pcmepp_pseudo import PseudoPositiveLoss
from fne.losses.sct import SelectivelyContrastiveTripletLoss
from fne.losses.selhn import SelHNLoss
from fne.losses.triplet import TripletLoss
from fne.negatives.fnc import FalseNegativeAttraction
from fne.negatives.strategy import Selection


def plain_dcl(temperature: float, prior: float, beta: float, own: float, negatives, weights) -> float:
    count, e = sum(weights), [math.exp(s / temperature) for s in negatives]
    mean = sum(w * x**beta for w, x in zip(weights, e, strict=True)) / count
    total = sum(w * x**beta * x for w, x in zip(weights, e, strict=True)) / mean
    match = math.exp(own / temperature)
    rest = max((total - count * prior * match) / (1 - prior), count * math.exp(-1 / temperature))
    return -math.log(match / (match + rest))


def plain_importance(u: float, prior: float, alpha: float, beta: float) -> float:
    def tilted(c: float, share: float) -> float:
        return share * 2 * (1 - c) + (1 - share) * 2 * c

    low, high = 0.0, 1.0
    for _ in range(60):  # the base distribution's value at which the mixture has reached u
        c = (low + high) / 2
        true, false = (share * (2 * c - c * c) + (1 - share) * c * c for share in (alpha, 1 - alpha))
        low, high = (c, high) if (1 - prior) * true + prior * false < u else (low, c)
    hard = alpha * (1 - beta) * 2 * (1 - c) + (1 - alpha) * beta * 2 * c
    hard /= alpha * (1 - beta) + (1 - alpha) * beta
    return hard / ((1 - prior) * tilted(c, alpha) + prior * tilted(c, 1 - alpha))


def plain_bcl(temperature: float, prior: float, alpha: float, beta: float, own: float, negatives, weights) -> float:
    total = 0.0
    for s, w in zip(negatives, weights, strict=True):
        below = sum(v for r, v in zip(negatives, weights, strict=True) if r <= s)
        total += w * plain_importance(below / sum(weights), prior, alpha, beta) * math.exp(s / temperature)
    match = math.exp(own / temperature)
    return -math.log(match / (match + total))


def plain_pcmepp(temperature: float, shift: float, alpha: float, own: float, negatives, weights) -> float:
    def bce(s: float, target: int) -> float:
        chance = 1 / (1 + math.exp(-(s - shift) / temperature))
        return -math.log(chance if target else 1 - chance)

    matching = pseudo = bce(own, 1)
    for s, w in zip(negatives, weights, strict=True):
        matching += w * bce(s, 0)
        pseudo += w * bce(s, 1 if s >= own else 0)
    return (matching + alpha * pseudo) / (1 + sum(weights))


def plain_selhn(margin: float, epsilon: float, own: float, negatives, weights) -> float:
    hinges = [max(0.0, margin + s - own) for s in negatives]
    if abs(own - max(negatives)) < epsilon:
        return sum(w * h for w, h in zip(weights, hinges, strict=True)) / sum(weights)
    return max(hinges)


def plain_hinges(margin: float, own: float, negatives, weights) -> float:
    return sum(w * max(0.0, margin + s - own) for s, w in zip(negatives, weights, strict=True))


CASES: dict[str, tuple[Loss, Callable, tuple[float, ...]]] = {
    "triplet": (TripletLoss(margin=0.3), plain_hinges, (0.3,)),
    "infonce": (InfoNCELoss(temperature=0.1, multi_positive=False), plain_dcl, (0.1, 0.0, 0.0)),
    "dcl": (DebiasedContrastiveLoss(temperature=0.5, positive_prior=0.1), plain_dcl, (0.5, 0.1, 0.0)),
    "dcl_on_its_floor": (DebiasedContrastiveLoss(temperature=0.3, positive_prior=0.7), plain_dcl, (0.3, 0.7, 0.0)),
    "hcl": (HardContrastiveLoss(temperature=0.2, positive_prior=0.4, hardness=2.5), plain_dcl, (0.2, 0.4, 2.5)),
    **{f"bcl_{'-'.join(map(str, of))}": (
        BayesianContrastiveLoss(temperature=of[0], positive_prior=of[1], location=of[2], concentration=of[3]),
        plain_bcl, of) for of in ((0.5, 0.1, 0.9, 1.0), (0.2, 0.3, 0.7, 0.5))},
    **{f"pcmepp_{'-'.join(map(str, of))}": (
        PseudoPositiveLoss(temperature=of[0], shift=of[1], pseudo_weight=of[2]),
        plain_pcmepp, of) for of in ((0.1, 0.5, 0.1), (0.3, 0.1, 2.0))},
    "selhn": (SelHNLoss(margin=0.2, epsilon=0.15), plain_selhn, (0.2, 0.15)),
}  # fmt: skip
"""A loss, the plain one of an anchor, and the first arguments of that; the others are the similarity to the own pair,
those to its negatives, and their weights."""


def case(batch: int = 12, count: int = 17, dim: int = 5, seed: int = 4):
    """Two replicates, weights 1 in the first and any in the second; some anchors have no negative, one a single one."""
    generator = torch.Generator().manual_seed(seed)
    anchors, candidates = (
        normalize(torch.randn(2, n, dim, generator=generator, dtype=torch.float64), dim=-1) for n in (batch, count)
    )
    anchors = normalize(anchors + 0.7 * candidates[:, :batch], dim=-1)
    weights = (torch.rand(2, batch, count, generator=generator) > 0.2).double()
    weights[1] *= torch.rand(batch, count, generator=generator, dtype=torch.float64)
    weights[:, range(batch), range(batch)] = 0
    weights[:, ::6] = 0
    weights[:, 3, :15] = 0  # one negative alone
    weights[:, 3, 15] = 1
    weights[:, 3, 16] = 0
    return anchors, candidates, Selection(None, weights, (weights > 0).any(dim=-1))


@pytest.mark.parametrize("name", CASES)
def test_dense_loss_and_its_shares_equal_plain_loops(name: str) -> None:
    """Shares: the part of the loops' finite difference that pushes a negative away, and zero elsewhere."""
    loss, plain, options = CASES[name]
    anchors, candidates, selection = case()
    similarities, weights = anchors @ candidates.transpose(-1, -2), selection.weights
    result = loss(anchors, candidates, selection)
    shares = loss.shares(similarities, similarities.diagonal(dim1=-2, dim2=-1), selection)
    step = 1e-6
    for r, i in itertools.product(range(2), range(12)):
        if not selection.valid[r, i]:
            assert result[r, i] == 0 and (shares[r, i] == 0).all()
            continue
        columns = weights[r, i].nonzero().flatten()
        own, negatives = similarities[r, i, i].item(), similarities[r, i, columns].tolist()
        weigh, expected = weights[r, i, columns].tolist(), torch.zeros(17, dtype=torch.float64)
        assert result[r, i].item() == pytest.approx(plain(*options, own, negatives, weigh), rel=1e-9, abs=1e-12)
        for at, j in enumerate(columns):
            up, down = ([s + sign * step * (at == k) for k, s in enumerate(negatives)] for sign in (1, -1))
            difference = plain(*options, own, up, weigh) - plain(*options, own, down, weigh)
            expected[j] = max(0.0, difference / (2 * step))
        if name == "infonce":  # shares are gradients up to a factor per anchor
            shares[r, i] *= expected.sum() / shares[r, i].sum()
        torch.testing.assert_close(shares[r, i], expected, atol=1e-7, rtol=1e-5)
    assert (shares.sum(dim=-1) > 0).any()


@pytest.mark.parametrize("name", [name for name, (loss, *_) in CASES.items() if isinstance(loss, Dense)])
def test_low_precision_is_computed_in_float32(name: str) -> None:
    loss, (anchors, candidates, selection) = CASES[name][0], case(dim=3)
    low = [values.bfloat16().requires_grad_() for values in (anchors, candidates)]
    result = loss(*low, Selection(None, selection.weights.bfloat16(), selection.valid))
    assert result.dtype == torch.float32 and result.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(result.sum(), low))


def plain_sct(own: float, negative: float) -> float:
    if negative > own or negative > 0.3:
        return 1.5 * negative
    return -math.log(math.exp(own / 0.1) / (math.exp(own / 0.1) + math.exp(negative / 0.1)))


PICKED = {
    "triplet": (TripletLoss(margin=0.2), lambda own, negative: max(0.0, 0.2 + negative - own)),
    "sct": (SelectivelyContrastiveTripletLoss(temperature=0.1, hard_similarity=0.3, hard_weight=1.5), plain_sct),
}


@pytest.mark.parametrize("name", PICKED)
def test_loss_of_a_picked_negative_equals_plain_loops(name: str) -> None:
    loss, plain = PICKED[name]
    anchors, candidates, _ = case()
    index = torch.randint(12, 17, (2, 12), generator=torch.Generator().manual_seed(2))
    valid = torch.ones(2, 12, dtype=torch.bool)
    valid[1, 4] = False
    result, branches = loss(anchors, candidates, Selection(index, None, valid)), set()
    for r, i in itertools.product(range(2), range(12)):
        own, negative = (float(anchors[r, i] @ candidates[r, j]) for j in (i, index[r, i]))
        branches.add((negative > own, negative > 0.3))
        assert result[r, i].item() == pytest.approx(plain(own, negative) if valid[r, i] else 0.0, abs=1e-8)
    assert len(branches) == 4


@pytest.mark.parametrize(("location", "prior", "concentration"), [(0.5, 0.0, 0.5), (0.7, 0.5, 1.0), (0.9, 0.1, 0.8)])
def test_the_importance_of_bcl_has_mean_one(location: float, prior: float, concentration: float) -> None:
    loss = BayesianContrastiveLoss(
        temperature=0.5, positive_prior=prior, location=location, concentration=concentration
    )
    omega = loss.importance((torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000)
    assert omega.mean().item() == pytest.approx(1, abs=1e-4) and (omega > 0).all()


def test_bcl_ranks_ties_in_order_and_is_exact_otherwise() -> None:
    """Equal similarities share the weights of the ranks they take up, so a collapsed model is weighted as any other."""
    loss = BayesianContrastiveLoss(temperature=0.5, positive_prior=0.1, location=0.9, concentration=1.0)
    weights = torch.ones(1, 1, 6, dtype=torch.float64)
    tied = torch.tensor([[[0.3, 0.1, 0.3, 0.3, 0.1, 0.6]]], dtype=torch.float64)
    split = tied + torch.arange(6) * 1e-12
    own = torch.tensor([[0.4]], dtype=torch.float64)
    torch.testing.assert_close(loss.of(tied, own, weights), loss.of(split, own, weights))


T = 0.2


def softmax_case(batch: int = 5, count: int = 11):
    generator = torch.Generator().manual_seed(4)
    anchors, candidates, momentum, past = (
        normalize(torch.randn(2, n, 6, generator=generator, dtype=torch.float64), dim=-1)
        for n in (batch, count, count, batch)
    )
    rows = torch.tensor([[0, 1, 2, 3, 4, 0, -1, 7, 8, 2, 0], [5, 6, 7, 8, 9, 9, 1, -1, -2, 6, 5]])
    same = rows[:, :batch].unsqueeze(-1) == rows.unsqueeze(-2)
    excluded = same | (rows == -1).unsqueeze(-2)
    excluded[1, 3] = True  # an anchor without a negative
    weights = (~excluded).double() * (torch.rand(excluded.shape, generator=generator) + 0.5)
    return anchors, candidates, past @ momentum.transpose(-1, -2), same, Selection(None, weights, ~excluded.all(dim=-1))


def plain(logits: list[float], positives: set[int], weights: list[float]) -> float:
    total = sum(math.exp(logits[p]) for p in positives)
    total += sum(w * math.exp(x) for w, x in zip(weights, logits, strict=True))
    return -sum(math.log(math.exp(logits[p]) / total) for p in positives) / len(positives)


@pytest.mark.parametrize("multi", [False, True])
@pytest.mark.parametrize("attracts", [False, True])
@pytest.mark.parametrize("relabels", [False, True])
def test_infonce_with_several_positives(multi: bool, attracts: bool, relabels: bool) -> None:
    anchors, candidates, teacher, same, selection = softmax_case()
    if attracts:
        excluded, similarities = selection.weights <= 0, anchors @ candidates.transpose(-1, -2)
        chosen = FalseNegativeAttraction(top_k=3, score_threshold=0.1).select(
            similarities, excluded, positive_of(similarities, None), torch.zeros(2, 5), teacher=teacher
        )
        weights = selection.weights * chosen.weights
        selection = Selection(None, weights, selection.valid, attracted=chosen.attracted)
    index = torch.arange(5).repeat(2, 1)
    if relabels:
        index[0, 1], index[1, 4] = 7, 3
        weights = selection.weights.scatter(-1, index.unsqueeze(-1), 0)
        selection = dataclasses.replace(selection, weights=weights, positive_index=index)
    loss = InfoNCELoss(temperature=T, multi_positive=multi)
    context = {"same_image": same} if multi else {}
    assert set(loss.needs) == set(context)
    result, several = loss(anchors, candidates, selection, **context), 0
    collapse = loss.at_collapse(selection, **context)
    for r, i in itertools.product(range(2), range(5)):
        if not selection.valid[r, i]:
            assert result[r, i] == collapse[r, i] == 0
            continue
        positives = {int(index[r, i])} | {
            j for j in range(11) if multi and same[r, i, j] or attracts and selection.attracted[r, i, j]
        }
        several += len(positives) > 1
        weights, logits = selection.weights[r, i].tolist(), (candidates[r] @ anchors[r, i] / T).tolist()
        assert result[r, i].item() == pytest.approx(plain(logits, positives, weights), abs=1e-9)
        assert collapse[r, i].item() == pytest.approx(math.log(len(positives) + sum(weights)), abs=1e-9)
    assert (several > 3) == (multi or attracts)


def plain_albef(logits: list[float], taught: list[float], weights: list[float], own: int, alpha: float) -> float:
    counts = [1.0 if j == own else w for j, w in enumerate(weights)]
    total = sum(c * math.exp(x) for c, x in zip(counts, logits, strict=True))
    summary = sum(c * math.exp(x) for c, x in zip(counts, taught, strict=True))
    loss = 0.0
    for j, count in enumerate(counts):
        if count:
            q = alpha * count * math.exp(taught[j]) / summary + (1 - alpha) * (j == own)
            loss -= q * math.log(count * math.exp(logits[j]) / total)
    return loss


@pytest.mark.parametrize("alpha", [0.0, 0.4, 1.0])
def test_albef_distill(alpha: float) -> None:
    anchors, candidates, teacher, _, selection = softmax_case()
    result = ALBEFDistillationLoss(temperature=T, distillation=alpha)(anchors, candidates, selection, teacher=teacher)
    for r, i in itertools.product(range(2), range(5)):
        logits, taught = (candidates[r] @ anchors[r, i] / T).tolist(), (teacher[r, i] / T).tolist()
        expected = plain_albef(logits, taught, selection.weights[r, i].tolist(), i, alpha)
        assert result[r, i].item() == pytest.approx(expected if selection.valid[r, i] else 0.0, abs=1e-9)


def test_distillation_spares_what_the_teacher_takes_for_similar() -> None:
    anchors, candidates, teacher, _, selection = softmax_case()
    loss, shares = ALBEFDistillationLoss(temperature=T, distillation=0.4), []
    similarities = anchors @ candidates.transpose(-1, -2)
    for cosine in (1.0, -1.0):
        teacher[0, 0, 7] = cosine
        shares.append(loss.shares(similarities, positive_of(similarities, None), selection, teacher=teacher)[0, 0, 7])
    assert shares[0] < shares[1]
