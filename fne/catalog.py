"""Entries of the registries of strategies and losses: names and options, so that checking needs no torch."""

from __future__ import annotations

import importlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    """One registered class and the config options it reads.

    Args:
        target: ``"module:Class"``; imported by :meth:`load` only.
        options: Keys of its config section that it takes as keyword arguments; every other key is pruned.
        summary: What it does, in one clause.
        shares: Keys of other sections that it reads too, dotted, e.g. ``"loss.margin"``.
        negatives: For a strategy, how many negatives an anchor gets: ``("one",)`` or ``("all",)``.
            For a loss, which of the two it can take.
    """

    target: str
    options: tuple[str, ...]
    summary: str
    shares: tuple[str, ...] = ()
    negatives: tuple[str, ...] = ("one",)

    def load(self) -> type:
        """Import and return the class."""
        module, _, name = self.target.partition(":")
        return getattr(importlib.import_module(module), name)
