"""The configuration: what a study resolves to, digests, blocks of seeds, what Snakemake and shells say."""

from __future__ import annotations

import itertools
import shlex
from pathlib import Path
from typing import Annotated

import pytest
import yaml

from fne.steps.describe import run as describe
from fne.study import api as config
from fne.study import model, paths, plugins
from fne.utils.errors import UserError
from fne.utils.fields import Key, Neutral
from fne.utils.yaml_file import parse_set
from tests.projects import ENCODERS, PATHS, Project, asked, digests, sweep, tuned_file


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_options_that_nothing_reads_are_pruned(project: Project) -> None:
    study = project.load()
    assert config.resolve(study, "random")["negatives"] == {"strategy": "random", "oracle": "none"}
    assert config.resolve(study, "random")["memory"] == {"kind": "none"}
    assert config.resolve(study, "infonce")["loss"] == {"kind": "infonce", "temperature": 0.05, "multi_positive": False}
    assert "temperature" not in config.resolve(study, "fne")["loss"]
    assert config.resolve(project.load("smoke", **{"warmup.epochs": 0}), "fne")["warmup"] == {"epochs": 0}


def test_merge_order_is_base_study_chain_tuned_command_line(project: Project) -> None:
    def margin(**overrides: object) -> float:
        return config.resolve(project.load(**overrides), "child")["loss"]["margin"]

    def rate() -> float:
        return config.resolve(project.load(), "child")["train"]["learning_rate"]

    project.variant("parent", {"loss": {"margin": 0.3}}, ["loss.margin"])
    project.variant("child", {"train.learning_rate": 0.5}, ["train.learning_rate"], parent="parent")
    project.edit("studies/paper", variants=["fne", "child"], baseline="fne")
    assert margin() == 0.3
    project.edit("studies/paper", set={"loss": {"margin": 0.25}, "train": {"learning_rate": 0.4, "epochs": 9}})
    assert margin() == 0.3 and rate() == 0.5
    assert config.resolve(project.load(), "fne")["loss"]["margin"] == 0.25
    assert config.resolve(project.load(), "child")["train"]["epochs"] == 9
    project.write("tuned/t", tuned_file({"child": {"loss.margin": 0.35}}))
    project.edit("studies/paper", tuned="t")
    assert margin() == 0.35 and config.resolve(project.load(), "fne")["loss"]["margin"] == 0.25
    assert margin(**{"loss.margin": 0.4}) == 0.4


def test_study_and_resolved_configs_are_safe_from_their_readers(project: Project) -> None:
    study = project.load()
    config.data_section(study)["train"] = 1
    config.resolve(study, "fne")["train"]["epochs"] = -1
    config.resolve(study, "fne")["evaluation"]["ks"].append(7)
    assert config.data_section(study)["train"] == 6000
    assert config.resolve(study, "fne")["train"]["epochs"] == project.read("base")["train"]["epochs"]
    assert config.resolve(study, "fne")["evaluation"]["ks"] == [1, 5, 10]
    with pytest.raises(AttributeError):
        study.name = "other"  # type: ignore[misc]


def test_a_data_set_brings_its_own_section(project: Project) -> None:
    study = project.load("flickr8k", **PATHS, **ENCODERS)
    data = config.data_section(study)
    assert data["counts"] == {"train": 6000, "val": 1000, "test": 1000}
    assert data["judgements"] == {"crowdflower": None, "expert": None}
    assert set(data) == {"dataset", "annotations", "images", "judgements", "counts"}
    coco = config.data_section(project.load("flickr8k", **PATHS, **ENCODERS, **{"data.dataset": "coco"}))
    assert coco["counts"] == {"train": 113287, "val": 5000, "test": 5000}


def test_an_integer_given_for_a_number_is_that_number(project: Project) -> None:
    item, other = project.load(**{"loss.margin": 1}), project.load(**{"loss.margin": 1.0})
    assert config.digest(config.resolve(item, "fne")) == config.digest(config.resolve(other, "fne"))
    assert isinstance(config.resolve(item, "fne")["loss"]["margin"], float)


def test_comments_and_order_change_no_digest(project: Project) -> None:
    before = digests(project.load())
    for path in sorted((project.root / "ablations").rglob("*.yaml")):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        text = "# a comment\n" + yaml.safe_dump(reversed_order(content), sort_keys=False, indent=8)
        assert text != path.read_text(encoding="utf-8")
        path.write_text(text, encoding="utf-8")
    assert digests(project.load()) == before
    assert len(set(before.values())) == len(before) and all(len(digest) == 16 for digest in before.values())


def reversed_order(value: object) -> object:
    if isinstance(value, dict):
        return {key: reversed_order(value[key]) for key in reversed(value)}
    return value


def test_a_value_changes_only_the_variants_that_inherit_it(project: Project) -> None:
    before = digests(project.load())
    base = project.read("base")
    base["negatives"]["tau"] = 5.0
    project.write("base", base)
    after = digests(project.load())
    assert {v for v in before if before[v] != after[v]} == {
        "fne", "fne_abstract", "fne_no_buffer", "fne_no_cutdown", "fne_no_elimination"
    }  # fmt: skip
    base["memory"]["size"] = 99
    project.write("base", base)
    last = digests(project.load())
    assert {v for v in after if after[v] != last[v]} == {
        "fne", "fne_abstract", "fne_no_cutdown", "fne_no_elimination", "hardest_buffer"
    }  # fmt: skip


def test_a_new_key_changes_no_digest_at_its_neutral_value(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    before = digests(project.load())
    for fields in (model.SHARED, plugins.KEYS, plugins.EVERY_KEY):
        monkeypatch.setitem(fields, "train.sam", Key.of(Annotated[bool, Neutral(False), "sharpness-aware"], "train"))
    assert digests(project.load()) == before, "base.yaml need not hold it"
    base = project.read("base")
    base["train"]["sam"] = False
    project.write("base", base)
    assert digests(project.load()) == before
    after = digests(project.load(**{"train.sam": True}))
    assert not {*after.values()} & {*before.values()}


def test_places_on_this_machine_are_no_part_of_a_digest(project: Project) -> None:
    def digest(**changes: object) -> str:
        return config.digest(config.resolve(project.load("flickr8k", **(PATHS | ENCODERS | changes)), "fne"))

    moved = {"data.images": "/b/pictures", "data.annotations": "/b/s.json", "encoders.image.checkpoint": "/n/vision"}
    assert digest(**moved) == digest()
    assert digest(**{"encoders.image.checkpoint": "/m/other"}) != digest()
    assert digest(**{"encoders.text.checkpoint": "org2/text"}) != digest()
    assert digest(**{"data.counts.val": 10}) != digest()


def test_evaluation_is_no_part_of_the_training_digest(project: Project) -> None:
    item = config.resolve(project.load(), "fne")
    other = config.resolve(project.load(**{"evaluation.tie_rule": "pessimistic"}), "fne")
    assert config.training_digest(item) == config.training_digest(other)
    assert config.digest(item) != config.digest(other)
    third = config.resolve(project.load(**{"train.epochs": 7}), "fne")
    assert config.training_digest(item) != config.training_digest(third)


@pytest.mark.parametrize(
    ("seeds", "block", "names"),
    [
        ("0-4", 5, ["0-4"]),
        ("0-9", 5, ["0-4", "5-9"]),
        (list(range(5, 10)) + list(range(5)), 5, ["0-4", "5-9"]),
        ([3, 0, 7], 5, ["0_3_7"]),
        (7, 1, ["7"]),
        ("0,2-3", 2, ["0_2", "3"]),
    ],
)
def test_seeds_are_cut_into_named_blocks(project: Project, seeds: object, block: int, names: list[str]) -> None:
    study = project.load(seeds=seeds, block=block)
    assert config.blocks(study) == names
    assert list(itertools.chain(*map(config.parse_block, names))) == list(study.seeds)


def test_new_seeds_leave_earlier_blocks_and_all_other_paths_alone(project: Project) -> None:
    item, more = project.load(), project.load(seeds="0-9")
    assert config.blocks(more)[: len(config.blocks(item))] == config.blocks(item)
    assert config.blocks(more)[1:] == ["5-9"]
    for path in (paths.data_folder, paths.manifest, paths.results_folder, paths.reports_folder):
        assert path(item) == path(more)
    assert paths.features_folder(item, "image") == paths.features_folder(more, "image")
    assert paths.run_folder(item, "fne", "0-4") == paths.run_folder(more, "fne", "0-4")
    assert digests(item) == digests(more)


@pytest.mark.parametrize("name", ["", "4-0", "0-0", "01", "1_0", "0,1"])
def test_only_the_one_name_of_a_block_is_a_block(name: str) -> None:
    with pytest.raises(UserError, match="block"):
        config.parse_block(name)


@pytest.mark.parametrize("seeds", [[], [-1], [0, 0], ["0"], "a", "4-0", None])
def test_bad_seeds(project: Project, seeds: object) -> None:
    project.edit("studies/paper", seeds=seeds)
    project.fails(saying=["paper.yaml", "seeds"])


def test_snakemake_config_becomes_overrides(project: Project) -> None:
    study = asked(
        {"study": "flickr8k", "images": "/p/i", "annotations": "/p/a.json", "crowdflower": "/p/c.txt",
         "expert": "/p/e", "image_encoder": "/m/v", "text_encoder": "org/t", "seeds": "0-6",
         "set": {"loss": {"margin": 0.3}}},
        project.root,
    )  # fmt: skip
    resolved = config.resolve(study, "fne")
    assert resolved["data"]["images"] == "/p/i" and resolved["data"]["annotations"] == "/p/a.json"
    assert resolved["data"]["judgements"] == {"crowdflower": "/p/c.txt", "expert": "/p/e"}
    assert resolved["encoders"]["image"]["checkpoint"] == "/m/v"
    assert resolved["encoders"]["text"]["checkpoint"] == "org/t"
    assert resolved["loss"]["margin"] == 0.3 and config.blocks(study) == ["0-4", "5-6"]
    assert asked({}, project.root).name == "paper"


def test_values_inside_snakemakes_set_may_come_as_text(project: Project) -> None:
    """``snakemake --config 'set={train.epochs: 3}'`` hands over the text "3"."""
    given = {"train.epochs": "6", "loss.margin": "0.3", "train.gradient_clip": "null", "train.schedule": "constant"}
    resolved = config.resolve(asked({"set": given}, project.root), "fne")
    assert resolved["train"]["epochs"] == 6 and resolved["loss"]["margin"] == 0.3
    assert resolved["train"]["gradient_clip"] is None and resolved["train"]["schedule"] == "constant"


@pytest.mark.parametrize(
    ("given", "saying"),
    [
        ({"imges": "/x"}, ["imges", "did you mean 'images'"]),
        ({"study": 3}, ["study", "3"]),
        ({"set": "train.epochs=3"}, ["set", "mapping"]),
        ({"set": {"train.epoch": 3}}, ["train.epoch", "did you mean 'train.epochs'"]),
        ({"set": {"train": 3}}, ["train", "is a section"]),
        ({"seeds": "0", "set": {"seeds": "1"}}, ["seeds", "set twice"]),
    ],
)
def test_bad_snakemake_config(project: Project, given: dict, saying: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        asked(given, project.root)
    for words in saying:
        assert words in str(caught.value)


def test_arguments_load_the_very_same_study(project: Project) -> None:
    overrides = PATHS | ENCODERS | {
        "data.images": "/with space/and 'quote'", "train.learning_rate": 2e-5, "train.epochs": 37,
        "seeds": [0, 1, 5], "variants": ["fne", "random"], "baseline": "random",
        "train.gradient_clip": None, "evaluation.ks": [1, 5, 10, 50],
        "encoders.image.revision": "1.0", "encoders.text.revision": "null",
    }  # fmt: skip
    study = project.load("flickr8k", **overrides)
    words = shlex.split(config.arguments(study))
    assert words[:2] == ["--study", "flickr8k"] and set(words[2::2]) == {"--set"}
    again = config.load_study(words[1], parse_set(words[3::2]), project.root)
    assert again == study
    assert {"seeds=0,1,5", "variants=fne,random"} <= {*words}


def test_describe_tells_chain_differences_and_options(project: Project) -> None:
    text = describe("infonce", project.root)
    assert "chain: base -> fne -> hardest_buffer -> hardest_in_batch -> sum_of_hinges -> infonce" in text
    parent, base = text.split("differs from base.yaml")
    assert "loss.kind: triplet -> infonce" in parent and "negatives.strategy: fne -> all" not in parent
    assert "negatives.strategy: fne -> all" in base and "memory.kind: momentum -> none" in base
    reads = text.split("reads:\n")[1]
    assert "loss.temperature: 0.05" in reads and "negatives.tau" not in reads and "memory.size" not in reads
    assert "negatives.tau: 0.5" in describe("fne_no_cutdown", project.root).split("reads:\n")[1]
    assert "in nothing" in describe("fne", project.root)


def test_describe_a_study_a_sweep_and_nothing(project: Project) -> None:
    assert "against hardest_in_batch" in describe("flickr8k", project.root)
    sweep(project)
    assert describe("queue", project.root).count("chain: base -> fne -> queue--") == 4
    with pytest.raises(UserError, match="did you mean 'paper'"):
        describe("papre", project.root)
    project.edit("variants/random", isolates=[])
    with pytest.raises(UserError, match=r"random\.yaml: isolates"):
        describe("random", project.root)
