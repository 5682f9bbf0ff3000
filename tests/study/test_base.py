"""YAML files, the base protocol and the table of types: one clear error for everything that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from fne.study import model, plugins
from fne.utils.errors import UserError
from fne.utils.fields import flatten
from tests.projects import ROOT, Project


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.mark.parametrize("name", ["base", "variants/fne", "studies/paper"])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"title: caf\xe9\n", "not UTF-8"),
        (b"a: [1\n", "line 2"),
        (b"title: 1\ntitle: 2\n", "'title' is given twice"),
        (b"a: " + b"[" * 100_000 + b"]" * 100_000, "not valid YAML"),
    ],
)
def test_unreadable_yaml(project: Project, name: str, content: bytes, words: str) -> None:
    project.path(name).write_bytes(content)
    message = project.fails(saying=[f"{name}.yaml"])
    assert any(word in message for word in words.split("|")), message


def test_base_and_the_table_of_fields_hold_the_same_keys(project: Project) -> None:
    base = project.read("base")
    run = {key: value for key, value in base.items() if key not in ("datasets", "regime")}
    assert set(flatten(run)) == set(model.SHARED)
    for dataset, section in base["datasets"].items():
        kind = model.DATASETS[dataset]
        assert set(flatten(section, prefix="data.")) == set(model.DATA_KEYS[kind])


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


@pytest.mark.parametrize("key", sorted(plugins.KEYS))
def test_every_key_of_the_base_is_typed(project: Project, key: str) -> None:
    """A value of a wrong type, and one out of range, are refused for each single key."""
    field = plugins.KEYS[key]
    kind, free = field.schema["type"], isinstance(field.allowed(), str)
    wrong: list[object] = ["true" if kind == "boolean" else True, {"a": 1}, []]
    wrong += [] if field.null else [None]
    if field.is_number:
        low = [field.schema[name] - 1 for name in ("minimum", "exclusiveMinimum") if name in field.schema]
        wrong += ["text", "2e-5", float("nan"), float("inf"), 10**400, *low]
        wrong += [1.5] if kind == "integer" else []
    elif kind == "array":
        wrong += [1, [0], [5, 1], [1, 1], [1.0], *([["1"]] if field.schema["items"]["type"] == "integer" else [])]
    else:
        wrong += [1, 0.5, "" if kind == "string" and free else "nonsense"]
    for value in wrong:
        with pytest.raises(UserError, match=key):
            field.check(value, "file", key)
