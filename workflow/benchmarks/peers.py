"""The same training step as others write it, to stand beside the floor: for speed alone, with no test of its results.

*Plain*: the queue is joined to the batch in every step, the whole matrix of similarities carries gradient, and a rule
is a few lines of dense torch on it, without the candidates of the anchor's own image. *pytorch-metric-learning* (an
extra): its own miner and losses on the same embeddings, where every candidate but the own pair is a negative.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import torch
from floor import Floor, Size
from torch import Tensor
from torch.nn.functional import cross_entropy, softplus

MARGIN, TEMPERATURE = 0.2, 0.05
Rule = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Loss of anchors (B, D) and candidates (C, D), of which candidate i is the own pair of anchor i; image ids (C,)."""


class Peer(Floor):
    """A training step around a rule; heads, momentum encoder and optimiser are the floor's."""

    def __init__(self, size: Size, rule: Rule) -> None:
        super().__init__(size, torch.device("cpu"))
        self.rule, self.ids = rule, torch.arange(-size.candidates, 0)

    def step(self) -> None:
        """One step."""
        rows = self.order[self.at % len(self.order)]
        batch = [features[rows] for features in self.features]
        anchors = self.model(*batch)
        with torch.no_grad():
            past = self.momentum(*batch)
        queue = [block[self.size.batch :] for block in self.candidates]
        others = [torch.cat([new, old]) for new, old in zip(past, queue, strict=True)]
        self.ids = torch.cat([rows, self.ids[: self.size.queue]])  # the queue moves on by a batch
        loss = self.rule(anchors[0], others[1], self.ids) + self.rule(anchors[1], others[0], self.ids)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 2.0)
        self.optimizer.step()
        with torch.no_grad():
            for slow, fast in zip(self.momentum.parameters(), self.model.parameters(), strict=True):
                slow.mul_(0.995).add_(fast, alpha=0.005)
        for block, new in zip(self.candidates, past, strict=True):
            if self.size.queue:
                block[self.size.batch :] = torch.cat([new, block[self.size.batch : -self.size.batch]])
        self.at += 1


def _scores(anchors: Tensor, others: Tensor, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Similarities (B, C), those of the own pairs (B, 1), and the mask of the candidates of the anchor's image."""
    s = anchors @ others.T
    return s, s.diagonal().unsqueeze(1), ids[: len(anchors)].unsqueeze(1) == ids


def hardest(anchors: Tensor, others: Tensor, ids: Tensor) -> Tensor:
    """Max of hinges (VSE++)."""
    s, plus, own = _scores(anchors, others, ids)
    return (MARGIN + s - plus).clamp(min=0).masked_fill(own, 0).max(dim=1).values.mean()


def fne(anchors: Tensor, others: Tensor, ids: Tensor) -> Tensor:
    """Weights by Bayes' rule with fixed normals, a multinomial draw, and the hinge of what was drawn."""
    s, plus, own = _scores(anchors, others, ids)
    with torch.no_grad():
        weights = torch.exp(-0.5 * (s - plus) ** 2)
        pos = torch.exp(-((s - 0.6) ** 2) / (2 * 0.1**2)) / 0.1 * 1e-4
        neg = torch.exp(-((s - 0.3) ** 2) / (2 * 0.1**2)) / 0.1 * (1 - 1e-4)
        p = pos / (pos + neg + 1e-30)
        weights = torch.where(p > 1e-3, torch.exp(-0.5 * p), weights)
        weights = weights.masked_fill(own, 0).masked_fill(s <= 0.6 - MARGIN, 0)
        weights[weights.sum(dim=1) == 0] = (~own).float()[weights.sum(dim=1) == 0]
        drawn = torch.multinomial(weights, 1)
    return (MARGIN + s.gather(1, drawn) - plus).clamp(min=0).mean()


def infonce(anchors: Tensor, others: Tensor, ids: Tensor) -> Tensor:
    """Softmax over all candidates."""
    s, _, own = _scores(anchors, others, ids)
    return cross_entropy((s / TEMPERATURE).masked_fill(own.fill_diagonal_(False), -torch.inf), torch.arange(len(s)))


def hcl(anchors: Tensor, others: Tensor, ids: Tensor) -> Tensor:
    """Debiased and reweighted by hardness (Robinson et al., 2021), as formulas say it."""
    s, plus, own = _scores(anchors, others, ids)
    e, match, count = torch.exp(s / TEMPERATURE).masked_fill(own, 0), torch.exp(plus / TEMPERATURE), s.shape[1] - 1
    importance = e / (e.sum(dim=1, keepdim=True) / count)
    rest = ((importance * e).sum(dim=1, keepdim=True) - 0.1 * count * match) / 0.9
    rest = rest.clamp(min=count * torch.exp(torch.tensor(-1 / TEMPERATURE)))
    return -torch.log(match / (match + rest)).mean()


def bcl(anchors: Tensor, others: Tensor, ids: Tensor) -> Tensor:
    """Reweighted by rank (Liu & Wang, 2023): ranks by sorting twice."""
    s, plus, own = _scores(anchors, others, ids)
    with torch.no_grad():
        u = s.masked_fill(own, -2).argsort(dim=1).argsort(dim=1).float() / (s.shape[1] - 1)
        a, b = (1 - 2 * 0.9) * 0.8, 2 * (0.9 * 0.9 + 0.1 * 0.1)
        c = 2 * u / (b + (b * b + 4 * a * u).clamp(min=0).sqrt())
        true, false = 0.9 * (1 - c) + 0.1 * c, 0.1 * (1 - c) + 0.9 * c
        omega = (2 * c) / (2 * 0.9 * true + 2 * 0.1 * false)
    gaps = ((s - plus) / TEMPERATURE + (omega + 1e-12).log()).masked_fill(own, -torch.inf)
    return softplus(gaps.logsumexp(dim=1)).mean()


PLAIN: dict[str, Rule] = {"hardest_buffer": hardest, "fne": fne, "infonce_buffer": infonce, "hcl": hcl, "bcl": bcl}
"""Plain implementations, by the variant that does the same."""


def _labels(anchors: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Labels that only own pairs share: to a library of metric learning, equal ones are positives."""
    every = torch.arange(len(others))
    return every[: len(anchors)], every


def metric_learning() -> dict[str, Rule]:
    """The rules of pytorch-metric-learning, by the variant that does the same; none where it is not installed."""
    if importlib.util.find_spec("pytorch_metric_learning") is None:
        return {}
    from pytorch_metric_learning.distances import CosineSimilarity
    from pytorch_metric_learning.losses import NTXentLoss, TripletMarginLoss
    from pytorch_metric_learning.miners import BatchHardMiner

    miner, triplet = BatchHardMiner(distance=CosineSimilarity()), TripletMarginLoss(MARGIN, distance=CosineSimilarity())
    softmax = NTXentLoss(TEMPERATURE)

    def hardest(anchors: Tensor, others: Tensor, ids: Tensor) -> Tensor:
        mine, every = _labels(anchors, others)
        return triplet(anchors, mine, miner(anchors, mine, others, every), others, every)

    def infonce(anchors: Tensor, others: Tensor, ids: Tensor) -> Tensor:
        mine, every = _labels(anchors, others)
        return softmax(anchors, mine, ref_emb=others, ref_labels=every)

    return {"hardest_buffer": hardest, "infonce_buffer": infonce}
