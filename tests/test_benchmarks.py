"""The benchmarks still run: each at sizes that mean nothing, and of no time is anything expected."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.snakemake_project import ROOT

FOLDER = ROOT / "workflow" / "benchmarks"
SMALL = {"performance.py": ["--tiny"], "gpu.py": ["--steps", "2", "--workers", "1"]}


@pytest.mark.parametrize("script", SMALL)
def test_a_benchmark_writes_its_record(script, tmp_path) -> None:
    out = tmp_path / "record.md"
    command = [sys.executable, FOLDER / script, *SMALL[script], "--out", out]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    assert out.read_text(encoding="utf-8").count("## ") >= 4
