"""False Negative Elimination: a reproducibility and ablation-study harness for image-text retrieval, and a library.

Importing this package, ``fne.study.api`` or ``fne.study.paths`` imports no torch: Snakemake does so at every dry run.
What a training loop of your own uses is imported when it is first named: every strategy and loss by its class, and
what holds them together.

>>> from fne import FalseNegativeElimination, InfoNCE, MatchingLoss, MemoryQueue, MomentumEncoder, TripletLoss
>>> import fne
>>> [name for name in dir(fne) if name.startswith("M")]
['MatchingLoss', 'MemoryQueue', 'MomentumEncoder']
"""

import importlib
import sys
from typing import Any

__version__ = "0.2.0"
LIBRARY = {
    "MatchingLoss": "fne.loop.matching:MatchingLoss",
    "MemoryQueue": "fne.loop.memory:MemoryQueue",
    "MomentumEncoder": "fne.loop.memory:MomentumEncoder",
    "InfoNCE": "fne.losses.infonce:InfoNCELoss",  # as it is called in the literature
    "Loss": "fne.losses.loss:Loss",
    "Selection": "fne.negatives.strategy:Selection",
    "Strategy": "fne.negatives.strategy:Strategy",
}
"""What is offered beside strategies and losses, and where it is defined."""


def _offered() -> dict[str, str]:
    """Names to ``"module:Class"``, strategies and losses included."""
    from fne.negatives.registry import registered

    targets = [entry.target for section in ("negatives", "loss") for entry in registered(section).values()]
    return LIBRARY | {target.partition(":")[2]: target for target in targets}


def __getattr__(name: str) -> Any:
    if name.startswith("_") or name.islower():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name not in (offered := _offered()):
        from fne.utils.errors import bad_input

        message = str(bad_input("offers no such name", key=__name__, value=name, allowed=sorted(offered)))
        # `from fne import X` keeps the words of an ImportError only
        raised = ImportError if sys._getframe(1).f_code.co_name == "_handle_fromlist" else AttributeError
        raise raised(message)
    module, _, attribute = offered[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return sorted({*globals(), *_offered()})
