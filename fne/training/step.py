"""One training step: select, compute the loss, record; R replicates at once, no host sync, no loop over anchors."""

from __future__ import annotations

import importlib.util
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fne.losses.dense import Dense
from fne.losses.loss import Loss, positive_of, positive_similarity
from fne.negatives.memory.kind import EMPTY
from fne.negatives.oracle import draw_positive, exclude_by_truth
from fne.negatives.strategy import LANES, Selection, Strategy, arrays, draw
from fne.study.plugins import Plugin, check_before_training, find, keywords
from fne.training.context import Context
from fne.training.data import Pairs
from fne.training.diagnostics import Diagnostics, Picks
from fne.training.distributed import World
from fne.utils.errors import bad_input
from fne.utils.fields import CHOOSERS

WATCHED = 150_000
"""Pairs of anchor and candidate that a watched step looks at, of each replicate and direction: the first anchors of the
batch, at least one; it would else cost twice what the others do. All of 128 anchors with up to 1,171 candidates."""

BOTH = 1 << 18
"""Pairs of anchor and candidate, of all replicates and both directions, up to which a rule selects for both at once:
half as many small operations, which is what selecting costs there. Of each direction they are a multiple of
:data:`~fne.negatives.strategy.LANES`, and torch has one thread (several part the numbers at other places), so that
vectorised functions round as they do for one."""


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
    """What is selected and what it costs: a strategy and a loss; an oracle may narrow the strategy's choice.

    With ``own_pair_only`` other captions of the same image count as negatives: only the diagonal is excluded. With
    ``fused`` one kernel multiplies and selects wherever only the pick is looked at.
    """

    strategy: Strategy
    loss: Loss
    oracle: str = "none"
    own_pair_only: bool = False
    fused: bool = False

    @property
    def observes(self) -> bool:
        """Whether the strategy looks at batches before it selects from them."""
        return type(self.strategy).observe is not Strategy.observe

    @property
    def selects_again(self) -> bool:
        """Whether a selection for some anchors more, which is looked at, changes nothing."""
        return self.strategy.per_anchor and not self.strategy.needs and self.oracle == "none"

    @property
    def selects_both(self) -> bool:
        """Whether it may select for both directions at once, which are then a leading axis more."""
        return self.selects_again and self.strategy.even

    @property
    def per_anchor(self) -> bool:
        """Whether each of several processes may select for its own anchors alone."""
        return self.strategy.per_anchor and self.loss.per_anchor and self.oracle != "relabel"


@dataclass(frozen=True)
class Moment:
    """Where training stands at a step, and what is looked at in it.

    Args:
        step: The global step, for the age of queue picks.
        main: Whether the main phase has begun (only then histograms count).
        watch: Whether to look at all candidates' weights too, of the first anchors as far as :data:`WATCHED` goes.
        keep: Whether to return the picks.
    """

    step: int
    main: bool
    watch: bool
    keep: bool = False


@dataclass(frozen=True)
class Choice:
    """What a rule selected in one direction, and from what; nothing here carries a gradient.

    Args:
        direction: 0: images are anchors and captions candidates; 1: the other way round.
        similarities: (R, B, C) of anchors and candidates; (R, B) of the picks alone, where a kernel selected.
        excluded: (R, B, C) bool, whatever the oracle; None where a kernel selected.
        positive: (R, B), each anchor's similarity with its positive.
        selection: Of the strategy, with the oracle's positives.
        for_loss: What the loss needs; see :class:`~fne.training.context.Context`.
    """

    direction: int
    similarities: Tensor
    excluded: Tensor | None
    positive: Tensor
    selection: Selection
    for_loss: dict[str, Any]


def same_image(anchors: Tensor, candidates: Tensor) -> Tensor:
    """(R, B, C) bool: anchor and candidate share an image id; ids (R, B) and (R, C)."""
    if (ids := arrays(anchors, candidates)) is not None:
        return torch.from_numpy(np.equal(ids[0][..., None], ids[1][..., None, :]))
    return anchors.unsqueeze(-1) == candidates.unsqueeze(-2)


def exclude(context: Context, own_pair_only: bool) -> Tensor:
    """(R, B, C) bool: candidates that are no negatives, in either direction: positives and empty slots."""
    excluded = same_image(context.batch.image_row, context.candidates.image_row)
    if own_pair_only:
        places = torch.arange(excluded.shape[-1], device=excluded.device)
        excluded = (places == context.own.unsqueeze(-1)).expand_as(excluded)
    if context.candidates.entered is not None:
        empty = context.candidates.image_row == EMPTY
        if not empty.is_cpu or empty.any():
            excluded |= empty.unsqueeze(-2)
    return excluded


class Step:
    """The loss of a batch under a rule, with the diagnostics of its picks.

    Args:
        split: The training split, for the truth about picks.
        diagnostics: Where the sums go; the same on every process, whoever selected.
        world: The processes that train together. Where the rule allows it each selects for its own anchors; every
            :data:`~fne.training.engine.WATCH_EVERY`-th step, which looks at all candidates, all select for all.
    """

    def __init__(self, split: Pairs, diagnostics: Diagnostics, world: World = World()) -> None:  # noqa: B008 - frozen
        self.split, self.diagnostics, self.world = split, diagnostics, world

    def losses(self, rule: Rule, context: Context, moment: Moment) -> tuple[Tensor, list[dict[str, Tensor]]]:
        """Select, compute the loss and record, in both directions.

        Returns:
            This process's share of the loss (R,), summed over both directions and divided by B: the shares of all sum
            to the loss. And, when they are kept, the picks per direction: every column of the log of picks but seed,
            epoch and step, and ``picked``; (R, B) each.
        """
        image, rows = context.image, context.batch.image_row
        if moment.main and rule.observes:
            with torch.no_grad():
                rule.strategy.observe(image @ context.text.transpose(-1, -2), same_image(rows, rows))
        few = image.shape[1] * context.candidates.image.shape[1] <= WATCHED
        looked_at = rule.loss.reads_candidates or moment.keep
        rule.strategy.watched = looked_at or (moment.watch and (few or not rule.selects_again))
        world = self.world if rule.per_anchor and not moment.watch else World()
        if world.size > 1:
            context = context.part(world.share(image.shape[1]))
        fused = rule.fused and not moment.watch  # whether picks are kept must not change what is drawn
        with torch.no_grad():
            excluded = None if fused else exclude(context, rule.own_pair_only)
        total, kept = torch.zeros(image.shape[0], device=image.device), []
        pairs = 0 if excluded is None else excluded.numel()
        at_once = rule.selects_both and 0 < 2 * pairs <= BOTH and pairs % LANES == 0 and torch.get_num_threads() == 1
        both = self.select_both(rule, excluded, context) if at_once else None  # type: ignore[arg-type]  # as just said
        for direction in range(2):
            if excluded is None:
                choice = self.select_fused(rule, direction, context)
            else:
                choice = both[direction] if both else self.select(rule, direction, excluded, context)
            per_anchor, shares = self.compute_loss(rule.loss, choice, context)
            total = total + per_anchor.sum(dim=-1)
            picks = self.record(rule.loss, choice, per_anchor, shares, context, moment, world)
            if moment.watch:
                self._watch(rule, choice, context, moment.main)
            if moment.keep:
                columns = self._columns(picks, choice.selection, moment.step)
                kept.append(dict(zip(columns, world.gather_anchors(columns.values()), strict=True)))
        return total / (image.shape[1] * self.world.size // world.size), kept

    @torch.no_grad()
    def select(self, rule: Rule, direction: int, excluded: Tensor, context: Context) -> Choice:
        """What the rule selects in one direction, under its oracle."""
        anchors, others = context.embeddings(direction)
        similarities, uniform = anchors @ others.transpose(-1, -2), context.batch.uniform[:, direction]
        by_truth, match = self._ask(rule.oracle, direction, excluded, context)
        if context.start:
            match = context.own.expand(similarities.shape[:-1])
        positive = positive_of(similarities, match)
        parts = context.parts({*rule.strategy.needs, *rule.loss.needs}, direction)
        for_strategy, for_loss = ({name: parts[name] for name in one.needs} for one in (rule.strategy, rule.loss))
        selection = rule.strategy.select(similarities, by_truth, positive, uniform, **for_strategy)
        if match is not None:
            selection = replace(selection, positive_index=match)
        return Choice(direction, similarities, excluded, positive, selection, for_loss)

    @torch.no_grad()
    def select_both(self, rule: Rule, excluded: Tensor, context: Context) -> list[Choice]:
        """What the rule, without an oracle, selects in both directions, which are a leading axis more."""
        similarities = excluded.new_empty(2, *excluded.shape, dtype=context.image.dtype)
        for both, (anchors, others) in zip(similarities, map(context.embeddings, range(2)), strict=True):
            torch.matmul(anchors, others.transpose(-1, -2), out=both)
        own = context.own.expand(excluded.shape[:-1]) if context.start else None
        positive = positive_of(similarities, None if own is None else own.expand(similarities.shape[:-1]))
        uniform, out = context.batch.uniform.transpose(0, 1).contiguous(), excluded.expand_as(similarities)
        whole = rule.strategy.select(similarities, out, positive, uniform)

        def of(d: int) -> Selection:
            parts = {name: None if part is None else part[d] for name, part in vars(whole).items()}
            return Selection(**parts | {"positive_index": own})  # type: ignore[arg-type]  # valid is no None

        for_loss = [context.parts(rule.loss.needs, d) for d in range(2)]
        return [Choice(d, similarities[d], excluded, positive[d], of(d), for_loss[d]) for d in range(2)]

    @torch.no_grad()
    def select_fused(self, rule: Rule, direction: int, context: Context) -> Choice:
        """The same by one kernel, which makes no matrix; draws follow the same weights, but are others."""
        from fne.negatives.fused import select

        anchors, others = context.embeddings(direction)
        own = context.own.expand(anchors.shape[:-1]) if context.start else None
        positive, ids = (
            positive_similarity(anchors, others, own),
            (context.batch.image_row, context.candidates.image_row),
        )
        given = rule.strategy.fused() or {}
        index, similarity, valid, fallback = select(
            anchors, others, *ids, positive, context.batch.uniform[:, direction], **given,
            own_pair_only=rule.own_pair_only, start=context.start,
        )  # fmt: skip
        drawn = given["weighting"] is not None  # the hardest knows no fallback
        selection = Selection(index, None, valid, fallback=fallback if drawn else None, positive_index=own)
        return Choice(direction, similarity, None, positive, selection, context.parts(rule.loss.needs, direction))

    def _ask(self, oracle: str, direction: int, excluded: Tensor, context: Context) -> tuple[Tensor, Tensor | None]:
        """What an oracle excludes (R, B, C), and the positives (R, B) that it draws, if it draws any."""
        if oracle == "none":
            return excluded, None
        known, draws = self._known(context, direction), context.batch.relabel[:, direction]
        match = draw_positive(excluded, known, draws) if oracle == "relabel" else None
        return exclude_by_truth(oracle, excluded, known), match

    def compute_loss(self, loss: Loss, choice: Choice, context: Context) -> tuple[Tensor, Tensor | None]:
        """(R, B): the loss of each anchor, with gradient; and, where they are known by then, its shares (R, B, C)."""
        both, selection, of = context.embeddings(choice.direction), choice.selection, type(loss)
        own = (of.__call__, of.shares) != (Dense.__call__, Dense.shares)  # as a plug-in may have
        if isinstance(loss, Dense) and not own and torch.is_grad_enabled():
            return loss.with_shares(*both, choice.similarities, selection, **choice.for_loss)
        return loss(*both, selection, **choice.for_loss), None

    @torch.no_grad()
    def record(
        self,
        loss: Loss,
        choice: Choice,
        per_anchor: Tensor,
        shares: Tensor | None,
        context: Context,
        moment: Moment,
        world: World,
    ) -> Picks:
        """Add one direction, of the anchors of all processes, to the diagnostics, and return the picks of these."""
        picks, selection = self._picks(loss, choice, shares, context), choice.selection
        at_collapse = loss.at_collapse(selection, **choice.for_loss)
        losses = per_anchor, at_collapse, selection.fallback
        of_all = picks
        if world.size > 1:
            direction, index, picked, rows, *rest = vars(picks).values()
            whole = iter(world.gather_anchors([*losses, index, picked, *rows, *rest]))
            losses = tuple(itertools.islice(whole, 3))
            of_all = Picks(direction, next(whole), next(whole), (next(whole), next(whole)), *whole)
        self.diagnostics.add_step(of_all, losses, moment.step, histogram=moment.main)
        return picks

    def _picks(self, loss: Loss, choice: Choice, shares: Tensor | None, context: Context) -> Picks:
        """The picks of a selection; a dense loss, which has none, draws them by its shares of the gradient."""
        index, picked = choice.selection.index, choice.selection.valid
        if index is None:
            if shares is None:
                shares = loss.shares(choice.similarities, choice.positive, choice.selection, **choice.for_loss)
            index = draw(shares, context.batch.uniform[:, choice.direction])
            picked = shares.gather(-1, index.unsqueeze(-1)).squeeze(-1) > 0
        similarity = choice.similarities
        if similarity.ndim > index.ndim:
            similarity = similarity.gather(-1, index.unsqueeze(-1)).squeeze(-1)
        rows, entered = context.pairs(choice.direction, index), context.candidates.entered
        entered = None if entered is None else entered.gather(-1, index)
        return Picks(choice.direction, index, picked, rows, similarity, choice.positive, entered)

    @torch.no_grad()
    def _watch(self, rule: Rule, choice: Choice, context: Context, main: bool) -> None:
        assert choice.excluded is not None  # no kernel selects in a step that is watched
        direction, selection, strategy = choice.direction, choice.selection, rule.strategy
        _, anchors, count = choice.similarities.shape
        first = slice(0, min(anchors, max(1, WATCHED // count)))
        similarities, excluded, positive = (
            part[:, first] for part in (choice.similarities, choice.excluded, choice.positive)
        )
        if first.stop < anchors:
            context = context.part(first)
            parts = vars(selection).items()
            selection = Selection(**{name: None if part is None else part[:, first] for name, part in parts})  # type: ignore[arg-type]  # of tensors
            if not strategy.watched:
                strategy.watched = True
                selection = strategy.select(similarities, excluded, positive, context.batch.uniform[:, direction])
                strategy.watched = False
        self.diagnostics.add_weights(direction, selection, excluded)
        if main and self.split.truth is not None:
            allowed = ~excluded
            self.diagnostics.add_histogram("candidates", direction, similarities, allowed)
            known = self._known(context, direction) & allowed
            self.diagnostics.add_histogram("candidate_false_negatives", direction, similarities, known)

    def _known(self, context: Context, direction: int) -> Tensor:
        """(R, B, C) bool: pairs of anchor and candidate that are known to be relevant."""
        return self.split.false_negatives(*context.rows(direction), by_caption=direction == 1)

    @torch.no_grad()
    def _columns(self, picks: Picks, selection: Selection, step: int) -> dict[str, Tensor]:
        def at(values: Tensor | None) -> Tensor:
            if values is None:
                return torch.full_like(picks.similarity, torch.nan)
            return values.gather(-1, picks.index.unsqueeze(-1)).squeeze(-1).float()

        anchor, candidate = picks.rows if picks.direction == 0 else picks.rows[::-1]
        entered = torch.full_like(anchor, -1) if picks.entered is None else picks.entered
        queued = entered >= 0
        return {
            "anchor": anchor,
            "candidate": candidate,
            "similarity": picks.similarity,
            "positive_similarity": picks.positive,
            "posterior": at(selection.posterior),
            "weight": at(selection.weights),
            "from_queue": queued,
            "age": (step - entered).masked_fill(~queued, -1),
            "false_negative": self.split.verdict(*picks.rows),
            "picked": picks.picked & (candidate >= 0),
            "direction": torch.full_like(anchor, picks.direction),
        }


def clip_gradients(parameters: Sequence[nn.Parameter], limit: float | None) -> None:
    """Scale the gradient of each replicate to a norm of at most ``limit``, in place; None switches it off."""
    if limit is None:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    if gradients[0].is_cpu and torch.stack(torch._foreach_norm(gradients)).norm() + 1e-6 < 0.99 * limit:
        return  # that of all replicates together is no less than any
    squares = ((gradient * gradient).flatten(1) for gradient in gradients)  # one after the other: they fit a cache
    # On a CPU a sum rounds otherwise where there are more beside it: each replicate's is made alone.
    sums = [torch.cat([r.sum(dim=1) for r in s.split(1)]) if s.is_cpu else s.sum(dim=1) for s in squares]
    norm = sum(sums[1:], start=sums[0]).sqrt()
    scale = (limit / (norm + 1e-6)).clamp(max=1)
    if scale.is_cpu and (scale == 1).all():
        return
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
            check_before_training(entry, given)
        built.append(entry.load()(**given))
    oracle, kernel = config["negatives"]["oracle"], config["negatives"].get("kernel", "torch")
    return Rule(*built, oracle, fused=kernel == "triton")  # type: ignore[call-arg, misc]  # a strategy and a loss


def require_kernel(rule: Rule, device: torch.device) -> None:
    """Refuse a rule that the fused kernel cannot make the picks of, or any where it cannot run.

    Raises:
        UserError: The rule is none of those, or there is no package triton, or no GPU and not Triton's interpreter.
    """
    problem = None
    if rule.strategy.fused() is None or rule.oracle != "none" or rule.loss.reads_candidates:
        names = f"{type(rule.strategy).__name__} and {type(rule.loss).__name__}"
        problem = f"no kernel for {names} with these options and oracle {rule.oracle!r}"
    elif importlib.util.find_spec("triton") is None:
        problem = "the package triton is missing: pip install -e '.[extras]' -c constraints.txt"
    elif device.type != "cuda" and os.environ.get("TRITON_INTERPRET") != "1":
        problem = f"training is on {device.type}, not on a GPU (TRITON_INTERPRET=1 runs the kernel there, slowly)"
    if problem:
        raise bad_input(problem, key="negatives.kernel", value="triton", allowed=["torch"])


def warmup_rule(config: dict[str, Any]) -> Rule:
    """The rule of the warm-up epochs, the same for every variant: hinges on the whole batch, or on its hardest."""
    from fne.losses.triplet import TripletLoss
    from fne.negatives.all import AllNegatives
    from fne.negatives.hardest import HardestNegative

    strategy = {"all": AllNegatives, "hardest": HardestNegative}[config["warmup"]["rule"]]()
    loss = TripletLoss(margin=config["warmup"]["margin"])
    return Rule(strategy, loss, own_pair_only=config["warmup"].get("mask") == "diagonal")
