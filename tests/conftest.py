"""Fixtures and rules for every test: no network, one thread, and shared data only where it lies."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

# Before anything imports torch or transformers.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["MPLBACKEND"] = "Agg"

import pytest

from tests import shared_runs
from tests.snakemake_project import ROOT, Project

SLOW = (
    "docs", "net", "property", "report", "scenes", "steps", "storm", "training", "workflow", "loop",
    "analysis/test_calibration_intervals.py", "analysis/test_components_simulations.py", "analysis/test_retraining.py",
    "analysis/test_series_stats.py", "analysis/test_simulations.py", "contract/test_memories.py",
    "contract/test_strategies.py", "data/test_archive.py", "data/test_arrow.py", "data/test_download.py",
    "data/test_fetch.py", "encoders/test_encoders.py", "encoders/test_extract.py", "encoders/test_families.py",
    "encoders/test_joint.py", "encoders/test_pretrain.py", "evaluation/test_eccv_caption.py",
    "evaluation/test_rank_run.py", "evaluation/test_ranking.py", "negatives/test_memory_kinds.py",
    "results/test_code.py", "results/test_export.py", "results/test_kept.py", "results/test_side_by_side.py",
    "test_benchmarks.py",
)  # fmt: skip
"""Folders and modules that `-m "not slow"` leaves out: studies that are run, simulations, browsers, whole encoders."""


def shared_folder() -> Path | None:
    """The folder of development data: variable FNE_SHARED, or ``shared`` beside the repository."""
    named = os.environ.get("FNE_SHARED")
    folder = Path(named) if named else ROOT.parent / "shared"
    return folder if folder.is_dir() else None


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of development data; tests that use it carry the mark ``needs_shared``."""
    folder = shared_folder()
    if folder is None:
        pytest.skip("needs_shared: no development data (set FNE_SHARED)")
    return folder


@pytest.fixture(scope="session")
def worker(request: pytest.FixtureRequest) -> str:
    """Which of several processes of tests this is."""
    return getattr(request.config, "workerinput", {}).get("workerid", "master")


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory, worker: str) -> Project:
    """The finished smoke study in a copy of the project, shared by all tests: copy it to change anything."""
    return shared_runs.run_once(tmp_path_factory, worker, "smoke", ["smoke"], {})


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow, and skip by name what this machine cannot run."""
    no_shared = pytest.mark.skip(reason="needs_shared: no development data (set FNE_SHARED)")
    slow = tuple(f"{ROOT / 'tests' / place}" for place in SLOW)
    for item in items:
        if str(item.path).startswith(slow) or "smoke" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
        if "smoke" in getattr(item, "fixturenames", ()):
            # The first of them waits for a whole study, half a minute on an idle machine.
            item.add_marker(pytest.mark.timeout(1200))
        if "needs_shared" in item.keywords and shared_folder() is None:
            item.add_marker(no_shared)
        if "browser" in item.keywords and shutil.which("chromium") is None:
            item.add_marker(pytest.mark.skip(reason="browser: no Chromium (apt-get install chromium)"))
        if extra := item.get_closest_marker("extra"):
            missing = [name for name in extra.args if importlib.util.find_spec(name) is None]
            if missing:
                reason = f"extra: no {', '.join(missing)} (pip install -e '.[extras]' -c constraints.txt)"
                item.add_marker(pytest.mark.skip(reason=reason))
        if "gpu" in item.keywords:
            import torch

            if not torch.cuda.is_available():
                item.add_marker(pytest.mark.skip(reason="gpu: no CUDA device"))
