"""Ground truth of one split: which pairs are known to be relevant, and which queries may be scored."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from fne.utils.arrays import check_npz, read_npz
from fne.utils.errors import bad_input

KINDS = ("exact", "judged", "equal_captions")
"""``exact``: every pair of the split was evaluated. ``judged``: people judged some pairs; the rest count as not
relevant. ``equal_captions``: own pairs and pairs provable by equal texts only.

Where some relevant pairs are not known, a hit can only be missed: R@K, rsum and P@1 are lower bounds, the median rank
an upper one. mAP@R and R-Precision divide by the number of relevant items as well, so they may lie too high or too
low."""
EXTRA = {"judged_pairs*": ("i", 2), "judged_share*": ("f", 1), "judged_*": ("u", 1)}
"""Arrays that only some have."""


@dataclass(frozen=True)
class Truth:
    """The relevant pairs of one split.

    Attributes:
        kind: One of :data:`KINDS`.
        pairs: int32 (P, 2), rows (image position, caption position) within the split, sorted, unique, own
            pairs included.
        image_queries: int32, image positions whose relevant captions are known well enough to be scored.
        caption_queries: int32, caption positions whose relevant images are known well enough to be scored.
        extra: Further arrays: for ``judged`` ``judged_pairs`` (J, 2) int32, ``judged_share`` (J,) float32
            in 0..1, ``judged_positive`` (J,) uint8 and ``judged_source`` (J,) uint8 (0 crowd, 1 expert, 2 SITS).
    """

    kind: str
    pairs: np.ndarray
    image_queries: np.ndarray
    caption_queries: np.ndarray
    extra: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str | Path) -> Truth:
        """Read a ``truth.<split>.npz``.

        Raises:
            UserError: The file is missing, cut short, or not a truth file.
        """
        hint = "run `fne prepare` again"
        grouped = Path(path).exists() and "group" in check_npz(path, hint)
        names = {"owner": 1, "group": 1} if grouped else {"pairs": 2, "image_queries": 1, "caption_queries": 1}
        needed = {"kind": ("U", 0), **{name: ("i", dimensions) for name, dimensions in names.items()}}
        arrays = read_npz(path, needed | EXTRA, hint, missing="run `fne prepare` first")
        kind, columns = str(arrays.pop("kind")), {name: arrays.pop(name) for name in names}
        if kind not in KINDS:
            raise bad_input("unknown kind of truth", file=path, key="kind", value=kind, allowed=KINDS)
        return EqualCaptions(**columns) if grouped else cls(kind, **columns, extra=arrays)

    def save(self, path: str | Path) -> None:
        """Write the arrays; equal truths give equal bytes."""
        with open(path, "wb") as handle:
            np.savez(handle, kind=np.array(self.kind), **self._arrays())

    def _arrays(self) -> dict[str, Any]:
        queries = {"image_queries": self.image_queries, "caption_queries": self.caption_queries}
        return {"pairs": self.pairs, **self.extra, **queries}

    @property
    def n_pairs(self) -> int:
        """Number of pairs."""
        return len(self.pairs)

    def keys(self) -> tuple[np.ndarray, np.ndarray | None]:
        """The pairs as numbers, for look-ups without a matrix.

        Returns:
            int64 (P,), sorted and unique, ``image << 32 | caption``, and None; where captions are grouped, the group
            in place of the caption, and the group of each caption, int32 (M,).
        """
        return _packed_rows(self.pairs[:, 0], self.pairs[:, 1]), None

    def known_keys(self) -> np.ndarray | None:
        """As of :meth:`keys`, of the pairs whose relevance is known, either way; None where no others are known."""
        annotated = self.extra.get("judged_pairs")
        if annotated is None or not len(annotated):
            return None
        return np.union1d(self.keys()[0], _packed_rows(annotated[:, 0], annotated[:, 1]))

    def contains(self, images: np.ndarray, captions: np.ndarray) -> np.ndarray:
        """Whether each pair is known to be relevant (binary search).

        Args:
            images: Integer array of image positions within the split.
            captions: Caption positions, broadcastable to ``images``.

        Returns:
            bool array of the broadcast shape.
        """
        (keys, group), captions = self.keys(), np.asarray(captions)
        requested = _packed_rows(np.asarray(images), captions if group is None else group[captions])
        if not len(keys):
            return np.zeros(requested.shape, bool)
        return keys[np.minimum(np.searchsorted(keys, requested), len(keys) - 1)] == requested


class EqualCaptions(Truth):
    """Own pairs and pairs provable by equal texts, kept as groups: thousands of equal captions are millions of pairs.

    Args:
        owner: int32 (M,), the image of every caption, ascending.
        group: int32 (M,), the same number for captions with the same text.
    """

    owner: np.ndarray
    group: np.ndarray

    def __init__(self, owner: np.ndarray, group: np.ndarray) -> None:
        nobody = np.zeros(0, np.int32)
        values = {"kind": KINDS[2], "image_queries": nobody, "caption_queries": nobody, "extra": {}}
        for name, value in (values | {"owner": owner, "group": group}).items():
            object.__setattr__(self, name, value)

    def _arrays(self) -> dict[str, Any]:
        return {"owner": self.owner, "group": self.group}

    @cached_property
    def _groups(self) -> tuple[np.ndarray, np.ndarray]:
        """int64, sorted and unique: the groups of each image, as ``image << 32 | group``; captions of each group."""
        return np.unique(_packed_rows(self.owner, self.group)), np.bincount(self.group)

    def keys(self) -> tuple[np.ndarray, np.ndarray | None]:
        return self._groups[0], self.group

    @property
    def n_pairs(self) -> int:
        """Number of pairs, which need not be made for it."""
        places, sizes = self._groups
        return int(sizes[places & _LOW].sum())

    @cached_property
    def pairs(self) -> np.ndarray:  # type: ignore[override]
        """As of :class:`Truth`; made when it is first asked for."""
        places, sizes = self._groups
        group = places & _LOW
        members = np.argsort(self.group, kind="stable")  # the captions of group 0, of group 1, ...
        count = sizes[group]
        # The place in `members` of the first caption of each (image, group), less that of its first pair.
        shift = (np.cumsum(sizes) - sizes)[group] - (np.cumsum(count) - count)
        captions = members[np.repeat(shift, count) + np.arange(count.sum())]
        packed = np.repeat(places - group, count) + captions
        packed.sort()
        return _rows_of(packed)


_LOW = (1 << 32) - 1


def _packed_rows(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """One int64 per row of two int32, in the same order."""
    return (first.astype(np.int64) << 32) + second


def _rows_of(packed: np.ndarray) -> np.ndarray:
    """The rows, int32 (P, 2), of what :func:`_packed_rows` made."""
    rows = np.empty((len(packed), 2), np.int32)
    rows[:, 0] = (packed + (1 << 31)) >> 32
    rows[:, 1] = packed & _LOW  # its 32 bits, whatever the sign
    return rows


def sorted_pairs(pairs: np.ndarray) -> np.ndarray:
    """Sort rows (image, caption) by image then caption, drop repeats, and cast to int32 (P, 2)."""
    pairs = np.asarray(pairs, np.int32).reshape(-1, 2)
    return _rows_of(np.unique(_packed_rows(pairs[:, 0], pairs[:, 1])))


def prevalence(n_pairs: int, n_images: int, n_captions: int) -> float:
    """Share of the pairs that are not an image with its own caption which are relevant.

    ``(P - C) / (C (N - 1))`` for P relevant pairs (own ones included), C captions and N images.
    """
    others = n_captions * (n_images - 1)
    return (n_pairs - n_captions) / others if others else 0.0
