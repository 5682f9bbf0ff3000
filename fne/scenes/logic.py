"""Logical forms: what a caption claims, as a conjunction that can be evaluated on any scene."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fne.scenes.world import BACKGROUNDS, COLOURS, SHAPES, SIZES, Object
from fne.utils.files import write_json

ANY = -1
"""An attribute a description leaves open."""
ROWS = ("top", "middle", "bottom")
COLUMNS = ("left", "middle", "right")
FIELDS = (SIZES, COLOURS, SHAPES, ROWS, COLUMNS)
RELATIONS = ("left", "above", "beside")
"""``left``: in a column further left. ``above``: in a higher row. ``beside``: in cells that share a side.
Their converses (right of, below) are the same atoms with the two descriptions exchanged."""

Spec = tuple[int, int, int, int, int]
"""A description of an object: (size, colour, shape, row, col), each an index or :data:`ANY`."""
Atom = tuple[Any, ...]
"""One closed statement about a scene:

``("on", background)``, ``("count", n)``: exactly n objects in all, ``("some", spec)``: at least one object
fits, ``("number", spec, n)``: exactly n objects fit, ``(relation, spec, spec)``: two different objects fit
and stand so.
"""
Form = tuple[Atom, ...]
"""A conjunction of atoms, in sorted order, so that equal claims are equal tuples."""


def form_of(atoms: Iterable[Atom]) -> Form:
    """The form with these atoms: duplicates dropped, sorted."""
    return tuple(sorted(set(atoms)))


def spec_of(
    item: Object, size: bool = True, colour: bool = True, shape: bool = True, row: bool = True, col: bool = True
) -> Spec:
    """Describe an object by the chosen attributes only."""
    full = (item.size, item.colour, item.shape, item.row, item.col)
    return tuple(value if kept else ANY for value, kept in zip(full, (size, colour, shape, row, col), strict=True))  # type: ignore[return-value]


def incompatible(one: Spec, other: Spec) -> bool:
    """Whether no object can fit both descriptions."""
    return any(a != b and ANY not in (a, b) for a, b in zip(one, other, strict=True))


def specs_in(atom: Atom) -> tuple[Spec, ...]:
    """The descriptions an atom makes."""
    return tuple(part for part in atom[1:] if isinstance(part, tuple))


def relation(kind: str, one: Spec, other: Spec) -> Atom:
    """The atom ``one kind other``; ``right`` and ``below`` are turned round, ``beside`` has one order."""
    if kind in ("right", "below"):
        return ("left" if kind == "right" else "above", other, one)
    if kind == "beside" and other < one:
        return (kind, other, one)
    return (kind, one, other)


def fits(spec: Spec, item: Object) -> bool:
    """Whether an object fits a description."""
    full = (item.size, item.colour, item.shape, item.row, item.col)
    return all(wanted in (ANY, value) for wanted, value in zip(spec, full, strict=True))


def holds(kind: str, one: Object, other: Object) -> bool:
    """Whether two objects stand in a relation; none stands so to itself."""
    if kind == "left":
        return one.col < other.col
    if kind == "above":
        return one.row < other.row
    return abs(one.row - other.row) + abs(one.col - other.col) == 1


def write_forms(path: str | Path, forms: list[Form]) -> None:
    """Write forms as JSON in words: ``{"atoms": [...], "forms": [[index of atom, ...], ...]}``."""
    index: dict[Atom, int] = {}
    rows = [[index.setdefault(atom, len(index)) for atom in form] for form in forms]
    write_json(path, {"atoms": [_to_words(atom) for atom in index], "forms": rows}, indent=None)


def _to_words(atom: Atom) -> list[Any]:
    if atom[0] == "on":
        return ["on", BACKGROUNDS[atom[1]]]
    return [_spec_to_words(part) if isinstance(part, tuple) else part for part in atom]


def _spec_to_words(spec: Spec) -> list[str | None]:
    return [None if value == ANY else words[value] for words, value in zip(FIELDS, spec, strict=True)]
