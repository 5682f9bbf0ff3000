"""Gradients of every dense loss in float32 against float64 autograd of its formula, written as it is printed."""

from __future__ import annotations

import dataclasses
import itertools

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid

from fne.losses.infonce import InfoNCELoss
from fne.negatives.registry import registered
from tests.losses.test_formulas import case, plain_importance


def debiased(loss, own: Tensor, s: Tensor, w: Tensor, beta: float) -> Tensor:
    match, e, count, prior = (own / loss.temperature).exp(), (s / loss.temperature).exp(), w.sum(), loss.positive_prior
    total = (w * e ** (1 + beta)).sum() / ((w * e**beta).sum() / count)
    rest = (total - count * prior * match) / (1 - prior)
    return -(match / (match + rest.clamp(min=count * torch.as_tensor(-1 / loss.temperature).exp()))).log()


def bayesian(loss, own: Tensor, s: Tensor, w: Tensor) -> Tensor:
    options = loss.positive_prior, loss.location, loss.concentration
    omega = torch.tensor([plain_importance(float(w[s <= at].sum() / w.sum()), *options) for at in s])
    match = (own / loss.temperature).exp()
    return -(match / (match + (w * omega * (s / loss.temperature).exp()).sum())).log()


def pseudo_positive(loss, own: Tensor, s: Tensor, w: Tensor) -> Tensor:
    matched, logits = ((values - loss.shift) / loss.temperature for values in (own, s))
    no, yes = -logsigmoid(-logits), -logsigmoid(logits)
    either = torch.where(s >= own, yes, no)
    terms = (1 + loss.pseudo_weight) * -logsigmoid(matched) + (w * (no + loss.pseudo_weight * either)).sum()
    return terms / (1 + w.sum())


def selective(loss, own: Tensor, s: Tensor, w: Tensor) -> Tensor:
    hinges = (loss.margin + s - own).clamp(min=0)
    return (w * hinges).sum() / w.sum() if abs(own - s.max()) < loss.epsilon else hinges.max()


def distilled(loss, own: Tensor, s: Tensor, w: Tensor, taught_own: Tensor, taught: Tensor) -> Tensor:
    count = torch.cat([torch.ones(1), w])
    p, q = (
        (count * e / (count * e).sum())
        for e in ((torch.cat([a[None], b]) / loss.temperature).exp() for a, b in ((own, s), (taught_own, taught)))
    )
    q = loss.distillation * q + (1 - loss.distillation) * (torch.arange(len(q)) == 0)
    return -(q * p.log()).sum()


def several(loss: InfoNCELoss, positives: Tensor, s: Tensor, w: Tensor) -> Tensor:
    e = (positives / loss.temperature).exp()
    return -(e / (e.sum() + (w * (s / loss.temperature).exp()).sum())).log().mean()


FORMULAS = {
    "triplet": lambda loss, own, s, w: (w * (loss.margin + s - own).clamp(min=0)).sum(),
    "infonce": lambda loss, own, s, w: several(loss, own[None], s, w),
    "dcl": lambda loss, own, s, w: debiased(loss, own, s, w, 0.0),
    "hcl": lambda loss, own, s, w: debiased(loss, own, s, w, loss.hardness),
    "bcl": bayesian,
    "pcmepp_pseudo": pseudo_positive,
    "selhn": selective,
    "albef_distill": distilled,
}
LOSSES = {name: entry for name, entry in registered("loss").items() if "all" in entry.negatives}


def gradients(total: Tensor, inputs: list[Tensor]) -> list[Tensor]:
    return list(torch.autograd.grad(total, inputs))


@pytest.mark.parametrize(("relabelled", "learned"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("name", LOSSES)
def test_gradients_equal_those_of_the_formula(name: str, relabelled: bool, learned: bool) -> None:
    """Of anchors, candidates and a temperature that is learned, each anchor with a factor of its own."""
    loss = LOSSES[name].load()()
    if learned and not hasattr(loss, "temperature"):
        pytest.skip("has no temperature")
    anchors, candidates, selection = case(dim=16)
    weights, positive = selection.weights, torch.arange(12).repeat(2, 1)
    if relabelled:  # candidate 12 has no weight anywhere
        positive[:, ::2] = 12
        selection = dataclasses.replace(selection, positive_index=positive)
    generator = torch.Generator().manual_seed(1)
    factor = torch.rand(2, 12, generator=generator) / 12
    teacher = torch.rand(2, 12, 17, generator=generator).double() * 2 - 1
    low = [values.float().requires_grad_() for values in (anchors, candidates)]
    high = [values.detach().double().requires_grad_() for values in low]
    if learned:
        temperature = torch.tensor(0.1)
        low.append(nn.Parameter(temperature))
        high.append(temperature.double().requires_grad_())
        loss.temperature = low[-1]
    needed = {"teacher": teacher.float()} if loss.needs else {}
    losses = loss(low[0], low[1], selection, **needed)
    computed = gradients((factor * losses).sum(), low)
    with torch.inference_mode():
        assert torch.equal(loss(low[0], low[1], selection, **needed), losses)

    if learned:
        loss.temperature = high[-1]
    total, similarities = torch.zeros((), dtype=torch.float64), high[0] @ high[1].transpose(-1, -2)
    for r, i in itertools.product(range(2), range(12)):
        if selection.valid[r, i]:
            at = weights[r, i].nonzero().flatten()
            taught = (teacher[r, i, i], teacher[r, i, at]) if loss.needs else ()
            row = similarities[r, i]
            total = total + factor[r, i] * FORMULAS[name](
                loss, row[positive[r, i]], row[at], weights[r, i, at], *taught
            )
    for mine, expected in zip(computed, gradients(total, high), strict=True):
        assert expected.abs().max() > 1e-3
        torch.testing.assert_close(mine.double(), expected, atol=1e-6, rtol=1e-6)
