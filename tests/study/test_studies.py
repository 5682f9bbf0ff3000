"""Studies and tuned files: one clear error for everything that is wrong, all of them at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from fne.study import api as config
from fne.utils.errors import UserError
from tests.projects import ENCODERS, PATHS, SEARCH, Project, digests, tuned_file


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.mark.parametrize(
    ("changes", "saying"),
    [
        ({"variants": ["fne", "fen"]}, ["variants", "'fen'", "did you mean 'fne'"]),
        ({"variants": ["fne", "fne"], "baseline": "fne"}, ["variants", "'fne'", "twice"]),
        ({"variants": []}, ["variants", "list"]),
        ({"baseline": "vsepp"}, ["baseline", "'vsepp'", "hardest_in_batch"]),
        ({"regime": "finetunes"}, ["regime", "'finetunes'", "head"]),
        ({"primary": {"metric": "rsm", "protocol": "own"}},
         ["primary.metric", "'rsm'", "did you mean 'rsum'"]),
        ({"primary": {"metric": "rsum", "protocol": "mine"}},
         ["primary.protocol", "'mine'", "own, coco_1k_5fold, truth"]),
        ({"primary": {"metric": "r1", "protocol": "own"}}, ["primary.direction", "i2t, t2i"]),
        ({"data": {"dataset": "scnes"}}, ["data.dataset", "'scnes'", "did you mean 'scenes'"]),
        ({"data": {"dataset": "scenes", "images": "/x"}}, ["data.images", "unknown key"]),
        ({"encoders": {"image": {"level": "tokens"}}}, ["encoders.image.level", "'mlp' reads pooled"]),
        ({"set": {"train": {"epoch": 3}}}, ["set.train.epoch", "did you mean 'train.epochs'"]),
        ({"set": {"warmup": {"epochs": 16}}}, ["warmup.epochs", "no epoch", "16"]),
        ({"sets": {}}, ["sets", "unknown key", "did you mean 'set'"]),
    ],
)  # fmt: skip
def test_bad_study(project: Project, changes: dict, saying: list[str]) -> None:
    project.edit("studies/paper", **changes)
    project.fails(saying=["paper.yaml", *saying])


def test_a_baseline_of_the_command_line_is_not_laid_to_the_file(project: Project) -> None:
    message = project.fails(overrides={"baseline": "vsepp"}, saying=["not among the study's variants", "'vsepp'"])
    assert message.startswith("command line: baseline:")


def test_a_value_that_no_variant_of_the_study_reads(project: Project) -> None:
    project.edit("studies/paper", set={"negatives": {"tau": 1.0}}, variants=["random", "infonce"], baseline="random")
    project.fails(saying=["paper.yaml", "set.negatives.tau", "read by no variant"])
    project.edit("studies/paper", variants=["random", "fne"])
    assert config.resolve(project.load(), "fne")["negatives"]["tau"] == 1.0


def test_equal_variants_are_refused(project: Project) -> None:
    project.variant("twin", {"negatives": {"strategy": "hardest"}}, ["negatives.strategy"])
    project.edit("studies/paper", variants=["hardest_buffer", "twin"], baseline="twin")
    project.fails(saying=["hardest_buffer", "twin", "equal resolved configs"])


def test_all_problems_are_told_together(project: Project) -> None:
    project.edit("variants/fne_no_cutdown", isolates=[])
    project.edit("variants/random", role="other")
    project.edit("studies/paper", seeds=[0, 0], baseline="nobody", set={"train": {"epochs": "2e-5"}})
    project.edit("studies/paper", data={"trian": 1}, primary={"metric": "rsum", "protocol": "x"})
    message = project.fails(overrides={"loss.margn": 1, "train.optimizer": "sgd"}, saying=["problems in study 'paper'"])
    files = ("fne_no_cutdown.yaml", "random.yaml")
    keys = ("seeds", "baseline", "2e-5", "data.trian", "primary.protocol", "loss.margn", "'sgd'")
    for words in files + keys:
        assert words in message, words
    lines = message.splitlines()[1:]
    assert len(lines) == len(set(lines)) == 9 and message.startswith("9 problems")


def test_what_only_the_user_knows_is_asked_for_at_once(project: Project) -> None:
    message = project.fails("flickr8k", saying=["4 problems"])
    for short in ("annotations=", "images=", "image_encoder=", "text_encoder="):
        assert f"snakemake --config {short}" in message
    assert "--set data.images=" in message
    study = config.load_study("flickr8k", {}, project.root, complete=False)
    assert len(study.variants) == 10


def test_scenes_encoders_serve_scenes_only(project: Project) -> None:
    overrides = PATHS | ENCODERS | {"encoders.image.checkpoint": "scenes"}
    project.fails("flickr8k", overrides, saying=["encoders.image.checkpoint", "'scenes' only", "'flickr8k'"])


def test_a_home_folder_is_expanded_in_paths(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    study = project.load("flickr8k", **(PATHS | ENCODERS | {"data.images": "~/pictures"}))
    assert config.data_section(study)["images"] == "/home/me/pictures"


@pytest.mark.parametrize(
    ("content", "saying"),
    [
        (tuned_file({"fen": {"loss.margin": 0.1}}), ["values.fen", "'fen'", "did you mean 'fne'"]),
        (tuned_file({"fne": {"loss.margn": 0.1}}), ["values.fne.loss.margn", "did you mean 'loss.margin'"]),
        (tuned_file({"fne": {"loss.margin": "0.1"}}), ["values.fne.loss.margin", "not text"]),
        (tuned_file({"fne": {"data.seed": 1}}), ["values.fne.data.seed", "belongs to the study"]),
        (tuned_file({"random": {"negatives.tau": 1.0}}), ["values.random.negatives.tau", "not read by variant random"]),
        (tuned_file({}, declared=SEARCH | {"trails": 8}), ["declared.trails: unknown key", "did you mean 'trials'"]),
    ],
)
def test_bad_tuned_file(project: Project, content: dict, saying: list[str]) -> None:
    project.write("tuned/t", content)
    project.edit("studies/paper", tuned="t")
    project.fails(saying=["t.yaml", *saying])


def searched(project: Project, variants: list[str], declared: dict = SEARCH, **changes: object) -> None:
    """The study `paper` declares a search, and an outcome lies there."""
    content = project.read("studies/paper") | {"tune": SEARCH} | changes
    project.write("studies/paper", {key: value for key, value in content.items() if key != "tuned"})
    values = {variant: {} for variant in variants} | {"fne": {"loss.margin": 0.1}}
    project.write("tuned/paper", tuned_file(values, declared=declared))


def test_a_study_that_declares_a_search_uses_its_outcome(project: Project) -> None:
    searched(project, project.read("studies/paper")["variants"])
    study = project.load()
    assert study.tuned == "paper" and study.configs["fne"]["loss.margin"] == 0.1
    assert study.tune.plain() == SEARCH and study.draw == 0
    bare = config.load_study("paper", root=project.root, tuned=False)
    assert bare.tuned is None and bare.configs["fne"]["loss.margin"] == 0.2 and bare.tune == study.tune
    assert [*bare.axes["fne"]] == ["loss.margin"] and not bare.axes["infonce"] and not study.axes


def test_a_search_that_was_not_made_or_is_another_studys(project: Project) -> None:
    searched(project, project.read("studies/paper")["variants"])
    project.path("tuned/paper").unlink()
    project.fails(saying=["paper.yaml: tune", "not made yet", "fne tune paper", "tuned: null"])
    project.edit("studies/paper", tuned="other")
    project.fails(saying=["tuned", "'other'", "declares a search of its own"])
    project.edit("studies/paper", tuned=None)
    assert project.load().tuned is None


def test_an_outcome_of_another_declaration_or_order_of_axes(project: Project) -> None:
    """Points are drawn by the order of the axes."""
    two = {"loss.margin": {"log": [0.1, 0.2]}, "train.learning_rate": {"log": [1e-3, 2e-3]}}
    declared = SEARCH | {"search": two}
    searched(project, project.read("studies/paper")["variants"], declared)
    project.edit("studies/paper", tune=declared)
    project.load()
    for changed in (declared | {"budget": 16}, declared | {"search": dict(reversed(two.items()))}):
        project.edit("studies/paper", tune=changed)
        project.fails(saying=["tuned/paper.yaml", "another declaration", "fne tune paper"])


def test_an_outcome_that_lacks_a_variant(project: Project) -> None:
    searched(project, ["hardest_in_batch", "infonce"])
    project.edit("studies/paper", variants=["hardest_in_batch", "fne", "random"])
    project.fails(saying=["tuned/paper.yaml", "lacks variants", "'random'", "fne tune paper"])
    given = project.load(variants=["hardest_in_batch", "fne", "sum_of_hinges"])
    assert any("without tuned values in paper.yaml: sum_of_hinges" in note for note in given.notes)
    covered = project.load(variants="hardest_in_batch,fne")
    assert not any("without tuned values" in note for note in covered.notes)


@pytest.mark.parametrize(
    ("change", "saying"),
    [
        ({"budget": 7}, ["tune.budget", "below the first round", "got 7"]),
        ({"trials": 3}, ["tune.trials: are too few; got 3", "at least 4"]),
        ({"finalists": 9}, ["tune.finalists", "got 9"]),
        ({"seeds": [0, 1001, 1002, 1003]}, ["tune.seeds", "seeds of the study too", "[0]"]),
        ({"seeds": [1000, 1001, 1002]}, ["tune.seeds", "a list of four distinct seeds or more"]),
        ({"seeds": [9, 10, 11, 1009]}, ["tune.seeds: would be seeds of two draws"]),
        ({"search": {}}, ["tune.search: has no range"]),
        ({"search": {"loss.margni": {"log": [0.1, 0.2]}}}, ["tune.search.loss.margni", "did you mean 'loss.margin'"]),
        ({"search": {"negatives.sharpness": {"log": [1, 2]}}}, ["negatives.sharpness", "read by no variant"]),
        ({"search": {"loss.margin": [0.1, 0.2]}}, ["tune.search.loss.margin: must be a mapping"]),
        ({"search": {"loss.margin": {"lowest": "why"}}}, ["loss.margin: must have one kind"]),
        ({"search": {"loss.margin": {"log": [0.2, 0.1]}}}, ["loss.margin.log: is no range; got [0.2, 0.1]"]),
        ({"search": {"loss.margin": {"log": [0.1, 9]}}}, ["loss.margin.log: out of range; got 9"]),
        ({"search": {"loss.margin": {"choice": [0.1, 0.2]}}}, ["loss.margin.choice: holds numbers"]),
        ({"search": {"memory.size": {"integer": [32.5, 64]}}}, ["must have whole numbers as ends"]),
        ({"search": {"negatives.cut_down": {"log": [1, 2]}}}, ["is no range for this key", "choice of", "global"]),
        ({"search": {"negatives.cut_down": {"choice": ["globl", "none"]}}}, ["cut_down.choice", "'globl'"]),
        ({"search": {"warmup.epochs": {"integer": [0, 12]}}}, ["tune.search may be extended so far", "warmup.epochs"]),
        ({"search": {"warmup.epochs": {"integer": [0, 1], "highest": "x"}, "warmup.margin": {"linear": [0, 0.3]}}},
         ["tune.search.warmup.epochs: changes which keys variant", "warmup.margin", "got 0"]),
    ],
)  # fmt: skip
def test_a_faulty_search(project: Project, change: dict, saying: list[str]) -> None:
    project.edit("studies/paper", tune=SEARCH | change)
    with pytest.raises(UserError) as caught:
        config.load_study("paper", root=project.root, tuned=False)
    message = str(caught.value)
    assert "paper.yaml" in message and all(words in message for words in saying), message


def test_ranges_may_be_nested_and_are_of_the_axes_that_a_variant_reads(project: Project) -> None:
    choice = {"negatives.cut_down": {"choice": ["global", "none"]}}
    nested = {"loss": {"margin": {"log": [0.1, 0.2]}}, "memory": {"size": {"log": [32, 64], "lowest": "why"}}}
    project.edit("studies/paper", tune=SEARCH | {"search": nested | choice,
                                                 "trials": 12})  # fmt: skip
    study = config.load_study("paper", root=project.root, tuned=False)
    assert {item: [*axes] for item, axes in study.axes.items() if item in ("fne", "infonce", "random")} == {
        "fne": ["loss.margin", "memory.size", "negatives.cut_down"], "infonce": [], "random": ["loss.margin"]
    }  # fmt: skip
    size = study.axes["fne"]["memory.size"]
    assert (size.low, size.high, size.whole, size.bound("lowest"), size.bound("highest")) == (32, 64, True, "why", "")
    assert study.axes["fne"]["negatives.cut_down"].values == ("global", "none")


def test_a_variant_that_needs_a_warm_up_has_its_least_as_natural_bound(project: Project) -> None:
    project.edit("studies/paper", tune=SEARCH | {"search": {"warmup.epochs": {"integer": [0, 4]}}},
                 variants=["hardest_in_batch", "glofnd", "fne"])  # fmt: skip
    axes = config.load_study("paper", root=project.root, tuned=False).axes
    low = {item: (axis["warmup.epochs"].low, axis["warmup.epochs"].bound("lowest")) for item, axis in axes.items()}
    assert low["hardest_in_batch"] == (0, "the least that the key may be")
    assert {low["glofnd"][0], low["fne"][0]} <= {0, 1}


def test_another_draw_is_a_file_of_its_own(project: Project) -> None:
    searched(project, project.read("studies/paper")["variants"])
    project.edit("studies/ceiling", tuned="paper", factors={"tuned.draw": [0, 1]})
    variants = project.read("studies/ceiling")["variants"]
    project.fails("ceiling", saying=["tuned/paper.1.yaml: tuned.draw", "not made yet", "fne tune paper --draw 1"])
    first = {"metric": "x", "date": "y", "command": "z", "draw": 1}
    project.write("tuned/paper.1", tuned_file({item: {} for item in variants[1:]}, protocol=first))
    project.fails("ceiling", saying=["tuned/paper.1.yaml: lacks variants of the study", variants[0]])
    other = SEARCH | {"budget": 16}
    project.write("tuned/paper.1", tuned_file({item: {} for item in variants}, protocol=first, declared=other))
    project.fails("ceiling", saying=["tuned/paper.1.yaml: declared: is another declaration than that of paper.yaml"])
    project.write("tuned/paper.1", tuned_file({item: {} for item in variants}, protocol=first))
    assert [study.draw for study in config.load("ceiling", root=project.root).members] == [0, 1]
    with pytest.raises(UserError, match=r"seeds: are seeds of the study too; got \[2000, 2001\]"):
        config.load("ceiling", {"seeds": "1999-2001"}, project.root)


def test_an_outcome_of_an_earlier_protocol_is_used_and_named(project: Project) -> None:
    old = {"declared": {"budget": 8, "seeds": [1000], "search": {"loss.margin": [0.1, 0.2]}}, "trials": [],
           "border": {"fne": ["loss.margin"]}, "where": {}, "ranges": {}}  # fmt: skip
    project.write("tuned/paper", tuned_file({"fne": {"loss.margin": 0.1}}) | old)
    content = project.read("studies/paper") | {"tune": SEARCH}
    project.write("studies/paper", {key: item for key, item in content.items() if key != "tuned"})
    study = project.load()
    assert study.configs["fne"]["loss.margin"] == 0.1
    assert any(note.startswith("old protocol: ") for note in study.notes)
    assert any(note.startswith("without tuned values in paper.yaml: hardest_in_batch") for note in study.notes)


@pytest.mark.parametrize(
    ("seeds", "saying"),
    [
        ("0", "1 seed is too few to show how much a mean varies: that needs 3, the exact test"),
        ("0-1", "2 seeds are too few to show how much a mean varies"),
        ("0-4", "5 seeds are too few for the exact test over seeds: after Holm's correction for 9 comparisons its p is "
                "never below 0.56; 9 seeds can reach 0.05"),
        ("0-7", "p is never below 0.07;"),
        ("0-8", None),
    ],
)  # fmt: skip
def test_seeds_too_few_are_told_or_refused(project: Project, seeds: str, saying: str | None) -> None:
    assert [note for note in project.load(seeds=seeds).notes if saying and saying in note] or saying is None
    assert bool(project.load(seeds=seeds).notes) == (saying is not None)
    project.edit("studies/paper", test="seeds")
    if saying is None:
        assert project.load(seeds=seeds).test == "seeds"
    else:
        words = ["seeds", "fewer than the exact test over seeds needs", "at least 9 seeds for 9 comparisons"]
        project.fails(overrides={"seeds": seeds}, saying=words)
    project.edit("studies/paper", test="rank")
    project.fails(saying=["paper.yaml: test: not one of the choices", "images, seeds"])


def test_tuned_values_reach_their_variant_only(project: Project) -> None:
    before = digests(project.load())
    project.write("tuned/t", tuned_file({"fne": {"memory.size": 77}, "random": {}}))
    project.edit("studies/paper", tuned="t")
    study = project.load()
    assert study.tuned == "t" and config.resolve(study, "fne")["memory"]["size"] == 77
    assert {variant for variant in before if before[variant] != digests(study)[variant]} == {"fne"}


def test_a_method_that_the_command_line_leaves_out_is_none(project: Project) -> None:
    study = project.load(variants="hardest_in_batch,infonce")
    assert study.method is None is study.control
    assert (project.load().method, project.load().control) == ("fne", "fne_no_elimination")
