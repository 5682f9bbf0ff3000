"""The notebook: committed clean, and every cell runs on a made-up study."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.reporting.conftest import Made

PATH = Path("workflow") / "notebooks" / "explore.ipynb"


def test_it_is_committed_without_outputs(root: Path) -> None:
    notebook = nbformat.read(root / PATH, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata["language_info"]["name"] == "python"
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None


def test_a_study_is_loaded_in_three_lines(root: Path) -> None:
    notebook = nbformat.read(root / PATH, as_version=4)
    first = next(cell for cell in notebook.cells if cell.cell_type == "code")
    lines = [line for line in first.source.splitlines() if line.strip()]
    assert len(lines) == 3 and lines[0].startswith("from fne.study_results import load")


@pytest.mark.skipif(sys.platform == "win32", reason="the kernel's event loop")
def test_every_cell_runs(paper: Made, root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FNE_ROOT", str(paper.root))
    monkeypatch.setenv("PYTHONPATH", str(root))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    notebook = nbformat.read(root / PATH, as_version=4)
    client = NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    asyncio.run(client.async_execute())
    outputs = {cell.id: cell.outputs for cell in notebook.cells if cell.cell_type == "code"}
    assert all(outputs.values()), [name for name, found in outputs.items() if not found]
    for name in ("scores", "contrasts", "pairs", "curves", "hardness", "densities"):
        assert "image/png" in outputs[name][0]["data"], name
    table = outputs["load"][0]["data"]["text/html"]
    assert "FNE (as released)" in table and "4 of 5" in table
    assert outputs["first-picks"][0]["data"]["text/html"].count("data:image/jpeg;base64,") == 12
    assert "Traceback" not in str(outputs)
