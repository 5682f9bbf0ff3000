"""The rules of this package: every class of ``fne/negatives`` and ``fne/losses`` with a ``name`` (torch-free).

There is no list to keep: a file with such a class is a strategy or a loss, its signature says which options it has.
"""

from __future__ import annotations

import functools
import importlib.metadata
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic_core import SchemaError

from fne.negatives import signature
from fne.negatives.signature import Parameter, Signature
from fne.utils.errors import bad_input
from fne.utils.fields import NONE, Key, Scalar
from fne.utils.modules import load

NEEDS = ("teacher", "guide", "anchor", "direction", "same_image")
"""What a strategy or a loss may want beside similarities; see :class:`fne.negatives.strategy.Strategy`."""
SHOWN = {"negatives": ("one", "all", "attracted"), "estimates": ("probability", "threshold")}
"""Words of two attributes."""
ROOMS = {"negatives": "negatives", "loss": "losses"}
GROUPS = {"negatives": "fne.strategies", "loss": "fne.losses"}
"""Groups of entry points by which installed packages offer rules."""
PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True, eq=False)
class Entry:
    """A strategy or a loss, as its class states it.

    Args:
        name: By which a config chooses it.
        target: ``"module:Class"``; imported by :meth:`load` only.
        section: ``negatives`` or ``loss``.
        file: The source file that defines the class.
        summary: What it does, in one line.
        place: What its options are called in a config, before their name: ``negatives.``, of a rule from outside
            ``negatives.options.``.
        options: Its options by name: keyword-only parameters, but for those of ``shares``.
        shares: Keys of the config that others read too, dotted, such as ``"loss.margin"``; the class attribute
            ``reads``. It gets each as the keyword of the same last name.
        negatives: For a strategy, how many negatives an anchor gets: ``("one",)`` or ``("all",)``.
            For a loss, which of the two it can take. ``attracted``: all, some of them as further positives.
        needs: What of :data:`NEEDS` it wants, whatever its options.
        estimates: How it tells which candidates are false negatives: ``probability``, ``threshold`` (it drops what is
            too similar), or not at all.
    """

    name: str
    target: str
    section: str
    file: Path
    summary: str
    place: str
    options: Mapping[str, Key]
    shares: tuple[str, ...] = ()
    negatives: tuple[str, ...] = ("one",)
    needs: tuple[str, ...] = ()
    estimates: str = ""

    @functools.cached_property
    def keys(self) -> dict[str, Key]:
        """The config keys that are its own."""
        return {f"{self.place}{name}": key for name, key in self.options.items()}

    def load(self) -> type:
        """Import the class.

        Raises:
            UserError: It cannot be imported, or a module of the same name from elsewhere was imported before.
        """
        loaded = load(self.target)
        other = Path(sys.modules[loaded.__module__].__file__ or "")
        if other.resolve() != self.file.resolve():
            raise bad_input(f"another module of this name was imported before, from {other}", key=self.target)
        return loaded


class Plugin(Entry):
    """A strategy or a loss from outside this package."""


def entry_of(found: Signature, name: str, known: Iterable[str] | None) -> Entry:
    """What a class says of itself, checked.

    Args:
        found: Its signature.
        name: By which it is chosen.
        known: All keys of the config, of a rule from outside; None for one of this package, whose options need a
            default, and numbers a range.

    Raises:
        UserError: It is no rule, or its parameters or attributes cannot be used.
    """
    if found.section is None:
        raise bad_input("is neither a Strategy nor a Loss", file=found.file, key=found.target)
    if found.others:
        hint = "put them behind a `*` in __init__"
        problem = f"its options must be keyword-only parameters: {', '.join(found.others)}"
        raise bad_input(problem, file=found.file, key=found.target, hint=hint)
    shares = _shares(found, known)
    place = f"{found.section}." if known is None else f"{found.section}.options."
    shared = {key.rpartition(".")[2] for key in shares}
    own = [parameter for parameter in found.parameters if parameter.name not in shared]
    attributes, probable = found.attributes, found.attributes.get("models_posterior") is True
    estimates = _words(found, "estimates", "probability" if probable else (), SHOWN["estimates"])
    options = {parameter.name: _option(parameter, found, known is None) for parameter in own}
    check_conditions({f"{place}{name}": key for name, key in options.items()}, known, found.file)
    return (Entry if known is None else Plugin)(
        name=name,
        target=found.target,
        section=found.section,
        file=found.file,
        summary=found.summary.rstrip("."),
        place=place,
        options=options,
        shares=shares,
        negatives=_words(found, "negatives", "all" if found.dense else "one", SHOWN["negatives"]),
        needs=_words(found, "needs", attributes.get("needs", ()), NEEDS),
        estimates="".join(estimates),
    )


def _shares(found: Signature, known: Iterable[str] | None) -> tuple[str, ...]:
    given = found.attributes.get("reads", ())
    if not isinstance(given, tuple | list) or not all(isinstance(key, str) for key in given):
        raise bad_input("must be a tuple of keys", file=found.file, key=f"{found.target}.reads", value=given)
    names = [parameter.name for parameter in found.parameters]
    for key in given:
        at = {"file": found.file, "key": f"{found.target}.reads", "value": key}
        if known is not None and key not in known:
            raise bad_input("unknown key", allowed=known, **at)
        if key.rpartition(".")[2] not in names:
            raise bad_input("is no keyword-only parameter of its __init__", **at)
    return tuple(given)


def _words(found: Signature, name: str, default: Any, known: tuple[str, ...]) -> tuple[str, ...]:
    """A class attribute that holds one word or several of those known; a strategy gives one kind of negatives."""
    given = found.attributes.get(name, default)
    words = (given,) if isinstance(given, str) else tuple(given) if isinstance(given, tuple | list) else (given,)
    unfit = name == "negatives" and (not words or (found.section == "negatives" and len(words) > 1))
    if unfit or any(word not in known for word in words):
        raise bad_input("unknown", file=found.file, key=f"{found.target}.{name}", value=given, allowed=known)
    return words


def _option(parameter: Parameter, found: Signature, built_in: bool) -> Key:
    """An option by its annotation; without one by its default, else any scalar."""
    annotation, default, at = parameter.annotation, parameter.default, f"{found.target} ({parameter.name})"
    if annotation is None:
        annotation = type(default) if isinstance(default, bool | int | float | str) else Scalar | None
        annotation = Scalar if default is NONE else annotation
    try:
        key = Key.of(annotation, f"{found.section}{'' if built_in else '.options'}", default)
        if not built_in and not _is_plain(key):
            raise TypeError("a number, text, true or false, or a Literal of them, perhaps None")
        if key.default is not NONE:
            checked = key.check(key.default, found.file, at)
            if type(checked) not in (bool, int, float, str, type(None)):
                raise TypeError("its default is no plain value")
            key = key if type(checked) is type(key.default) else replace(key, default=checked)
    except (PydanticUserError, SchemaError, TypeError) as error:
        problem = f"its annotation is no type of an option: {str(error).splitlines()[0]}"
        raise bad_input(problem, file=found.file, key=at, value=str(annotation)) from None
    if not built_in:
        return key
    bounded = getattr(annotation, "__origin__", annotation) not in (int, float) or any(
        isinstance(one, FieldInfo) and one.metadata for one in getattr(annotation, "__metadata__", ())
    )
    if default is NONE or not bounded or not key.meaning:
        lacks = "default" if default is NONE else "range" if not bounded else "reason"
        example = "Annotated[float, Field(ge=0), 'what it is, and why this default'] = 0.5"
        raise bad_input(f"the option has no {lacks}", file=found.file, key=at, allowed=example)
    return key


def _is_plain(key: Key) -> bool:
    """Is an option one value that YAML, a digest and a command line can hold?"""
    parts = key.schema.get("anyOf", [key.schema])
    return all(
        part.get("type") in ("string", "integer", "number", "boolean", None) and "format" not in part for part in parts
    )


def check_conditions(keys: Mapping[str, Key], known: Iterable[str] | None, file: Path) -> None:
    """Refuse options that are read under conditions on keys that there are not, or on each other in a circle.

    Raises:
        UserError: Names the option.
    """
    for name, key in keys.items():
        above, waiting = set[str](), [other for one in key.when for other in one]
        while waiting:
            other = waiting.pop()
            if other == name:
                raise bad_input("is read under a condition on itself", file=file, key=name)
            if known is not None and other not in (*keys, *known, "regime"):
                raise bad_input("is read under a condition on an unknown key", file=file, key=name, value=other,
                                allowed=[*keys, *known])  # fmt: skip
            if other in keys and other not in above:
                above.add(other)
                waiting += [further for one in keys[other].when for further in one]


@functools.cache
def registered(section: str) -> dict[str, Entry]:
    """The rules of this package by name.

    Raises:
        UserError: Two of one name; or one that cannot be used.
    """
    room = ROOMS[section]
    entries: dict[str, Entry] = {}
    for file in sorted((PACKAGE / room).glob("*.py")):
        for found in signature.named_in(file, f"fne.{room}.{file.stem}"):
            entry = entry_of(found, found.attributes["name"], None)
            if entry.name in entries:
                problem = f"two rules of one name; the other one is {entries[entry.name].target}"
                raise bad_input(problem, file=file, key=entry.target, value=entry.name)
            entries[entry.name] = entry
    return entries


def installed(group: str) -> dict[str, str]:
    """Entry points of a group among the installed packages: name to ``"module:Class"``."""
    return _installed(group, tuple(sys.path))


@functools.cache
def _installed(group: str, path: tuple[str, ...]) -> dict[str, str]:
    """The same, looked up once for a search path: it opens a file of every installed package.

    Raises:
        UserError: Two of one name, or one named as a rule of this package.
    """
    section = next(section for section, name in GROUPS.items() if name == group)
    found: dict[str, str] = {}
    for entry in importlib.metadata.entry_points(group=group):
        other = registered(section)[entry.name].target if entry.name in registered(section) else found.get(entry.name)
        if other is not None and other != entry.value:
            package = entry.dist.name if entry.dist else "a package"
            problem = f"{package} offers {entry.value} under the name of {other}"
            raise bad_input(problem, file=f"entry points {group}", key=entry.name, hint="uninstall one of them")
        found[entry.name] = entry.value
    return found
