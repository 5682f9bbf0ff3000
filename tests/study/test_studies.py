"""Studies and tuned files: one clear error for everything that is wrong, all of them at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fne.study import api as config
from fne.utils.fields import yaml_number
from fne.utils.yaml_file import parse_set
from tests.projects import ENCODERS, PATHS, Project, digests, tuned_file


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
        ({"variants": {"fne": 1}}, ["variants", "list"]),
        ({"baseline": "vsepp"}, ["baseline", "'vsepp'", "hardest_in_batch"]),
        ({"baseline": ["fne"]}, ["baseline", "not among"]),
        ({"regime": "finetunes"}, ["regime", "'finetunes'", "head"]),
        ({"title": 3}, ["title", "3"]),
        ({"primary": "rsum"}, ["primary", "mapping"]),
        ({"primary": {"metric": "rsm", "protocol": "own"}},
         ["primary.metric", "'rsm'", "did you mean 'rsum'"]),
        ({"primary": {"metric": "map_at_r", "protocol": "own"}}, ["primary.metric", "map_at_r", "rsum"]),
        ({"primary": {"metric": "rsum", "protocol": "mine"}},
         ["primary.protocol", "'mine'", "own, coco_1k_5fold, truth"]),
        ({"primary": {"metric": "rsum", "protocol": ["own"]}}, ["primary.protocol"]),
        ({"primary": {"metric": "r1", "protocol": "own"}}, ["primary.direction", "i2t, t2i"]),
        ({"primary": {"metric": "r1", "protocol": "own", "direction": None}}, ["primary.direction", "i2t, t2i"]),
        ({"primary": {"metric": None, "protocol": "own"}}, ["primary.metric: must not be null"]),
        ({"primary": {"protocol": "own"}}, ["primary.metric: is missing"]),
        ({"primary": None}, ["primary: must be a mapping"]),
        ({"primary": {"metric": "rsum", "protocol": "own", "x": 1}}, ["primary.x", "unknown"]),
        ({"data": {"dataset": "scnes"}}, ["data.dataset", "'scnes'", "did you mean 'scenes'"]),
        ({"data": {"dataset": ["scenes"]}}, ["data.dataset"]),
        ({"data": {"dataset": "scenes", "trian": 5}}, ["data.trian", "did you mean 'data.train'"]),
        ({"data": {"dataset": "scenes", "images": "/x"}}, ["data.images", "unknown key"]),
        ({"data": "scenes"}, ["data", "mapping"]),
        ({"encoders": {"image": {"poling": "cls"}}},
         ["encoders.image.poling", "did you mean 'encoders.image.pooling'"]),
        ({"encoders": {"image": {"level": "tokens"}}}, ["encoders.image.level", "'mlp' reads pooled"]),
        ({"encoders": {"image": {"checkpoint": None}}},
         ["encoders.image.checkpoint", "image_encoder=", "--set"]),
        ({"set": {"train": {"epoch": 3}}}, ["set.train.epoch", "did you mean 'train.epochs'"]),
        ({"set": {"encoders": {"image": {"pooling": "cls"}}}}, ["set.encoders.image.pooling", "unknown key"]),
        ({"set": {"warmup": {"epochs": 16}}}, ["warmup.epochs", "no epoch", "16"]),
        ({"set": {"evaluation": {"ks": [1, 5]}}}, ["evaluation.ks", "1, 5 and 10"]),
        ({"set": []}, ["set", "mapping"]),
        ({"tuned": "none_such"}, ["tuned", "'none_such'"]),
        ({"tuned": ["a"]}, ["tuned"]),
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


@pytest.mark.parametrize(
    ("content", "saying"),
    [
        (tuned_file({"fen": {"loss.margin": 0.1}}), ["'fen'", "did you mean 'fne'"]),
        (tuned_file({"fne": {"loss.margn": 0.1}}), ["values.fne.loss.margn", "did you mean 'loss.margin'"]),
        (tuned_file({"fne": {"loss.margin": "0.1"}}), ["values.fne.loss.margin", "not text"]),
        (tuned_file({"fne": {"data.seed": 1}}), ["values.fne.data.seed", "belongs to the study"]),
        (
            tuned_file({"random": {"negatives.tau": 1.0}}),
            ["values.random.negatives.tau", "not read by variant random"],
        ),
        (tuned_file({"fne": 3}), ["values.fne", "mapping"]),
        (tuned_file({"fne": {}}, reasons={}), ["reasons.fne", "non-empty"]),
        (tuned_file({}, reasons={"fne": "why"}), ["reasons.fne", "without values"]),
        (tuned_file({}, protocol={"metric": "x"}), ["protocol.date", "is missing", "protocol.command"]),
        (tuned_file({}, declared=None), ["declared", "mapping"]),
        (tuned_file({}, border={"fne": ["loss.margin"]}), ["border.fne", "a list of keys of its values"]),
        (tuned_file({}, valus={}), ["valus", "did you mean 'values'"]),
        (
            tuned_file({}, protocol={"metric": "x", "dat": "y"}),
            ["3 problems", "protocol.dat", "did you mean 'date'"],
        ),
        (tuned_file({}, border={"fne": "loss.margin"}), ["border.fne", "must be a list of text"]),
        (tuned_file({"fne": {"loss.margin": 0.1, "loss": {"margin": 0.2}}}), ["values.fne.loss.margin", "twice"]),
        (tuned_file({"fne": 3, "fne_abstract": {"loss.margin": 9}}, declared=[1]), ["3 problems", "declared"]),
    ],
)
def test_bad_tuned_file(project: Project, content: dict, saying: list[str]) -> None:
    project.write("tuned/t", content)
    project.edit("studies/paper", tuned="t")
    project.fails(saying=["t.yaml" if "'fen'" not in saying else "", *saying])


SEARCH = {"budget": 4, "seeds": [1000], "search": {"loss.margin": [0.1, 0.2]}}
WIDE = ("train.learning_rate", "train.weight_decay", "loss.margin", "loss.temperature", "warmup.margin",
        "negatives.score_threshold", "model.dropout_image", "model.dropout_text")  # fmt: skip


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
    assert study.tune.budget == 4 and study.tune.search == {"loss.margin": (0.1, 0.2)}
    bare = config.load_study("paper", root=project.root, tuned=False)
    assert bare.tuned is None and bare.configs["fne"]["loss.margin"] == 0.2 and bare.tune == study.tune


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
        ({"budget": 6}, ["budget was 4 and is 6"]),
        ({"seeds": [1001]}, ["seeds was [1000] and is [1001]"]),
        ({"search": {"loss.margin": [0.1, 0.3]}}, ["search.loss.margin was [0.1, 0.2] and is [0.1, 0.3]"]),
        ({"search": SEARCH["search"] | {"train.learning_rate": [0.1, 0.2]}}, ["train.learning_rate was not there"]),
    ],
)
def test_an_outcome_of_another_declaration(project: Project, change: dict, saying: list[str]) -> None:
    searched(project, project.read("studies/paper")["variants"])
    project.edit("studies/paper", tune=SEARCH | change)
    project.fails(saying=["tuned/paper.yaml", "another declaration", "fne tune paper", *saying])


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
        ({"budget": 0}, ["tune.budget", ">= 1 and <= 10000", "got 0"]),
        ({"budget": True}, ["tune.budget"]),
        ({"budget": "six"}, ["tune.budget", "'six'"]),
        ({"seeds": [0, 1000]}, ["tune.seeds", "seeds of the study too", "[0]"]),
        ({"seeds": []}, ["tune.seeds", "distinct seeds"]),
        ({"seeds": [7, 7]}, ["tune.seeds", "distinct seeds"]),
        ({"seeds": [-1]}, ["tune.seeds"]),
        ({"seeds": 1000}, ["tune.seeds"]),
        ({"search": {}}, ["tune.search", "mapping"]),
        ({"search": {"loss.margni": [0.1, 0.2]}}, ["tune.search.loss.margni", "did you mean 'loss.margin'"]),
        ({"search": {"loss.margin": [0.1]}}, ["tune.search.loss.margin", "at least two values"]),
        ({"search": {"loss.margin": 0.1}}, ["tune.search.loss.margin", "at least two values"]),
        ({"search": {"loss.margin": [0.1, 0.1]}}, ["tune.search.loss.margin", "twice"]),
        ({"search": {"loss": {"margin": [0.1, 9]}}}, ["tune.search.loss.margin", "out of range"]),
        ({"search": {"data.seed": [1, 2]}}, ["tune.search.data.seed", "belongs to the study"]),
        ({"search": {"negatives.sharpness": [1.0, 2.0]}}, ["tune.search.negatives.sharpness", "read by no variant"]),
        ({"search": {key: [n / 200 for n in range(1, 101)] for key in WIDE}}, ["tune.search", "too many", "1e15"]),
        ({"trials": 3}, ["tune.trials", "unknown key"]),
    ],
)
def test_a_faulty_search(project: Project, change: dict, saying: list[str]) -> None:
    searched(project, project.read("studies/paper")["variants"])
    project.edit("studies/paper", tune=SEARCH | change, tuned=None)
    project.fails(saying=["paper.yaml", *saying])
    project.edit("studies/paper", tune=3)
    project.fails(saying=["paper.yaml: tune: must be a mapping"])


def test_tuning_seeds_are_not_reported(project: Project) -> None:
    searched(project, project.read("studies/paper")["variants"])
    project.fails(overrides={"seeds": "998-1001"}, saying=["seeds of the study too", "[1000]"])
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
    project.write("tuned/t", tuned_file({"fne": {"memory": {"size": 77}}, "random": {}}))
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
    [
        ("train.epochs", 2**63, "<= 1000000"),
        ("model.dim", 10**9, "<= 65536"),
        ("model.hidden", 10**9, "<= 65536"),
        ("data.train", 10**15, "<= 10000000"),
        ("data.seed", 2**40, "<= 4294967295"),
        ("train.batch_size", 10**12, "<= 1000000"),
        ("memory.size", 10**12, "<= 100000000"),
        ("train.validations", 10**18, "<= 1000000"),
        ("evaluation.ks", [1, 5, 10, 10**30], "<= 1000000000"),
    ],
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
