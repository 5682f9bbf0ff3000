"""The environment is declared in pyproject.toml, environment.yml, constraints.txt and the README, which must agree."""

from __future__ import annotations

import itertools
import re
import shlex
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement

import fne
from tests.snakemake_project import ROOT

PIN = re.compile(r"(?P<name>[a-z0-9][a-z0-9.-]*)==(?P<version>[0-9][0-9a-z.]*)( ; (?P<marker>.+))?")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]


@pytest.fixture(scope="module")
def pins() -> list[re.Match]:
    result = [PIN.fullmatch(line) for line in (ROOT / "constraints.txt").read_text().splitlines()]
    assert all(result), "every line of constraints.txt is NAME==VERSION, with a marker or without"
    return result


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_conda_brings_python_and_pip_what_the_readme_installs() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *lines, of_pip = environment["dependencies"]
    assert environment["channels"][0] == "conda-forge" and lines == ["python=3.11", "pip", "curl"]
    assert PROJECT["requires-python"] == ">=3.11"
    words = sorted(word for line in of_pip["pip"] for word in shlex.split(line))
    installs = re.findall(r"pip install (.+)", (ROOT / "README.md").read_text())
    assert installs
    for install in installs:
        assert sorted(word for word in shlex.split(install) if word not in ("-q", "--quiet")) == words


def test_every_dependency_is_pinned_inside_its_range(pins: list[re.Match]) -> None:
    versions = {(normal(pin["name"]), pin["marker"] is not None): pin["version"] for pin in pins}
    for line in itertools.chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()):
        requirement = Requirement(line)
        pinned = versions[normal(requirement.name), requirement.marker is not None]
        assert requirement.specifier.contains(pinned), line


def test_a_name_is_pinned_once_per_marker_and_torch_exactly(pins: list[re.Match]) -> None:
    keys = [(normal(pin["name"]), pin["marker"]) for pin in pins]
    assert len(keys) == len(set(keys))
    both = {name for name, marker in keys if marker is None} & {name for name, marker in keys if marker}
    assert not both, "a pin without a marker beside one with a marker"
    (torch,) = [pin for pin in pins if pin["name"] == "torch"]  # so that pip never searches for another build
    assert torch["marker"] is None and re.fullmatch(r"\d+\.\d+\.\d+", torch["version"])


def test_licence_and_citation_agree_with_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert PROJECT["version"] == citation["version"] == fne.__version__
    assert PROJECT["license"] == citation["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text().startswith("MIT License")
    assert citation["cff-version"] == "1.2.0" and citation["authors"] and citation["title"] and citation["message"]


def test_mypy_passes_over_no_module() -> None:
    assert not any("ignore_errors" in each for each in PYPROJECT["tool"]["mypy"]["overrides"])
