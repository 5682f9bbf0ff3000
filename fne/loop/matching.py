"""A negative-selection rule and a loss as one module for a training loop of your own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import normalize

from fne.loop.memory import MemoryQueue
from fne.losses.dense import Dense
from fne.losses.loss import Loss
from fne.negatives.memory.kind import Candidates
from fne.negatives.strategy import Selection, Strategy
from fne.training.context import Context
from fne.training.step import Batch, Rule, Step, exclude, same_image
from fne.utils.seeding import torch_stream


class MatchingLoss(nn.Module):
    """The loss of a batch of image-text pairs under a rule that selects negatives, in both directions.

    ``loss = 1/B sum_i [l(image_i -> captions) + l(caption_i -> images)]``. Candidates are the batch and, behind it,
    the ``memory``; candidates with the anchor's image id are never negatives. Embeddings are L2-normalised here, in
    float32, whatever they come in.

    Where ``torch.distributed`` is initialised, embeddings and ids of all processes are gathered, with gradient: each
    process makes the same picks and returns the loss of the whole batch, and after DistributedDataParallel's mean the
    gradient is that of one process with the whole batch.

    In evaluation mode (``.eval()``) nothing is learnt from the batch, nothing enters the memory and no draw is used up.
    A batch that holds an embedding which is not finite has the loss NaN. On a CPU nothing is learnt from it; on a GPU
    nobody looks, and what strategy and memory hold is not finite from then on: stop where the loss is NaN.
    What strategy and memory hold follows the embeddings to their device.

    Args:
        strategy: Selects; any of this package (docs/how-to/library.md lists them) or your own.
        loss: Computes the loss; one that takes what the strategy gives.
        memory: Candidates beyond the batch; None: the batch alone.
        seed: Of the draws. Epoch e draws what a run of this package with the same seed draws in epoch e.
        sizes: Images and captions of the training data; only for strategies that keep a value per item (GloFND), whose
            ``image_id`` and ``text_id`` are then positions below them.
        gather: False: each process uses its own part alone, or the loop has gathered by itself.

    Attributes:
        selections: What the last call selected, images as anchors first: positions among the candidates (the batch,
            then the memory), weights and posteriors, without gradient.
        picks: Ids (image, text), each (B,), of what was picked in each direction; a negative id is a slot without a
            pair. Where a call gave no ids, they count the pairs that were seen. Empty for a strategy that keeps every
            negative.

    Raises:
        TypeError: The loss does not take what the strategy gives, or ``sizes`` is required.

    >>> from fne import FalseNegativeElimination, MatchingLoss, MemoryQueue, TripletLoss
    >>> criterion = MatchingLoss(FalseNegativeElimination(), TripletLoss(), MemoryQueue(64, dim=8))
    >>> image, text = torch.randn(2, 16, 8, generator=torch.manual_seed(0))
    >>> float(criterion(image, text, image_id=torch.arange(16))) > 0
    True
    >>> criterion.selections[0].index.shape
    torch.Size([16])
    """

    def __init__(
        self,
        strategy: Strategy,
        loss: Loss,
        memory: MemoryQueue | None = None,
        *,
        seed: int = 0,
        sizes: tuple[int, int] | None = None,
        gather: bool = True,
    ) -> None:
        super().__init__()
        _check_pair(strategy, loss)
        if not isinstance(memory, MemoryQueue | None):
            raise TypeError(f"memory is a MemoryQueue or None, got {memory!r}")
        self.rule, self.memory, self.seed, self.sizes = Rule(strategy, loss), memory, seed, sizes
        self.gather = gather
        self.needs = {*strategy.needs, *loss.needs}
        if "anchor" in self.needs and sizes is None:
            raise TypeError(f"{type(strategy).__name__} keeps a value per item: give sizes=(images, captions)")
        self.selections: tuple[Selection, ...] = ()
        self.picks: tuple[tuple[Tensor, Tensor], ...] = ()
        self._step, self._pairs = Step(None, None), 0  # type: ignore[arg-type]  # no truth, no diagnostics
        self._device: torch.device | None = torch.device("cpu")
        strategy.prepare(self.sizes or (0, 0), (1,), torch.device("cpu"))
        self.epoch, self._draws = 0, torch_stream(seed, "sampler", 0)

    def start_epoch(self, epoch: int) -> None:
        """Begin an epoch: its draws start anew, and so do the statistics of a strategy that has them by epoch.

        The epoch in which it is does not begin again, so that a loop may call this after a resume as well.
        """
        if epoch != self.epoch:
            self.epoch, self._draws = epoch, torch_stream(self.seed, "sampler", epoch)
            self.rule.strategy.start_epoch()

    def calibrate(self, similarities: Tensor, truth: Tensor) -> None:
        """Show validation pairs whose truth is known to a strategy that is calibrated on them; before `start_epoch`.

        Args:
            similarities: (n, n) cosine of validation images and captions, own pairs on the diagonal.
            truth: (n, n) bool, the pairs that are relevant.
        """
        self._place(similarities.device)
        self.rule.strategy.calibrate(similarities[None], truth[None])

    def forward(
        self,
        image: Tensor,
        text: Tensor,
        image_id: Tensor | Sequence[int] | None = None,
        text_id: Tensor | Sequence[int] | None = None,
        *,
        momentum: tuple[Tensor, Tensor] | None = None,
        guide: tuple[Tensor, Tensor] | None = None,
        scale: Tensor | float | None = None,
    ) -> Tensor:
        """The loss of a batch, a scalar in float32.

        Args:
            image, text: (B, D) embeddings of B pairs, with gradient; pair i is row i of both.
            image_id: (B,) integers >= 0: pairs with the same id have the same image. None: every pair has an image of
                its own.
            text_id: (B,) integers >= 0 of the captions; only strategies that keep a value per item read them.
            momentum: (B, D) twice, the pairs under a momentum encoder. They are then the candidates and enter the
                memory, as FNE was released; without them the memory holds the online embeddings (cross-batch memory).
            guide: (B, K) twice, the pairs under a frozen guide, for a strategy that has a guide (GISTEmbed).
            scale: Of a loss with a temperature: the learned ``exp(logit_scale)`` in place of ``1 / temperature``.

        Raises:
            ValueError: Shapes do not fit, or something that the rule needs is missing.
        """
        sides = {"image": image, "text": text}
        for name, both in (("momentum", momentum), ("guide", guide)):
            if both is not None and (isinstance(both, Tensor) or len(both) != 2):
                raise ValueError(f"{name}= takes two tensors, of the images and of the texts")
            sides |= {} if both is None else {f"{name} image": both[0], f"{name} text": both[1]}
        _check_shapes(sides)
        for need, argument, value in (
            ("teacher", "momentum", momentum),
            ("guide", "guide", guide),
            ("anchor", "image_id", image_id),
            ("anchor", "text_id", text_id),
        ):
            if need in self.needs and value is None:
                raise ValueError(f"{type(self.rule.strategy).__name__} and its loss need {argument}=")
        with torch.autocast(image.device.type, enabled=False):
            whole = {name: self._all(normalize(side.float(), dim=-1))[None] for name, side in sides.items()}
            return self._loss(whole, image_id, text_id, scale)

    def _loss(self, sides: dict[str, Tensor], image_id: Any, text_id: Any, scale: Any) -> Tensor:
        image, text = sides["image"], sides["text"]
        total, device = image.shape[1], image.device
        limits = self.sizes if self.sizes and "anchor" in self.needs else (None, None)
        rows = [self._ids(*ids, total, device) for ids in zip((image_id, text_id), limits, strict=True)]
        strategy, loss = self.rule.strategy, self.rule.loss
        self._place(device)
        looks = device.type == "cpu"  # elsewhere a look would make the host wait in every step
        learns = self.training and not (looks and any(not side.isfinite().all() for side in sides.values()))
        strategy.frozen, before = not learns, self._draws.get_state()
        uniform = torch.rand(2, total, generator=self._draws).to(device)[None]
        batch = Batch(rows[0], rows[1], uniform, uniform, uniform)  # no dropout and no oracle here to use the others
        past = (sides["momentum image"], sides["momentum text"]) if "momentum image" in sides else None
        own = Candidates(*(past or (image, text)), *rows)
        candidates = own if self.memory is None else self.memory.behind(own)
        guide = _Guide(sides, self.memory) if "guide image" in sides else None
        context = Context(image, text, batch, candidates, past, guide)  # type: ignore[arg-type]  # the same method
        with torch.no_grad():
            excluded = exclude(context, self.rule.own_pair_only)
            if learns:
                strategy.observe(image @ text.transpose(-1, -2), same_image(rows[0], rows[0]))
        result, selections, picks = torch.zeros((), device=device), list[Selection](), list[tuple[Tensor, Tensor]]()
        with _scaled(loss, scale):
            for direction in range(2):
                choice = self._step.select(self.rule, direction, excluded, context)
                result = result + self._step.compute_loss(loss, choice, context)[0].sum()
                parts = vars(choice.selection).values()
                selections.append(Selection(*(None if part is None else part[0] for part in parts)))  # type: ignore[arg-type]
                if (index := selections[-1].index) is not None:
                    picks.append((candidates.image_row[0][index], candidates.caption_row[0][index]))
        self.selections, self.picks = tuple(selections), tuple(picks)
        if not learns:
            self._draws.set_state(before)
            return result / total
        if self.memory is not None:
            if guide is not None:
                self.memory.push_guide(guide.own)
            self.memory.push(own.image, own.text, rows[0], rows[1], self._pairs)
        self._pairs += total
        return result / total

    def _place(self, device: torch.device) -> None:
        """Bring what the strategy keeps to a device, where it is not."""
        if self._device != device:
            state, strategy = self.rule.strategy.state(), self.rule.strategy
            strategy.prepare(self.sizes or (0, 0), (1,), device)
            strategy.load_state({name: value.to(device) for name, value in state.items()})
            self._device = device

    def _all(self, mine: Tensor) -> Tensor:
        """(W B, ...) of all W processes in order of rank, with gradient."""
        if not (self.gather and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            return mine
        if mine.requires_grad:
            from torch.distributed.nn.functional import all_gather

            return torch.cat(all_gather(mine))
        parts = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, mine.contiguous())
        return torch.cat(parts)

    def _ids(self, ids: Any, limit: int | None, total: int, device: torch.device) -> Tensor:
        """(1, B) ids of all processes; ids of its own for every pair where there are none."""
        if ids is None:
            return (torch.arange(total, device=device) + self._pairs)[None]
        try:
            rows = torch.as_tensor(ids)
            if not (rows.is_floating_point() or rows.dtype == torch.bool):
                rows = rows.to(torch.int64)
        except (TypeError, ValueError):
            raise ValueError(f"ids are one integer a pair, got {type(ids).__name__} of other things") from None
        if rows.ndim != 1 or rows.is_floating_point() or rows.dtype == torch.bool:
            raise ValueError(f"ids are one integer a pair, got {rows.dtype} of shape {tuple(rows.shape)}")
        if rows.device.type == "cpu" and len(rows) and not 0 <= rows.min() <= rows.max() < (limit or torch.inf):
            below = "" if limit is None else f", and below {limit} as sizes= says"
            raise ValueError(f"ids are not negative{below}, got {int(rows.min())} to {int(rows.max())}")
        rows = self._all(rows.to(device, torch.int64))
        if len(rows) != total:
            raise ValueError(f"{len(rows)} ids for {total} pairs")
        return rows[None]

    def get_extra_state(self) -> dict[str, Any]:
        state = {f"strategy/{name}": value for name, value in self.rule.strategy.state().items()}
        return state | {"draws": self._draws.get_state(), "at": torch.tensor([self.epoch, self._pairs])}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        self.epoch, self._pairs = state["at"].tolist()
        self._draws.set_state(state["draws"].cpu())
        saved = {name.removeprefix("strategy/"): value for name, value in state.items() if "/" in name}
        self.rule.strategy.load_state(saved)
        self._device = None  # anywhere: the next call brings it to where it is used


class _Guide:
    """Similarities under a frozen encoder: of the batch with the batch and with what the memory holds."""

    def __init__(self, sides: dict[str, Tensor], memory: MemoryQueue | None) -> None:
        self.own = sides["guide image"].detach(), sides["guide text"].detach()
        self.others = self.own if memory is None else memory.guide_behind(self.own)

    def similarities(self, direction: int, batch: Batch, candidates: Candidates) -> Tensor:
        """(1, B, C); -1 where a slot holds no pair."""
        absent = (candidates.image_row if direction else candidates.caption_row) < 0
        similarities = self.own[direction] @ self.others[1 - direction].transpose(-1, -2)
        return similarities.masked_fill(absent.unsqueeze(-2), -1)


def _check_pair(strategy: Strategy, loss: Loss) -> None:
    """Refuse a loss that does not take what a strategy gives."""
    if not (isinstance(strategy, Strategy) and isinstance(loss, Loss)):
        raise TypeError(f"MatchingLoss takes objects, a Strategy and a Loss, got {strategy!r} and {loss!r}")
    gives = getattr(strategy, "negatives", "one")
    takes = getattr(loss, "negatives", "all" if isinstance(loss, Dense) else "one")
    takes = (takes,) if isinstance(takes, str) else takes
    if gives not in takes:
        words = {"one": "one negative an anchor", "all": "every negative", "attracted": "further positives"}
        taken = " or ".join(words[each] for each in takes)
        raise TypeError(
            f"{type(strategy).__name__} gives {words[gives]}; {type(loss).__name__} takes {taken}: choose another loss"
        )


def _check_shapes(sides: dict[str, Tensor]) -> None:
    first = sides["image"]
    pairs = first.shape[0] if isinstance(first, Tensor) and first.ndim and len(first) else "B >= 1"
    for name, side in sides.items():
        if not isinstance(side, Tensor):
            raise ValueError(f"{name} embeddings are a ({pairs}, D) tensor, got {type(side).__name__}")
        if side.ndim != 2 or not len(side) or side.shape[0] != pairs or not side.is_floating_point():
            raise ValueError(f"{name} embeddings are ({pairs}, D) numbers, got {side.dtype} {tuple(side.shape)}")
    for name in ("", "momentum ", "guide "):
        if f"{name}image" in sides and sides[f"{name}image"].shape != sides[f"{name}text"].shape:
            shapes = [tuple(sides[f"{name}{side}"].shape) for side in ("image", "text")]
            raise ValueError(f"{name}image and text embeddings differ in shape: {shapes[0]}, {shapes[1]}")
    if "momentum image" in sides and sides["momentum image"].shape != first.shape:
        shape = tuple(sides["momentum image"].shape)
        raise ValueError(f"momentum embeddings differ in shape from the online ones: {shape}, {tuple(first.shape)}")


@contextmanager
def _scaled(loss: Loss, scale: Tensor | float | None) -> Iterator[None]:
    """A loss whose temperature is ``1 / scale`` for a while."""
    if scale is None:
        yield
        return
    if not hasattr(loss, "temperature"):
        raise ValueError(f"{type(loss).__name__} has no temperature that scale= could set")
    fixed, loss.temperature = loss.temperature, 1 / torch.as_tensor(scale).float()
    try:
        yield
    finally:
        loss.temperature = fixed
