"""What a rule may be made of: oracles, densities and kinds of memory by name (torch-free)."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fne.negatives.densities.density import Density

ORACLES = ("none", "remove", "relabel", "only")
"""What a strategy may know of the truth; see :mod:`fne.negatives.oracle`."""

DENSITIES: dict[str, str] = {
    "normal": "fne.negatives.densities.normal:Normal",
    "tied": "fne.negatives.densities.tied:Tied",
    "beta": "fne.negatives.densities.beta:Beta",
    "kde": "fne.negatives.densities.kde:KernelDensity",
    "logistic": "fne.negatives.densities.logistic:Logistic",
    "isotonic": "fne.negatives.densities.isotonic:Isotonic",
}
"""Families of densities of positives and negatives, by name."""


@dataclass(frozen=True)
class Kind:
    """A kind of memory: its class, ``module:Class``, and the keys of ``memory`` that it takes as keywords."""

    target: str
    options: tuple[str, ...] = ()

    def load(self) -> Any:
        """Import the class."""
        return load(self.target)


MEMORIES = {
    "none": Kind("fne.negatives.memory.kind:Memory"),
    "momentum": Kind("fne.negatives.memory.momentum:MomentumMemory", ("size", "momentum", "initial", "fill")),
    "xbm": Kind("fne.negatives.memory.xbm:CrossBatchMemory", ("size", "initial", "fill")),
    "bank": Kind("fne.negatives.memory.bank:MemoryBank", ("refresh",)),
}
"""Kinds of memory, what an anchor is set against beyond its batch: nothing, a queue of embeddings of the momentum
encoder, one of the online encoder, or every pair of the epoch, embedded anew from time to time."""


def load(target: str) -> Any:
    """Import ``module:Class``."""
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def load_density(name: str) -> Density:
    """A family of densities by its name."""
    return load(DENSITIES[name])()
