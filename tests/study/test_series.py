"""A study with factors: a study for every point, and one clear error for everything that is wrong with it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from fne.results.configs import diff
from fne.steps.describe import run as describe
from fne.study import api as config
from fne.utils.errors import UserError
from fne.utils.yaml_file import parse_set
from tests.projects import SEARCH, Project, asked

VALUES = {"data.prevalence": [0.01, 0, 0.003]}
IDS = ["paper--data_prevalence-0.0", "paper--data_prevalence-0.003", "paper--data_prevalence-0.01"]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    project = Project(tmp_path)
    content = project.read("studies/paper") | {"factors": VALUES}
    content.pop("tune", None)
    project.write("studies/paper", content)
    return project


def test_members_are_the_study_with_one_other_value(project: Project) -> None:
    series = config.load("paper", root=project.root)
    assert isinstance(series, config.Series)
    assert series.factors == {"data.prevalence": (0.0, 0.003, 0.01)}, "in increasing order"
    assert [member.name for member in series.members] == IDS and not series.title.endswith(")")
    assert series.grows and series.random == ()
    for point, member in zip(series.points, series.members, strict=True):
        value = point["data.prevalence"]
        assert member == project.load(member.name)
        assert member.data["prevalence"] == value and member.title == f"{series.title} (prevalence {value})"
        configs = {variant: config.resolve(member, variant) for variant in member.variants}
        assert all(item["data"]["prevalence"] == value for item in configs.values())
        others = {name: diff(item, config.resolve(series.members[0], name)) for name, item in configs.items()}
        assert all(set(result) <= {"data.prevalence"} for result in others.values())
    project.edit("studies/paper", factors={"data": {"train": [100, 200]}})
    assert project.load("paper--data_train-200").data["train"] == 200


def test_overrides_reach_all_members(project: Project) -> None:
    given = {"seeds": "0-2", "variants": "fne,infonce", "baseline": "fne", "train.epochs": 7, "block": 3}
    series = config.load("paper", given, project.root)
    for member in series.members:
        assert member.seeds == (0, 1, 2) and member.variants == ("fne", "infonce") and member.baseline == "fne"
        assert config.resolve(member, "fne")["train"]["epochs"] == 7
    for item in (series, series.members[1]):
        words = shlex.split(config.arguments(item))
        assert words[:2] == ["--study", item.name]
        assert config.load(words[1], parse_set(words[3::2]), project.root) == item
    made = asked({"study": "paper", "seeds": "0-2", "set": {"train.epochs": "7"}}, project.root)
    assert isinstance(made, config.Series) and made.members[2].seeds == (0, 1, 2)
    assert asked({"study": IDS[1]}, project.root) == project.load(IDS[1])


def test_listed_described_and_named(project: Project) -> None:
    names = config.list_studies(project.root)
    assert [name for name in names if name.startswith("paper")] == IDS and "smoke" in names
    text = describe("paper", project.root)
    assert all(f"{value}: {name}" in text for value, name in zip(("0.0", "0.003", "0.01"), IDS, strict=True))
    assert describe(IDS[2], project.root).startswith(f"{IDS[2]}: ")
    project.fails(saying=["is a series", "'paper'", *IDS, "snakemake"])
    project.fails("paper--data_prevalence-0.004", saying=["unknown study", "did you mean 'paper--data_prevalence"])
    project.fails("smoke--data_prevalence-0.003", saying=["unknown study"])
    project.fails("papr", saying=["did you mean 'paper'"])


SEED, DRAW = "data.seed", "encoders.draw"


def test_every_combination_of_several_factors(project: Project) -> None:
    project.edit("studies/paper", factors={SEED: [3, 0], "data.prevalence": [0.01, 0]})
    series = config.load("paper", root=project.root)
    points = [{SEED: seed, "data.prevalence": share} for seed in (0, 3) for share in (0.0, 0.01)]
    assert list(series.points) == points and series.random == (SEED,) and not series.grows
    for point, member in zip(points, series.members, strict=True):
        assert member.name == f"paper--data_seed-{point[SEED]}--data_prevalence-{point['data.prevalence']}"
        assert {f"data.{key}": member.data[key] for key in ("seed", "prevalence")} == point
        assert member.title == f"{series.title} (world {point[SEED]}, prevalence {point['data.prevalence']})"
        assert member == project.load(member.name)


def test_corners_vary_one_factor_at_a_time_and_all_together(project: Project) -> None:
    """Centre, arms and corners, worked out by hand; the first values stay first."""
    factors = {SEED: [7, 1, 2], DRAW: [0, 4, 3], "data.train": [200, 100, 300]}
    project.edit("studies/paper", factors=factors, design="corners")
    series = config.load("paper", root=project.root)
    requested = [(7, 0, 200), (1, 0, 200), (2, 0, 200), (7, 4, 200), (7, 3, 200), (7, 0, 100), (7, 0, 300),
              (1, 4, 100), (2, 3, 300)]  # fmt: skip
    assert [tuple(point.values()) for point in series.points] == requested
    assert series.random == (SEED, DRAW) and series.factors == {key: tuple(each) for key, each in factors.items()}
    project.edit("studies/paper", factors={DRAW: [*range(6)], SEED: [*range(6)]})
    points = [tuple(point.values()) for point in config.load("paper", root=project.root).points]
    assert len(points) == len(set(points)) == 16 and points[-5:] == [(k, k) for k in range(1, 6)]
    project.edit("studies/paper", factors={DRAW: [0, 1], SEED: [0, 1]})
    corners = {member.name for member in config.load("paper", root=project.root).members}
    project.edit("studies/paper", factors={DRAW: [0, 1], SEED: [0, 1]}, design="crossed")
    assert {member.name for member in config.load("paper", root=project.root).members} == corners


def test_a_draw_is_laid_onto_the_encoders_and_noted(project: Project) -> None:
    project.edit("studies/paper", factors={DRAW: [0, 2]}, encoders={"text": {"max_length": 24}})
    series = config.load("paper", root=project.root)
    for draw, member in zip((0, 2), series.members, strict=True):
        encoders = config.resolve(member, "fne")["encoders"]
        assert (encoders["draw"], encoders["text"]["max_length"]) == (draw, 24)
        said = [note for note in member.notes if "results with them hold for the machine" in note]
        assert len(said) == (draw > 0) and member.title.endswith(f"(encoder draw {draw})")
    assert sum("results with them hold" in note for note in series.notes) == 1, "of the members, once"
    plain = config.load("smoke", {DRAW: 1}, project.root)
    assert any("results with them hold" in note for note in plain.notes)
    assert not any("hold for the machine" in note for note in project.load("smoke").notes)


def test_draws_need_two_seeds(project: Project) -> None:
    project.edit("studies/paper", factors={DRAW: [0, 1]})
    with pytest.raises(UserError, match=r"seeds: one seed cannot be distinguished from the draws of encoders\.draw"):
        config.load("paper", {"seeds": "3"}, project.root)
    assert len(config.load("paper", {"seeds": "3-4"}, project.root).members) == 2
    project.edit("studies/paper", factors=VALUES)
    assert len(config.load("paper", {"seeds": "3"}, project.root).members) == 3, "values of one's own choice need none"


def test_what_only_some_points_read_is_read(project: Project) -> None:
    data = {"dataset": "scenes", "pretrain": 400}
    project.edit("studies/paper", factors={DRAW: [0, 1]}, data=data)
    first, second = config.load("paper", root=project.root).members
    assert "pretrain" not in first.data and second.data["pretrain"] == 400
    project.edit("studies/paper", factors={DRAW: [0, 1], "data.pretrain": [300, 400]}, data={"dataset": "scenes"})
    with pytest.raises(UserError, match=r"factors: two points are one study.*draw-0--data_pretrain-400"):
        config.load("paper", root=project.root)
    project.edit("studies/paper", factors={"data.pretrain": [300, 400]})
    message = project.fails("paper--data_pretrain-300", saying=["factors.data.pretrain", "encoders.draw is above 0"])
    with pytest.raises(UserError) as caught:
        config.load("paper", root=project.root)
    assert str(caught.value) == message, "once for all members"


def bad(project: Project, saying: list[str], **changes: object) -> None:
    project.edit("studies/paper", **changes)
    project.fails(saying=["paper.yaml", *saying])
    assert "paper" in config.list_studies(project.root), "other studies can still be listed"
    assert project.load("smoke").name == "smoke"


@pytest.mark.parametrize(
    ("factors", "saying"),
    [
        ({"data.prevalance": [0, 0.1]}, ["data.prevalance", "is no number of data", "did you mean 'data.prevalence'"]),
        ({"data.prevalence": [0.01]}, ["factors.data.prevalence", "at least two values"]),
        ({"data.prevalence": [0, 0.01, 0.0]}, ["factors.data.prevalence", "holds a value twice", "got 0.0"]),
        ({"loss.margin": [0.1, 0.2]}, ["is no number of data", "a variant varies", "data.prevalence"]),
        ([0, 0.01], ["factors", "must be a mapping"]),
    ],
)
def test_bad_factors(project: Project, factors: object, saying: list[str]) -> None:
    bad(project, saying, factors=factors)


def test_bad_designs_and_a_search_beside_factors(project: Project) -> None:
    bad(project, ["design", "not one of the choices", "'corner'", "did you mean 'corners'"], design="corner")
    bad(project, ["design", "do not fit", "two factors or more"], design="corners")
    project.edit("studies/paper", tune=SEARCH, design="crossed")
    project.fails(saying=["paper.yaml", "tune", "a study with factors makes no search of its own", "tuned"])


def test_a_value_given_twice(project: Project) -> None:
    project.edit("studies/paper", data={"dataset": "scenes", "prevalence": 0.003})
    project.fails(saying=["paper.yaml", "factors.data.prevalence", "is in data and in factors"])
    project.edit("studies/paper", data={"dataset": "scenes"})
    for name in ("paper", IDS[1]):
        for given in ({"data.prevalence": 0.02}, {"data": {"prevalence": 0.02}}):
            with pytest.raises(UserError, match=r"command line: data\.prevalence: is a factor of the study; got 0\.02"):
                config.load(name, given, project.root)
    project.edit("studies/paper", factors={DRAW: [0, 1]}, encoders={"draw": 1})
    project.fails(saying=["paper.yaml", "factors.encoders.draw", "is in encoders and in factors"])
    project.edit("studies/paper", encoders={})
    with pytest.raises(UserError, match=r"command line: encoders\.draw: is a factor of the study; got 3"):
        config.load("paper", {DRAW: 3}, project.root)
