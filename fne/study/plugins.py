"""Rules of this package and from outside it, by name, and the keys that they add to the shared ones (torch-free)."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fne.negatives import signature
from fne.negatives.registry import GROUPS, Entry, check_conditions, entry_of, installed, registered
from fne.negatives.registry import Plugin as Plugin
from fne.study.model import DATA_KEYS, SHARED, Run, data_keys
from fne.utils.errors import UserError, bad_input
from fne.utils.fields import CHOOSERS, NONE, TARGET, Key
from fne.utils.modules import source_file
from fne.utils.problems import Problems

MADE = ("results", "reports", "resources", "scratch", "logs", "benchmarks")
"""Folders of a project that hold what runs made."""
NOUNS = {"negatives": "Strategy (fne.negatives.strategy)", "loss": "Loss (fne.losses.loss)"}


@dataclass(frozen=True)
class RuleKey(Key):
    """The name of a rule of a section: a registered one, an entry point or ``module:Class``."""

    section: str = ""

    def allowed(self) -> tuple[str, ...]:
        return (*registered(self.section), *installed(GROUPS[self.section]), "module:Class")

    def check(self, value: Any, file: str | Path | None, key: str) -> str:
        name = super().check(value, file, key)
        if name not in self.allowed()[:-1] and not TARGET.fullmatch(name):
            problem = "not a registered name, an entry point or module:Class"
            raise bad_input(problem, file=file, key=key, value=name, allowed=self.allowed())
        return name


def _all_keys() -> dict[str, Key]:
    keys = SHARED | {chooser: RuleKey(str, section=section) for section, chooser in CHOOSERS.items()}
    for section in CHOOSERS:
        for entry in registered(section).values():
            for name in [name for name in entry.shares if name not in SHARED]:
                raise bad_input("unknown key", file=entry.file, key=f"{entry.target}.reads", value=name, allowed=SHARED)
            for name, key in entry.keys.items():
                if name in keys:
                    problem = "is the name of another key: an option of one rule has a name of its own"
                    raise bad_input(problem, file=entry.file, key=f"{entry.target} ({name.rpartition('.')[2]})")
                keys[name] = key
    check_conditions(keys, DATA_KEYS["scenes"], Path(__file__).parents[1])
    return {name: keys[name] for part in Run.model_fields for name in keys if name.startswith(f"{part}.")}


KEYS = _all_keys()
"""Every key of a run but those of its data: the shared ones, and the options of every rule of this package."""
EVERY_KEY = KEYS | {name: key for keys in DATA_KEYS.values() for name, key in keys.items()}
"""Of every kind of data set."""
OF_RULES = {name for name in KEYS if name.partition(".")[0] in CHOOSERS}
"""Keys that are read where the strategy or the loss says so."""
CONDITIONS = sorted({other for key in EVERY_KEY.values() for condition in key.when for other in condition} - {"regime"})
"""Keys whose values decide which others are read."""


def keys_for(dataset: str) -> dict[str, Key]:
    """Every key of a run config for one data set."""
    return data_keys(dataset) | KEYS


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
    registry = registered(section)
    if name in registry:
        return registry[name]
    target = name if ":" in name else installed(GROUPS[section]).get(name)
    if target is None:
        known = [*registry, *installed(GROUPS[section]), "module:Class"]
        raise bad_input("unknown", key=CHOOSERS[section], value=name, allowed=known)
    result = of_target(target)
    if result.section != section:
        raise bad_input(f"is no {NOUNS[section]}", file=result.file, key=target)
    return result


def of_target(target: str) -> Entry:
    """The rule ``module:Class`` from outside, strategy or loss.

    Raises:
        UserError: It cannot be found or imported, is neither, or its parameters or attributes cannot be used.
    """
    module = target.partition(":")[0]
    if (top := module.partition(".")[0]) in MADE:
        problem = f"lies in {top}/, which runs write and other people may have filled: no code is taken from there"
        raise bad_input(problem, key=target)
    file = source_file(module, target)
    stamp = (file.stat().st_mtime_ns, file.stat().st_size) if file else None
    return _read(target, str(file), stamp)


@functools.lru_cache(maxsize=256)
def _read(target: str, file: str, stamp: tuple[int, int] | None) -> Entry:
    """A plug-in's description; ``file`` and ``stamp`` tell contents apart, so that an edited file is read again."""
    return entry_of(signature.read(target), target, KEYS)


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
        if flat[chooser] in registered(section):
            continue
        look_in(root)
        try:
            plugin = find(section, flat[chooser])
        except UserError as error:
            problems.report(f"cannot use {flat[chooser]!r}: {error}", file=where, key=chooser)
            continue
        for name, key in plugin.keys.items():
            with problems.collect():
                if name in flat:
                    done[name] = key.check(flat[name], where, name)
                elif key.default is not NONE:
                    done[name] = key.default
                else:
                    problem = f"is missing: {flat[chooser]} takes it and has no default for it"
                    raise bad_input(problem, file=where, key=name, allowed=key.allowed())
    problems.raise_any(str(where))
    return done


def keywords(entry: Entry, section: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments with which a resolved config builds a rule; options that nothing reads are left out."""
    own = config[section].get("options", {}) if isinstance(entry, Plugin) else config[section]
    given = {name: own[name] for name in entry.options if name in own}
    for shared in entry.shares:
        given[shared.rpartition(".")[2]] = functools.reduce(lambda part, key: part[key], shared.split("."), config)
    return given


def check_before_training(entry: Entry, keywords: Mapping[str, Any]) -> None:
    """The quick contract of a plug-in.

    Raises:
        UserError: It is broken.
    """
    from fne.checks.contract import check

    check(entry, entry.section, keywords, entry.target, quick=True)


def check_selection(flat: Mapping[str, Any], where: str | Path) -> None:
    """Check that the strategy gives an anchor as many negatives as the loss takes.

    Raises:
        UserError: It does not; names the strategies that do.
    """
    strategy, loss = flat["negatives.strategy"], flat["loss.kind"]
    takes = set(find("loss", loss).negatives)
    fitting = [name for name, entry in registered("negatives").items() if takes & set(entry.negatives)]
    if not takes & set(find("negatives", strategy).negatives):
        problem = f"does not fit loss.kind {loss!r}"
        raise bad_input(problem, file=where, key="negatives.strategy", value=strategy, allowed=fitting)
