"""What every file of ``ablations`` promises, whoever adds it: the folders are read."""

from __future__ import annotations

import ast
import dataclasses
import inspect
from pathlib import Path

import pytest
import yaml

from fne.negatives import signature
from fne.negatives.catalog import MEMORIES
from fne.negatives.registry import Entry, entry_of
from fne.results.configs import oracle_bases
from fne.results.trials import FINAL, read_trials
from fne.steps.describe import run as describe
from fne.study import api as config
from fne.study import plugins
from fne.study.library import Library
from fne.study.paths import trials_file
from fne.utils.fields import flatten
from tests.rules import LOSSES, STRATEGIES, taken

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "ablations"
VARIANTS = sorted(path.stem for path in (FOLDER / "variants").glob("*"))
STUDIES = config.list_studies(ROOT)
TUNED = sorted(path.stem for path in (FOLDER / "tuned").glob("*.yaml"))  # of another draw: literature.1
PAPER = {"fne", "fne_abstract", "fne_no_buffer", "fne_no_cutdown", "fne_no_elimination", "hardest_in_batch",
         "hardest_buffer", "sum_of_hinges", "random", "infonce"}  # fmt: skip


@pytest.fixture(scope="module")
def library() -> Library:
    return Library(ROOT)


def test_titles_tell_variants_apart_and_the_folders_hold_yaml_files_only(library: Library) -> None:
    for folder in ("variants", "studies"):
        assert {path.suffix for path in (FOLDER / folder).iterdir()} == {".yaml"}
    titles = [library.variant(identity).title for identity in config.list_variants(ROOT)]
    assert len(titles) == len(set(titles))


@pytest.mark.parametrize("stem", VARIANTS)
def test_variant_is_valid_described_and_isolates_what_it_says(library: Library, stem: str) -> None:
    for identity in library.members(stem):
        library.check(identity)
        # The honest difference, computed anew from the raw files.
        parents = [variant.id for variant in library.chain(identity)][:-1]
        assert (library.variant(identity).parent == "base") == (not parents)
        before, after = library.merged(parents[-1] if parents else "base"), library.merged(identity)
        differ = {key for key in after if before[key] != after[key]}
        assert differ <= set(library.variant(identity).isolates)
    declared = yaml.safe_load((FOLDER / "variants" / f"{stem}.yaml").read_text(encoding="utf-8"))
    assert "?" in declared["question"] and not declared["title"].endswith(".")
    assert "reads:" in describe(stem, ROOT)


@pytest.mark.parametrize("name", STUDIES)
def test_study_is_valid_and_its_configs_hold_only_known_keys_and_all_that_is_read(name: str) -> None:
    study = config.load_study(name, root=ROOT, complete=False)
    assert study.baseline in study.variants and "?" in study.question
    assert [seed for block in config.blocks(study) for seed in config.parse_block(block)] == list(study.seeds)
    assert len({config.digest(config.resolve(study, variant)) for variant in study.variants}) == len(study.variants)
    fields = plugins.keys_for(study.data["dataset"])
    for variant in study.variants:
        flat = flatten(config.resolve(study, variant))
        assert flat.pop("regime") == study.regime
        for key, value in flat.items():
            assert fields[key].check(value, name, key) == value or value is None
        rules = STRATEGIES[flat["negatives.strategy"]], LOSSES[flat["loss.kind"]]
        given = {"negatives.strategy", "negatives.oracle", "loss.kind", "memory.kind"}
        given |= {f"memory.{option}" for option in MEMORIES[flat["memory.kind"]].options}
        may = {key for rule in rules for key in taken(rule).values()} | given
        must = {key for rule in rules for key in [*rule.shares, *(n for n, k in rule.keys.items() if not k.when)]}
        assert given | must <= set(flat)
        assert {key for key in flat if key.startswith(("negatives.", "memory.", "loss."))} <= may


def test_the_study_of_the_paper_and_the_values_of_the_authors_code() -> None:
    study, base = config.load_study("paper", root=ROOT), Library(ROOT).base
    flickr = config.load_study("flickr8k", root=ROOT, complete=False)
    assert set(study.variants) == set(flickr.variants) == PAPER and study.baseline == "hardest_in_batch"
    assert flickr.seeds == study.seeds == (0, 1, 2, 3, 4) and config.blocks(study) == ["0-4"]
    assert flickr.primary == study.primary == {"metric": "rsum", "protocol": "own", "direction": "both"}
    assert config.resolve(study, "fne")["negatives"] == {
        "strategy": "fne", "oracle": "none", "tau": 0.5, "prior": 1e-4, "prior_rule": "fixed", "density": "normal",
        "population": "hardest", "posterior_threshold": 0.001, "min_positives": 200, "elimination": "released",
        "cut_down": "global", "statistics_mask": "diagonal", "statistics_reset": "epoch", "recalibration": "none",
    }  # fmt: skip
    assert base["memory.momentum"] == 0.995 and base["train.gradient_clip"] == 2.0
    assert base["loss.margin"] == 0.2 and base["loss.kind"] == "triplet"


def described(entry: Entry) -> list[object]:
    """Everything that an entry says, in values that can be compared."""
    keys = [(name, key.schema, key.null, key.default, key.meaning, key.when) for name, key in entry.keys.items()]
    return [keys, [getattr(entry, item.name) for item in dataclasses.fields(entry) if item.name != "options"]]


@pytest.mark.parametrize("entry", [*STRATEGIES.values(), *LOSSES.values()], ids=lambda entry: entry.name)
def test_a_rule_is_read_from_its_source_as_its_class_is(library: Library, entry: Entry) -> None:
    """Its options are the keyword arguments of the class, no more and no fewer; of shared keys both say the same."""
    loaded = entry.load()
    assert f"{loaded.__module__}:{loaded.__name__}" == entry.target
    parameters = inspect.signature(loaded).parameters
    assert set(parameters) == set(taken(entry))
    for keyword, key in taken(entry).items():
        assert parameters[keyword].default == library.base[key], "of a shared key base.yaml and the class say the same"
    assert loaded() is not None, "built without arguments"
    assert set(entry.negatives) <= {"one", "all", "attracted"} and entry.summary
    imported = signature._from_class(loaded, entry.target, entry.file)
    assert described(entry_of(imported, entry.name, None)) == described(entry), "its source and the class say the same"


def test_every_option_of_a_rule_is_a_key_of_the_configuration(library: Library) -> None:
    keys = set(library.base)
    for section, table in (("negatives", STRATEGIES), ("loss", LOSSES)):
        options = {key for entry in table.values() for key in taken(entry).values() if key.startswith(section)}
        chooser = {"negatives": "negatives.strategy", "loss": "loss.kind"}[section]
        shared = {"negatives.oracle", "negatives.kernel"} if section == "negatives" else set()
        assert {key for key in keys if key.startswith(f"{section}.")} == options | {chooser} | shared
        assert {shared for entry in table.values() for shared in entry.shares} <= keys
    options = {f"memory.{option}" for kind in MEMORIES.values() for option in kind.options}
    assert {key for key in keys if key.startswith("memory.")} == options | {"memory.kind"}


@pytest.mark.parametrize("name", TUNED)
def test_tuned_file_belongs_to_a_study_and_is_what_its_trials_say(name: str) -> None:
    """Values of a search are used, come from other seeds than the study's, and are the best finalist's."""
    outcome = FOLDER / "tuned" / f"{name}.yaml"
    content, (stem, _, draw) = yaml.safe_load(outcome.read_text(encoding="utf-8")), name.partition(".")
    searched = config.load_study(stem, root=ROOT, complete=False, tuned=False)
    declared = searched.tune
    if not draw:
        users = [item for item in STUDIES if config.load_study(item, root=ROOT, complete=False).tuned == stem]
        assert users, "values that no study uses"
    if "where" not in content:
        return  # of an earlier protocol
    assert declared.plain() == content["declared"] and content["protocol"]["draw"] == int(draw or 0)
    assert set(searched.seeds).isdisjoint(seeds := declared.of_draw(int(draw or 0)))
    bases, trials = oracle_bases(searched), read_trials(trials_file(outcome))
    assert {item.variant for item in trials} <= {*content["values"]}
    for variant, values in content["values"].items():
        assert [*values] == [*searched.axes[variant]] == [*content["where"][variant]] == [*content["ranges"][variant]]
        if (base := bases.get(variant)) in content["values"]:
            assert values == content["values"][base] and variant not in content["cost"]
            continue
        cost, tried = content["cost"][variant], [item for item in trials if item.variant == variant]
        first = {item.digest: item for item in tried if item.seed == seeds[0]}
        means = {digest: sum(item.val_rsum for item in tried if item.digest == digest and item.round == FINAL) / 3
                 for digest in {item.digest for item in tried if item.round == FINAL}}  # fmt: skip
        assert len(first) <= cost["trials"] <= declared.budget and len(means) <= declared.finalists
        assert values == first[max(means, key=means.__getitem__)].values, "not the best of the finalists"


def test_no_code_knows_a_variant_by_name() -> None:
    """Ids that are names of rules too (``fne``, ``random``) cannot be distinguished from them and are left out."""
    rules = {*STRATEGIES, *LOSSES, *MEMORIES}
    ids = {*VARIANTS} - rules
    assert len(ids) > 10
    named = [
        f"{file.relative_to(ROOT)}:{node.lineno}: {node.value}"
        for file in sorted((ROOT / "fne").rglob("*.py"))
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Constant) and node.value in ids
    ]
    assert not named
