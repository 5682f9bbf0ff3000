"""Studies and tuned files: one clear error for everything that is wrong, all of them at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fne import cli
from fne.study import api as config
from fne.utils.errors import UserError
from fne.utils.fields import yaml_number
from fne.utils.yaml_file import parse_set
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
        ({"variants": [1]}, ["variants", "list"]),
        ({"baseline": "vsepp"}, ["baseline", "'vsepp'", "hardest_in_batch"]),
        ({"regime": "finetunes"}, ["regime", "'finetunes'", "head"]),
        ({"primary": "rsum"}, ["primary", "mapping"]),
        ({"primary": {"metric": "rsm", "protocol": "own"}},
         ["primary.metric", "'rsm'", "did you mean 'rsum'"]),
        ({"primary": {"metric": "map_at_r", "protocol": "own"}}, ["primary.metric", "map_at_r", "rsum"]),
        ({"primary": {"metric": "rsum", "protocol": "mine"}},
         ["primary.protocol", "'mine'", "own, coco_1k_5fold, truth"]),
        ({"primary": {"metric": "r1", "protocol": "own"}}, ["primary.direction", "i2t, t2i"]),
        ({"primary": {"metric": "r1", "protocol": "own", "direction": None}}, ["primary.direction", "i2t, t2i"]),
        ({"data": {"dataset": "scnes"}}, ["data.dataset", "'scnes'", "did you mean 'scenes'"]),
        ({"data": {"dataset": "scenes", "trian": 5}}, ["data.trian", "did you mean 'data.train'"]),
        ({"data": {"dataset": "scenes", "images": "/x"}}, ["data.images", "unknown key"]),
        ({"encoders": {"image": {"poling": "cls"}}},
         ["encoders.image.poling", "did you mean 'encoders.image.pooling'"]),
        ({"encoders": {"image": {"level": "tokens"}}}, ["encoders.image.level", "'mlp' reads pooled"]),
        ({"encoders": {"image": {"checkpoint": None}}},
         ["encoders.image.checkpoint", "image_encoder=", "--set"]),
        ({"set": {"train": {"epoch": 3}}}, ["set.train.epoch", "did you mean 'train.epochs'"]),
        ({"set": {"encoders": {"image": {"pooling": "cls"}}}}, ["set.encoders.image.pooling", "unknown key"]),
        ({"set": {"warmup": {"epochs": 16}}}, ["warmup.epochs", "no epoch", "16"]),
        ({"set": {"evaluation": {"ks": [1, 5]}}}, ["evaluation.ks", "1, 5 and 10"]),
        ({"tuned": "none_such"}, ["tuned", "'none_such'"]),
        ({"sets": {}}, ["sets", "unknown key", "did you mean 'set'"]),
    ],
)  # fmt: skip
def test_bad_study(project: Project, changes: dict, saying: list[str]) -> None:
    project.edit("studies/paper", **changes)
    project.fails(saying=["paper.yaml", *saying])


@pytest.mark.parametrize("key", ["title", "question", "regime", "variants", "seeds", "block", "baseline", "primary"])
def test_study_without_a_required_key(project: Project, key: str) -> None:
    content = project.read("studies/paper")
    del content[key]
    project.write("studies/paper", content)
    project.fails(saying=["paper.yaml", key, "is missing"])


def test_a_baseline_of_the_command_line_is_not_laid_to_the_file(project: Project) -> None:
    message = project.fails(overrides={"baseline": "vsepp"}, saying=["not among the study's variants", "'vsepp'"])
    assert message.startswith("command line: baseline:")


def test_a_direction_that_need_not_be_said_may_be_null(project: Project) -> None:
    project.edit("studies/paper", primary={"metric": "rsum", "protocol": "own", "direction": None})
    assert project.load().primary == {"metric": "rsum", "protocol": "own", "direction": "both"}


def test_unknown_study(project: Project) -> None:
    project.fails("papr", saying=["'papr'", "did you mean 'paper'", "flickr8k"])


def test_a_value_that_no_variant_of_the_study_reads(project: Project) -> None:
    project.edit("studies/paper", set={"negatives": {"tau": 1.0}}, variants=["random", "infonce"], baseline="random")
    project.fails(saying=["paper.yaml", "set.negatives.tau", "read by no variant"])
    project.edit("studies/paper", variants=["random", "fne"])
    assert config.resolve(project.load(), "fne")["negatives"]["tau"] == 1.0


def test_equal_variants_are_refused(project: Project) -> None:
    project.variant("twin", {"negatives": {"strategy": "hardest"}}, ["negatives.strategy"])
    project.edit("studies/paper", variants=["hardest_buffer", "twin"], baseline="twin")
    project.fails(saying=["hardest_buffer", "twin", "equal resolved configs"])


def test_variants_that_differ_only_in_what_nothing_reads_are_equal(project: Project) -> None:
    """The unread parent value (here the queue's size) is pruned before the comparison."""
    project.variant("small", {"memory": {"size": 7}}, ["memory.size"])
    project.variant("twin", {"memory": {"kind": "none"}}, ["memory.kind"], parent="small")
    project.edit("studies/paper", variants=["fne_no_buffer", "twin"], baseline="twin")
    project.fails(saying=["fne_no_buffer", "twin", "equal resolved configs"])


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


def test_misfits_name_the_variant(project: Project) -> None:
    project.variant("long", {"warmup": {"epochs": 8}}, ["warmup.epochs"])
    project.edit("studies/paper", variants=["fne", "long"], baseline="fne", set={"train": {"epochs": 6}})
    project.fails(saying=["paper.yaml (variant long)", "warmup.epochs", "train.epochs, which is 6"])


def test_text_that_looks_like_a_number_is_told_how_to_be_written(project: Project) -> None:
    text = project.path("base").read_text(encoding="utf-8").replace("learning_rate: 1.0e-3", "learning_rate: 2e-5")
    project.write("base", text)
    project.fails(saying=["base.yaml: train.learning_rate", "'2e-5'", "YAML reads this as text: write 2.0e-05"])
    assert yaml.safe_load("2.0e-05") == 2e-5
    for number in (2e-5, 1e20, 0.1, 123456.789, 1e-300):
        assert yaml.safe_load(yaml_number(number)) == number


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


PROTOCOL = {"metric": "x", "date": "y", "command": "z"}


@pytest.mark.parametrize(
    ("content", "saying"),
    [
        (tuned_file({"fen": {"loss.margin": 0.1}}), ["values.fen", "'fen'", "did you mean 'fne'"]),
        (tuned_file({"fne": {"loss.margn": 0.1}}), ["values.fne.loss.margn", "did you mean 'loss.margin'"]),
        (tuned_file({"fne": {"loss.margin": "0.1"}}), ["values.fne.loss.margin", "not text"]),
        (tuned_file({"fne": {"data.seed": 1}}), ["values.fne.data.seed", "belongs to the study"]),
        (tuned_file({"random": {"negatives.tau": 1.0}}), ["values.random.negatives.tau", "not read by variant random"]),
        (tuned_file({"fne": {}}, reasons={}), ["reasons.fne", "non-empty"]),
        (tuned_file({}, reasons={"fne": "why"}), ["reasons.fne", "without values"]),
        (tuned_file({}, declared=None), ["declared.seeds: must be a list of seeds"]),
        (tuned_file({}, declared=SEARCH | {"trails": 8}), ["declared.trails: unknown key", "did you mean 'trials'"]),
        (tuned_file({}, declared=SEARCH | {"search": None}), ["declared.search: has no range"]),
        (tuned_file({"fne": {"loss.margin": 0.1}}, where={}), ["where.fne: are not the keys of its values; got []"]),
        (tuned_file({}, protocol=PROTOCOL | {"draw": 5}), ["protocol.draw: is not the draw of the file's name; got 5"]),
        (tuned_file({}, where={"fne": {"loss.margin": "inside"}}), ["where.fne", "are not the keys of its values"]),
        (tuned_file({"fne": {"loss.margin": 0.1, "loss": {"margin": 0.2}}}), ["values.fne.loss.margin", "twice"]),
    ],
)
def test_bad_tuned_file(project: Project, content: dict, saying: list[str]) -> None:
    project.write("tuned/t", content)
    project.edit("studies/paper", tuned="t")
    project.fails(saying=["t.yaml", *saying])


TWO = {"loss.margin": {"log": [0.1, 0.2]}, "train.learning_rate": {"log": [1e-3, 2e-3]}}


def margin(**given: object) -> dict:
    return {"search": {"loss.margin": given}}


def cut_down(**given: object) -> dict:
    return {"search": {"negatives.cut_down": given}}


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


@pytest.mark.parametrize(
    ("change", "saying"),
    [
        ({"budget": 16}, ["budget was 12 and is 16"]),
        ({"seeds": [1000, 1001, 1002, 1004]}, ["seeds was [1000, 1001, 1002, 1003] and is [1000, 1001, 1002, 1004]"]),
        ({"search": {"loss.margin": {"log": [0.1, 0.3]}}}, ["search.loss.margin.log was [0.1, 0.2] and is [0.1, 0.3]"]),
        (
            {"search": {"loss.margin": {"linear": [0.1, 0.2]}}},
            ["margin.linear was not there and is [0.1, 0.2]; search.loss.margin.log was [0.1, 0.2] and is not there"],
        ),
        ({"search": SEARCH["search"] | {"train.learning_rate": {"log": [0.1, 0.2]}}}, ["learning_rate.log was not th"]),
    ],
)
def test_an_outcome_of_another_declaration(project: Project, change: dict, saying: list[str]) -> None:
    searched(project, project.read("studies/paper")["variants"])
    project.edit("studies/paper", tune=SEARCH | change)
    project.fails(saying=["tuned/paper.yaml", "another declaration", "fne tune paper", *saying])


def test_check_reads_the_trials_and_the_declaration_of_a_search(
    project: Project, capsys: pytest.CaptureFixture
) -> None:
    searched(project, project.read("studies/paper")["variants"])
    assert cli.main(["check", "paper", "--root", str(project.root)]) == 0
    trials = project.path("tuned/paper").with_suffix(".csv")
    trials.write_text("variant,round\n")
    assert cli.main(["check", "paper", "--root", str(project.root)]) == 2
    assert f"{trials}: seed: has no such column" in capsys.readouterr().err
    trials.unlink()
    declared = SEARCH | {"search": {"warmup.epochs": {"integer": [0, 12]}}}
    searched(project, project.read("studies/paper")["variants"], declared)
    project.edit("studies/paper", tune=declared)
    project.write("tuned/paper", tuned_file({item: {} for item in project.read("studies/paper")["variants"]},
                                            declared=declared))  # fmt: skip
    assert cli.main(["check", "paper", "--root", str(project.root)]) == 2
    assert "tune.search may be extended so far" in capsys.readouterr().err


def test_another_order_of_axes_is_another_declaration(project: Project) -> None:
    """Points are drawn by the order of the axes."""
    declared = SEARCH | {"search": TWO}
    searched(project, project.read("studies/paper")["variants"], declared)
    project.edit("studies/paper", tune=declared)
    project.load()
    project.edit("studies/paper", tune=declared | {"search": dict(reversed(TWO.items()))})
    project.fails(saying=["another declaration", "search was in the order of loss.margin, train.learning_rate"])


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
        ({"budget": 7}, ["tune.budget: is below the first round; got 7", "at least tune.trials, which is 8"]),
        ({"trials": 3}, ["tune.trials: are too few; got 3", "at least 4: 4 for each of the 1 axes that"]),
        (
            {"trials": 7, "search": TWO},
            ["tune.trials: are too few; got 7", "at least 8: 4 for each of the 2 axes that"],
        ),
        ({"finalists": 9}, ["tune.finalists: are too many; got 9", "at most tune.trials, which is 8"]),
        ({"seeds": [0, 1001, 1002, 1003]}, ["tune.seeds", "seeds of the study too", "[0]"]),
        (
            {"seeds": [1000, 1001, 1002]},
            ["tune.seeds", "got [1000, 1001, 1002]", "a list of four distinct seeds or more"],
        ),
        ({"seeds": [7, 8, 9, 9]}, ["tune.seeds: holds a value twice; got [7, 8, 9, 9]", "four distinct seeds"]),
        ({"seeds": [9, 10, 11, 1009]}, ["tune.seeds: would be seeds of two draws; got [1009]", "plus 1000 k"]),
        ({"search": {}}, ["tune.search: has no range"]),
        ({"search": {"loss.margni": {"log": [0.1, 0.2]}}}, ["tune.search.loss.margni", "did you mean 'loss.margin'"]),
        ({"search": {"data.seed": {"integer": [1, 2]}}}, ["tune.search.data.seed", "belongs to the study"]),
        (
            {"search": {"negatives.sharpness": {"log": [1, 2]}}},
            ["tune.search.negatives.sharpness", "read by no variant"],
        ),
        (
            {"search": {"loss.margin": [0.1, 0.2]}},
            ["tune.search.loss.margin: must be a mapping; got [0.1, 0.2]", "log, lin"],
        ),
        (margin(lowest="why"), ["tune.search.loss.margin: must have one kind; got []; allowed: log, linear, integer"]),
        (margin(log=[0.1, 0.2], linear=[0.1, 0.2]), ["margin: must have one kind; got ['log', 'linear']"]),
        (margin(log=[0.1]), ["loss.margin.log", "got [0.1]", "a list of two numbers, the least and greatest"]),
        (margin(log=["1e-1", 0.2]), ["margin.log: must be a list of numbers; got ['1e-1', 0.2]", "text: write 0.1"]),
        (margin(log=[0.1, 0.1]), ["loss.margin.log: has equal ends; got [0.1, 0.1]", "allowed: [least, greatest]"]),
        (margin(log=[0.2, 0.1]), ["loss.margin.log: has reversed ends; got [0.2, 0.1]", "write [0.1, 0.2]"]),
        (margin(log=[0, 0.2]), ["loss.margin.log: cannot begin at 0 or below; got [0.0, 0.2]", "a linear range can"]),
        (margin(log=[0.1, 9]), ["loss.margin.log: out of range; got 9", "allowed: a number"]),
        (margin(log=[0.1, 0.2], lowest=None), ["loss.margin.lowest: is a natural bound without a reason", "say why"]),
        (margin(choice=[0.1, 0.2]), ["loss.margin.choice: holds numbers; got [0.1, 0.2]", "log, linear or integer"]),
        (
            {"search": {"memory.size": {"integer": [32.5, 64]}}},
            ["memory.size.integer: must have whole numbers as ends; got [32.5, 64.0]"],
        ),
        (cut_down(log=[1, 2]), ["negatives.cut_down.log: is no range for this key", "choice of", "global"]),
        (cut_down(choice=["global", "global"]), ["cut_down.choice: holds a value twice"]),
        (cut_down(choice=["globl", "none"]), ["negatives.cut_down.choice: not one of", "'globl'", "mean 'global'"]),
        (
            cut_down(choice=["global", "none"], lowest="why"),
            ["cut_down.choice: has no ends", "lowest and highest belong to ranges of numbers"],
        ),
        (
            {"search": {"warmup.epochs": {"integer": [0, 12]}}},
            ["variant ", "tune.search may be extended so far", "warmup.epochs", "16"],
        ),
        (
            {"search": {"warmup.epochs": {"integer": [0, 1], "highest": "x"},
                        "warmup.margin": {"linear": [0, 0.3]}}},
            ["tune.search.warmup.epochs: makes variant ", "read no warmup.margin, which is searched too; got 0"],
        ),
        (
            {"trials": 12,
             "search": {"memory.kind": {"choice": ["none", "momentum"]}, "memory.size": {"log": [32, 64]}}},
            ["tune.search.memory.kind: makes variant fne read no memory.size, which is searched too; got 'none'"],
        ),
        (
            {"search": {"warmup.epochs": {"integer": [0, 5], "highest": "x"},
                        "train.epochs": {"integer": [3, 16], "lowest": "x", "highest": "y"}}},
            ["variant ", "tune.search may be extended so far", "warmup.epochs", "allowed"],
        ),
    ],
)  # fmt: skip
def test_a_faulty_search(project: Project, change: dict, saying: list[str]) -> None:
    project.edit("studies/paper", tune=SEARCH | change)
    with pytest.raises(UserError) as caught:
        config.load_study("paper", root=project.root, tuned=False)
    message = str(caught.value)
    assert "paper.yaml" in message and all(words in message for words in saying), message
    assert "problems in" not in message or "variant" in message, "one fault, one message"


def test_a_value_that_switches_further_keys_on_is_refused(project: Project) -> None:
    project.edit("studies/paper", set={"warmup.epochs": 0}, variants=["hardest_in_batch", "fne"],
                 tune=SEARCH | {"search": {"warmup.epochs": {"integer": [0, 2], "highest": "x"}}})  # fmt: skip
    with pytest.raises(UserError, match=r"epochs: makes variant fne read further keys: warmup\.[\s\S]*under set"):
        config.load_study("paper", root=project.root, tuned=False)


def test_a_search_that_is_no_mapping_or_lacks_its_parts(project: Project) -> None:
    project.edit("studies/paper", tune=3)
    project.fails(
        saying=["paper.yaml: tune: must be a mapping; got 3; allowed: trials, budget, finalists, seeds, search"]
    )
    project.edit("studies/paper", tune={"budget": 8, "seeds": [1000], "search": {"loss.margin": [0.1, 0.2]}})
    project.fails(saying=["4 problems", "tune.trials: is missing", "tune.finalists: is missing", "tune.seeds",
                          "tune.search.loss.margin: must be a mapping"])  # fmt: skip


def test_ranges_may_be_nested_and_are_of_the_axes_that_a_variant_reads(project: Project) -> None:
    nested = {"loss": {"margin": {"log": [0.1, 0.2]}}, "memory": {"size": {"log": [32, 64], "lowest": "why"}}}
    project.edit("studies/paper", tune=SEARCH | {"search": nested | cut_down(choice=["global", "none"])["search"],
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
    project.fails("ceiling", saying=["tuned/paper.1.yaml: tuned.draw", "was not made yet; got 1",
                                     "fne tune paper --draw 1"])  # fmt: skip
    first = PROTOCOL | {"draw": 1}
    project.write("tuned/paper.1", tuned_file({item: {} for item in variants[1:]}, protocol=first))
    project.fails("ceiling", saying=["tuned/paper.1.yaml: lacks variants of the study", variants[0],
                                     "fne tune paper --draw 1"])  # fmt: skip
    other = SEARCH | {"budget": 16}
    project.write("tuned/paper.1", tuned_file({item: {} for item in variants}, protocol=first, declared=other))
    project.fails("ceiling", saying=["tuned/paper.1.yaml: declared: is another declaration than that of paper.yaml"])
    project.write("tuned/paper.1", tuned_file({item: {} for item in variants}, protocol=first))
    series = config.load("ceiling", root=project.root)
    assert [study.draw for study in series.members] == [0, 1]
    with pytest.raises(UserError, match=r"seeds: are seeds of the study too; got \[2000, 2001\]"):
        config.load("ceiling", {"seeds": "1999-2001"}, project.root)
    project.fails("paper.1", saying=["unknown"])
    project.edit("studies/ceiling", tuned="paper.1", factors={"data.seed": [0, 1]})
    project.fails("ceiling", saying=["ceiling.yaml: tuned: unknown; got 'paper.1'", "did you mean 'paper'"])
    project.edit("studies/ceiling", tuned=None, factors={"tuned.draw": [0, 1]})
    project.fails("ceiling", saying=["ceiling.yaml: factors.tuned.draw: is of no search; name the study"])


def test_an_outcome_of_an_earlier_protocol_is_used_and_named(project: Project) -> None:
    content = {key: value for key, value in tuned_file({"fne": {"loss.margin": 0.1}}).items()
               if key not in ("where", "ranges", "cost")}  # fmt: skip
    old = {"declared": {"budget": 8, "seeds": [1000], "search": {"loss.margin": [0.1, 0.2]}}, "trials": [],
           "border": {"fne": ["loss.margin"]}}  # fmt: skip
    project.edit("studies/paper", tune=SEARCH)
    project.write("tuned/paper", content | old)
    project.write("studies/paper", {key: item for key, item in project.read("studies/paper").items() if key != "tuned"})
    study = project.load()
    assert study.configs["fne"]["loss.margin"] == 0.1
    assert any(note.startswith("old protocol: ") for note in study.notes)
    assert any(note.startswith("without tuned values in paper.yaml: hardest_in_batch") for note in study.notes)
    project.write("tuned/paper", content | old | {"border": {"fne": ["loss.temperature"]}})
    project.fails(saying=["border.fne: are not the keys of its values; got ['loss.temperature']"])


def test_tuning_seeds_are_not_reported(project: Project) -> None:
    searched(project, project.read("studies/paper")["variants"])
    project.fails(overrides={"seeds": "998-1001"}, saying=["seeds of the study too", "[1000, 1001]"])
    project.edit("studies/ceiling", tuned="paper")
    project.fails("ceiling", {"seeds": "1000"}, saying=["command line: seeds", "seeds of the study too"])


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


def test_one_variant_needs_no_test(project: Project) -> None:
    assert project.load(variants="fne", baseline="fne", seeds="0-2").notes == ()


def test_tuned_values_reach_their_variant_only(project: Project) -> None:
    before = digests(project.load())
    project.write("tuned/t", tuned_file({"fne": {"memory.size": 77}, "random": {}}))
    project.edit("studies/paper", tuned="t")
    study = project.load()
    assert study.tuned == "t" and config.resolve(study, "fne")["memory"]["size"] == 77
    assert {variant for variant in before if before[variant] != digests(study)[variant]} == {"fne"}


@pytest.mark.parametrize("key", ["method", "control"])
def test_a_method_or_control_that_is_no_variant_is_refused(project: Project, key: str) -> None:
    project.edit("studies/paper", **{key: "fnee"})
    project.fails(saying=[f"{key}: is not among the study's variants", "did you mean 'fne'"])


def test_a_method_that_the_command_line_leaves_out_is_none(project: Project) -> None:
    study = project.load(variants="hardest_in_batch,infonce")
    assert study.method is None is study.control
    assert (project.load().method, project.load().control) == ("fne", "fne_no_elimination")


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [("train.epochs", 2**63, "<= 1000000"), ("evaluation.ks", [1, 5, 10, 10**30], "<= 1000000000")],
)
def test_numbers_that_no_machine_holds_are_refused(project: Project, key: str, value: object, allowed: str) -> None:
    project.fails("paper", {key: value}, saying=[f"{key}: out of range", allowed])


@pytest.mark.parametrize(
    ("key", "text", "hint"),
    [("train.epochs", "1e3", "write 1000"), ("train.epochs", "1e-3", ""), ("train.epochs", "1e400", ""),
     ("train.epochs", "1e9", ""), ("train.learning_rate", "2e-3", "write 0.002"), ("train.learning_rate", "-1e-3", "")],
)  # fmt: skip
def test_a_hint_how_to_write_a_number_is_one_that_is_allowed(project: Project, key: str, text: str, hint: str) -> None:
    message = project.fails("paper", parse_set([f"{key}={text}"]), saying=[f"{key}: must be", f"got {text!r}"])
    assert ("write" in message) == bool(hint)
    if hint:
        written = message.partition("write ")[2].split()[0]
        assert hint == f"write {written}"
        project.load("paper", **parse_set([f"{key}={written}"]), variants="hardest_in_batch,random")


@pytest.mark.parametrize(
    "seeds",
    ["0-9999,10000", "0-10000", "9999999999", "99999999999999", "9" * 5000, list(range(10_001)), [2**32], ["0"], "٣"],
)
def test_seeds_beyond_their_bounds_are_refused_at_once(project: Project, seeds: object) -> None:
    message = project.fails("paper", {"seeds": seeds}, saying=["seeds: not seeds", "at most 10000 seeds"])
    assert len(message) < 600


def test_ten_thousand_seeds_are_read(project: Project) -> None:
    study = project.load("paper", seeds="0-9999", variants="hardest_in_batch,random")
    assert len(study.seeds) == 10_000 and len(config.blocks(study)) == 10_000 // study.block


def test_the_name_of_a_block_is_short_enough_for_a_folder(project: Project) -> None:
    seeds = ",".join(str(seed) for seed in range(0, 200, 2))
    project.fails(
        "paper", {"seeds": seeds, "block": 100}, saying=["block: the name of a block would be 344 characters"]
    )
    assert project.load("paper", seeds=seeds, block=10).block == 10


def test_the_nearest_name_comes_before_all_names(project: Project) -> None:
    message = project.fails("paper", {"variants": "fne,hardest_in_bach"}, saying=["unknown variant"])
    assert message.index("did you mean 'hardest_in_batch'?") < message.index("allowed: ")
    message = project.fails("paper", {"train.epoch": 3}, saying=["unknown key"])
    assert message.index("did you mean 'train.epochs'?") < message.index("allowed: ")
