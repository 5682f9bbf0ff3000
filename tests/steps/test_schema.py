"""The JSON schemas that editors read: committed as they are made, they accept every file and flag a misspelt key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from fne.steps.schema import FOLDER, meanings, schemas
from fne.study.plugins import KEYS
from tests.projects import ROOT

MADE = schemas(ROOT)
KINDS = {"variants": "variant", "studies": "study", "templates": "study", "tuned": "tuned"}
FILES = [file for file in sorted((ROOT / "ablations").rglob("*.yaml")) if file.stem != "variance"]
"""What people write, and what `fne tune` does; ``variance.yaml`` is the output of a study."""


def kind_of(file: Path) -> str:
    """The schema of a file: of its folder, or its own."""
    return KINDS.get(file.parent.name, file.stem)


def faults(kind: str, content: Any) -> list[str]:
    return [error.message for error in Draft7Validator(MADE[kind]).iter_errors(content)]


def test_what_is_committed_is_what_is_made() -> None:
    assert {file.stem for file in (ROOT / FOLDER).glob("*.json")} == {*MADE}
    for name, content in MADE.items():
        committed = json.loads((ROOT / FOLDER / f"{name}.json").read_text())
        assert committed.pop("$schema").endswith("draft-07/schema#")
        assert committed == json.loads(json.dumps(content)), "run `fne schema`"


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_every_file_names_its_schema_and_is_accepted(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    named = text.partition("\n")[0].removeprefix("# yaml-language-server: $schema=")
    assert (file.parent / named).resolve() == (ROOT / FOLDER / f"{kind_of(file)}.json").resolve()
    assert not faults(kind_of(file), yaml.safe_load(text))


@pytest.mark.parametrize(
    ("kind", "change", "saying"),
    [
        ("variant", {"set": {"negatives": {"tua": 1.0}}}, "'tua' was unexpected"),
        ("variant", {"set": {"negatives.tua": 1.0}}, "'negatives.tua' does not match"),
        ("variant", {"set": {"negatives.tau": -1}}, "less than the minimum"),
        ("variant", {"set": {"negatives.cut_down": "globl"}}, "is not one of"),
        ("variant", {"set": {"data.seed": 1}}, "'data.seed' does not match"),
        ("variant", {"sweep": {"memory.size": 5}}, "is not of type 'array'"),
        ("variant", {"role": "sientific"}, "is not one of"),
        ("variant", {"iolates": []}, "'iolates' was unexpected"),
        ("study", {"set": {"train": {"epoch": 3}}}, "'epoch' was unexpected"),
        ("study", {"primry": {}}, "'primry' was unexpected"),
        ("study", {"data": {"trian": 3}}, "'trian' was unexpected"),
    ],
)
def test_a_fault_is_flagged(kind: str, change: dict, saying: str) -> None:
    file = {"variant": "variants/fne_no_cutdown", "study": "studies/paper"}[kind]
    content = yaml.safe_load((ROOT / "ablations" / f"{file}.yaml").read_text())
    assert not faults(kind, content)
    assert any(saying in fault for fault in faults(kind, content | change)), faults(kind, content | change)


def test_an_option_of_a_rule_from_outside_is_accepted() -> None:
    for given in ({"negatives.options.sharpness": 2.0}, {"negatives": {"options": {"sharpness": 2.0}}}):
        content = yaml.safe_load((ROOT / "ablations/variants/fne_no_cutdown.yaml").read_text())
        assert not faults("variant", content | {"set": {"negatives.strategy": "mine:Rule", **given}})


def test_every_key_says_what_it_means() -> None:
    validator = Draft7Validator(MADE["base"])
    shown = MADE["base"]["properties"]["negatives"]["properties"]["tau"]["description"]
    assert shown == "Release: weight exp(-tau p), or exp(-tau (s_ij - s_i+)^2) below the threshold. Default: 0.5."
    for key in KEYS:
        leaf = validator.evolve(schema=MADE["base"]["properties"][key])._resolver.lookup(
            MADE["base"]["properties"][key]["$ref"]
        )
        assert len(leaf.contents["description"]) > 10, key
    assert not [key for key, meaning in meanings(ROOT).items() if len(meaning) < 8]
