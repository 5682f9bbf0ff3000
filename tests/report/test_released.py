"""What is said of FNE's release: its rule, and every value that is not the release's or was tuned."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from fne.report.text.released import released, sentence
from fne.steps.describe import run as describe
from fne.study.api import list_studies, list_variants, load_study
from fne.study.library import Library

LEAD = "FNE (released rule): the rule of the authors' release"


def test_no_variant_is_called_released_as_a_whole(root: Path) -> None:
    library = Library(root)
    for variant in list_variants(root):
        assert "as released" not in library.variant(variant).title, variant
    assert "rule" in library.variant("fne").question and "exactly" not in library.variant("fne").question


def test_of_every_study_with_fne_it_is_said_and_of_no_other(root: Path) -> None:
    said = {}
    for name in list_studies(root):
        study = load_study(name, root=root, complete=False)
        said[name] = released(study)
        assert released(study).startswith(LEAD) == ("fne" in study.variants)
        config = study.configs.get("fne", {})
        for key, value in re.findall(r"([a-z_]+\.[a-z_.]+) = (\S+?)(?:[,;.]?(?: |$))", released(study)):
            assert str(config[key]) == value
    assert any("tuned on validation: " in words for words in said.values())
    assert any(words.endswith("its other values are this study's.") for words in said.values())
    assert any(f"{LEAD} and its values" in words for words in said.values())


@pytest.mark.parametrize(
    ("name", "overrides", "words"),
    [
        ("flickr30k", {}, f"{LEAD} and its values, but for finetune.precision = bfloat16 (release: float32)."),
        ("flickr30k", {"finetune.precision": "float32"}, f"{LEAD} and its values."),
        ("flickr30k", {"finetune.precision": "float32", "train.batch_size": 64},
         f"{LEAD} and its values, but for train.batch_size = 64 (release: 32)."),
        ("flickr30k", {"finetune.precision": "float32", "negatives.tau": 0.7},
         f"{LEAD} and its values, but for negatives.tau = 0.7 (release: 0.5)."),
        ("flickr8k_finetune", {}, f"{LEAD}; its other values are this study's."),
        ("smoke", {},
         f"{LEAD}, but for negatives.min_positives = 20 (release: 200); its other values are this study's."),
        ("smoke", {"negatives.min_positives": 200, "loss.margin": 0.1}, f"{LEAD}; its other values are this study's."),
    ],
)  # fmt: skip
def test_every_exception_is_named(root: Path, name: str, overrides: dict, words: str) -> None:
    study = load_study(name, overrides, root, complete=False)
    assert released(study) == words
    assert words in describe(name, root) or overrides


def test_a_rule_of_the_users_own_is_not_called_the_release(root: Path) -> None:
    study = replace(load_study("smoke", root=root, complete=False), method="infonce")
    words = released(study)
    assert "a rule of this study, negatives.strategy = all, and not the authors' release" in words and LEAD not in words


def test_tuned_values_are_named_unless_the_command_line_changed_them(root: Path) -> None:
    study = load_study("paper", root=root)
    tuned = released(study).partition("; tuned on validation: ")[2]
    assert released(study).startswith(f"{LEAD}; its other values are this study's; tuned on validation: ")
    keys = re.findall(r"([a-z_.]+) = ", tuned)
    assert len(keys) >= 3 and "train.learning_rate" in keys
    other = load_study("paper", {"train.learning_rate": 0.123}, root)
    assert re.findall(r"([a-z_.]+) = ", released(other).partition("; tuned")[2]) == keys[1:]
    plain = load_study("paper", root=root, tuned=False)
    assert released(plain) == f"{LEAD}; its other values are this study's."


def test_a_tuned_value_of_the_rule_is_both_an_exception_and_tuned(root: Path) -> None:
    library = Library(root)
    release = library.base | library.released
    config = {**release, "negatives.tau": 5.0, "model.dim": 7, "data.seed": 3}
    tuned = {"negatives.tau": 5.0}
    words = "T: the rule of the authors' release{}, but for negatives.tau = 5.0 (release: 0.5){}; tuned on validation: "
    end = "negatives.tau = 5.0."
    assert sentence("T", config, release, tuned, False) == words.format("", "; its other values are this study's") + end
    assert sentence("T", config, release, tuned, True) == words.format(" and its values", "") + end
