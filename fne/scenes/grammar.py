"""The grammar: a logical form said in English, with synonyms, converses and varying word order."""

from __future__ import annotations

from fne.scenes.draw import Chooser
from fne.scenes.logic import ANY, COLUMNS, ROWS, Atom, Form, Spec, specs_in
from fne.scenes.world import BACKGROUNDS, COLOURS, SHAPES, SIZES

MAX_WORDS = 28
"""Longest caption; with two special tokens it fits the default 32 tokens of the text encoder."""

_SIZES = {"small": ("small", "small", "little", "tiny"), "large": ("large", "large", "big", "huge")}
_COLOURS = {
    "red": ("red", "red", "scarlet"), "orange": ("orange",), "yellow": ("yellow", "yellow", "golden"),
    "green": ("green",), "cyan": ("cyan", "cyan", "turquoise"), "blue": ("blue",),
    "purple": ("purple", "purple", "violet"), "pink": ("pink",),
}  # fmt: skip
_SHAPES = {
    "circle": ("circle", "circle", "disc"), "square": ("square", "square", "block"), "triangle":
    ("triangle",), "diamond": ("diamond", "diamond", "rhombus"), "cross": ("cross", "cross", "plus"),
    "star": ("star",),
}  # fmt: skip
_PLURALS = {"cross": "crosses", "plus": "pluses", "rhombus": "rhombuses"}
_THINGS = ("shape", "object", "thing")
_NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four"}
_AFTER = {
    "sand": ("on sand", "on the sand", "on a beach"), "grass": ("on grass", "on the grass", "on a lawn"),
    "snow": ("on snow", "in the snow"), "night": ("at night", "in the dark"),
}  # fmt: skip
_BEFORE = {
    "sand": ("on the sand", "a sandy scene with"), "grass": ("on the grass", "a grassy scene with"),
    "snow": ("in the snow", "a snowy scene with"), "night": ("at night", "a dark scene with"),
}  # fmt: skip
_RELATIONS = {
    "left": ("to the left of",), "above": ("above", "over", "higher than"),
    "beside": ("next to", "beside", "by"),
}  # fmt: skip
_TERSE = {"left": "left of", "above": "above", "beside": "by"}
_CONVERSES = {
    "left": ("to the right of",), "above": ("below", "under", "lower than"),
    "beside": _RELATIONS["beside"],
}  # fmt: skip


def say(form: Form, choose: Chooser) -> str:
    """One English sentence for a form, at most :data:`MAX_WORDS` words, lower case without punctuation.

    Args:
        form: The claim; its atoms may come in any order, the sentence makes its own.
        choose: Draws synonyms, order and templates.
    """
    for _ in range(4):
        text = _say(form, choose)
        if text.count(" ") < MAX_WORDS:
            return text
    return _say_tersely(form, choose)


def _say(form: Form, choose: Chooser) -> str:
    background = [BACKGROUNDS[atom[1]] for atom in form if atom[0] == "on"]
    count = [atom[1] for atom in form if atom[0] == "count"]
    claims = [_claim(atom, choose) for atom in choose.shuffled([a for a in form if a[0] not in ("on", "count")])]
    body = claims[0] if claims else ""
    for claim in claims[1:]:
        body += choose.pick((" and ", " and ", " with ")) + claim
    if count:
        things = f"{_NUMBERS[count[0]]} {choose.pick(_THINGS)}s"
        if not body:
            body = things
        elif choose.chance(0.5):
            body = f"{things} {choose.pick(('including', 'among them'))} {body}"
        else:
            body = f"{body} {choose.pick(('among', 'in a group of'))} {things}"
    if background:
        if not body:
            return choose.pick(_AFTER[background[0]])
        if choose.chance(0.3):
            return f"{choose.pick(_BEFORE[background[0]])} {body}"
        body += " " + choose.pick(_AFTER[background[0]])
    there = "there is " if body.startswith(("a ", "an ")) else "there are "
    return choose.pick(("", "", "", there, "a picture of ")) + body


def _claim(atom: Atom, choose: Chooser) -> str:
    kind = atom[0]
    if kind == "some":
        return _noun_phrase(atom[1], choose)
    if kind == "number":
        return _noun_phrase(atom[1], choose, number=atom[2])
    one, other = _noun_phrase(atom[1], choose), _noun_phrase(atom[2], choose)
    if choose.chance(0.5):
        return f"{one} {choose.pick(_RELATIONS[kind])} {other}"
    return f"{other} {choose.pick(_CONVERSES[kind])} {one}"


def _noun_phrase(spec: Spec, choose: Chooser, number: int = 1) -> str:
    words = _noun(spec, choose, number)
    if number == 1:
        words.insert(0, "an" if words[0][0] in "aeiou" else "a")
    place = _place(spec, choose)
    return " ".join(words) + (f" {place}" if place else "")


def _noun(spec: Spec, choose: Chooser, number: int) -> list[str]:
    size, colour, shape = spec[:3]
    words = [_NUMBERS[number]] if number > 1 else []
    if size != ANY:
        words.append(choose.pick(_SIZES[SIZES[size]]))
    if colour != ANY:
        words.append(choose.pick(_COLOURS[COLOURS[colour]]))
    noun = choose.pick(_THINGS) if shape == ANY else choose.pick(_SHAPES[SHAPES[shape]])
    return [*words, noun if number == 1 else _PLURALS.get(noun, noun + "s")]


def _place(spec: Spec, choose: Chooser) -> str:
    row, col = spec[3:]
    if row == col == ANY:
        return ""
    if col == ANY:
        return f"in the {ROWS[row]} row"
    if row == ANY:
        return f"in the {COLUMNS[col]} column"
    if (row, col) == (1, 1):
        return choose.pick(("in the centre", "at the centre"))
    if row != 1 and col != 1:
        return choose.pick(("at {}", "at the {}", "in the {} corner")).format(f"{ROWS[row]} {COLUMNS[col]}")
    return choose.pick(("at {}", "at the {}")).format(_cell(row, col))


def _cell(row: int, col: int) -> str:
    if row == col == 1:
        return "centre"
    return f"{ROWS[row]} {'centre' if col == 1 else COLUMNS[col]}"


def _say_tersely(form: Form, choose: Chooser) -> str:
    """Articles and joining words left out: four full descriptions with places take 25 words."""
    parts = []
    for atom in choose.shuffled([a for a in form if a[0] not in ("on", "count")]):
        number = atom[2] if atom[0] == "number" else 1
        said = [_terse(spec, choose, number) for spec in specs_in(atom)]
        parts.append(said[0] if len(said) == 1 else f"{said[0]} {_TERSE[atom[0]]} {said[1]}")
    text = " and ".join(parts)
    for atom in form:
        if atom[0] == "count":
            text = f"{_NUMBERS[atom[1]]} {choose.pick(_THINGS)}s {text}"
        elif atom[0] == "on":
            text += " " + _AFTER[BACKGROUNDS[atom[1]]][0]
    return text


def _terse(spec: Spec, choose: Chooser, number: int) -> str:
    row, col = spec[3:]
    place = ""
    if row != ANY and col != ANY:
        place = " " + _cell(row, col)
    elif row != ANY or col != ANY:
        place = " " + _place(spec, choose)
    return " ".join(_noun(spec, choose, number)) + place
