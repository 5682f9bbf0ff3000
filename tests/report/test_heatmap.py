"""The heat map of two swept settings: every number from the files, by loops; nothing to draw is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from fne.report.figures import registry as figures
from fne.report.figures.heatmap import planes
from fne.results.study import StudyResults, load
from fne.study.api import load_study
from tests.report.conftest import Made
from tests.report.synthetic import Fake, write_study

SIZES, MOMENTA = (0, 512, 2048), (0.9, 0.99)
GONE = (2048, 0.99)
UNRUN = (512, 0.9)


def member(size: int, momentum: float) -> str:
    return f"fne_memory--memory_size-{size}--memory_momentum-{momentum}"


def swept(root: Path, repository: Path, truth_known: bool = True) -> StudyResults:
    """Study ``memory`` cut to five points of its sweep, one of them without a run, and its baseline."""
    shutil.copytree(repository / "ablations", root / "ablations")
    points = [(size, momentum) for size in SIZES for momentum in MOMENTA if (size, momentum) != GONE]
    fakes = [Fake("fne_no_buffer", "none", "fne", 450.0, 0.01, 0.3, memory=False)]
    fakes += [Fake(member(*at), "x", "fne", 440.0 + 6 * k, 0.01 + 0.01 * k, 0.4) for k, at in enumerate(points)]
    study = load_study("memory", {"variants": ",".join(fake.id for fake in fakes)}, root)
    missing = tuple((member(*UNRUN), seed, "train", "out of memory") for seed in (0, 1, 2))
    write_study(root, study=study, fakes=tuple(fakes), missing=missing, truth_known=truth_known, resources=truth_known)
    return load(study, root)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, root: Path) -> StudyResults:
    return swept(tmp_path_factory.mktemp("swept"), root)


def cells(axes: object) -> dict[tuple[int, int], tuple[str, str]]:
    """What stands in each cell (row, column), and how bold."""
    result = {}
    for text in axes.texts:
        column, row = text.get_position()
        result[int(row), int(column)] = (text.get_text(), text.get_fontweight())
    return result


def test_a_plane_is_the_sweep_of_its_file(results: StudyResults, paper: Made) -> None:
    (plane,) = planes(results)
    assert plane.stem == "fne_memory" and plane.keys == ("memory.size", "memory.momentum")
    assert plane.levels == (SIZES, MOMENTA) and len(plane.members) == 5
    assert plane.members[512, 0.99] == member(512, 0.99)
    assert planes(paper.results) == []


def test_every_number_by_a_loop_over_the_files(results: StudyResults) -> None:
    upper, lower = figures.draw(results, "heatmap").drawing.axes
    scores, rates = cells(upper), cells(lower)
    assert len(scores) == len(rates) == 6
    bold = 0
    for row, size in enumerate(SIZES):
        for column, momentum in enumerate(MOMENTA):
            if (size, momentum) in (GONE, UNRUN):
                assert scores[row, column][0] == rates[row, column][0] == "—"
                continue
            name = member(size, momentum)
            of = results.runs[(results.runs["variant"] == name) & (results.runs["split"] == "test")]
            result = [r.value for r in of.itertuples() if (r.metric, r.protocol) == ("rsum", "own")]
            assert len(result) == 3
            assert scores[row, column][0] == f"{100 * sum(result) / 3:.1f}"
            picks = hits = 0
            for r in results.audit[results.audit["variant"] == name].itertuples():
                picks, hits = picks + r.picks, hits + r.false_negatives
            assert rates[row, column][0] == f"{100 * hits / picks:.2f}"
            contrast = results.contrast(name)
            assert (scores[row, column][1] == "bold") == (contrast.low > 0 or contrast.high < 0)
            bold += scores[row, column][1] == "bold"
    assert 0 < bold < 4
    assert all(weight == "normal" for _, weight in rates.values())


def test_darker_is_higher(results: StudyResults) -> None:
    for axes in figures.draw(results, "heatmap").drawing.axes:
        (mesh,) = axes.collections
        values = mesh.get_array().compressed()
        light = mesh.to_rgba(np.sort(values))[:, :3] @ [0.2126, 0.7152, 0.0722]
        assert len(values) == 4 and (np.diff(light) < 0).all()


def contrast(one: str, two: tuple) -> float:
    """WCAG's contrast ratio of two sRGB colours."""
    light = []
    for colour in (to_rgb(one), two):
        parts = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in colour]
        light.append(0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2] + 0.05)
    return max(light) / min(light)


def test_numbers_stand_out_from_their_cells(results: StudyResults) -> None:
    for axes in figures.draw(results, "heatmap").drawing.axes:
        (mesh,) = axes.collections
        cells = [(text, mesh.get_array()[tuple(map(int, text.get_position()[::-1]))]) for text in axes.texts]
        inks = [(text.get_color(), mesh.to_rgba(value)[:3]) for text, value in cells if text.get_text() != "—"]
        assert len(inks) == 4 and all(contrast(*item) > 4 for item in inks)


def test_words_name_the_ends_and_the_baseline(results: StudyResults) -> None:
    picture = figures.draw(results, "heatmap")
    base = 100 * float(np.mean(list(results.values("fne_no_buffer").values())))
    assert f"FNE without buffer ({base:.1f})" in picture.caption
    assert "at memory.size 2048 and memory.momentum 0.9" in picture.alt
    assert "at memory.size 0 and memory.momentum 0.9" in picture.alt
