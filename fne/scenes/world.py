"""Scenes: what exists in the embedded world, and drawing scenes at random."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

SHAPES = ("circle", "square", "triangle", "diamond", "cross", "star")
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
SIZES = ("small", "large")
BACKGROUNDS = ("sand", "grass", "snow", "night")
GRID = 3
CELLS = GRID * GRID
MIN_OBJECTS, MAX_OBJECTS = 2, 4
CODES = len(SHAPES) * len(COLOURS) * len(SIZES)
"""An occupied cell holds 1 + (shape * 8 + colour) * 2 + size; 0 is an empty cell."""


@dataclass(frozen=True)
class Object:
    """One object; fields are indices into the vocabularies above, ``row`` 0 the top, ``col`` 0 the left."""

    size: int
    colour: int
    shape: int
    row: int
    col: int


@dataclass(frozen=True)
class Scene:
    """One scene: a background and its objects in reading order."""

    background: int
    objects: tuple[Object, ...]


@dataclass(frozen=True)
class Scenes:
    """Many scenes, as arrays.

    Attributes:
        cells: uint8 (n, 9), the code of each cell in reading order, 0 where empty.
        background: uint8 (n,).
    """

    cells: np.ndarray
    background: np.ndarray

    def __len__(self) -> int:
        return len(self.background)

    def __getitem__(self, index: int) -> Scene:
        row = self.cells[index].tolist()
        objects = tuple(Object(*decode(code), *divmod(cell, GRID)) for cell, code in enumerate(row) if code)
        return Scene(int(self.background[index]), objects)

    def __iter__(self) -> Iterator[Scene]:
        return (self[index] for index in range(len(self)))

    def take(self, rows: np.ndarray | slice) -> Scenes:
        """The scenes of the given rows."""
        return Scenes(self.cells[rows], self.background[rows])

    def keys(self) -> np.ndarray:
        """One int64 per scene; equal keys mean the same scene content, different keys different content."""
        keys = self.background.astype(np.int64)
        for cell in range(CELLS):
            keys = keys * (CODES + 1) + self.cells[:, cell]
        return keys


RESERVED = 8
"""One scene in so many, by a hash of its content, is set aside for pretraining encoders."""


def reserved(keys: np.ndarray) -> np.ndarray:
    """Which scenes are set aside for pretraining: no split of any world holds one, and encoders see no other.

    ``mix(key) mod 8 = 0`` with the finaliser of SplitMix64 (Steele et al., OOPSLA 2014), so that an encoder of any draw
    is disjoint from every split of every world, whatever their seeds and sizes.

    Args:
        keys: int64 (n,), see :meth:`Scenes.keys`.

    Returns:
        bool (n,).
    """
    mixed = keys.astype(np.uint64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return (mixed ^ (mixed >> np.uint64(31))) % np.uint64(RESERVED) == 0


def encode(size: int, colour: int, shape: int) -> int:
    """The code of an object in a cell (1..96)."""
    return 1 + (shape * len(COLOURS) + colour) * len(SIZES) + size


def decode(code: int) -> tuple[int, int, int]:
    """(size, colour, shape) of a cell's code."""
    rest, size = divmod(code - 1, len(SIZES))
    shape, colour = divmod(rest, len(COLOURS))
    return size, colour, shape


def from_scene_list(scenes: list[Scene]) -> Scenes:
    """Pack single scenes into arrays."""
    cells = np.zeros((len(scenes), CELLS), np.uint8)
    for index, scene in enumerate(scenes):
        for item in scene.objects:
            cells[index, item.row * GRID + item.col] = encode(item.size, item.colour, item.shape)
    return Scenes(cells, np.array([scene.background for scene in scenes], np.uint8))


def sample_scenes(n: int, rng: np.random.Generator) -> Scenes:
    """Draw scenes uniformly: 2 to 4 objects, their cells, their attributes, the background.

    Args:
        n: How many.
        rng: The stream that draws them.
    """
    count = rng.integers(MIN_OBJECTS, MAX_OBJECTS + 1, n)
    order = rng.random((n, CELLS)).argsort(axis=1)
    codes = rng.integers(1, CODES + 1, (n, CELLS), dtype=np.uint8)
    cells = np.zeros((n, CELLS), np.uint8)
    for rank in range(MAX_OBJECTS):
        rows = np.flatnonzero(count > rank)
        cells[rows, order[rows, rank]] = codes[rows, rank]
    return Scenes(cells, rng.integers(0, len(BACKGROUNDS), n, dtype=np.uint8))


def sample_reserved(n: int, rng: np.random.Generator) -> Scenes:
    """Draw ``n`` different scenes uniformly among the :func:`reserved` ones.

    Args:
        n: How many.
        rng: The stream that draws them.
    """
    result = sample_scenes(0, rng)
    while len(result) < n:
        more = sample_scenes(RESERVED * n, rng)
        result = Scenes(
            np.concatenate([result.cells, more.cells]), np.concatenate([result.background, more.background])
        )
        keys = result.keys()
        first = np.zeros(len(keys), bool)
        first[np.unique(keys, return_index=True)[1]] = True
        result = result.take(first & reserved(keys))
    return result.take(slice(n))
