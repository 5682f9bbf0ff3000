"""Pixels and tokens of a split, made ahead of the encoders by worker processes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from fne.data.decoding import read_rgb
from fne.data.manifest import Manifest
from fne.data.truth import Truth
from fne.encoders.text_encoder import TextEncoder
from fne.training.data import Pairs
from fne.training.finetune.captions import clean
from fne.training.finetune.images import Transform
from fne.utils.errors import UserError
from fne.utils.signals import ignore

CAPTIONS_AT_ONCE = 256
ALIKE = 32
"""Captions of similar length that a frozen text encoder takes at once."""
PICTURES_AT_ONCE = 64
EVALUATED = -1
"""The key of an image that is not augmented."""


@dataclass(frozen=True)
class Tokens:
    """The tokens of every caption of a split, in order, without padding.

    Args:
        ids: Per caption int64 (t,).
        pad: Id of the padding token.
        longest: Length every caption is padded to at evaluation; None: that of the longest in its batch.
        always: Pad to ``longest`` in training too, as SigLIP was trained.
    """

    ids: list[Tensor]
    pad: int
    longest: int | None
    always: bool

    @classmethod
    def of(cls, texts: Sequence[str], encoder: TextEncoder, cleaned: bool, padded: bool) -> Tokens:
        """Tokenise captions.

        Args:
            texts: The captions.
            encoder: Its tokenizer, greatest length and padding.
            cleaned: Whether to clean them first.
            padded: Whether evaluation pads to the greatest length (an encoder that averages padding tells them apart).
        """
        texts = [clean(text) or text for text in texts] if cleaned else list(texts)
        rows = encoder.tokenizer(texts, truncation=True, max_length=encoder.max_length, return_attention_mask=False)
        always = encoder.padding == "max_length"
        longest = encoder.max_length if padded or always else None
        ids = [torch.tensor(row) for row in rows["input_ids"]]
        return cls(ids, encoder.tokenizer.pad_token_id, longest, always)

    def batch(self, rows: Sequence[int], evaluated: bool) -> tuple[Tensor, Tensor, list[int]]:
        """Ids and mask (B, T) of captions, padding on the right, and the lengths that must not be cut."""
        chosen = [self.ids[row] for row in rows]
        lengths = [len(ids) for ids in chosen]
        if self.longest and (evaluated or self.always):
            lengths = [self.longest] * len(chosen)
        length = max(lengths, default=1)
        ids = torch.full((len(chosen), length), self.pad)
        mask = torch.zeros_like(ids)
        for at, row in enumerate(chosen):
            ids[at, : len(row)], mask[at, : len(row)] = row, 1
        return ids, mask, lengths


@dataclass(frozen=True, kw_only=True)
class PixelSplit(Pairs):
    """One split as image files and tokens.

    Args:
        files: N image files.
        tokens: Of the M captions.
        transform: How an image becomes pixels.
        mean, std: (3, 1, 1) the encoder's, of pixels in [0, 255], on the device.
        encoders: Config section of each side's encoder, its checkpoint ready for use.
        workers: Processes that decode; 0: this one.
    """

    files: list[Path]
    tokens: Tokens
    transform: Transform
    mean: Tensor
    std: Tensor
    encoders: dict[str, dict[str, Any]]
    workers: int

    @classmethod
    def load(
        cls, manifest: Manifest, name: str, truth: Truth | None, device: torch.device, **common: Any
    ) -> PixelSplit:
        """Read a split of a manifest; ``common`` holds what all splits share: ``encoder`` and the other fields."""
        view, encoder = manifest.split(name), common.pop("encoder")
        files = [manifest.root / manifest.image_files[row] for row in view.image_rows]
        tokens = Tokens.of(view.texts, encoder, common.pop("cleaned"), common.pop("padded"))
        return cls(files=files, tokens=tokens, **common, **cls.fields(view, truth, device))  # type: ignore[arg-type]  # by name

    def batches(self, jobs: Iterable[Job], device: torch.device, workers: int | None = None) -> Iterator[Loaded]:
        """Load jobs in order, ahead of their use, onto a device; pixels are still bytes there.

        Args:
            jobs: What to load.
            device: Where to.
            workers: Processes; by default the split's own number.
        """
        workers = self.workers if workers is None else workers
        loader = DataLoader(
            _Jobs(self, list(jobs)),
            batch_size=None,
            num_workers=workers,
            pin_memory=device.type == "cuda",
            prefetch_factor=4 if workers else None,
            worker_init_fn=_begin_worker,
        )
        for loaded in loader:
            if isinstance(loaded, UserError):
                raise loaded
            *parts, lengths = loaded
            yield Loaded(*(part.to(device, non_blocking=True) for part in parts), lengths)  # type: ignore[call-arg]  # three parts

    def normalised(self, pixels: Tensor) -> Tensor:
        """Bytes (B, 3, H, W) -> ``(x - mean) / std`` float32, channels last."""
        return ((pixels.float() - self.mean) / self.std).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Job:
    """What one batch is made of.

    Args:
        images: Positions of images in the split.
        keys: The seed of each image's augmentation, or :data:`EVALUATED`.
        captions: Positions of captions in the split.
        evaluated: Whether captions are padded as at evaluation.
    """

    images: Sequence[int]
    keys: Sequence[int]
    captions: Sequence[int]
    evaluated: bool

    @classmethod
    def plain(cls, images: Sequence[int], captions: Sequence[int]) -> Job:
        """A batch without augmentation."""
        return cls(images, [EVALUATED] * len(images), captions, True)


@dataclass(frozen=True)
class Loaded:
    """A loaded batch; an empty side has no rows.

    Args:
        pixels: (B, 3, H, W) bytes.
        ids, mask: (B', T) tokens and which of them are there.
        lengths: Of the captions, on the host; padding beyond them may be cut off.
    """

    pixels: Tensor
    ids: Tensor
    mask: Tensor
    lengths: list[int]

    def chunks(self, size: int) -> list[Loaded]:
        """Chunks of ``size`` pairs, the captions of each padded to its own longest: a chunk depends on itself only."""
        found = []
        for at in range(0, len(self.pixels), size):
            rows = slice(at, at + size)
            longest = max(self.lengths[rows])
            parts = self.pixels[rows], self.ids[rows, :longest], self.mask[rows, :longest]
            found.append(Loaded(*parts, self.lengths[rows]))
        return found

    def alike(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """The captions in groups of similar length: their places (b,), ids and mask (b, t), t the group's longest."""
        order = sorted(range(len(self.lengths)), key=self.lengths.__getitem__)
        for at in range(0, len(order), ALIKE):
            group = order[at : at + ALIKE]
            places, longest = torch.tensor(group, device=self.ids.device), self.lengths[group[-1]]
            yield places, self.ids[places, :longest], self.mask[places, :longest]


def _begin_worker(number: int) -> None:
    ignore()


class _Jobs(Dataset):
    """Jobs by number, as worker processes see them."""

    def __init__(self, split: PixelSplit, jobs: list[Job]) -> None:
        self.files, self.tokens, self.transform, self.jobs = split.files, split.tokens, split.transform, jobs

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor, list[int]] | UserError:
        try:
            return self._load(index)
        except UserError as error:  # raised in a worker it would reach the user wrapped in a traceback
            return error

    def _load(self, index: int) -> tuple[Tensor, Tensor, Tensor, list[int]]:
        job, size = self.jobs[index], self.transform.size
        pixels = np.empty((len(job.images), 3, size, size), np.uint8)
        for at, (row, key) in enumerate(zip(job.images, job.keys, strict=True)):
            image = read_rgb(self.files[row])
            if key == EVALUATED:
                pixels[at] = self.transform.evaluation(image)
            else:
                pixels[at] = self.transform.training(image, np.random.default_rng(key))
        return torch.from_numpy(pixels), *self.tokens.batch(job.captions, job.evaluated)


def sides(split: PixelSplit, rank: int, size: int) -> tuple[list[Job], list[Job], Tensor]:
    """What a rank embeds at evaluation: jobs that cover its images, jobs that cover its captions, and their places.

    Captions come in order of length, so that a batch, padded to its longest, holds little padding: the i-th of them is
    the rank's caption number ``places[i]``.
    """
    images = range(len(split.files))[rank::size]
    captions = range(len(split.tokens.ids))[rank::size]
    places = sorted(range(len(captions)), key=lambda place: len(split.tokens.ids[captions[place]]))
    ordered = [captions[place] for place in places]
    return (
        [Job.plain(images[at : at + PICTURES_AT_ONCE], ()) for at in range(0, len(images), PICTURES_AT_ONCE)],
        [Job.plain((), ordered[at : at + CAPTIONS_AT_ONCE]) for at in range(0, len(ordered), CAPTIONS_AT_ONCE)],
        torch.tensor(places),
    )
