"""What training reads: a split's standardised features on the device, its pairs, its known truth, and epoch plans."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from fne.data.manifest import Manifest, SplitRows
from fne.data.truth import Truth
from fne.encoders.store import Features, Pages
from fne.utils.errors import bad_input
from fne.utils.seeding import torch_stream

STRETCH = 256
"""Steps of an epoch whose draws are made at once: little memory, and on a GPU few transfers."""


def rescale(values: Tensor, rule: str) -> Tensor:
    """Features before they are standardised.

    ``none``: x. ``power``: ``y / ||y||`` with ``y = sign(x) sqrt(|x|)``, which evens out the few large activations of
    a rectified network.

    Args:
        values: (..., D).
        rule: ``none`` or ``power``.

    *Source*: Perronnin et al., Improving the Fisher kernel for large-scale image classification, ECCV 2010.
    """
    if rule == "power":
        return nn.functional.normalize(values.sign() * values.abs().sqrt(), dim=-1)
    return values


@dataclass(frozen=True)
class Standardiser:
    """``(rescale(x) - shift) / scale`` per feature, fitted on the training split; saved with the weights.

    Args:
        shift, scale: (D,) float32; a constant feature has scale 1.
        rule: Of :func:`rescale`.
    """

    shift: Tensor
    scale: Tensor
    rule: str = "none"

    @classmethod
    def fit(cls, items: Items, rule: str = "none", chunk: int = 8192) -> Standardiser:
        """Fit on all items, or on all of their tokens, in float64 and a chunk at a time.

        Args:
            items: N of them, not standardised.
            rule: Of :func:`rescale`.
            chunk: Items read at once.
        """
        places = torch.arange(len(items)).split(chunk)

        def mean_of(value: Callable[[Tensor], Tensor]) -> Tensor:
            total, count = torch.zeros(items.values.shape[-1], dtype=torch.float64), 0
            for place in places:
                values, mask = items.take(place)
                rows = rescale((values if mask is None else values[mask]).double(), rule)
                total, count = total + value(rows).sum(dim=0), count + len(rows)
            return total / count

        shift = mean_of(lambda rows: rows)
        scale = mean_of(lambda rows: (rows - shift).square()).sqrt()
        return cls(shift.float(), torch.where(scale > 1e-6, scale, 1.0).float(), rule)

    def __call__(self, values: Tensor) -> Tensor:
        return (rescale(values.float(), self.rule) - self.shift).div_(self.scale)


@dataclass(frozen=True)
class Items:
    """The features of one modality of one split: rows of a store, which stay in its file until they are taken.

    Args:
        values: (S, D), a row for each item, or one for each token.
        first: (N,) int64, the row of each item, or of its first token.
        length: (N,) int64, its tokens; None: features are pooled.
        longest: Most tokens of an item; every batch is padded to as many.
        by: Standardises what is taken; None: nothing does.
        pages: Of the file that the values lie in; None: they lie in memory.
    """

    values: Tensor
    first: Tensor
    length: Tensor | None = None
    longest: int = 1
    by: Standardiser | None = None
    pages: Pages | None = None

    @classmethod
    def load(cls, features: Features, rows: np.ndarray | Sequence[int]) -> Items:
        """The items of a split in a feature store."""
        values, rows = torch.from_numpy(features.values), np.asarray(rows, np.int64)
        if features.offsets is None:
            return cls(values, torch.from_numpy(rows), pages=features.pages)
        first, length = features.offsets[rows], features.offsets[rows + 1] - features.offsets[rows]
        longest = int(length.max(initial=1))
        return cls(values, torch.from_numpy(first), torch.from_numpy(length), longest, pages=features.pages)

    def __len__(self) -> int:
        return len(self.first)

    def standardised(self, by: Standardiser, device: torch.device) -> Items:
        """The same items, standardised when taken. On a GPU: their rows alone, in its memory."""
        if device.type == "cpu":
            return replace(self, by=by)
        if self.length is None:
            rows, first = self.first, torch.arange(len(self.first))
        else:
            first = self.length.cumsum(0) - self.length
            rows = torch.arange(int(self.length.sum())) + (self.first - first).repeat_interleave(self.length)
        values = torch.cat([self._at(part).to(device) for part in rows.split(1 << 16)])
        length = None if self.length is None else self.length.to(device)
        return Items(
            values,
            first.to(device),
            length,
            self.longest,
            Standardiser(by.shift.to(device), by.scale.to(device), by.rule),
        )

    def _at(self, places: Tensor) -> Tensor:
        result = self.values.index_select(0, places)
        if self.pages is not None:
            self.pages.took(len(places))
        return result

    def take(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Items at ``rows`` (...): values (..., D), or (..., T, D) padded with zeros with a mask (..., T); float32."""
        flat, mask = rows.reshape(-1), None
        places = self.first.index_select(0, flat)
        if self.length is not None:
            position = torch.arange(self.longest, device=places.device)
            mask = position < self.length[flat].unsqueeze(-1)
            places = torch.where(mask, places.unsqueeze(-1) + position, places.unsqueeze(-1)).reshape(-1)
        values = self._at(places).float()
        values = values if self.by is None else self.by(values)
        if mask is None:
            return values.reshape(*rows.shape, -1), None
        values = values.reshape(*mask.shape, -1) * mask.unsqueeze(-1)
        return values.reshape(*rows.shape, *values.shape[1:]), mask.reshape(*rows.shape, -1)


@dataclass(frozen=True)
class PairSet:
    """A set of pairs of a split on the device, for look-ups inside training: 8 bytes a pair.

    Args:
        keys: (P,) int64, sorted, ``image << 32 | caption``; or the group of the caption in place of it.
        group: (M,) int64, the group of each caption, where equal captions are one; None: pairs are of captions.
    """

    keys: Tensor
    group: Tensor | None

    @classmethod
    def of(cls, keys: np.ndarray, group: np.ndarray | None, device: torch.device) -> PairSet:
        """What :meth:`fne.data.truth.Truth.keys` gives."""
        groups = None if group is None else torch.as_tensor(group, dtype=torch.int64, device=device)
        return cls(torch.from_numpy(keys).to(device), groups)

    def to(self, device: torch.device) -> PairSet:
        """The same set on a device."""
        return PairSet(self.keys.to(device), None if self.group is None else self.group.to(device))

    def contains(self, image_row: Tensor, caption_row: Tensor) -> Tensor:
        """Whether each pair is in the set, by binary search; no pair with a row < 0 is.

        Args:
            image_row, caption_row: Any equal shape, int64, positions within the split.
        """
        caption = caption_row.clamp(min=0)
        wanted = (image_row << 32) + (caption if self.group is None else self.group[caption])
        place = torch.searchsorted(self.keys, wanted).clamp(max=len(self.keys) - 1)
        return (self.keys[place] == wanted) & (caption_row >= 0)

    def among(self, anchors: Tensor, others: Tensor, *, by_caption: bool) -> Tensor:
        """(B, C) bool on the CPU: which anchors and others are a pair of the set.

        The pairs of an anchor stand side by side; they are looked up among the others, so that most are never seen.

        Args:
            anchors: (B,) positions of images, or with ``by_caption`` of captions.
            others: (C,) positions of the other kind; one < 0 is of no pair.
            by_caption: See ``anchors``.
        """
        keys, sides = self.by_caption if by_caption else self.keys.numpy(), [anchors, others]
        if self.group is not None:
            captions = sides[1 - by_caption]
            sides[1 - by_caption] = torch.where(captions < 0, -1, self.group[captions.clamp(min=0)])
        left, right = (side.numpy() for side in sides)
        anchor, at = _ranges(np.searchsorted(keys, left << 32), np.searchsorted(keys, (left + 1) << 32))
        partner, order = keys[at] & 0xFFFFFFFF, np.argsort(right)
        ordered = right[order]
        which, at = _ranges(np.searchsorted(ordered, partner), np.searchsorted(ordered, partner, "right"))
        result = np.zeros((len(left), len(right)), bool)
        result[anchor[which], order[at]] = True
        return torch.from_numpy(result)

    @functools.cached_property
    def by_caption(self) -> np.ndarray:
        """The keys with both halves exchanged, sorted."""
        keys = self.keys.numpy()
        return np.sort((keys & 0xFFFFFFFF) << 32 | keys >> 32)


def _ranges(first: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The numbers from ``first[k]`` to below ``last[k]``, one k after the other; and k of each."""
    length = last - first
    which = np.repeat(np.arange(len(length)), length)
    return which, np.arange(len(which)) + (first - length.cumsum() + length)[which]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Which image each caption of a split belongs to, and what is known to be relevant; the engine's view of a split.

    Args:
        caption_image: (M,) int64, the image of each caption, 0..N-1; captions stand in image order.
        first_caption, caption_count: (N,) int64.
        truth: The pairs known to be relevant; None where nothing beyond the own pairs is looked up.
        known: The pairs whose relevance is known, either way; None: that of every pair is, as far as anything is
            looked up.
    """

    caption_image: Tensor
    first_caption: Tensor
    caption_count: Tensor
    truth: PairSet | None
    known: PairSet | None = None

    @staticmethod
    def fields(view: SplitRows, truth: Truth | None, device: torch.device) -> dict[str, Tensor | PairSet | None]:
        """The fields of a split of a manifest, on a device."""
        caption_image = torch.as_tensor(view.caption_image, dtype=torch.int64)
        count = torch.bincount(caption_image, minlength=len(view.image_rows))
        relevant = known = None
        if truth is not None:
            relevant = PairSet.of(*truth.keys(), device)
            if truth.kind != "exact":
                annotated = truth.known_keys()
                known = relevant if annotated is None else PairSet.of(annotated, None, device)
        return {
            "caption_image": caption_image.to(device),
            "first_caption": (count.cumsum(0) - count).to(device),
            "caption_count": count.to(device),
            "truth": relevant,
            "known": known,
        }

    def false_negative(self, image_row: Tensor, caption_row: Tensor) -> Tensor:
        """Whether pairs known to be relevant stand at these positions (own pairs included; False for rows < 0).

        Args:
            image_row, caption_row: Any equal shape, int64, positions within the split.
        """
        return _among(self.truth, image_row, caption_row)

    def false_negatives(self, anchors: Tensor, others: Tensor, *, by_caption: bool) -> Tensor:
        """(R, B, C) bool: as :meth:`false_negative`, of every anchor with every other.

        Args:
            anchors: (R, B) positions of images, or with ``by_caption`` of captions.
            others: (R, C) positions of the other kind.
            by_caption: See ``anchors``.
        """
        if self.truth is not None and anchors.is_cpu:
            both = zip(anchors, others, strict=True)
            return torch.stack([self.truth.among(*rows, by_caption=by_caption) for rows in both])
        pair = torch.broadcast_tensors(anchors.unsqueeze(-1), others.unsqueeze(-2))
        return self.false_negative(*(reversed(pair) if by_caption else pair))

    def verdict(self, image_row: Tensor, caption_row: Tensor) -> Tensor:
        """What is known of pairs: 1 relevant, 0 not relevant, -1 not known (int64; -1 for rows < 0).

        Args:
            image_row, caption_row: As of :meth:`false_negative`.
        """
        relevant, known = self.false_negative(image_row, caption_row), (image_row >= 0) & (caption_row >= 0)
        if self.truth is None or self.known is not None:
            known = _among(self.known, image_row, caption_row)
        return torch.where(relevant, 1, known.long() - 1)


def _among(pairs: PairSet | None, image_row: Tensor, caption_row: Tensor) -> Tensor:
    """Whether pairs stand in a set; no pair does where there is none."""
    if pairs is None:
        return torch.zeros_like(image_row, dtype=torch.bool)
    return pairs.contains(image_row, caption_row)


@dataclass(frozen=True, kw_only=True)
class Split(Pairs):
    """One split of a data set as features of frozen encoders.

    Args:
        image, text: Features of its N images and M captions.
    """

    image: Items
    text: Items

    @classmethod
    def load(cls, manifest: Manifest, name: str, image: Features, text: Features, truth: Truth | None) -> Split:
        """Read a split from its manifest, its feature stores and (for training) its truth."""
        view = manifest.rows(name)
        items = {"image": Items.load(image, view.image_rows), "text": Items.load(text, view.caption_rows)}
        return cls(**items, **cls.fields(view, truth, torch.device("cpu")))  # type: ignore[arg-type]  # by name

    def standardised(self, image: Standardiser, text: Standardiser, device: torch.device) -> Split:
        """The same split, standardised and on the device."""
        names = ("caption_image", "first_caption", "caption_count", "truth", "known")
        moved = {name: None if getattr(self, name) is None else getattr(self, name).to(device) for name in names}
        items = {"image": self.image.standardised(image, device), "text": self.text.standardised(text, device)}
        return Split(**items, **moved)  # type: ignore[arg-type]  # by name


@dataclass(frozen=True)
class EpochPlan:
    """The pairs of one epoch, drawn before it starts, and everything else random about it, each from a named stream.

    Args:
        image_row, caption_row: (R, steps, B) int32, the pairs of each batch.
        seeds: R seeds; each replicate draws from its own streams.
        epoch: Its number, part of the streams' names; a resumed run draws the same again.
    """

    image_row: Tensor
    caption_row: Tensor
    seeds: Sequence[int]
    epoch: int

    @classmethod
    def draw(cls, split: Pairs, seeds: Sequence[int], epoch: int, batch_size: int, unit: str) -> EpochPlan:
        """Draw the pairs of one epoch.

        Args:
            split: The training split.
            seeds: One per replicate.
            epoch: Its number.
            batch_size: B; the last, incomplete batch is dropped.
            unit: ``images`` (every image once, with a random caption of its own) or ``captions`` (every caption once).
        """
        device = split.caption_image.device
        owner, first, count = (x.cpu() for x in (split.caption_image, split.first_caption, split.caption_count))
        steps = len(owner if unit == "captions" else count) // batch_size
        rows = torch.empty(2, len(seeds), steps, batch_size, dtype=torch.int32)
        for r, seed in enumerate(seeds):
            order = torch_stream(seed, "order", epoch)
            if unit == "captions":
                caption = torch.randperm(len(owner), generator=order)
                image = owner[caption]
            else:
                image = torch.randperm(len(count), generator=order)
                chance = torch.rand(len(count), generator=torch_stream(seed, "caption", epoch), dtype=torch.float64)
                caption = first[image] + (chance * count[image]).long()
            for side, drawn in enumerate((image, caption)):
                rows[side, r] = drawn[: steps * batch_size].reshape(steps, batch_size)
        return cls(rows[0].to(device), rows[1].to(device), seeds, epoch)

    def draws(self, stream: str, first: int = 0) -> Iterator[Tensor]:
        """What one stream gives each step from ``first`` on, (R, 2, B) by direction or by side; drawn as it is used.

        Args:
            stream: ``sampler`` or ``relabel``: float32 in [0, 1), the draws of the sampler and of the oracle
                ``relabel``; or ``dropout``: int64 keys, of images and of captions.
            first: Number of the first step.
        """
        replicates, steps, batch_size = self.image_row.shape
        generators = [torch_stream(seed, stream, self.epoch) for seed in self.seeds]
        for begin in range(0, steps, STRETCH):
            shape = (min(STRETCH, steps - begin), 2, batch_size)
            drawn = torch.stack([
                torch.randint(-(2**63), 2**63 - 1, shape, generator=generator)
                if stream == "dropout"
                else torch.rand(shape, generator=generator)
                for generator in generators
            ]).to(self.image_row.device)  # fmt: skip
            yield from drawn.unbind(1)[max(0, first - begin) :]

    def batches(self, first: int = 0) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]:
        """The fields of :class:`fne.training.step.Batch` of each step from ``first`` on."""
        draws = (self.draws(stream, first) for stream in ("sampler", "dropout", "relabel"))
        for at, parts in enumerate(zip(*draws, strict=True), start=first):
            yield self.image_row[:, at].long(), self.caption_row[:, at].long(), *parts


def steps_per_epoch(split: Pairs, batch_size: int, unit: str) -> int:
    """Full batches in one epoch.

    Raises:
        UserError: There is not even one.
    """
    pairs = len(split.caption_image) if unit == "captions" else len(split.caption_count)
    if pairs < batch_size:
        raise bad_input(
            f"an epoch over {unit} has {pairs} pairs", key="train.batch_size", value=batch_size, allowed=f"1 to {pairs}"
        )
    return pairs // batch_size
