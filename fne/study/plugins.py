"""Rules from outside the repository: found by name, options checked (torch-free)."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fne.negatives.registry import NEEDS, Entry, installed
from fne.study import signature
from fne.study.fields import CHOOSERS, Field, check_value
from fne.study.problems import Problems
from fne.study.schema import GROUPS, REGISTRIES, RUN_FIELDS
from fne.utils.errors import UserError, bad_input

MADE = ("results", "reports", "resources", "scratch", "logs", "benchmarks")
"""Folders of a project that hold what runs made."""
NOUNS = {"negatives": "Strategy (fne.negatives.strategy)", "loss": "Loss (fne.losses.loss)"}
TYPES = {"float": "float", "int": "int", "bool": "bool", "str": "text"}


@dataclass(frozen=True)
class Plugin(Entry):
    """A strategy or loss from outside, as its class states it.

    The class may set ``needs``; ``negatives``, as in :class:`~fne.negatives.registry.Entry`, or a single word;
    ``reads``: keys of the config besides its options, which it gets as keywords of the same last name, e.g.
    ``("loss.margin",)``; and ``models_posterior``: true, and its false-negative probabilities are calibrated.

    Args:
        section: ``negatives`` or ``loss``.
        file: The source file that defines the class.
        fields: Type of each of its options, by name.
        defaults: Defaults of those that have one.
    """

    section: str = ""
    file: Path = Path()
    fields: Mapping[str, Field] | None = None
    defaults: Mapping[str, Any] | None = None

    def keys(self) -> set[str]:
        """The config keys that are its own: its options."""
        return {f"{self.section}.options.{name}" for name in self.fields}

    def load(self) -> type:
        """Import the class.

        Raises:
            UserError: It cannot be imported, or a module of the same name from elsewhere was imported before.
        """
        loaded = signature.load(self.target)
        other = Path(sys.modules[loaded.__module__].__file__ or "")
        if other.resolve() != self.file.resolve():
            raise bad_input(f"another module of this name was imported before, from {other}", key=self.target)
        return loaded


def look_in(root: Path) -> None:
    """Let Python find modules in the project's folder, behind everything that is installed."""
    place = str(Path(root).resolve())
    if place not in sys.path:
        sys.path.append(place)
    importlib.invalidate_caches()


def find(section: str, name: str) -> Entry:
    """The rule that ``negatives.strategy`` or ``loss.kind`` names: registered, an entry point, or ``module:Class``.

    Raises:
        UserError: There is none, or it cannot be what the section needs.
    """
    registry = REGISTRIES[section]
    if name in registry:
        return registry[name]
    target = name if ":" in name else installed(GROUPS[section]).get(name)
    if target is None:
        known = [*registry, *installed(GROUPS[section]), "module:Class"]
        raise bad_input("unknown", key=CHOOSERS[section], value=name, allowed=known)
    found = of_target(target)
    if found.section != section:
        raise bad_input(f"is no {NOUNS[section]}", file=found.file, key=target)
    return found


def of_target(target: str) -> Plugin:
    """The plug-in ``module:Class``, strategy or loss.

    Raises:
        UserError: It cannot be found or imported, is neither, or its parameters or attributes cannot be used.
    """
    module = target.partition(":")[0]
    if (top := module.partition(".")[0]) in MADE:
        problem = f"lies in {top}/, which runs write and other people may have filled: no code is taken from there"
        raise bad_input(problem, key=target)
    file = signature.source_file(module, target)
    stamp = (file.stat().st_mtime_ns, file.stat().st_size) if file else None
    return _read(target, str(file), stamp)


@functools.lru_cache(maxsize=256)
def _read(target: str, file: str, stamp: tuple[int, int] | None) -> Plugin:
    """A plug-in's description; ``file`` and ``stamp`` tell contents apart, so that an edited file is read again."""
    found = signature.read(target)
    if found.section is None:
        raise bad_input("is neither a Strategy nor a Loss", file=found.file, key=target)
    if found.others:
        hint = "put them behind a `*` in __init__"
        problem = f"its options must be keyword-only parameters: {', '.join(found.others)}"
        raise bad_input(problem, file=found.file, key=target, hint=hint)
    shares = _shares(found, target)
    shared = {key.rpartition(".")[2] for key in shares}
    fields, defaults = {}, {}
    for parameter in found.parameters:
        if parameter.name in shared:
            continue
        fields[parameter.name] = field = _field(parameter)
        if parameter.default is not signature.NO_DEFAULT:
            at = f"{target} ({parameter.name})"
            defaults[parameter.name] = check_value(parameter.default, field, found.file, at)
    return Plugin(
        target=target,
        options=(),
        summary=found.summary.rstrip("."),
        shares=shares,
        negatives=_words(found, target, "negatives", "all" if found.dense else "one", ("one", "all", "attracted")),
        needs=_words(found, target, "needs", (), NEEDS),
        estimates="probability" if found.attributes.get("models_posterior") is True else "",
        section=found.section,
        file=found.file,
        fields=fields,
        defaults=defaults,
    )


def _shares(found: signature.Signature, target: str) -> tuple[str, ...]:
    """Keys of the config that the class reads besides its options, as keywords of the same last name."""
    given = found.attributes.get("reads", ())
    if isinstance(given, str) or not all(isinstance(key, str) for key in given):
        raise bad_input("must be a tuple of keys", file=found.file, key=f"{target}.reads", value=given)
    names = [parameter.name for parameter in found.parameters]
    for key in given:
        at = {"file": found.file, "key": f"{target}.reads", "value": key}
        if key not in RUN_FIELDS:
            raise bad_input("unknown key", allowed=RUN_FIELDS, **at)
        if key.rpartition(".")[2] not in names:
            raise bad_input("is no keyword-only parameter of its __init__", **at)
    return tuple(given)


def _words(found: signature.Signature, target: str, name: str, default: Any, known: tuple[str, ...]) -> tuple[str, ...]:
    """A class attribute that holds one word or several of those known; a strategy gives one kind of negatives."""
    given = found.attributes.get(name, default)
    words = (given,) if isinstance(given, str) else tuple(given)
    one = name == "negatives"
    if not {*words} <= {*known} or (one and (not words or (found.section == "negatives" and len(words) > 1))):
        raise bad_input("unknown", file=found.file, key=f"{target}.{name}", value=given, allowed=known)
    return words


def _field(parameter: signature.Parameter) -> Field:
    """What an option may be: by its annotation, else by its default, else any scalar."""
    words = {word.strip() for word in parameter.annotation.split("|")} - {""}
    null = "None" in words or parameter.default is None
    words -= {"None"}
    if len(words) == 1 and (word := next(iter(words))) in TYPES:
        return Field(TYPES[word], null=null)
    default = parameter.default
    if not words and default is not None and default is not signature.NO_DEFAULT:
        return Field(TYPES.get(type(default).__name__, "scalar"))
    return Field("scalar", null=null)


def complete(flat: Mapping[str, Any], where: str | Path, root: Path) -> dict[str, Any]:
    """A merged config with every option of its plug-ins, defaults included.

    Args:
        flat: A merged config, dotted keys.
        where: What an error names as the place of the values.
        root: The project's folder, in which modules of the user's may lie.

    Raises:
        UserError: Lists every problem: no such plug-in, a missing option, a value of the wrong type.
    """
    done, problems = dict(flat), Problems()
    for section, chooser in CHOOSERS.items():
        if flat[chooser] in REGISTRIES[section]:
            continue
        look_in(root)
        try:
            plugin = find(section, flat[chooser])
        except UserError as error:
            problems.report(f"cannot use {flat[chooser]!r}: {error}", file=where, key=chooser)
            continue
        for name, field in plugin.fields.items():
            key = f"{section}.options.{name}"
            with problems.collect():
                if key in flat:
                    done[key] = check_value(flat[key], field, where, key)
                elif name in plugin.defaults:
                    done[key] = plugin.defaults[name]
                else:
                    problem = f"is missing: {flat[chooser]} takes it and has no default for it"
                    raise bad_input(problem, file=where, key=key, allowed=field.allowed())
    problems.raise_any(str(where))
    return done


def keywords(entry: Entry, section: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments with which a resolved config builds a rule."""
    values = config[section]
    if isinstance(entry, Plugin):
        given = {name: values["options"][name] for name in entry.fields}
    else:
        given = dict.fromkeys(entry.options) | {key: values[key] for key in entry.reads(values)}
    for shared in entry.shares:
        given[shared.rpartition(".")[2]] = functools.reduce(lambda part, key: part[key], shared.split("."), config)
    return given


def check_before_training(plugin: Plugin, keywords: Mapping[str, Any]) -> None:
    """The quick contract of a plug-in.

    Raises:
        UserError: It is broken.
    """
    from fne.checks.contract import check

    check(plugin, plugin.section, keywords, plugin.target, quick=True)
