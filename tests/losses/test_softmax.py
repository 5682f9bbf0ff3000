"""Softmax losses with several positives or a soft target, by plain loops in float64."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from torch.nn.functional import normalize

from fne.losses.albef_distill import ALBEFDistillationLoss
from fne.losses.infonce import InfoNCELoss
from fne.losses.loss import positive_of
from fne.negatives.fnc import FalseNegativeAttraction
from fne.negatives.strategy import Selection

T = 0.2


def case(batch: int = 5, count: int = 11):
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
    anchors, candidates, teacher, same, selection = case()
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
    anchors, candidates, teacher, _, selection = case()
    result = ALBEFDistillationLoss(temperature=T, distillation=alpha)(anchors, candidates, selection, teacher=teacher)
    for r, i in itertools.product(range(2), range(5)):
        logits, taught = (candidates[r] @ anchors[r, i] / T).tolist(), (teacher[r, i] / T).tolist()
        expected = plain_albef(logits, taught, selection.weights[r, i].tolist(), i, alpha)
        assert result[r, i].item() == pytest.approx(expected if selection.valid[r, i] else 0.0, abs=1e-9)


def test_distillation_spares_what_the_teacher_finds_similar() -> None:
    anchors, candidates, teacher, _, selection = case()
    loss, shares = ALBEFDistillationLoss(temperature=T, distillation=0.4), []
    similarities = anchors @ candidates.transpose(-1, -2)
    for cosine in (1.0, -1.0):
        teacher[0, 0, 7] = cosine
        shares.append(loss.shares(similarities, positive_of(similarities, None), selection, teacher=teacher)[0, 0, 7])
    assert shares[0] < shares[1]
