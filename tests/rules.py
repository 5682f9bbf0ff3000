"""Every strategy and loss of the package, and the keywords that each of them takes."""

from __future__ import annotations

from fne.negatives.registry import Entry, registered

STRATEGIES, LOSSES = registered("negatives"), registered("loss")


def taken(entry: Entry) -> dict[str, str]:
    """Keyword of the class, and the config key that gives it."""
    return {key.rpartition(".")[2]: key for key in [*entry.keys, *entry.shares]}
