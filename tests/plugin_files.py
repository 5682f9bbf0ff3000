"""Sources of plug-ins for tests: one valid strategy, one valid loss, and a folder to put them in."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest

_NUMBER = itertools.count()

STRATEGY = '''
from fne.negatives.strategy import Selection, Strategy, draw_kept, usable


class SoftHard(Strategy):
    """Draws a negative with a probability that grows with its similarity.

    More.
    """

    def __init__(self, *, sharpness: float = 20.0, label: str = "plain", twice: bool = False, cap=None) -> None:
        self.sharpness = sharpness

    def select(self, similarities, excluded, positive, uniform):
        allowed = usable(similarities, excluded)
        return draw_kept(self.sharpness * similarities, allowed, allowed, uniform)
'''
LOSS = '''
from fne.losses.dense import Dense, log_weights


class Contrast(Dense):
    """Cross-entropy of the positive against every negative."""

    reads = ("loss.temperature",)

    def __init__(self, *, temperature: float, offset: float) -> None:
        self.temperature, self.offset = temperature, offset

    def of(self, similarities, positive, weights):
        import torch

        logits = (similarities + self.offset) / self.temperature + log_weights(weights)
        own = positive.unsqueeze(-1) / self.temperature
        return torch.cat([own, logits], dim=-1).logsumexp(dim=-1) - own.squeeze(-1)
'''


def place(folder: Path, text: str, name: str | None = None) -> str:
    """Write a module into a folder and return its name, one of its own unless it is given."""
    name = name or f"own_rules_{next(_NUMBER)}"
    path = folder.joinpath(*name.split(".")).with_suffix(".py")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return name


@pytest.fixture
def clean_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget afterwards which project folders were searched."""
    monkeypatch.setattr(sys, "path", list(sys.path))
