"""Situations: what several scenes have in common, as the surfers and giraffes of photograph collections.

A situation is a pair of objects that stand in a relation on a background. Some are frequent, most are rare
(a Zipf law). Scenes of one situation differ in their other objects and in places: they are each other's
hard negatives for a caption that says what is special, and each other's positives for a caption that only
says what they share. A minority of *near misses* breaks one detail of what is shared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fne.scenes.draw import Chooser
from fne.scenes.logic import ANY, RELATIONS, Atom, Form, form_of, holds, relation
from fne.scenes.world import (
    BACKGROUNDS,
    CELLS,
    CODES,
    COLOURS,
    GRID,
    SHAPES,
    SIZES,
    Object,
    Scene,
    Scenes,
    decode,
    from_scene_list,
)

SITUATIONS = 60
"""How many situations there are; the k-th (from 0) has a share of scenes proportional to 1 / (k + 1.5)."""
NEAR_MISSES = 0.1
"""Share of a situation's scenes in which one shared detail is broken."""
EXTRA_OBJECTS = (0, 1, 1, 1, 2, 2, 2)
"""Objects beside the shared pair, each entry equally likely."""

_SHARES = 1 / (np.arange(SITUATIONS) + 1.5)
SHARES = _SHARES / _SHARES.sum()

_CELL_PAIRS = [(one, other) for one in range(CELLS) for other in range(CELLS) if one != other]
_AT = [Object(0, 0, 0, *divmod(cell, GRID)) for cell in range(CELLS)]
_STANDING = {kind: [pair for pair in _CELL_PAIRS if holds(kind, _AT[pair[0]], _AT[pair[1]])] for kind in RELATIONS}
_NOT_STANDING = {kind: [pair for pair in _CELL_PAIRS if pair not in _STANDING[kind]] for kind in RELATIONS}


@dataclass(frozen=True)
class Situation:
    """What its scenes share: ``first`` stands in ``kind`` to ``second`` on ``background``.

    ``first`` and ``second`` are (size, colour, shape); no other situation has the same two (colour, shape).
    """

    background: int
    kind: str
    first: tuple[int, int, int]
    second: tuple[int, int, int]

    @property
    def pair(self) -> frozenset[tuple[int, int]]:
        """The two (colour, shape): the mark of the situation, which no scene of another one bears."""
        return frozenset((self.first[1:], self.second[1:]))

    def atoms(self, sizes: tuple[bool, bool]) -> tuple[Atom, tuple[Atom, Atom], Atom]:
        """Its relation, its two objects, its background, with or without the objects' sizes."""
        one, other = (
            (item[0] if said else ANY, *item[1:], ANY, ANY)
            for item, said in zip((self.first, self.second), sizes, strict=True)
        )
        return relation(self.kind, one, other), (("some", one), ("some", other)), ("on", self.background)

    @property
    def form(self) -> Form:
        """All that the scenes of the situation share, near misses excepted."""
        standing, _, background = self.atoms((True, True))
        return form_of([standing, background])


def draw_situations(choose: Chooser) -> list[Situation]:
    """Draw the world's situations, no two with the same pair of (colour, shape)."""
    found: dict[frozenset[tuple[int, int]], Situation] = {}
    while len(found) < SITUATIONS:
        first, second = (
            (choose.below(len(SIZES)), choose.below(len(COLOURS)), choose.below(len(SHAPES))) for _ in range(2)
        )
        drawn = Situation(choose.below(len(BACKGROUNDS)), choose.pick(RELATIONS), first, second)
        if len(drawn.pair) == 2:
            found.setdefault(drawn.pair, drawn)
    return list(found.values())


def quotas(n: int) -> np.ndarray:
    """Scenes per situation among ``n``: the shares rounded by largest remainder: sizes do not vary."""
    exact = SHARES * n
    counts = np.floor(exact).astype(np.int64)
    short = n - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:short]] += 1
    return counts


class Sampler:
    """Draws scenes of given situations.

    Args:
        situations: All situations of the world.
        choose: The stream of scenes.
    """

    def __init__(self, situations: list[Situation], choose: Chooser) -> None:
        self.situations, self.choose = situations, choose
        self._marks = {situation.pair for situation in situations}

    def draw(self, members: np.ndarray) -> Scenes:
        """One scene for every entry of ``members``, the index of its situation."""
        return from_scene_list([self._scene(self.situations[index]) for index in members.tolist()])

    def _scene(self, situation: Situation) -> Scene:
        while True:
            scene = self._attempt(situation)
            looks = sorted({(item.colour, item.shape) for item in scene.objects})
            pairs = {frozenset((a, b)) for i, a in enumerate(looks) for b in looks[i + 1 :]}
            if not (pairs & self._marks) - {situation.pair}:
                return scene

    def _attempt(self, situation: Situation) -> Scene:
        choose = self.choose
        background, first, second = situation.background, situation.first, situation.second
        places = _STANDING[situation.kind]
        if choose.chance(NEAR_MISSES):
            broken = choose.below(4)
            if broken == 0:
                background = (background + 1 + choose.below(len(BACKGROUNDS) - 1)) % len(BACKGROUNDS)
            elif broken == 1:
                places = _NOT_STANDING[situation.kind]
            elif broken == 2:
                first = _change(first, choose)
            else:
                second = _change(second, choose)
        one, other = choose.pick(places)
        items = {one: first, other: second}
        free = choose.shuffled([cell for cell in range(CELLS) if cell not in items])
        for cell in free[: choose.pick(EXTRA_OBJECTS)]:
            items[cell] = decode(1 + choose.below(CODES))
        return Scene(background, tuple(Object(*items[cell], *divmod(cell, GRID)) for cell in sorted(items)))


def _change(item: tuple[int, int, int], choose: Chooser) -> tuple[int, int, int]:
    field = choose.below(3)
    size = (len(SIZES), len(COLOURS), len(SHAPES))[field]
    changed = list(item)
    changed[field] = (item[field] + 1 + choose.below(size - 1)) % size
    return tuple(changed)  # type: ignore[return-value]
