"""What captions claim: forms drawn for a scene, from a passing remark to a full description."""

from __future__ import annotations

from fne.scenes.draw import Chooser
from fne.scenes.grammar import say
from fne.scenes.logic import Atom, Form, Spec, fits, form_of, holds, incompatible, relation, spec_of, specs_in
from fne.scenes.situations import Situation
from fne.scenes.world import Object, Scene

FULL = 4
"""The level of detail at which a form is true of its own scene only."""

_LEVELS = (
    # chance of: size, place, background, number of all objects; and how many objects are mentioned
    (0.5, 0.00, 0.5, 0.00, 2),
    (0.6, 0.25, 0.6, 0.10, 3),
    (0.8, 0.40, 0.8, 0.30, 3),
    (0.9, 0.70, 1.0, 1.00, 4),
)


def draw_form(scene: Scene, level: int, choose: Chooser) -> Form:
    """Draw a form that is true of a scene.

    Args:
        scene: The scene.
        level: Detail, 0 (two objects, colour and shape) to 4 (:data:`FULL`: everything there is).
        choose: The stream that draws it.
    """
    if level >= FULL:
        return full_form(scene)
    size, place, ground, count, mentioned = _LEVELS[level]
    items = choose.shuffled(scene.objects)
    group = _group(items, choose) if level < 2 and choose.chance(0.3) else None
    atoms: list[Atom] = []
    if group:
        atoms.append(group)
        items = [item for item in items if not fits(group[1], item)][:1]
        specs = [spec_of(item, choose.chance(size), row=False, col=False) for item in items]
    else:
        items = items[:mentioned]
        specs = []
        for item in items:
            placed = choose.chance(place)
            only = choose.below(4) if placed and level < 2 else 3
            specs.append(spec_of(item, choose.chance(size), row=placed and only != 0, col=placed and only != 1))
    specs = _told_apart(items, specs)
    if len(specs) > 1 and choose.chance(0.85):
        atoms.append(_relation(items[0], items[1], specs[0], specs[1], choose))
        specs = specs[2:]
    atoms += [("some", spec) for spec in specs]
    if choose.chance(ground):
        atoms.append(("on", scene.background))
    if choose.chance(count):
        atoms.append(("count", len(scene.objects)))
    return form_of(atoms)


def full_form(scene: Scene) -> Form:
    """Everything there is to say: true of this scene and of no other."""
    atoms: list[Atom] = [("some", spec_of(item)) for item in scene.objects]
    return form_of([*atoms, ("on", scene.background), ("count", len(scene.objects))])


def draw_shared_form(situation: Situation, choose: Chooser) -> Form:
    """Draw a form that says only what the scenes of a situation share (both objects are always named)."""
    standing, objects, background = situation.atoms((choose.chance(0.5), choose.chance(0.5)))
    atoms = [standing] if choose.chance(0.7) else list(objects)
    return form_of([*atoms, background] if choose.chance(0.6) else atoms)


def draw_partial_form(situation: Situation, scene: Scene, choose: Chooser) -> Form:
    """Draw a form that says what a situation's scenes share and one thing more about this scene."""
    shared = draw_shared_form(situation, choose)
    said = [spec for atom in shared for spec in specs_in(atom)]
    others = [
        spec
        for item in scene.objects
        for spec in (spec_of(item, choose.chance(0.2), row=False, col=False),)
        if all(incompatible(spec, other) for other in said)
    ]
    if others and choose.chance(0.6):
        return form_of([*shared, ("some", choose.pick(others))])
    return form_of([*shared, ("count", len(scene.objects))])


def caption_scene(scene: Scene, choose: Chooser) -> tuple[str, Form]:
    """Draw one caption of a scene at a random level of detail.

    Returns:
        The text and its logical form.
    """
    form = draw_form(scene, choose.below(FULL), choose)
    return say(form, choose), form


def _group(items: list[Object], choose: Chooser) -> Atom | None:
    """``exactly n objects are red`` (or stars, or red stars), for some n > 1."""
    one = choose.pick(items)
    options = []
    for colour, shape in ((True, False), (False, True), (True, True)):
        spec = spec_of(one, False, colour, shape, False, False)
        number = sum(fits(spec, item) for item in items)
        if number > 1:
            options.append(("number", spec, number))
    return choose.pick(options) if options else None


def _told_apart(items: list[Object], specs: list[Spec]) -> list[Spec]:
    """Describe fully where two descriptions could mean one object: in English they would mean two."""
    for i, one in enumerate(specs):
        for other in specs[i + 1 :]:
            if not incompatible(one, other):
                return [spec_of(item) for item in items]
    return specs


def _relation(one: Object, other: Object, first: Spec, second: Spec, choose: Chooser) -> Atom:
    kinds = [kind for kind in ("left", "above", "beside") if holds(kind, one, other)]
    kinds += [kind for kind, plain in (("right", "left"), ("below", "above")) if holds(plain, other, one)]
    return relation(choose.pick(kinds), first, second)
