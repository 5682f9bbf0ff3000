"""The examples in the docstrings of what people import run as they stand."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path

import pytest

MODULES = ("fne", "fne.loop.matching", "fne.loop.memory", "fne.study_results", "fne.report.picks.queries",
           "fne.results.slices", "fne.checks.contract", "fne.checks.grid", "fne.checks.loss",
           "fne.checks.strategy")  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_the_examples_run(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    monkeypatch.delenv("FNE_ROOT", raising=False)
    result = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS)
    assert result.attempted and not result.failed, f"{result.failed} of {result.attempted} failed"
