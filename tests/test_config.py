"""The configuration: merging, resolving, digests, blocks of seeds, and one clear error for everything that is wrong."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest
import yaml

from fne import config, paths
from fne.configuration import merge, schema
from fne.configuration.library import Library
from fne.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
PATHS = {"data.annotations": "/a/split.json", "data.images": "/a/images"}
ENCODERS = {"encoders.image.checkpoint": "/m/vision", "encoders.text.checkpoint": "org/text"}


class Project:
    """A copy of the repository's ablations that a test may damage."""

    def __init__(self, root: Path) -> None:
        self.root = root
        shutil.copytree(ROOT / "ablations", root / "ablations")
        shutil.rmtree(root / "ablations" / "tuned", ignore_errors=True)
        for name in ("paper", "smoke", "flickr8k"):
            self.edit(f"studies/{name}", tuned=None)

    def path(self, name: str) -> Path:
        return self.root / "ablations" / f"{name}.yaml"

    def write(self, name: str, content: object) -> None:
        self.path(name).parent.mkdir(exist_ok=True)
        text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
        self.path(name).write_text(text, encoding="utf-8")

    def read(self, name: str) -> dict:
        return yaml.safe_load(self.path(name).read_text(encoding="utf-8"))

    def edit(self, name: str, **changes: object) -> None:
        self.write(name, self.read(name) | changes)

    def variant(self, name: str, delta: dict, isolates: list[str], **more: object) -> None:
        content = {
            "title": name,
            "asks": "?",
            "parent": "fne",
            "set": delta,
            "isolates": isolates,
            "role": "control",
        }
        self.write(f"variants/{name}", content | more)

    def load(self, name: str = "paper", **overrides: object) -> config.Study:
        return config.load_study(name, overrides, self.root)

    def fails(self, name: str = "paper", overrides: dict | None = None, *, saying: list[str]) -> str:
        with pytest.raises(UserError) as caught:
            config.load_study(name, overrides or {}, self.root)
        message = str(caught.value)
        for words in saying:
            assert words in message, f"{words!r} is not in: {message}"
        return message


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


# ---- resolving -------------------------------------------------------------------------------------------------------


def test_fne_is_the_base_protocol(project: Project) -> None:
    resolved = config.resolve(project.load(), "fne")
    base = project.read("base")
    for section in ("encoders", "model", "train", "warmup", "negatives", "memory", "evaluation"):
        assert resolved[section] == base[section]
    assert resolved["data"] == {"dataset": "scenes"} | base["datasets"]["scenes"]
    assert resolved["loss"] == {"kind": "triplet", "margin": base["loss"]["margin"]}
    assert resolved["regime"] == "head"


def test_every_variant_of_the_paper_is_the_delta_that_it_should_be(project: Project) -> None:
    study = project.load()
    expected = {
        "fne": ("fne", "momentum", "triplet", "released", "global"),
        "fne_abstract": ("fne", "momentum", "triplet", "complement", "global"),
        "fne_no_buffer": ("fne", "none", "triplet", "released", "global"),
        "fne_no_cutdown": ("fne", "momentum", "triplet", "released", "none"),
        "fne_no_elimination": ("fne", "momentum", "triplet", "none", "global"),
        "hardest_in_batch": ("hardest", "none", "triplet", None, None),
        "hardest_buffer": ("hardest", "momentum", "triplet", None, None),
        "sum_of_hinges": ("all", "none", "triplet", None, None),
        "random": ("random", "none", "triplet", None, None),
        "infonce": ("all", "none", "infonce", None, None),
    }
    found = {}
    for variant in study.variants:
        config_ = config.resolve(study, variant)
        negatives = config_["negatives"]
        found[variant] = (negatives["strategy"], config_["memory"]["kind"], config_["loss"]["kind"],
                          negatives.get("elimination"), negatives.get("cut_down"))  # fmt: skip
    assert found == expected


def test_options_that_nothing_reads_are_pruned(project: Project) -> None:
    study = project.load()
    assert config.resolve(study, "random")["negatives"] == {"strategy": "random"}
    assert config.resolve(study, "random")["memory"] == {"kind": "none"}
    assert config.resolve(study, "infonce")["loss"] == {"kind": "infonce", "temperature": 0.05}
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
    project.edit(
        "studies/paper", set={"loss": {"margin": 0.25}, "train": {"learning_rate": 0.4, "epochs": 9}}
    )
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
    one, other = project.load(**{"loss.margin": 1}), project.load(**{"loss.margin": 1.0})
    assert config.digest(config.resolve(one, "fne")) == config.digest(config.resolve(other, "fne"))
    assert isinstance(config.resolve(one, "fne")["loss"]["margin"], float)


# ---- digests ---------------------------------------------------------------------------------------------------------


def digests(study: config.Study) -> dict[str, str]:
    return {variant: config.digest(config.resolve(study, variant)) for variant in study.variants}


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


def test_a_new_variant_changes_no_other(project: Project) -> None:
    before = digests(project.load())
    project.variant("new", {"negatives": {"tau": 5}}, ["negatives.tau"])
    project.edit("studies/paper", variants=[*project.read("studies/paper")["variants"], "new"])
    after = digests(project.load())
    assert before == {variant: after[variant] for variant in before} and "new" in after


def test_places_on_this_machine_are_no_part_of_a_digest(project: Project) -> None:
    def digest(**changes: object) -> str:
        return config.digest(config.resolve(project.load("flickr8k", **(PATHS | ENCODERS | changes)), "fne"))

    moved = {
        "data.images": "/b/pictures",
        "data.annotations": "/b/s.json",
        "encoders.image.checkpoint": "/n/vision",
    }
    assert digest(**moved) == digest()
    assert digest(**{"encoders.image.checkpoint": "/m/other"}) != digest()
    assert digest(**{"encoders.text.checkpoint": "org2/text"}) != digest()
    assert digest(**{"data.counts.val": 10}) != digest()


def test_evaluation_is_no_part_of_the_training_digest(project: Project) -> None:
    one = config.resolve(project.load(), "fne")
    other = config.resolve(project.load(**{"evaluation.tie_rule": "pessimistic"}), "fne")
    assert config.training_digest(one) == config.training_digest(other)
    assert config.digest(one) != config.digest(other)
    third = config.resolve(project.load(**{"train.epochs": 7}), "fne")
    assert config.training_digest(one) != config.training_digest(third)


def test_diff_names_what_differs(project: Project) -> None:
    study = project.load()
    one, other = config.resolve(study, "fne"), config.resolve(study, "fne_no_cutdown")
    assert config.diff(one, other) == {"negatives.cut_down": ("global", "none")}
    assert config.diff(one, one) == {}
    assert config.diff({"a": 1}, {"b": {"c": 2}}) == {"a": (1, None), "b.c": (None, 2)}


# ---- seeds and blocks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seeds", "block", "names"),
    [
        ("0-4", 5, ["0-4"]),
        ("0-9", 5, ["0-4", "5-9"]),
        (list(range(5, 10)) + list(range(5)), 5, ["0-4", "5-9"]),
        ("0-6", 5, ["0-4", "5-6"]),
        ([3, 0, 7], 5, ["0_3_7"]),
        ([0], 5, ["0"]),
        (7, 1, ["7"]),
        ("0-2", 1, ["0", "1", "2"]),
        ("0,2-3", 2, ["0_2", "3"]),
        ("0, 1", 2, ["0-1"]),
    ],
)
def test_seeds_are_cut_into_named_blocks(
    project: Project, seeds: object, block: int, names: list[str]
) -> None:
    study = project.load(seeds=seeds, block=block)
    assert config.blocks(study) == names
    assert list(itertools.chain(*map(config.parse_block, names))) == list(study.seeds)


def test_new_seeds_leave_earlier_blocks_and_all_other_paths_alone(project: Project) -> None:
    one, more = project.load(), project.load(seeds="0-9")
    assert config.blocks(more)[: len(config.blocks(one))] == config.blocks(one)
    assert config.blocks(more)[1:] == ["5-9"]
    for path in (paths.data_folder, paths.manifest, paths.results_folder, paths.reports_folder):
        assert path(one) == path(more)
    assert paths.features_folder(one, "image") == paths.features_folder(more, "image")
    assert paths.run_folder(one, "fne", "0-4") == paths.run_folder(more, "fne", "0-4")
    assert digests(one) == digests(more)
    assert config.arguments(one) == config.arguments(more)


@pytest.mark.parametrize(
    "name", ["", "a", "4-0", "0-0", "01", "0_1_2", "1_0", "0_0", "-1", "0-4-5", "0,1", "0_", "00-4"]
)
def test_only_the_one_name_of_a_block_is_a_block(name: str) -> None:
    with pytest.raises(UserError, match="block"):
        config.parse_block(name)


@pytest.mark.parametrize(
    "seeds", [[], [-1], [0, 0], [True], [0.0], ["0"], "", "a", "0--4", "4-0", "0-0", "-3", None, 1.5, {}]
)
def test_bad_seeds(project: Project, seeds: object) -> None:
    project.edit("studies/paper", seeds=seeds)
    project.fails(saying=["paper.yaml", "seeds"])


@pytest.mark.parametrize("block", [0, -1, 1.5, True, "5", None])
def test_bad_block_size(project: Project, block: object) -> None:
    project.edit("studies/paper", block=block)
    project.fails(saying=["paper.yaml", "block", ">= 1"])


# ---- files that cannot be read ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["base", "variants/fne", "studies/paper"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"# only a comment\n", "empty"),
        (b"title: caf\xe9\n", "not UTF-8"),
        (b"- a\n- b\n", "mapping"),
        (b"a: [1\n", "line 2"),
        (b"title: 1\ntitle: 2\n", "'title' is given twice"),
        (b"set: {a: 1, a: 2}\n", "'a' is given twice"),
        (b"on: 1\n", "must be text"),
        (b"1: 1\n", "must be text"),
        (b"a: !!python/object:os.system {}\n", "not valid YAML"),
        (b"a: &x {b: *x}\n", "not valid YAML|contains itself"),
        (b"a: 2020-99-99\n", "not valid YAML"),
        (b"? [1, 2]\n: 3\n", "must be text|not valid YAML"),
        (b"a: \x00\n", "not valid YAML"),
    ],
)
def test_unreadable_yaml(project: Project, name: str, content: bytes, words: str) -> None:
    project.path(name).write_bytes(content)
    message = project.fails(saying=[f"{name}.yaml"])
    assert any(word in message for word in words.split("|")), message


def test_missing_base(project: Project) -> None:
    project.path("base").unlink()
    project.fails(saying=["base.yaml", "no such file"])


# ---- base ------------------------------------------------------------------------------------------------------------


def test_base_and_the_table_of_fields_hold_the_same_keys(project: Project) -> None:
    base = project.read("base")
    run = {key: value for key, value in base.items() if key not in ("datasets", "regime")}
    assert set(schema.flatten(run)) == set(schema.RUN_FIELDS)
    for dataset, section in base["datasets"].items():
        kind = schema.DATASETS[dataset]
        assert set(schema.flatten(section)) == set(schema.DATA_FIELDS[kind])


def test_every_value_of_the_base_has_a_comment() -> None:
    lines = (ROOT / "ablations" / "base.yaml").read_text(encoding="utf-8").splitlines()
    templates = {"flickr30k", "coco", "custom"}  # as flickr8k above them
    section = ""
    for line in lines:
        key, colon, value = line.partition(":")
        if line.startswith("  ") and not line.startswith("   ") and not value.strip():
            section = key.strip()
        if colon and value.strip() and not line.lstrip().startswith("#") and section not in templates:
            assert "#" in value or key.strip() in {"revision", "level", "dtype"}, f"no reason given: {line}"


def test_base_with_a_missing_and_a_surplus_key(project: Project) -> None:
    base = project.read("base")
    del base["loss"]["margin"]
    base["loss"]["margn"] = 0.2
    del base["datasets"]["coco"]["images"]
    project.write("base", base)
    project.fails(saying=["base.yaml: loss.margin: is missing", "base.yaml: loss.margn: unknown key",
                          "did you mean 'loss.margin'", "images: is missing"])  # fmt: skip


def test_base_without_a_data_set(project: Project) -> None:
    base = project.read("base")
    del base["datasets"]["coco"]
    project.write("base", base)
    project.fails(saying=["datasets", "coco"])


@pytest.mark.parametrize("key", sorted(schema.RUN_FIELDS))
def test_every_key_of_the_base_is_typed(project: Project, key: str) -> None:
    """A value of a wrong type, and one out of range, are refused for each single key."""
    field = schema.RUN_FIELDS[key]
    wrong: list[object] = [True, {"a": 1}, []]
    wrong += [] if field.null else [None]
    if field.kind in ("int", "float"):
        wrong += ["text", "2e-5", float("nan"), float("inf"), -1, 10**400]
        wrong += [1.5] if field.kind == "int" else []
    elif field.kind == "ints":
        wrong += [1, [0], [5, 1], [1, 1], [1.0], ["1"]]
    else:
        wrong += [1, 0.5, "" if field.kind == "text" else "nonsense"]
    for value in wrong:
        with pytest.raises(UserError, match=key):
            schema.check_value(value, field, "file", key)


@pytest.mark.parametrize(
    ("key", "inside", "outside"),
    [
        ("negatives.prior", [1e-9, 0.5, 0.999], [0, 1, 1.5]),
        ("negatives.posterior_threshold", [0, 1], [-0.001, 1.001]),
        ("memory.momentum", [0, 0.999], [1, -0.1]),
        ("train.learning_rate", [1e-12, 10], [0]),
        ("train.batch_size", [2], [1, 0]),
        ("train.epochs", [1], [0]),
        ("warmup.epochs", [0], [-1]),
        ("memory.size", [0, 1], [-1]),
        ("loss.margin", [0, 2], [2.01]),
        ("train.gradient_clip", [None, 0.1], [0]),
        ("data.prevalence", [0.003, 0.2], [0, 0.21]),
        ("data.image_size", [24, 48], [21, 49, 513]),
        ("data.seed", [0], [-1]),
    ],
)
def test_ranges(key: str, inside: list, outside: list) -> None:
    field = schema.fields_for("scenes")[key]
    for value in inside:
        assert schema.check_value(value, field, "file", key) == value
    for value in outside:
        with pytest.raises(UserError, match="out of range"):
            schema.check_value(value, field, "file", key)


# ---- variants --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "saying"),
    [
        ({"set": {"negatives": {"tua": 1.0}}}, ["set.negatives.tua", "unknown key", "did you mean 'negatives.tau'"]),
        ({"set": {"negativs": {"tau": 1.0}}}, ["set.negativs.tau", "unknown key", "negatives"]),
        ({"set": {"negatives": 3}}, ["set.negatives", "is a section"]),
        ({"set": {"negatives": {"tau": {"x": 1}}}}, ["negatives.tau", "is a value, not a section"]),
        ({"set": {"negatives": {"tau": "0.5"}}}, ["set.negatives.tau", "not text", "'0.5'", "write 0.5"]),
        ({"set": {"negatives": {"tau": True}}}, ["set.negatives.tau", "must be a number", "True"]),
        ({"set": {"negatives": {"tau": -1}}}, ["set.negatives.tau", "out of range", "-1", ">= 0"]),
        ({"set": {"negatives": {"tau": None}}}, ["set.negatives.tau", "must not be null"]),
        ({"set": {"train": {"epochs": 2.0}}}, ["set.train.epochs", "must be an integer", "write 2"]),
        ({"set": {"negatives": {"cut_down": "globl"}}}, ["cut_down", "'globl'", "global, none", "did you mean 'global'"]),
        ({"set": {"negatives": {"cut_down": False}}}, ["cut_down", "must be text", "quote it"]),
        ({"set": {"negatives": {"strategy": "hardst"}}}, ["strategy", "'hardst'", "did you mean 'hardest'"]),
        ({"set": {"memory": {"kind": "queue"}}}, ["memory.kind", "'queue'", "none, momentum"]),
        ({"set": {"loss": {"kind": "infonce"}}}, ["negatives.strategy", "does not fit loss.kind 'infonce'", "allowed: all"]),
        ({"set": {"data": {"seed": 1}}}, ["set.data.seed", "belongs to the study"]),
        ({"set": {"encoders": {"image": {"pooling": "cls"}}}}, ["set.encoders.image.pooling", "belongs to the study"]),
        ({"set": {"evaluation": {"tie_rule": "pessimistic"}}}, ["evaluation.tie_rule", "belongs to the study"]),
        ({"set": {"negatives.tau": 1.0, "negatives": {"tau": 2.0}}}, ["negatives.tau", "given twice"]),
        ({"set": {"negatives": {"tau": 0.5}}}, ["set.negatives.tau", "changes nothing"]),
        ({"set": {"negatives": {"strategy": "random", "tau": 1.0}}}, ["set.negatives.tau", "is not read", "'random' reads no"]),
        ({"set": {"memory": {"kind": "none", "size": 9}}}, ["set.memory.size", "is not read", "memory.kind 'none'"]),
        ({"set": {"loss": {"temperature": 0.1}}}, ["set.loss.temperature", "is not read", "reads loss.margin"]),
        ({"set": {"warmup": {"epochs": 0, "margin": 0.1}}}, ["set.warmup.margin", "is not read", "warmup.epochs is 0"]),
        ({"set": 3}, ["set", "must be a mapping"]),
        ({"parent": "fen"}, ["parent", "unknown parent", "'fen'", "did you mean 'fne'"]),
        ({"parent": "random--x-1"}, ["parent", "unknown parent"]),
        ({"parent": "fne_no_cutdown"}, ["cycle", "fne_no_cutdown -> fne_no_cutdown"]),
        ({"role": "sientific"}, ["role", "'sientific'", "did you mean 'scientific'"]),
        ({"title": ""}, ["title", "non-empty"]),
        ({"asks": None}, ["asks", "non-empty"]),
        ({"isolates": "negatives.cut_down"}, ["isolates", "list"]),
        ({"isolates": ["negatives.cut_down", "negatives.cut_down"]}, ["isolates", "distinct"]),
        ({"isolates": ["negatives.cutdown"]}, ["isolates.negatives.cutdown", "did you mean 'negatives.cut_down'"]),
        ({"isolates": []}, ["isolates", "differs but is not listed: negatives.cut_down"]),
        ({"isolates": ["negatives.cut_down", "memory.size"]}, ["isolates", "listed but does not differ: memory.size"]),
        ({"isolates": ["memory.size"]}, ["not listed: negatives.cut_down", "does not differ: memory.size"]),
        ({"iolates": []}, ["iolates", "unknown key", "did you mean 'isolates'"]),
        ({"sweep": {}}, ["sweep", "mapping"]),
        ({"sweep": {"memory.size": 5}}, ["sweep.memory.size", "list of values"]),
        ({"sweep": {"memory.size": []}}, ["sweep.memory.size", "list of values"]),
        ({"sweep": {"memory.siz": [1]}}, ["sweep.memory.siz", "did you mean 'memory.size'"]),
        ({"sweep": {"memory.size": [1, "2"]}}, ["sweep.memory.size", "not text"]),
        ({"sweep": {"negatives.cut_down": ["none"]}}, ["sweep.negatives.cut_down", "in set and in sweep"]),
        ({"sweep": {"memory.size": [7, 7]}, "isolates": ["negatives.cut_down", "memory.size"]}, ["sweep", "equal"]),
        ({"sweep": {"negatives.tau": [1, 1.0]}, "isolates": ["negatives.cut_down", "negatives.tau"]}, ["sweep", "equal"]),
        ({"sweep": {"loss.temperature": [0.1]}}, ["sweep.loss.temperature", "is not read"]),
    ],
)  # fmt: skip
def test_bad_variant(project: Project, changes: dict, saying: list[str]) -> None:
    project.edit("variants/fne_no_cutdown", **changes)
    project.fails(saying=["fne_no_cutdown.yaml", *saying])


@pytest.mark.parametrize("key", ["title", "asks", "parent", "isolates", "role"])
def test_variant_without_a_required_key(project: Project, key: str) -> None:
    content = project.read("variants/fne_no_cutdown")
    del content[key]
    project.write("variants/fne_no_cutdown", content)
    project.fails(saying=["fne_no_cutdown.yaml", key])


def test_a_longer_cycle_of_parents_is_told_whole(project: Project) -> None:
    project.edit("variants/fne", parent="fne_abstract")
    message = project.fails(saying=["a cycle of parents"])
    assert "fne_abstract -> fne -> fne_abstract" in message or "fne -> fne_abstract -> fne" in message


def test_a_dishonest_ancestor_is_found_through_its_descendant(project: Project) -> None:
    project.edit("variants/hardest_buffer", isolates=["negatives.strategy", "memory.size"])
    project.edit("studies/paper", variants=["random", "fne"], baseline="random")
    project.fails(saying=["hardest_buffer.yaml", "does not differ: memory.size"])


def test_a_variant_file_with_a_name_that_is_no_path(project: Project) -> None:
    project.path("variants/fne").rename(project.path("variants/Fne-1"))
    project.edit("studies/paper", variants=["Fne-1"], baseline="Fne-1")
    project.fails(saying=["Fne-1", "not a variant's name"])


# ---- sweeps ----------------------------------------------------------------------------------------------------------


def sweep(project: Project) -> None:
    project.variant("queue", {}, ["memory.size", "negatives.prior"], role="nuisance",
                    sweep={"memory.size": [512, 2048], "negatives.prior": [1.0e-5, 0.01]})  # fmt: skip


def test_a_sweep_becomes_slugged_variants(project: Project) -> None:
    sweep(project)
    project.edit("studies/paper", variants=["fne", "queue"], baseline="fne")
    study = project.load()
    assert study.variants == (
        "fne",
        "queue--memory_size-512--negatives_prior-1e-05",
        "queue--memory_size-512--negatives_prior-0.01",
        "queue--memory_size-2048--negatives_prior-1e-05",
        "queue--memory_size-2048--negatives_prior-0.01",
    )
    resolved = config.resolve(study, study.variants[3])
    assert resolved["memory"]["size"] == 2048 and resolved["negatives"]["prior"] == 1e-5
    assert config.variant_of(study, study.variants[1]).title == "queue (size 512, prior 1e-05)"
    assert all(paths.run_folder(study, variant, "0-4").name == "0-4" for variant in study.variants)
    assert set(study.variants[1:]) <= set(config.list_variants(project.root))


def test_one_member_of_a_sweep_may_be_named_and_be_a_parent(project: Project) -> None:
    sweep(project)
    member = "queue--memory_size-512--negatives_prior-0.01"
    project.variant("below", {"negatives": {"tau": 5.0}}, ["negatives.tau"], parent=member)
    project.edit("studies/paper", variants=["fne", member, "below"], baseline="fne")
    assert config.resolve(project.load(), "below")["memory"]["size"] == 512
    project.edit("studies/paper", variants=["fne", member.replace("512", "513")], baseline="fne")
    project.fails(saying=["513", "did you mean", member])


def test_a_sweep_through_the_parents_own_value_is_fair_alone_but_not_beside_it(project: Project) -> None:
    size = project.read("base")["memory"]["size"]
    project.variant("queue", {}, ["memory.size"], sweep={"memory.size": [size, 2 * size]})
    project.edit("studies/paper", variants=["queue"], baseline=f"queue--memory_size-{size}")
    assert len(project.load().variants) == 2
    project.edit("studies/paper", variants=["fne", "queue"], baseline="fne")
    project.fails(saying=["paper.yaml", "fne", f"queue--memory_size-{size}", "equal resolved configs"])


# ---- studies ---------------------------------------------------------------------------------------------------------


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
        ({"regime": "finetune"}, ["regime", "'finetune'", "head"]),
        ({"title": 3}, ["title", "3"]),
        ({"primary": "rsum"}, ["primary", "mapping"]),
        ({"primary": {"metric": "rsm", "protocol": "own"}}, ["primary.metric", "'rsm'", "did you mean 'rsum'"]),
        ({"primary": {"metric": "map_at_r", "protocol": "own"}}, ["primary.metric", "map_at_r", "rsum"]),
        ({"primary": {"metric": "rsum", "protocol": "mine"}}, ["primary.protocol", "'mine'", "own, truth"]),
        ({"primary": {"metric": "rsum", "protocol": ["own"]}}, ["primary.protocol"]),
        ({"primary": {"metric": "r1", "protocol": "own"}}, ["primary.direction", "i2t, t2i"]),
        ({"primary": {"metric": "rsum", "protocol": "own", "x": 1}}, ["primary.x", "unknown"]),
        ({"data": {"dataset": "scnes"}}, ["data.dataset", "'scnes'", "did you mean 'scenes'"]),
        ({"data": {"dataset": ["scenes"]}}, ["data.dataset"]),
        ({"data": {"dataset": "scenes", "trian": 5}}, ["data.trian", "did you mean 'data.train'"]),
        ({"data": {"dataset": "scenes", "images": "/x"}}, ["data.images", "unknown key"]),
        ({"data": "scenes"}, ["data", "mapping"]),
        ({"encoders": {"image": {"poling": "cls"}}}, ["encoders.image.poling", "did you mean 'encoders.image.pooling'"]),
        ({"encoders": {"image": {"level": "tokens"}}}, ["encoders.image.level", "'mlp' reads pooled"]),
        ({"encoders": {"image": {"checkpoint": None}}}, ["encoders.image.checkpoint", "image_encoder=", "--set"]),
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


@pytest.mark.parametrize(
    "key", ["title", "question", "regime", "variants", "seeds", "block", "baseline", "primary"]
)
def test_study_without_a_required_key(project: Project, key: str) -> None:
    content = project.read("studies/paper")
    del content[key]
    project.write("studies/paper", content)
    project.fails(saying=["paper.yaml", key, "is missing"])


def test_unknown_study(project: Project) -> None:
    project.fails("papr", saying=["'papr'", "did you mean 'paper'", "flickr8k"])


def test_a_value_that_no_variant_of_the_study_reads(project: Project) -> None:
    project.edit(
        "studies/paper", set={"negatives": {"tau": 1.0}}, variants=["random", "infonce"], baseline="random"
    )
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
    project.edit("studies/paper", seeds=[0, 0], baseline="nobody", set={"train": {"epochs": "2e-5"}},
                 data={"dataset": "scenes", "trian": 1}, primary={"metric": "rsum", "protocol": "x"})  # fmt: skip
    message = project.fails(
        overrides={"loss.margn": 1, "train.optimizer": "sgd"}, saying=["problems in study 'paper'"]
    )
    for words in ("fne_no_cutdown.yaml", "random.yaml", "seeds", "baseline", "2e-5", "data.trian", "primary.protocol",
                  "loss.margn", "'sgd'"):  # fmt: skip
        assert words in message, words
    lines = message.splitlines()[1:]
    assert len(lines) == len(set(lines)) == 9 and message.startswith("9 problems")


def test_misfits_name_the_variant(project: Project) -> None:
    project.variant("long", {"warmup": {"epochs": 8}}, ["warmup.epochs"])
    project.edit("studies/paper", variants=["fne", "long"], baseline="fne", set={"train": {"epochs": 6}})
    project.fails(saying=["paper.yaml (variant long)", "warmup.epochs", "train.epochs, which is 6"])


def test_text_that_looks_like_a_number_is_told_how_to_be_written(project: Project) -> None:
    text = (
        project.path("base")
        .read_text(encoding="utf-8")
        .replace("learning_rate: 1.0e-3", "learning_rate: 2e-5")
    )
    project.write("base", text)
    project.fails(
        saying=["base.yaml: train.learning_rate", "'2e-5'", "YAML reads this as text: write 2.0e-05"]
    )
    assert yaml.safe_load("2.0e-05") == 2e-5
    for number in (2e-5, 1e20, 0.1, 123456.789, 1e-300):
        assert yaml.safe_load(schema.yaml_number(number)) == number


# ---- what only the user knows ----------------------------------------------------------------------------------------


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


# ---- tuned -----------------------------------------------------------------------------------------------------------


def tuned_file(values: dict, **changes: object) -> dict:
    protocol = {
        "metric": "val_rsum",
        "budget": 8,
        "seeds": [100],
        "date": "2026-01-01",
        "command": "fne tune",
    }
    content = {"protocol": protocol, "search": {"loss.margin": [0.1, 0.2]}, "values": values, "trials": []}
    return content | {"reasons": {variant: "best of 8" for variant in values}} | changes


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
        (tuned_file({}, protocol={"metric": "x"}), ["protocol.budget", "is missing", "protocol.command"]),
        (tuned_file({}, search=None), ["search", "mapping"]),
        (tuned_file({}, valus={}), ["valus", "did you mean 'values'"]),
    ],
)
def test_bad_tuned_file(project: Project, content: dict, saying: list[str]) -> None:
    project.write("tuned/t", content)
    project.edit("studies/paper", tuned="t")
    project.fails(saying=["t.yaml" if "'fen'" not in saying else "", *saying])


def test_tuned_values_reach_their_variant_only(project: Project) -> None:
    before = digests(project.load())
    project.write("tuned/t", tuned_file({"fne": {"memory": {"size": 77}}, "random": {}}))
    project.edit("studies/paper", tuned="t")
    study = project.load()
    assert study.tuned == "t" and config.resolve(study, "fne")["memory"]["size"] == 77
    assert {variant for variant in before if before[variant] != digests(study)[variant]} == {"fne"}


# ---- command lines ---------------------------------------------------------------------------------------------------


def test_snakemake_config_becomes_overrides(project: Project) -> None:
    study = config.from_snakemake(
        {"study": "flickr8k", "images": "/p/i", "annotations": "/p/a.json", "crowdflower": "/p/c.txt", "expert": "/p/e",
         "image_encoder": "/m/v", "text_encoder": "org/t", "seeds": "0-6", "set": {"loss": {"margin": 0.3}}},
        project.root,
    )  # fmt: skip
    resolved = config.resolve(study, "fne")
    assert resolved["data"]["images"] == "/p/i" and resolved["data"]["annotations"] == "/p/a.json"
    assert resolved["data"]["judgements"] == {"crowdflower": "/p/c.txt", "expert": "/p/e"}
    assert resolved["encoders"]["image"]["checkpoint"] == "/m/v"
    assert resolved["encoders"]["text"]["checkpoint"] == "org/t"
    assert resolved["loss"]["margin"] == 0.3 and config.blocks(study) == ["0-4", "5-6"]
    assert config.from_snakemake({}, project.root).name == "paper"


@pytest.mark.parametrize(
    ("given", "saying"),
    [
        ({"imges": "/x"}, ["imges", "did you mean 'images'"]),
        ({"study": "papr"}, ["did you mean 'paper'"]),
        ({"study": 3}, ["study", "3"]),
        ({"set": "train.epochs=3"}, ["set", "mapping"]),
        ({"set": {"train.epoch": 3}}, ["train.epoch", "did you mean 'train.epochs'"]),
        ({"set": {"sedes": 3}}, ["sedes", "did you mean 'seeds'"]),
        ({"set": {"train": 3}}, ["train", "is a section"]),
        ({"set": {"data.seed.x": 3}}, ["data.seed", "is a value"]),
        ({"images": "/x"}, ["data.images", "unknown key"]),
        ({"seeds": "0", "set": {"seeds": "1"}}, ["seeds", "given twice"]),
        ({"baseline": "nobody"}, ["baseline", "'nobody'"]),
        ({"variants": "fne,nobody"}, ["variants", "'nobody'"]),
    ],
)
def test_bad_snakemake_config(project: Project, given: dict, saying: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        config.from_snakemake(given, project.root)
    for words in saying:
        assert words in str(caught.value)


def test_keys_of_the_workflow_itself_are_passed_over(project: Project) -> None:
    assert config.from_snakemake({"device": "cpu"}, project.root, extra=("device",)).name == "paper"
    with pytest.raises(UserError, match="device"):
        config.from_snakemake({"device": "cpu"}, project.root)


def test_arguments_load_the_very_same_study(project: Project) -> None:
    import shlex

    overrides = PATHS | ENCODERS | {
        "data.images": "/with space/and 'quote'", "train.learning_rate": 2e-5, "train.epochs": 7, "seeds": [0, 1, 5],
        "variants": ["fne", "random"], "baseline": "random", "train.gradient_clip": None, "evaluation.ks": [1, 5, 10, 50],
        "encoders.image.revision": "1.0", "encoders.text.revision": "null",
    }  # fmt: skip
    study = project.load("flickr8k", **overrides)
    words = shlex.split(config.arguments(study, seeds=True))
    assert words[:2] == ["--study", "flickr8k"] and set(words[2::2]) == {"--set"}
    again = config.load_study(words[1], config.parse_set(words[3::2]), project.root)
    assert again == study
    without = shlex.split(config.arguments(study))
    assert (
        not any(word.startswith(("seeds=", "block=")) for word in without)
        and "variants=fne,random" in without
    )


@pytest.mark.parametrize(
    ("items", "words"),
    [
        (["train.epochs"], "key=value"),
        (["=3"], "key=value"),
        (["a.b=1", "a.b=2"], "twice"),
        (["a.b=[1"], "YAML"),
    ],
)
def test_bad_set(items: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        config.parse_set(items)


def test_set_values_are_yaml() -> None:
    items = ["a.b=1", "a.c=1.0e-3", "a.d=text", "a.e=null", "a.f=[1, 2]", "a.g=x=y", "a.h="]
    assert config.parse_set(items) == {
        "a.b": 1, "a.c": 1e-3, "a.d": "text", "a.e": None, "a.f": [1, 2], "a.g": "x=y", "a.h": None
    }  # fmt: skip


# ---- describing ------------------------------------------------------------------------------------------------------


def test_describe_tells_chain_differences_and_options(project: Project) -> None:
    text = config.describe("infonce", project.root)
    assert "chain: base -> fne -> hardest_buffer -> hardest_in_batch -> sum_of_hinges -> infonce" in text
    parent, release = text.split("differs from the release")
    assert "loss.kind: triplet -> infonce" in parent and "negatives.strategy: fne -> all" not in parent
    assert "negatives.strategy: fne -> all" in release and "memory.kind: momentum -> none" in release
    reads = text.split("reads:\n")[1]
    assert "loss.temperature: 0.05" in reads and "negatives.tau" not in reads and "memory.size" not in reads
    assert "negatives.tau: 0.5" in config.describe("fne_no_cutdown", project.root).split("reads:\n")[1]
    assert "in nothing" in config.describe("fne", project.root)


def test_describe_a_study_a_sweep_and_nothing(project: Project) -> None:
    assert "against hardest_in_batch" in config.describe("flickr8k", project.root)
    sweep(project)
    assert config.describe("queue", project.root).count("chain: base -> fne -> queue--") == 4
    with pytest.raises(UserError, match="did you mean 'paper'"):
        config.describe("papre", project.root)
    project.edit("variants/random", isolates=[])
    with pytest.raises(UserError, match=r"random\.yaml: isolates"):
        config.describe("random", project.root)


# ---- the library and the paths ---------------------------------------------------------------------------------------


def test_unread_keys_are_exactly_those_that_prune_removes(project: Project) -> None:
    library = Library(project.root)
    for variant in config.list_variants(project.root):
        flat = library.merged(variant)
        kept, read = merge.prune(flat), merge.keys_read(flat)
        assert set(kept) == read and all(kept[key] == flat[key] for key in kept)
        for key in set(flat) - read:
            assert merge.why_unread(key, flat)


def test_paths_are_relative_and_named_as_promised(project: Project) -> None:
    study = project.load()
    folder = paths.data_folder(study)
    assert folder.parent == Path("resources") and folder.name.startswith("scenes-") and len(folder.name) == 15
    assert paths.manifest(study) == folder / "manifest.json"
    assert paths.truth(study, "val") == folder / "truth.val.npz"
    assert paths.encoder_folder(study, "text") == folder / "encoders" / "text"
    assert paths.features_folder(study, "image").parent == folder / "features"
    assert paths.features_folder(study, "image").name.startswith("image-scenes-")
    run = Path("results/paper/fne/0-4")
    assert paths.run_folder(study, "fne", "0-4") == run
    assert paths.rankings(study, "fne", "0-4", "test") == run / "rankings.test.npz"
    assert paths.metrics(study, "fne", "0-4", "test") == run / "metrics.test.json"
    assert paths.queries(study, "fne", "0-4", "test") == run / "queries.test.npz"
    assert paths.scratch_folder(study, "fne", "0-4") == Path("scratch/paper/fne/0-4")
    assert paths.reports_folder(study) == Path("reports/paper")
    assert paths.encoder(study, "image", Path("/r"))["checkpoint"] == f"/r/{folder}/encoders/image"
    assert paths.is_pretrained_here(study, "image")


def test_data_and_features_have_their_own_folders_per_content(project: Project) -> None:
    def flickr(**changes: object) -> config.Study:
        return project.load("flickr8k", **(PATHS | ENCODERS | changes))

    one = flickr()
    assert paths.data_id(flickr(**{"data.images": "/elsewhere"})) == paths.data_id(one)
    assert paths.data_id(flickr(**{"data.counts.val": 7})) != paths.data_id(one)
    judged = flickr(**{"data.judgements.crowdflower": "/c"})
    assert paths.data_id(judged) != paths.data_id(one)
    assert paths.data_id(flickr(**{"data.judgements.crowdflower": "/d"})) == paths.data_id(judged)
    assert paths.data_id(project.load(**{"data.prevalence": 0.01})) != paths.data_id(project.load())
    assert paths.data_id(project.load(**{"train.epochs": 5})) == paths.data_id(project.load())
    assert paths.features_folder(one, "text").name.startswith("text-text-")
    assert paths.features_folder(one, "image").name.startswith("image-vision-")
    assert paths.features_folder(
        flickr(**{"encoders.image.pooling": "cls"}), "image"
    ) != paths.features_folder(one, "image")
    assert paths.features_folder(
        flickr(**{"encoders.image.pooling": "cls"}), "text"
    ) == paths.features_folder(one, "text")
    assert paths.encoder(one, "text")["checkpoint"] == "org/text" and not paths.is_pretrained_here(
        one, "text"
    )
