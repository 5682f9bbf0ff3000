"""Combinations of a rule's options under which its contract is run: choices, truth values, ends of ranges."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping
from typing import Any

from fne.utils.fields import Key, is_read

MANY = 64
"""Up to so many combinations are all made; of more, so few that every two values of two options meet."""
DRAWN = 600
"""Combinations of which those few are chosen, one after the other, each the one in which most new values meet."""
GREATEST = 1e3
"""Ends of a range beyond it are no values that anybody takes."""


def values_of(key: Key, value: Any) -> list[Any]:
    """The values of an option that are tried: the given one first, its choices, and the ends that its range holds.

    >>> from fne.study.plugins import KEYS
    >>> values_of(KEYS["negatives.cut_down"], "none")
    ['none', 'global', 'anchor']
    """
    schema = key.schema
    ends = [schema[name] for name in ("minimum", "maximum") if abs(schema.get(name, math.inf)) <= GREATEST]
    others = schema.get("enum") or ([False, True] if schema.get("type") == "boolean" else ends)
    kind = type(value) if isinstance(value, float) else lambda other: other
    return [value, *(kind(other) for other in others if other != value)]


def grid(keys: Mapping[str, Key], given: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Values of a rule's keys, dotted; what a combination does not read is left out, and no two are equal.

    Args:
        keys: What it reads, its own options and what it shares.
        given: A value of each, which are the first combination.

    >>> from fne.study.plugins import KEYS
    >>> key = "negatives.cut_down"
    >>> grid({key: KEYS[key]}, {key: "none"})
    [{'negatives.cut_down': 'none'}, {'negatives.cut_down': 'global'}, {'negatives.cut_down': 'anchor'}]
    """
    tried = {name: values_of(key, given[name]) for name, key in keys.items()}
    if math.prod(map(len, tried.values())) <= MANY:
        rows = [dict(zip(tried, row, strict=True)) for row in itertools.product(*tried.values())]
    else:
        rows = [dict(given), *_pairwise(tried, keys)]
    read = [{name: value for name, value in row.items() if is_read(name, keys, row)} for row in rows]
    return [row for place, row in enumerate(read) if row not in read[:place]]


def _pairwise(tried: Mapping[str, list[Any]], keys: Mapping[str, Key]) -> list[dict[str, Any]]:
    """Few rows in which every two values of two options meet where both are read; the same each time."""
    rng = random.Random(0)
    pool = [{name: rng.choice(values) for name, values in tried.items()} for _ in range(DRAWN)]
    met = []
    for row in pool:
        read = sorted(name for name in row if is_read(name, keys, row))
        met.append({(item, row[item], other, row[other]) for item, other in itertools.combinations(read, 2)})
    rows, left = [], set.union(*met)
    while left:
        best = max(range(len(pool)), key=lambda place: len(met[place] & left))
        left -= met[best]
        rows.append(pool[best])
    return rows
