"""Text for a terminal."""

from __future__ import annotations

import pytest

from fne.utils.text import size


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (999.6, "1 kB"), (1234, "1.23 kB"), (5.5e9, "5.5 GB"), (2.5e15, "2.5e+03 TB")],
)
def test_sizes(count: float, text: str) -> None:
    assert size(count) == text
