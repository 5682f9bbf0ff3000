"""What a strategy or a loss may want to see beside similarities: each part is worked out only where it is named."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from fne.negatives.registry import NEEDS

if TYPE_CHECKING:
    from fne.negatives.memory.kind import Candidates
    from fne.training.data import Pairs
    from fne.training.learner import Learner
    from fne.training.step import Batch


class Guide:
    """A frozen encoder that scores pairs of the training split, all of which it has embedded once.

    It is the online encoder as it was when the warm-up ended. Images and captions are embedded as at evaluation, in
    either regime. The embeddings stay on the device: ``R (N + M) D`` numbers for N images and M captions.

    *Freedom*: GISTEmbed takes an embedding model of its own as the guide; the frozen encoders of a dual encoder share
    no space, so there is no other model here that could compare an image with a caption.

    Args:
        learner: Embeds the split.
        train: The training split.
        weights: Of the guide; None: as the online encoder is now.
    """

    def __init__(self, learner: Learner, train: Pairs, weights: dict[str, Tensor] | None = None) -> None:
        self.model: nn.Module = learner.momentum_copy()
        if weights is not None:
            self.model.load_state_dict(weights, strict=True)
        self.image, self.text = learner.embed_split(train, self.model)
        self._held: dict[int, tuple[Tensor, Tensor]] = {}

    def similarities(self, direction: int, batch: Batch, candidates: Candidates) -> Tensor:
        """(R, B, C) cosine of anchors and candidates; -1 where a candidate is no pair of the split."""
        anchors, others = (self.image, batch.image_row), (self.text, candidates.caption_row)
        if direction == 1:
            anchors, others = (self.text, batch.caption_row), (self.image, candidates.image_row)
        result = _rows(*anchors) @ self._block(direction, *others).transpose(-1, -2)
        absent = others[1] < 0
        return result if absent.is_cpu and not absent.any() else result.masked_fill(absent.unsqueeze(-2), -1)

    def _block(self, direction: int, embeddings: Tensor, rows: Tensor) -> Tensor:
        """(R, C, D) as :func:`_rows`; on a CPU only those are read that are other ones than in the step before."""
        rows = rows.clamp(min=0)
        before, block = self._held.get(direction, (rows[:, :0], embeddings))
        if not rows.is_cpu or before.shape != rows.shape:
            block = _rows(embeddings, rows)
        else:
            replicate, place = (before != rows).nonzero(as_tuple=True)
            block[replicate, place] = embeddings[replicate, rows[replicate, place]]
        self._held[direction] = rows, block
        return block


def _rows(embeddings: Tensor, rows: Tensor) -> Tensor:
    """(R, K, D): the embeddings (R, N, D) at rows (R, K)."""
    first = torch.arange(len(rows), device=rows.device).unsqueeze(-1) * embeddings.shape[1]
    return embeddings.flatten(0, 1).index_select(0, (rows + first).flatten()).unflatten(0, rows.shape)


@dataclass(frozen=True)
class Context:
    """What one step works on, and where the parts that a rule needs come from.

    Args:
        image, text: (R, B, D) online embeddings, with gradient.
        batch: The pairs and the draws.
        candidates: Of both directions.
        past: Momentum embeddings (R, B, D) of the batch's images and captions; None without a momentum encoder.
        guide: None where nothing wants one, and in the warm-up.
        start: Candidate ``start + i`` is the own pair of anchor i; 0, but where several processes share the anchors.
    """

    image: Tensor
    text: Tensor
    batch: Batch
    candidates: Candidates
    past: tuple[Tensor, Tensor] | None = None
    guide: Guide | None = None
    start: int = 0

    def part(self, rows: slice) -> Context:
        """The same for the anchors in ``rows``; the candidates are still all."""
        batch = replace(self.batch, **{name: part[..., rows] for name, part in vars(self.batch).items()})
        past = None if self.past is None else (self.past[0][:, rows], self.past[1][:, rows])
        image, text = self.image[:, rows], self.text[:, rows]
        return Context(image, text, batch, self.candidates, past, self.guide, rows.start)

    @property
    def own(self) -> Tensor:
        """(b,): which candidate is the own pair of each anchor."""
        return torch.arange(self.start, self.start + self.image.shape[1], device=self.image.device)

    def embeddings(self, direction: int) -> tuple[Tensor, Tensor]:
        """(R, B, D) anchors and (R, C, D) candidates; direction 0: images are anchors; 1: captions are."""
        return (self.text, self.candidates.image) if direction else (self.image, self.candidates.text)

    def rows(self, direction: int) -> tuple[Tensor, Tensor]:
        """Positions (R, B) of the anchors and (R, C) of the candidates in the training split."""
        return self._anchor(direction), self.candidates.image_row if direction else self.candidates.caption_row

    def pairs(self, direction: int, index: Tensor) -> tuple[Tensor, Tensor]:
        """Image row and caption row of each anchor with its candidate ``index`` (R, B)."""
        anchors, others = self.rows(direction)
        picked = others.gather(-1, index)
        return (picked, anchors) if direction else (anchors, picked)

    def parts(self, needs: Collection[str], direction: int) -> dict[str, Any]:
        """The named parts for one direction; see :data:`fne.negatives.registry.NEEDS`."""
        return {name: getattr(self, f"_{name}")(direction) for name in NEEDS if name in needs}

    def _direction(self, direction: int) -> int:
        return direction

    def _anchor(self, direction: int) -> Tensor:
        return self.batch.caption_row if direction else self.batch.image_row

    def _teacher(self, direction: int) -> Tensor:
        if self.past is None:
            raise ValueError("a teacher is a momentum encoder, and this step has none")
        others = self.candidates.image if direction else self.candidates.text
        return self.past[direction] @ others.transpose(-1, -2)

    def _guide(self, direction: int) -> Tensor:
        if self.guide is None:
            raise ValueError("a guide is frozen when the warm-up ends, and this step has none")
        return self.guide.similarities(direction, self.batch, self.candidates)

    def _same_image(self, direction: int) -> Tensor:
        return self.batch.image_row.unsqueeze(-1) == self.candidates.image_row.unsqueeze(-2)
