"""Numbers per seed and image, laid out for the statistics: images are resampled, never captions.

A metric is a ratio, summed over the images of the split: the sum of its values over an image's queries,
divided by the number of queries (image to text: one; text to image: the image's captions, however many it
has). For image i of N with sum S_i and count c_i, and C the sum of all c, a seed's value is the mean over
images of its contributions

    z_i = N S_i / C,

and its influence values ``y_i = z_i + theta (1 - N c_i / C)`` have the same mean theta and the spread that
resampling the images has (the ratio linearised; the two agree where all counts are equal). Captions of one
image move together in both. ``rsum`` is the sum of six columns. Blocks of images that are searched one by one have
equally many queries each, so that the mean of their means is the mean over all queries, and their images are resampled
like any others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fne.protocols import DIRECTIONS, RECALLS, WITH_RSUM
from fne.utils.arrays import read_npz
from fne.utils.errors import bad_input

KINDS = {"seeds": ("i", 1), "*/*/count": ("i", 1), "*/*/rank": ("f", 2), "*/*/*": ("f", 2)}
"""The arrays of a ``queries.<split>.npz``; see :func:`fne.steps.evaluate.run`."""
MOST_QUERIES = 10_000_000
"""No split has as many captions."""
Key = tuple[str, str, str]
"""(protocol, direction, metric)"""


@dataclass(frozen=True)
class Layout:
    """All metrics of one variant.

    Attributes:
        seeds: (n,) ascending.
        keys: One per column.
        contributions: z, (n, N, C).
        influence: y, (n, N, C).
        queries: Scored queries per column.
    """

    seeds: tuple[int, ...]
    keys: tuple[Key, ...]
    contributions: np.ndarray
    influence: np.ndarray
    queries: tuple[int, ...]

    def rows(self, seeds: Sequence[int]) -> list[int]:
        """Where these seeds stand in the first axis."""
        return [self.seeds.index(seed) for seed in seeds]


def load(files: Sequence[Path]) -> Layout:
    """Read the ``queries.<split>.npz`` of all blocks of one variant, without seeds whose numbers are not all finite.

    Raises:
        UserError: A file is missing or damaged, or the blocks do not agree on the images.
    """
    return join([read(file) for file in files], files)


def join(blocks: Sequence[Mapping[str, np.ndarray]], files: Sequence[Path | str]) -> Layout:
    """One variant of the arrays of its blocks, without seeds whose numbers are not all finite.

    Args:
        blocks: As :func:`read` gives them.
        files: What each is of, for a message.

    Raises:
        UserError: The blocks do not agree on the images.
    """
    seeds = np.concatenate([block["seeds"] for block in blocks])
    order = np.argsort(seeds, kind="stable")
    names = [name for name in blocks[0] if name != "seeds" and not name.endswith(("/count", "/rank"))]
    columns: dict[Key, tuple[np.ndarray, np.ndarray, int]] = {}
    for name in names:
        part = name.rpartition("/")[0]
        count = blocks[0][f"{part}/count"]
        for block, file in zip(blocks, files, strict=True):
            if f"{part}/count" not in block or not np.array_equal(block[f"{part}/count"], count):
                raise bad_input("other images or queries than the other blocks'", file=file, key=f"{part}/count")
        sums = np.concatenate([block[name] for block in blocks])[order]
        protocol, direction, metric = name.split("/")
        columns[protocol, direction, metric] = (*per_image(sums, count), int(count.sum()))
    for protocol in WITH_RSUM:
        recalls = [(protocol, direction, recall) for direction in DIRECTIONS for recall in RECALLS]
        if all(key in columns for key in recalls):
            first, second = (np.asarray(sum(columns[key][part] for key in recalls)) for part in (0, 1))
            queries = sum(columns[protocol, d, "r1"][2] for d in DIRECTIONS)
            columns[protocol, "both", "rsum"] = (first, second, queries)
    contributions, influence = (np.stack([item[part] for item in columns.values()], axis=2) for part in (0, 1))
    valid = np.isfinite(contributions).all(axis=(1, 2))
    return Layout(
        tuple(int(seed) for seed in seeds[order][valid]),
        tuple(columns),
        contributions[valid],
        influence[valid],
        tuple(column[2] for column in columns.values()),
    )


def per_image(sums: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """z and y of one metric from its sums (n, N) and the counts (N,)."""
    share = len(count) * count / count.sum()
    contributions = len(count) * sums / count.sum()
    theta = contributions.mean(axis=1, keepdims=True)
    return contributions, contributions + theta * (1 - share)


def read(file: Path) -> dict[str, np.ndarray]:
    """The arrays of a ``queries.<split>.npz``.

    Raises:
        UserError: It is missing or damaged, or its arrays do not belong together.
    """
    hint = "evaluate the run again"
    result = read_npz(file, KINDS, hint, missing="run `fne evaluate` first")
    for name, array in result.items():
        part, _, last = name.rpartition("/")
        count = result.get(f"{part}/count", np.zeros(0))
        shape = (len(result["seeds"]), int(count.sum()) if last == "rank" else len(count))
        if name.count("/") not in (0, 2) or (last not in ("seeds", "count") and array.shape != shape):
            raise bad_input("of another shape than its counts", file=file, key=name, value=array.shape, hint=hint)
        if last == "count" and not (0 <= array.min(initial=0) and 0 < array.sum(dtype=object) <= MOST_QUERIES):
            raise bad_input("counts that cannot be", file=file, key=name, hint=hint)
    if len(result) < 3 or len({*result["seeds"].tolist()}) < len(result["seeds"]):
        raise bad_input("no metrics, or a seed twice", file=file, key="seeds", hint=hint)
    return result
