"""Seeds and blocks of seeds: ``0-4`` names the five seeds that train together as one job."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fne.utils.errors import bad_input

GRAMMAR = "a list of integers from 0 to 4294967295, or text such as '0-4' or '0-4,7'; at most 10000 seeds"
MOST, GREATEST = 10_000, 2**32 - 1


def read_seeds(given: Any, file: str | Path) -> tuple[int, ...]:
    """Seeds in increasing order from a list, one integer (that one seed), or text such as ``0-4,7``.

    Raises:
        UserError: Not such a list, a negative seed, or a seed given twice.
    """
    items = _spans(given, ",") if isinstance(given, str) else [*given] if isinstance(given, list | tuple) else [given]
    if not items or len(items) > MOST or any(type(seed) is not int or not 0 <= seed <= GREATEST for seed in items):
        raise bad_input("not seeds", file=file, key="seeds", value=given, allowed=GRAMMAR)
    seed, times = Counter(sorted(items)).most_common(1)[0]
    if times > 1:
        raise bad_input("a seed is given twice", file=file, key="seeds", value=seed)
    return tuple(sorted(items))


def _spans(text: str, between: str) -> list[int]:
    """Seeds written as ``7`` and ``0-4``; none where anything else is written, or too many."""
    seeds: list[int] = []
    for part in text.split(between):
        match = re.fullmatch(r"\s*([0-9]{1,10})(?:-([0-9]{1,10}))?\s*", part)
        if not match or (match[2] and not int(match[1]) < int(match[2]) < int(match[1]) + MOST) or len(seeds) > MOST:
            return []
        seeds += range(int(match[1]), int(match[2] or match[1]) + 1)
    return seeds


def read_block_size(given: Any, file: str | Path) -> int:
    """Seeds per training job, an integer >= 1."""
    if type(given) is not int or given < 1:
        raise bad_input("must be an integer >= 1", file=file, key="block", value=given)
    return given


def block_names(seeds: Sequence[int], block: int) -> list[str]:
    """Names of the blocks into which increasing seeds are cut."""
    return [block_name(list(seeds[start : start + block])) for start in range(0, len(seeds), block)]


def block_name(seeds: list[int]) -> str:
    """The name of a block: ``7``, ``0-4``, or ``0_3_7`` where the seeds are not consecutive."""
    if len(seeds) > 1 and seeds == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"{seeds[0]}-{seeds[-1]}"
    return "_".join(map(str, seeds))


def parse_block(name: str) -> list[int]:
    """The seeds of a block; the inverse of :func:`block_name`.

    Raises:
        UserError: Not the one name of a block of distinct increasing seeds.
    """
    seeds = _spans(name, "_")
    if not seeds or seeds != sorted(set(seeds)):
        raise bad_input("not a block of seeds", key="block", value=name, allowed="7, 0-4 or 0_3_7, seeds increasing")
    if block_name(seeds) != name:
        raise bad_input("not the name of this block", key="block", value=name, hint=f"write {block_name(seeds)}")
    return seeds
