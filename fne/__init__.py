"""False Negative Elimination: a reproducibility and ablation-study harness for image-text retrieval, and a library.

Importing this package, ``fne.study.api`` or ``fne.study.paths`` imports no torch: Snakemake does so at every dry run.
What a training loop of your own uses is imported when it is first named: every strategy and loss, by its class, and

>>> from fne import FalseNegativeElimination, MatchingLoss, MemoryQueue, MomentumEncoder, TripletLoss
>>> import fne
>>> [name for name in dir(fne) if name.endswith("Loss")][:3]
['ALBEFDistillationLoss', 'BayesianContrastiveLoss', 'DebiasedContrastiveLoss']
"""

import importlib
from typing import Any

__version__ = "0.2.0"
LIBRARY = {
    "MatchingLoss": "fne.loop.matching",
    "MemoryQueue": "fne.loop.memory",
    "MomentumEncoder": "fne.loop.memory",
    "Selection": "fne.negatives.strategy",
    "Strategy": "fne.negatives.strategy",
    "Loss": "fne.losses.loss",
}
"""What is offered beside strategies and losses, and the modules that define it."""


def _offered() -> dict[str, str]:
    """Names to modules, strategies and losses included."""
    from fne.negatives.registry import registered

    entries = [entry.target.split(":") for section in ("negatives", "loss") for entry in registered(section).values()]
    return LIBRARY | {name: module for module, name in entries}


def __getattr__(name: str) -> Any:
    if name.startswith("_") or name.islower() or name not in (offered := _offered()):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(offered[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_offered()})
