"""One environment, told three times (pyproject.toml, environment.yml, README): the three must agree."""

from __future__ import annotations

import itertools
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml

CONDA_LINE = re.compile(r"[a-z0-9][a-z0-9_.-]*((=|==|>=|<=|>|<|!=)[0-9][0-9a-z.*]*)?")
PIN = re.compile(r"(?P<name>[a-z0-9][a-z0-9.-]*)==(?P<version>[0-9][0-9a-z.]*)( ; (?P<marker>.+))?")


@pytest.fixture(scope="module")
def environment(root: Path) -> dict:
    return yaml.safe_load((root / "environment.yml").read_text())


@pytest.fixture(scope="module")
def pins(root: Path) -> list[re.Match]:
    result = [PIN.fullmatch(line) for line in (root / "constraints.txt").read_text().splitlines()]
    assert all(result), "every line of constraints.txt is NAME==VERSION, with a marker or without"
    return result


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_each_conda_line_is_a_match_specification(environment: dict) -> None:
    lines = [line for line in environment["dependencies"] if isinstance(line, str)]
    assert lines == ["python=3.11", "pip", "curl"]
    assert all(CONDA_LINE.fullmatch(line) for line in lines)
    try:
        from rattler import MatchSpec
    except ImportError:
        return
    for line in lines:
        MatchSpec(line, strict=True)


def test_conda_brings_python_of_the_supported_range(environment: dict, root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11"
    assert environment["channels"][0] == "conda-forge"


def test_pip_section_is_the_install_of_the_readme(environment: dict, root: Path) -> None:
    (section,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    words = [word for line in section for word in shlex.split(line)]
    installs = re.findall(r"pip install (.+)", (root / "README.md").read_text())
    assert installs, "the README says how to install"
    for install in installs:
        arguments = [word for word in shlex.split(install) if word not in ("-q", "--quiet")]
        assert sorted(arguments) == sorted(words)


def test_every_dependency_is_pinned_inside_its_range(pins: list[re.Match], root: Path) -> None:
    from packaging.requirements import Requirement

    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    requested = [*project["dependencies"], *itertools.chain(*project["optional-dependencies"].values())]
    versions = {normal(pin["name"]): pin["version"] for pin in pins if pin["marker"] is None}
    for line in requested:
        requirement = Requirement(line)
        version = versions.get(normal(requirement.name))
        assert version is not None, f"{requirement.name} has no pin"
        assert requirement.specifier.contains(version), f"{line}: the pin {version} is outside"


def test_constraints_hold_no_address_and_no_local_build(root: Path) -> None:
    text = (root / "constraints.txt").read_text()
    assert not re.search(r"://|@|--|\+cpu|file:|/", text)


def test_a_name_is_pinned_once_per_marker(pins: list[re.Match]) -> None:
    keys = [(normal(pin["name"]), pin["marker"]) for pin in pins]
    assert len(keys) == len(set(keys))
    both = {name for name, marker in keys if marker is None} & {name for name, marker in keys if marker}
    assert not both, "a pin without a marker beside one with a marker"


def test_torch_is_exact_so_that_pip_never_looks_for_another_build(pins: list[re.Match]) -> None:
    (torch,) = [pin for pin in pins if pin["name"] == "torch"]
    assert torch["marker"] is None and re.fullmatch(r"\d+\.\d+\.\d+", torch["version"])


def test_licence_and_citation_agree_with_the_package(root: Path) -> None:
    import fne

    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((root / "CITATION.cff").read_text())
    assert project["version"] == citation["version"] == fne.__version__
    assert project["license"] == citation["license"] == "MIT"
    assert (root / "LICENSE").read_text().startswith("MIT License")
    assert citation["cff-version"] == "1.2.0" and citation["authors"] and citation["title"] and citation["message"]


def test_mypy_passes_over_no_module(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text())
    assert not any("ignore_errors" in each for each in project["tool"]["mypy"]["overrides"])
