"""Evaluating all logical forms on all scenes: bit tables per atom, conjunctions as bitwise ands."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fne.scenes.logic import ANY, FIELDS, Atom, Form, Spec
from fne.scenes.world import GRID, MAX_OBJECTS, Scenes, decode

SCENE_CHUNK = 4096
"""Scenes evaluated at once: a form's answers for them fill 512 bytes."""
BLOCK_CELLS = 1 << 25
"""Most (scene, caption) answers held unpacked at once (one byte each)."""

_PAIRS = np.arange(16)
# A subset of the four object slots is 4 bits; a set of ordered pairs of slots is 16 bits, pair (i, j) at
# bit 4 i + j.
_FIRST = np.array([sum(1 << (4 * i + j) for i in range(4) if m >> i & 1 for j in range(4)) for m in _PAIRS], np.uint16)
_SECOND = np.array([sum(1 << (4 * i + j) for j in range(4) if m >> j & 1 for i in range(4)) for m in _PAIRS], np.uint16)


class Evaluator:
    """Answers of atoms and forms on a fixed batch of scenes, as bits: bit ``i % 8`` of byte ``i // 8``.

    Args:
        scenes: At most a few thousand scenes; every distinct atom keeps one bit per scene.
    """

    def __init__(self, scenes: Scenes) -> None:
        n = len(scenes)
        self.width = -(-n // 8)
        # Objects of every scene in four slots, in reading order; empty slots hold code 0 and fit no
        # description.
        place = np.argsort(scenes.cells == 0, axis=1, kind="stable")[:, :MAX_OBJECTS]
        codes = np.take_along_axis(scenes.cells, place, axis=1)
        present = codes > 0
        table = np.array([(ANY, ANY, ANY)] + [decode(code) for code in range(1, 97)])
        row, col = np.divmod(place, GRID)
        values = [*np.moveaxis(table[codes], 2, 0), row, col]
        weights = 1 << np.arange(MAX_OBJECTS)
        self._fits = [
            [((column == value) & present) @ weights.astype(np.uint8) for value in range(len(words))]
            for column, words in zip(values, FIELDS, strict=True)
        ]
        self._present = present @ weights.astype(np.uint8)
        self._background = scenes.background
        self._count = present.sum(axis=1)
        both = present[:, :, None] & present[:, None, :]
        down, right = row[:, None, :] - row[:, :, None], col[:, None, :] - col[:, :, None]
        stands = {"left": right > 0, "above": down > 0, "beside": abs(down) + abs(right) == 1}
        pair_weights = (1 << np.arange(16)).astype(np.uint16)
        self._stands = {kind: (both & so).reshape(n, 16) @ pair_weights for kind, so in stands.items()}
        self._slots: dict[Spec, np.ndarray] = {}
        self._index: dict[Atom, int] = {}
        self._bits: list[np.ndarray] = []

    def slots(self, spec: Spec) -> np.ndarray:
        """Which of the four object slots of every scene fit a description: uint8 (n,), bit = slot."""
        if spec not in self._slots:
            mask = self._present
            for field, value in zip(self._fits, spec, strict=True):
                if value != ANY:
                    mask = mask & field[value]
            self._slots[spec] = mask
        return self._slots[spec]

    def atom(self, atom: Atom) -> np.ndarray:
        """Whether an atom is true of every scene: bool (n,)."""
        kind = atom[0]
        if kind == "on":
            return self._background == atom[1]
        if kind == "count":
            return self._count == atom[1]
        if kind == "some":
            return self.slots(atom[1]) != 0
        if kind == "number":
            return np.bitwise_count(self.slots(atom[1])) == atom[2]
        return (_FIRST[self.slots(atom[1])] & _SECOND[self.slots(atom[2])] & self._stands[kind]) != 0

    def _row(self, atom: Atom) -> int:
        if atom not in self._index:
            self._index[atom] = len(self._index)
            self._bits.append(np.packbits(self.atom(atom), bitorder="little"))
        return self._index[atom]

    def packed(self, forms: Sequence[Form]) -> np.ndarray:
        """Whether each form is true of each scene.

        Args:
            forms: F forms of at least one atom each.

        Returns:
            uint8 (F, ceil(n / 8)), packed along the scenes, padding bits 0.
        """
        longest = max((len(form) for form in forms), default=1)
        # A short form repeats its first atom: x and x is x.
        rows = np.array(
            [[self._row(atom) for atom in form] + [self._row(form[0])] * (longest - len(form)) for form in forms],
            np.int64,
        ).reshape(-1, longest)
        bits = np.array(self._bits, np.uint8).reshape(len(self._bits), self.width)
        answers = bits[rows[:, 0]]
        for position in range(1, longest):
            answers &= bits[rows[:, position]]
        return answers


def count_matches(scenes: Scenes, forms: Sequence[Form]) -> np.ndarray:
    """Of how many scenes each form is true: int64 (F,)."""
    unique, inverse = deduplicate(forms)
    total = np.zeros(len(unique), np.int64)
    for start in range(0, len(scenes), SCENE_CHUNK):
        answers = Evaluator(scenes.take(slice(start, start + SCENE_CHUNK))).packed(unique)
        total += np.bitwise_count(answers).sum(axis=1, dtype=np.int64)
    return total[inverse]


def relevant_pairs(scenes: Scenes, forms: Sequence[Form]) -> np.ndarray:
    """All pairs (scene, form) that are true.

    Memory: twice the result (8 bytes a pair), half a kilobyte for every distinct form, and a block of 32 MiB.

    Args:
        scenes: n scenes.
        forms: F forms, one per caption.

    Returns:
        int32 (P, 2), sorted by scene, then by form.
    """
    unique, inverse = deduplicate(forms)
    parts = [np.zeros((0, 2), np.int32)]
    columns = max(1, BLOCK_CELLS // (8 * max(len(inverse), 1)))
    for start in range(0, len(scenes), SCENE_CHUNK):
        answers = Evaluator(scenes.take(slice(start, start + SCENE_CHUNK))).packed(unique)
        for first in range(0, answers.shape[1], columns):
            block = answers[:, first : first + columns][inverse]
            bits = np.unpackbits(np.ascontiguousarray(block.T), axis=0, bitorder="little")
            images, captions = np.nonzero(bits)
            parts.append(np.stack([images + (start + 8 * first), captions], axis=1).astype(np.int32))
    return np.concatenate(parts)


def deduplicate(forms: Sequence[Form]) -> tuple[list[Form], np.ndarray]:
    """Distinct forms, and for every form its index among them."""
    index: dict[Form, int] = {}
    inverse = np.array([index.setdefault(form, len(index)) for form in forms], np.int64)
    return list(index), inverse
