"""Facts about a scene: what the tiny encoders learn to tell, from a picture alone or from a caption alone.

A fact is one statement about at most one object ("something red is a star", "something large is in the top row"), about
the background, or about a number. Torch-free.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fne.scenes.logic import ANY, FIELDS, Form, Spec, spec_of, specs_in
from fne.scenes.world import BACKGROUNDS, MAX_OBJECTS, MIN_OBJECTS, Scene

Fact = tuple[str | int, ...]
_COLOUR, _SHAPE = 1, 2


def _all() -> list[Fact]:
    values = [range(len(words)) for words in FIELDS]
    facts: list[Fact] = [("is", i, a) for i, column in enumerate(values) for a in column]
    facts += [
        ("both", i, a, j, b)
        for i in range(len(FIELDS))
        for j in range(i + 1, len(FIELDS))
        for a in values[i]
        for b in values[j]
    ]
    facts += [("number", n, i, a) for n in range(2, MAX_OBJECTS + 1) for i in (_COLOUR, _SHAPE) for a in values[i]]
    facts += [("count", n) for n in range(MIN_OBJECTS, MAX_OBJECTS + 1)]
    return facts + [("on", b) for b in range(len(BACKGROUNDS))]


FACTS: tuple[Fact, ...] = tuple(_all())
"""``("is", field, value)`` and ``("both", field, value, field, value)``: some object has the attribute, or both;
``("number", n, field, value)``: exactly n objects have it (colours and shapes, n > 1); ``("count", n)``: exactly n
objects in all; ``("on", background)``. A field is an index into :data:`fne.scenes.logic.FIELDS`."""
INDEX = {fact: index for index, fact in enumerate(FACTS)}


def _of_object(spec: Spec) -> set[Fact]:
    stated = [(field, value) for field, value in enumerate(spec) if value != ANY]
    facts: set[Fact] = {("is", *one) for one in stated}
    return facts | {("both", *one, *other) for k, one in enumerate(stated) for other in stated[k + 1 :]}


def scene_facts(scene: Scene) -> set[Fact]:
    """All the facts that are true of a scene."""
    facts: set[Fact] = {("on", scene.background), ("count", len(scene.objects))}
    attributes: list[tuple[int, int]] = []
    for item in scene.objects:
        facts |= _of_object(spec_of(item))
        attributes += [(_COLOUR, item.colour), (_SHAPE, item.shape)]
    return facts | {("number", attributes.count(one), *one) for one in attributes if attributes.count(one) > 1}


def form_facts(form: Form) -> set[Fact]:
    """The facts that a caption's logical form states: true of every scene of which the form is true."""
    facts: set[Fact] = set()
    for atom in form:
        if atom[0] in ("on", "count"):
            facts.add(atom)
            continue
        for spec in specs_in(atom):
            facts |= _of_object(spec)
        if atom[0] == "number":
            # "two red stars" says nothing about the number of red things
            stated = [(field, value) for field, value in enumerate(atom[1]) if value != ANY]
            facts |= {("number", atom[2], *one) for one in stated if len(stated) == 1}
    return facts & INDEX.keys()


def table(rows: Iterable[set[Fact]]) -> np.ndarray:
    """The facts of many scenes or forms as one matrix.

    Returns:
        bool (n, len(FACTS)).
    """
    rows = list(rows)
    matrix = np.zeros((len(rows), len(FACTS)), bool)
    for row, facts in enumerate(rows):
        matrix[row, [INDEX[fact] for fact in facts]] = True
    return matrix
