"""A small world of scenes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fne.scenes.prepare import build_splits, run

SMALL = {
    "dataset": "scenes", "seed": 3, "train": 240, "val": 80, "test": 120,
    "captions_per_image": 3, "prevalence": 0.003, "image_size": 48,
}  # fmt: skip


def scenes_section(**changes: Any) -> dict[str, Any]:
    """A small scenes ``data`` section."""
    return SMALL | changes


@pytest.fixture(scope="session")
def small_world():
    """The splits of the small world, in memory."""
    return build_splits(SMALL)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small world, prepared in a folder; tests must not change it."""
    folder = tmp_path_factory.mktemp("resources") / "scenes-small"
    run(SMALL, folder)
    return folder
