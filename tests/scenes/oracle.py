"""Logical forms by their plain definition, one scene at a time, and read back from the words they are stored in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fne.scenes.logic import ANY, FIELDS, Atom, Form, fits, holds
from fne.scenes.world import BACKGROUNDS, Scene


def evaluate(form: Form, scene: Scene) -> bool:
    """Whether a form is true of a scene."""
    return all(_true(atom, scene) for atom in form)


def _true(atom: Atom, scene: Scene) -> bool:
    kind = atom[0]
    if kind == "on":
        return scene.background == atom[1]
    if kind == "count":
        return len(scene.objects) == atom[1]
    if kind == "some":
        return any(fits(atom[1], item) for item in scene.objects)
    if kind == "number":
        return sum(fits(atom[1], item) for item in scene.objects) == atom[2]
    return any(
        fits(atom[1], one) and fits(atom[2], other) and holds(kind, one, other)
        for one in scene.objects
        for other in scene.objects
    )


def read_forms(path: Path) -> list[Form]:
    """What :func:`fne.scenes.logic.write_forms` wrote, in caption order."""
    stored = json.loads(path.read_text())
    atoms = [_from_words(atom) for atom in stored["atoms"]]
    return [tuple(atoms[index] for index in row) for row in stored["forms"]]


def _from_words(words: list[Any]) -> Atom:
    if words[0] == "on":
        return ("on", BACKGROUNDS.index(words[1]))
    return tuple(_spec(part) if isinstance(part, list) else part for part in words)


def _spec(words: list[str | None]) -> tuple[int, ...]:
    return tuple(ANY if word is None else field.index(word) for field, word in zip(FIELDS, words, strict=True))
