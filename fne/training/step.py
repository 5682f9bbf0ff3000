"""One training step: embed, score, select, lose, update; R replicates at once, no host sync, no loop over anchors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fne.losses.loss import Loss, positive_of
from fne.negatives.memory.kind import EMPTY, Candidates
from fne.negatives.oracle import draw_positive, exclude_by_truth
from fne.negatives.strategy import Selection, Strategy, draw
from fne.study.fields import CHOOSERS
from fne.study.plugins import Plugin, check_before_training, find, keywords
from fne.training.context import Context, Guide
from fne.training.data import Pairs
from fne.training.diagnostics import Diagnostics


@dataclass(frozen=True)
class Batch:
    """A batch of pairs: positions (R, B) in the training split; draws of sampler and oracle, dropout keys (R, 2, B)."""

    image_row: Tensor
    caption_row: Tensor
    uniform: Tensor
    noise: Tensor
    relabel: Tensor


@dataclass(frozen=True)
class Rule:
    """What is selected and what it costs: a strategy and a loss; an oracle may narrow the strategy's choice."""

    strategy: Strategy
    loss: Loss
    oracle: str = "none"


def same_image(anchors: Tensor, candidates: Tensor) -> Tensor:
    """(R, B, C) bool: anchor and candidate share an image id; ids (R, B) and (R, C)."""
    return anchors.unsqueeze(-1) == candidates.unsqueeze(-2)


class Step:
    """The loss of a batch under a rule, with the diagnostics of its picks.

    Args:
        split: The training split, for the truth about picks.
        diagnostics: Where the sums go.
    """

    def __init__(self, split: Pairs, diagnostics: Diagnostics) -> None:
        self.split, self.diagnostics = split, diagnostics

    def losses(
        self,
        rule: Rule,
        image: Tensor,
        text: Tensor,
        candidates: Candidates,
        batch: Batch,
        *,
        step: int,
        main: bool,
        watch: bool,
        keep: bool = False,
        own_pair_only: bool = False,
        past: tuple[Tensor, Tensor] | None = None,
        guide: Guide | None = None,
    ) -> tuple[Tensor, list[dict[str, Tensor]]]:
        """Select and lose in both directions.

        Args:
            rule: The strategy and the loss.
            image, text: (R, B, D) online embeddings, with gradient.
            candidates: See :class:`Candidates`.
            batch: The pairs and the draws.
            step: The global step, for the age of queue picks.
            main: Whether the main phase has begun (only then histograms count).
            own_pair_only: Exclude the diagonal only, so that other captions of the same image count as negatives.
            watch: Whether to look at all candidates' weights too, which costs a few passes over (R, B, C).
            past, guide: See :class:`~fne.training.context.Context`.
            keep: Whether to return the picks.

        Returns:
            The loss (R,), summed over both directions and divided by B, and, when they are kept, the picks per
            direction: every column of the log of picks but seed, epoch and step, and ``picked``; (R, B) each.
        """
        picks: list[dict[str, Tensor]] = []
        with torch.no_grad():
            excluded = same_image(batch.image_row, candidates.image_row)
            if own_pair_only:
                excluded = torch.eye(*excluded.shape[1:], dtype=torch.bool, device=excluded.device).expand_as(excluded)
            if candidates.entered is not None:
                excluded |= (candidates.image_row == EMPTY).unsqueeze(-2)
            if main:
                online = image @ text.transpose(-1, -2)
                rule.strategy.observe(online, same_image(batch.image_row, batch.image_row))
        context = Context(batch, candidates, past, guide)
        total = torch.zeros(image.shape[0], device=image.device)
        for direction, (anchors, others) in enumerate(((image, candidates.text), (text, candidates.image))):
            with torch.no_grad():
                similarities = anchors @ others.transpose(-1, -2)
                uniform = batch.uniform[:, direction]
                barred = excluded
                if rule.oracle != "none":
                    known = self._known(direction, similarities, candidates, batch)
                    barred = exclude_by_truth(rule.oracle, excluded, known)
                match = None
                if rule.oracle == "relabel":
                    match = draw_positive(excluded, known, batch.relabel[:, direction])
                positive = positive_of(similarities, match)
                wanted = context.parts({*rule.strategy.needs, *rule.loss.needs}, direction)
                for_loss = {name: wanted[name] for name in rule.loss.needs}
                selection = rule.strategy.select(
                    similarities, barred, positive, uniform, **{name: wanted[name] for name in rule.strategy.needs}
                )
                if match is not None:
                    selection = replace(selection, positive_index=match)
            per_anchor = rule.loss(anchors, others, selection, **for_loss)
            total = total + per_anchor.sum(dim=-1)
            with torch.no_grad():
                index, picked = selection.index, selection.valid
                if index is None:
                    shares = rule.loss.shares(similarities, positive, selection, **for_loss)
                    index, picked = draw(shares, uniform), (shares > 0).any(dim=-1)
                rows = self._rows(direction, index, candidates, batch)
                chosen = similarities.gather(-1, index.unsqueeze(-1)).squeeze(-1)
                false_negative = self.split.false_negative(*rows) & picked
                self._record(
                    direction,
                    rule.loss.at_collapse(selection, **for_loss),
                    selection,
                    per_anchor,
                    chosen,
                    positive,
                    picked,
                    false_negative,
                    index,
                    candidates,
                    step,
                )
                if main:
                    self.diagnostics.add_histogram("picks", direction, chosen, picked)
                    self.diagnostics.add_histogram("false_negatives", direction, chosen, false_negative)
                if watch:
                    self._watch(direction, selection, similarities, excluded, candidates, batch, main)
                if keep:
                    found = (selection, index, chosen, positive, picked)
                    picks.append(self._picks(direction, *found, candidates, batch, step))
        return total / image.shape[1], picks

    def _known(self, direction: int, similarities: Tensor, candidates: Candidates, batch: Batch) -> Tensor:
        """(R, B, C) bool: candidates known to be relevant to their anchor, own pairs included."""
        if direction == 0:
            image, caption = batch.image_row.unsqueeze(-1), candidates.caption_row.unsqueeze(-2)
        else:
            image, caption = candidates.image_row.unsqueeze(-2), batch.caption_row.unsqueeze(-1)
        return self.split.false_negative(image.expand_as(similarities), caption.expand_as(similarities))

    def _rows(self, direction: int, index: Tensor, candidates: Candidates, batch: Batch) -> tuple[Tensor, Tensor]:
        """(image row, caption row) of each picked pair, (R, B) each."""
        if direction == 0:
            return batch.image_row, candidates.caption_row.gather(-1, index)
        return candidates.image_row.gather(-1, index), batch.caption_row

    def _record(
        self,
        direction: int,
        at_collapse: Tensor,
        selection: Selection,
        per_anchor: Tensor,
        chosen: Tensor,
        positive: Tensor,
        picked: Tensor,
        false_negative: Tensor,
        index: Tensor,
        candidates: Candidates,
        step: int,
    ) -> None:
        add = self.diagnostics.add
        self.diagnostics.add_picks(direction, chosen, false_negative, positive, picked)
        add("loss", direction, per_anchor)
        add("at_collapse", direction, at_collapse)
        add("contributing", direction, per_anchor > 0)
        add("anchors", direction, torch.ones_like(picked))
        if selection.fallback is not None:
            add("fallback", direction, selection.fallback)
        if candidates.entered is not None:
            entered = candidates.entered.gather(-1, index)
            queued = picked & (entered >= 0)
            add("from_queue", direction, queued)
            add("age", direction, (step - entered).masked_fill(~queued, 0))

    def _watch(
        self,
        direction: int,
        selection: Selection,
        similarities: Tensor,
        excluded: Tensor,
        candidates: Candidates,
        batch: Batch,
        main: bool,
    ) -> None:
        self.diagnostics.add_weights(direction, selection, excluded)
        if main and self.split.truth is not None:
            known = self._known(direction, similarities, candidates, batch)
            self.diagnostics.add_histogram("candidates", direction, similarities, ~excluded)
            self.diagnostics.add_histogram("candidate_false_negatives", direction, similarities, known & ~excluded)

    def _picks(
        self,
        direction: int,
        selection: Selection,
        index: Tensor,
        chosen: Tensor,
        positive: Tensor,
        picked: Tensor,
        candidates: Candidates,
        batch: Batch,
        step: int,
    ) -> dict[str, Tensor]:
        def at(values: Tensor | None) -> Tensor:
            if values is None:
                return torch.full_like(chosen, torch.nan)
            return values.gather(-1, index.unsqueeze(-1)).squeeze(-1).float()

        rows = self._rows(direction, index, candidates, batch)
        anchor, candidate = rows if direction == 0 else rows[::-1]
        entered = torch.full_like(anchor, -1) if candidates.entered is None else candidates.entered.gather(-1, index)
        queued = entered >= 0
        return {
            "anchor": anchor,
            "candidate": candidate,
            "similarity": chosen,
            "positive_similarity": positive,
            "posterior": at(selection.posterior),
            "weight": at(selection.weights),
            "from_queue": queued,
            "age": (step - entered).masked_fill(~queued, -1),
            "false_negative": self.split.verdict(*rows),
            "picked": picked & (candidate >= 0),
            "direction": torch.full_like(anchor, direction),
        }


def clip_gradients(model: nn.Module, limit: float | None) -> None:
    """Scale the gradient of each replicate to a norm of at most ``limit``, in place; None switches it off."""
    if limit is None:
        return
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    norm = torch.stack([g.flatten(1).square().sum(dim=1) for g in gradients]).sum(dim=0).sqrt()
    scale = (limit / (norm + 1e-6)).clamp(max=1)
    for g in gradients:
        g.mul_(scale.reshape(-1, *[1] * (g.ndim - 1)))


def build_rule(config: dict[str, Any]) -> Rule:
    """The strategy and the loss that a resolved config names.

    Raises:
        UserError: One of them is a plug-in that cannot be imported or breaks its contract.
    """
    built = []
    for section, chooser in CHOOSERS.items():
        entry = find(section, config[section][chooser.partition(".")[2]])
        given = keywords(entry, section, config)
        if isinstance(entry, Plugin):
            check_before_training(entry, given, config[section]["source"])
        built.append(entry.load()(**given))
    return Rule(*built, config["negatives"]["oracle"])


def warmup_rule(config: dict[str, Any]) -> Rule:
    """The rule of the warm-up epochs, the same for every variant: hinges on the whole batch, or on its hardest."""
    from fne.losses.triplet import TripletLoss
    from fne.negatives.all import AllNegatives
    from fne.negatives.hardest import HardestNegative

    strategy = {"all": AllNegatives, "hardest": HardestNegative}[config["warmup"]["rule"]]()
    return Rule(strategy, TripletLoss(margin=config["warmup"]["margin"]))
