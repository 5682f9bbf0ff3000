"""A study with a series: a study for every value, and one clear error for everything that is wrong with it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from fne import config, paths
from fne.errors import UserError
from tests.projects import Project, digests

VALUES = {"data.prevalence": [0.01, 0, 0.003]}
IDS = ["paper--data_prevalence-0.0", "paper--data_prevalence-0.003", "paper--data_prevalence-0.01"]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    content = project.read("studies/paper") | {"series": VALUES}
    content.pop("tune", None)
    project.write("studies/paper", content)
    return project


def test_members_are_the_study_with_one_other_value(project: Project) -> None:
    series = config.load("paper", root=project.root)
    assert isinstance(series, config.Series)
    assert series.values == (0.0, 0.003, 0.01) and [member.name for member in series.members] == IDS
    assert series.key == "data.prevalence" and not series.title.endswith(")")
    for value, member in zip(series.values, series.members, strict=True):
        assert member == project.load(member.name)
        assert member.data["prevalence"] == value and member.title == f"{series.title} (prevalence {value})"
        configs = {variant: config.resolve(member, variant) for variant in member.variants}
        assert all(one["data"]["prevalence"] == value for one in configs.values())
        others = {name: config.diff(one, config.resolve(series.members[0], name)) for name, one in configs.items()}
        assert all(set(found) <= {"data.prevalence"} for found in others.values())
    project.edit("studies/paper", series={"data.train": [100, 200]})
    assert project.load("paper--data_train-200").data["train"] == 200


def test_each_member_has_its_own_folders(project: Project) -> None:
    members = config.load("paper", root=project.root).members
    for place in (paths.data_folder, paths.results_folder, paths.reports_folder):
        assert len({place(member) for member in members}) == len(members)
    assert paths.reports_folder(members[1]) == Path("reports") / IDS[1]
    assert paths.reports_folder(config.load("paper", root=project.root)) == Path("reports/paper")


def test_the_middle_world_is_the_plain_study(project: Project, tmp_path: Path) -> None:
    """The value of the base, written as a member: the same configs and the same prepared data."""
    plain = Project(tmp_path / "plain")
    assert digests(project.load(IDS[1])) == digests(plain.load("paper"))
    assert paths.data_folder(project.load(IDS[1])) == paths.data_folder(plain.load("paper"))


def test_overrides_reach_all_members(project: Project) -> None:
    given = {"seeds": "0-2", "variants": "fne,infonce", "baseline": "fne", "train.epochs": 7, "block": 3}
    series = config.load("paper", given, project.root)
    for member in series.members:
        assert member.seeds == (0, 1, 2) and member.variants == ("fne", "infonce") and member.baseline == "fne"
        assert config.resolve(member, "fne")["train"]["epochs"] == 7
    for asked in (series, series.members[1]):
        words = shlex.split(config.arguments(asked, seeds=True))
        assert words[:2] == ["--study", asked.name]
        assert config.load(words[1], config.parse_set(words[3::2]), project.root) == asked
    made = config.from_snakemake({"study": "paper", "seeds": "0-2", "set": {"train.epochs": "7"}}, project.root)
    assert isinstance(made, config.Series) and made.members[2].seeds == (0, 1, 2)
    assert config.from_snakemake({"study": IDS[1]}, project.root) == project.load(IDS[1])


def test_listed_described_and_named(project: Project) -> None:
    names = config.list_studies(project.root)
    assert [name for name in names if name.startswith("paper")] == IDS and "smoke" in names
    text = config.describe("paper", project.root)
    assert all(f"{value}: {name}" in text for value, name in zip(("0.0", "0.003", "0.01"), IDS, strict=True))
    assert config.describe(IDS[2], project.root).startswith(f"{IDS[2]}: ")
    project.fails(saying=["is a series", "'paper'", *IDS, "snakemake"])
    project.fails("paper--data_prevalence-0.004", saying=["unknown study", "did you mean 'paper--data_prevalence"])
    project.fails("smoke--data_prevalence-0.003", saying=["unknown study"])
    project.fails("papr", saying=["did you mean 'paper'"])


@pytest.mark.parametrize(
    ("series", "saying"),
    [
        ({"data.prevalance": [0, 0.1]}, ["series.data.prevalance", "unknown key", "did you mean 'data.prevalence'"]),
        ({"data.prevalence": [0.01]}, ["series.data.prevalence", "at least two values"]),
        ({"data.prevalence": 0.01}, ["series.data.prevalence", "list"]),
        ({"data.prevalence": [0, 0.01], "data.seed": [0, 1]}, ["one key", "data.prevalence", "data.seed"]),
        ({"data.prevalence": [0, 0.01, 0.0]}, ["series.data.prevalence", "two members are equal"]),
        ({"data.prevalence": [0.01, 0.01]}, ["two members are equal", "0.01"]),
        ({"data.prevalence": [0, 0.5, -1]}, ["2 problems", "got 0.5", "got -1", "<= 0.03"]),
        ({"data.prevalence": [0, "0.01"]}, ["not text"]),
        ({"data.prevalence": [0, None]}, ["must not be null"]),
        ({"data.train": [100, 150.5]}, ["must be an integer"]),
        ({"data.dataset": ["scenes", "flickr8k"]}, ["is no number", "data.prevalence"]),
        ({"loss.margin": [0.1, 0.2]}, ["is no key of data", "sweep", "data.prevalence"]),
        ({"data": [1, 2]}, ["is no key of data"]),
        ([0, 0.01], ["series", "must be a mapping"]),
        ({}, ["series", "must be a mapping"]),
        (None, ["series", "must be a mapping"]),
    ],
)
def test_bad_series(project: Project, series: object, saying: list[str]) -> None:
    project.edit("studies/paper", series=series)
    project.fails(saying=["paper.yaml", *saying])
    assert "paper" in config.list_studies(project.root), "other studies can still be listed"
    assert project.load("smoke").name == "smoke"


def test_a_value_given_twice(project: Project) -> None:
    project.edit("studies/paper", data={"dataset": "scenes", "prevalence": 0.003})
    project.fails(saying=["paper.yaml", "series.data.prevalence", "is in data and in series"])
    project.edit("studies/paper", data={"dataset": "scenes"})
    for name in ("paper", IDS[1]):
        with pytest.raises(UserError, match=r"command line: data\.prevalence: is what the series varies; got 0\.02"):
            config.load(name, {"data.prevalence": 0.02}, project.root)


def test_a_search_of_its_own(project: Project) -> None:
    project.edit("studies/paper", tune={"budget": 2, "seeds": [1000], "search": {"loss.margin": [0.1, 0.2]}})
    project.fails(saying=["paper.yaml", "tune", "a series makes no search of its own", "tuned"])


def test_what_is_wrong_in_every_member_is_told(project: Project) -> None:
    project.edit("studies/paper", baseline="nobody")
    with pytest.raises(UserError, match=r"baseline.*'nobody'"):
        config.load("paper", root=project.root)
