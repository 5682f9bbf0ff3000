"""Drawing scenes: small pictures with jitter, soft edges and noise, all of a batch at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fne.scenes.world import BACKGROUNDS, COLOURS, GRID, SHAPES, Scenes, decode

PALETTE = np.array([
    (222, 44, 38), (247, 140, 20), (246, 222, 40), (44, 170, 62),
    (40, 200, 214), (38, 76, 222), (132, 52, 186), (246, 124, 190),
], np.float32)  # fmt: skip
GROUND = np.array([(206, 178, 128), (94, 124, 64), (234, 238, 244), (26, 28, 48)], np.float32)
TEXTURE = np.array([16, 14, 5, 6], np.float32)
"""Standard deviation of the coarse texture of each background, in grey levels."""
RADIUS = np.array([0.27, 0.41], np.float32)
"""Radius of a small and a large object, as a share of the cell."""
JITTER = 0.07
"""Largest shift of an object from the centre of its cell, as a share of the cell, both ways."""
NOISE = 5.0
"""Standard deviation of the noise of every pixel, in grey levels."""
CHUNK = 2048


def _star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    angle = np.arctan2(x, -y)
    sector = np.abs((angle + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)
    radius = np.hypot(x, y)
    # The edge from a tip (radius 1.15) to the neighbouring notch (radius .45, 36 degrees away) is a
    # straight line.
    tip, notch = 1.15, np.array([0.45 * np.cos(np.pi / 5), 0.45 * np.sin(np.pi / 5)])
    normal = np.array([notch[1], tip - notch[0]]) / np.hypot(notch[1], tip - notch[0])
    return radius * (np.cos(sector) * normal[0] + np.sin(sector) * normal[1]) - tip * normal[0]


_DISTANCE: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "circle": lambda x, y: np.hypot(x, y) - 1,
    "square": lambda x, y: np.maximum(np.abs(x), np.abs(y)) - 0.88,
    "triangle": lambda x, y: np.maximum(np.abs(x) * 0.866 - (y + 1) * 0.5 + 0.07, y - 0.75),
    "diamond": lambda x, y: (np.abs(x) * 1.35 + np.abs(y) - 1.12) / 1.5,
    "cross": lambda x, y: np.minimum(
        np.maximum(np.abs(x) - 0.34, np.abs(y) - 1), np.maximum(np.abs(x) - 1, np.abs(y) - 0.34)
    ),
    "star": _star,
}
"""Signed distance from the edge of each shape of radius 1 (negative inside); ``y`` grows downwards."""
assert tuple(_DISTANCE) == SHAPES
assert len(PALETTE) == len(COLOURS) and len(GROUND) == len(TEXTURE) == len(BACKGROUNDS)


def render(scenes: Scenes, rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw scenes as pictures.

    Args:
        scenes: n scenes.
        rng: The stream of jitter, texture and noise.
        size: Side of the square pictures in pixels, a multiple of 3 of at least 24.

    Returns:
        uint8 (n, size, size, 3).
    """
    pictures = np.empty((len(scenes), size, size, 3), np.uint8)
    for start in range(0, len(scenes), CHUNK):
        chunk = slice(start, start + CHUNK)
        pictures[chunk] = _render(scenes.take(chunk), rng, size)
    return pictures


def _render(scenes: Scenes, rng: np.random.Generator, size: int) -> np.ndarray:
    n, cell = len(scenes), size // GRID
    ground = GROUND[scenes.background] + rng.normal(0, 5, (n, 3)).astype(np.float32)
    coarse = rng.standard_normal((n, size // 3, size // 3), np.float32) * TEXTURE[scenes.background, None, None]
    canvas = ground[:, None, None, :] + coarse.repeat(3, axis=1).repeat(3, axis=2)[..., None]
    # (n, 3, cell, 3, cell, 3): every cell of the grid is one block, so an object is pasted by plain indexing.
    blocks = canvas.reshape(n, GRID, cell, GRID, cell, 3)
    # Shapes in float64: the last bit of a processor's arctan2 or hypot is then too small to move a pixel.
    centre = (np.arange(cell) + 0.5) / cell - 0.5
    rows, cells = np.nonzero(scenes.cells)
    codes = scenes.cells[rows, cells]
    attributes = np.array([decode(int(code)) for code in range(1, int(codes.max(initial=1)) + 1)])[codes - 1]
    shift = rng.uniform(-JITTER, JITTER, (len(rows), 2)).astype(np.float32)
    scale = RADIUS[attributes[:, 0]] * rng.uniform(0.93, 1.07, len(rows)).astype(np.float32)
    colour = PALETTE[attributes[:, 1]] + rng.normal(0, 7, (len(rows), 3)).astype(np.float32)
    for shape, name in enumerate(SHAPES):
        chosen = np.flatnonzero(attributes[:, 2] == shape)
        y = (centre[None, :, None] - shift[chosen, 0, None, None]) / scale[chosen, None, None]
        x = (centre[None, None, :] - shift[chosen, 1, None, None]) / scale[chosen, None, None]
        distance = (_DISTANCE[name](x, y) * scale[chosen, None, None] * cell).astype(np.float32)
        inside = np.clip(0.5 - distance, 0, 1)[..., None]
        # A darker rim of a pixel keeps a shape visible on a ground of its own brightness.
        rim = np.clip(1.5 + distance, 0, 1)[..., None] * 0.45
        paint = colour[chosen, None, None, :] * (1 - rim)
        row, col = np.divmod(cells[chosen], GRID)
        under = blocks[rows[chosen], row, :, col]
        blocks[rows[chosen], row, :, col] = under + inside * (paint - under)
    canvas += rng.standard_normal(canvas.shape, np.float32) * NOISE
    return np.clip(canvas, 0, 255).astype(np.uint8)
