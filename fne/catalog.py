"""Entries of the registries of strategies and losses: names and options, so that checking needs no torch."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Entry:
    """One registered class and the config options it reads.

    Args:
        target: ``"module:Class"``; imported by :meth:`load` only.
        options: Keys of its config section that it takes as keyword arguments; every other key is pruned.
        summary: What it does, in one clause.
        shares: Keys of other sections that it reads too, dotted, e.g. ``"loss.margin"``.
        idle: (option, value, others): with that value of that option the others are not read; the class gets None.
        negatives: For a strategy, how many negatives an anchor gets: ``("one",)`` or ``("all",)``.
            For a loss, which of the two it can take. ``attracted``: all, some of them as further positives.
        needs: What of :data:`fne.negatives.strategy.NEEDS` it wants, whatever its options.
    """

    target: str
    options: tuple[str, ...]
    summary: str
    shares: tuple[str, ...] = ()
    idle: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    negatives: tuple[str, ...] = ("one",)
    needs: tuple[str, ...] = ()

    def reads(self, section: Mapping[str, Any]) -> tuple[str, ...]:
        """The options that are read, given the values of a config section."""
        idle = {other for option, value, others in self.idle if section[option] == value for other in others}
        return tuple(option for option in self.options if option not in idle)

    def load(self) -> type:
        """Import and return the class."""
        module, _, name = self.target.partition(":")
        return getattr(importlib.import_module(module), name)
