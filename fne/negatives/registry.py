"""Entries of the registries of strategies and losses: names and options, so that checking needs no torch."""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

NEEDS = ("teacher", "guide", "anchor", "direction", "same_image")
"""What a strategy or a loss may want beside similarities; see :class:`fne.negatives.strategy.Strategy`."""


@dataclass(frozen=True)
class Idle:
    """Options that nothing reads while others have certain values.

    Args:
        when: Option to values; all of them must hold.
        options: What is then not read.
    """

    when: Mapping[str, tuple[str, ...]]
    options: tuple[str, ...]

    def holds(self, section: Mapping[str, Any]) -> bool:
        """Does every option have one of its values? One that was pruned has none; what switched it off lists all."""
        return all(section.get(option) in values for option, values in self.when.items())


@dataclass(frozen=True)
class Entry:
    """One registered class and the config options it reads.

    Args:
        target: ``"module:Class"``; imported by :meth:`load` only.
        options: Keys of its config section that it takes as keyword arguments; every other key is pruned.
        summary: What it does, in one clause.
        shares: Keys of other sections that it reads too, dotted, e.g. ``"loss.margin"``.
        idle: What other options switch off: while each option of ``when`` has one of its values, the others are not
            read, and the class gets None for them.
        negatives: For a strategy, how many negatives an anchor gets: ``("one",)`` or ``("all",)``.
            For a loss, which of the two it can take. ``attracted``: all, some of them as further positives.
        needs: What of :data:`NEEDS` it wants, whatever its options.
        estimates: How it tells which candidates are false negatives: ``probability``, ``threshold`` (it drops what is
            too similar), or not at all.
    """

    target: str
    options: tuple[str, ...]
    summary: str
    shares: tuple[str, ...] = ()
    idle: tuple[Idle, ...] = ()
    negatives: tuple[str, ...] = ("one",)
    needs: tuple[str, ...] = ()
    estimates: str = ""

    def reads(self, section: Mapping[str, Any]) -> tuple[str, ...]:
        """The options that are read, given the values of a config section."""
        idle = {option for rule in self.idle if rule.holds(section) for option in rule.options}
        return tuple(option for option in self.options if option not in idle)

    def load(self) -> type:
        """Import and return the class."""
        module, _, name = self.target.partition(":")
        return getattr(importlib.import_module(module), name)


def installed(group: str) -> dict[str, str]:
    """Entry points of a group among the installed packages: name to ``"module:Class"``."""
    return _installed(group, tuple(sys.path))


@functools.cache
def _installed(group: str, path: tuple[str, ...]) -> dict[str, str]:
    """The same, looked up once for a search path: it opens a file of every installed package."""
    return {entry.name: entry.value for entry in importlib.metadata.entry_points(group=group)}
