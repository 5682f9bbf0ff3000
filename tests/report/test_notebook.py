"""The notebook: committed clean, every cell runs on a made-up study, and the page of it is offline."""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
from pathlib import Path

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter

from tests.report.conftest import Made

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


@pytest.fixture(scope="module")
def executed(paper: Made, root: Path, tmp_path_factory: pytest.TempPathFactory) -> nbformat.NotebookNode:
    """The notebook, run from another folder on the made-up study, as the rule runs it."""
    folder = tmp_path_factory.mktemp("notebook")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FNE_ROOT", str(paper.root))
        patch.setenv("FNE_STUDY", "paper --set seeds=0-4")
        patch.setenv("PYTHONPATH", str(root))
        patch.setenv("IPYTHONDIR", str(folder))
        patch.setenv("OMP_NUM_THREADS", "1")
        notebook = nbformat.read(root / PATH, as_version=4)
        where = {"metadata": {"path": str(folder)}}
        client = NotebookClient(notebook, timeout=240, kernel_name="python3", resources=where)
        asyncio.run(client.async_execute())
    return notebook


def html_of(executed: nbformat.NotebookNode, name: str) -> str:
    (cell,) = [cell for cell in executed.cells if cell.id == name]
    return cell.outputs[0]["data"]["text/html"]


def test_every_cell_runs_and_shows_something(executed: nbformat.NotebookNode) -> None:
    outputs = {cell.id: cell.outputs for cell in executed.cells if cell.cell_type == "code"}
    assert all(outputs.values()), [name for name, result in outputs.items() if not result]
    assert not [name for name, result in outputs.items() if any(item.get("name") == "stderr" for item in result)]
    assert "Traceback" not in str(outputs) and "UserError" not in str(outputs)
    for name in ("scores", "contrasts", "curves", "hardness", "risk", "densities", "agreement", "paper-figure"):
        figure = html_of(executed, name)
        assert "data:image/png;base64," in figure and "<figcaption" in figure, name
    for name in ("pairs", "slices-figure"):
        assert "image/png" in outputs[name][0]["data"], name
    table = html_of(executed, "load")
    assert "FNE (released rule)" in table and "4 of 5" in table
    assert "out of memory" in outputs["about"][0]["text"]
    assert "\\toprule" in outputs["paper-table"][0]["text"] and "\\toprule" in outputs["own-table"][0]["text"]
    assert html_of(executed, "picks-viewer").count("data:image/jpeg;base64,") > 12


def test_it_shows_the_slices_of_the_study(executed: nbformat.NotebookNode, paper: Made) -> None:
    rows = re.findall(r"<tr>(.*?)</tr>", html_of(executed, "slices"), re.DOTALL)
    cells = [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in rows]
    made = paper.results.slices("fne", "caption_length")
    assert list(made["slice"]) == ["13", "15", "17", "all queries"]
    columns = ["mean", "mean_against", "difference", "low", "high", "interaction"]
    for shown, row in zip(cells[-4:], made.to_dict("records"), strict=True):
        assert shown[:2] == [row["slice"], str(row["queries"])]
        requested = ["" if np.isnan(row[name]) else round(100 * row[name], 1) for name in columns]
        assert [float(cell) if cell else "" for cell in shown[2:8]] == requested
    assert "no slices" not in html_of(executed, "slices-matches") + html_of(executed, "slices-own")


def test_the_page_is_offline_and_names_no_place_of_this_machine(
    executed: nbformat.NotebookNode, paper: Made, root: Path
) -> None:
    exporter = HTMLExporter(template_name="page", extra_template_basedirs=[str((root / PATH).parent)])
    page, _ = exporter.from_notebook_node(executed)
    assert page.count("data:image/png;base64,") >= 10
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//|url\(["']?https?:|import\(|@import""", page)
    assert "<script src" not in page and "cdnjs" not in page and "unpkg" not in page
    for place in (root, paper.root, Path.home(), Path(tempfile.gettempdir()), Path(sys.prefix)):
        assert f"{place}/" not in page, place
