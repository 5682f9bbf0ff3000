"""A file of configuration with one change, or garbage: the study loads, or one error names that file or its key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from fne.study import api
from fne.utils.errors import UserError
from fne.utils.fields import canonical
from fne.utils.yaml_file import parse_set, set_items
from tests.projects import Project

FILES = ("base", "variants/fne", "variants/hardest_in_batch", "studies/smoke", "studies/prevalence")
ODD = st.sampled_from([
    None, True, -1, 0, 1, 2, 7, 0.5, 1e300, -1e-300, 2**63, 10**40, float("inf"), float("nan"),
    "", " ", "0", "1e3", "fne", "base", "none", "\x00", "ω", "a" * 400, "../x", "{split}", "--", "a:B",
    [], {}, [[]], [1, 2, 3], ["a"], {"a": {"b": {}}}, {"": 1},
])  # fmt: skip
GARBAGE = st.one_of(st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in nested mappings and lists."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, part in inside for place in places(part, (*path, key)))]


def changed(content: Any, path: tuple[Any, ...], change: str, value: Any) -> Any:
    """The content with one place removed, replaced, or with a key or element added."""
    if not path:
        return content | {"surplus": value} if change == "add" and isinstance(content, dict) else value
    copied = dict(content) if isinstance(content, dict) else list(content)
    if len(path) > 1:
        copied[path[0]] = changed(copied[path[0]], path[1:], change, value)
    elif change == "remove":
        del copied[path[0]]
    elif change == "add":
        copied[path[0]] = [copied[path[0]], value]
    else:
        copied[path[0]] = value
    return copied


@st.composite
def files(draw: st.DrawFn, sound: dict[str, bytes]) -> tuple[str, bytes]:
    """A file of the project and what is written there instead; in four of five cases one change of what it holds."""
    name = draw(st.sampled_from(FILES))
    before, kind = sound[name], draw(st.sampled_from(["value", "value", "byte", "line", "garbage"]))
    if kind == "value":
        content = yaml.safe_load(before)
        place = draw(st.sampled_from(places(content)))
        after = changed(content, place, draw(st.sampled_from(["replace", "replace", "remove", "add"])), draw(ODD))
        return name, yaml.safe_dump(after, allow_unicode=True, sort_keys=False).encode("utf-8", "replace")
    if kind == "byte":
        at = draw(st.integers(0, len(before) - 1))
        return name, before[:at] + bytes([draw(st.integers(0, 255))]) + before[at + draw(st.integers(0, 1)) :]
    if kind == "line":
        lines = before.splitlines(keepends=True)
        at = draw(st.integers(0, len(lines) - 1))
        return name, b"".join(lines[:at] + lines[at : at + 1] * draw(st.sampled_from([0, 2])) + lines[at + 1 :])
    return name, draw(GARBAGE)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("configuration") / "project")


@given(data=st.data())
def test_a_changed_file_loads_or_is_named(project: Project, data: st.DataObject) -> None:
    sound = {name: project.path(name).read_bytes() for name in FILES}
    name, content = data.draw(files(sound))
    project.path(name).write_bytes(content)
    study = name.partition("/")[2] if name.startswith("studies/") else "smoke"
    try:
        loaded = api.load(study, {}, project.root, complete=False)
        for member in getattr(loaded, "members", (loaded,)):
            assert all(canonical(api.resolve(member, variant)) for variant in member.variants)
            assert max(map(len, [*member.variants, *api.blocks(member)])) <= 200
    except UserError as error:
        # what does not fit together is said of the study's file and the variant, whichever file the value came from
        assert f"{Path(name).name}.yaml" in str(error) or f"{study}.yaml" in str(error), error
    finally:
        project.path(name).write_bytes(sound[name])


KEYS = (
    "seeds", "variants", "block", "baseline", "train.epochs", "loss.margin", "data.train", "data.image_size", "",
    "negatives", "negatives.strategy", "train.epoch", "a.b", "encoders.image.checkpoint", "evaluation.ks",
)  # fmt: skip


@given(key=st.sampled_from(KEYS), text=st.one_of(st.text(max_size=30), ODD.map(str)))
def test_a_value_of_the_command_line_is_taken_or_named(project: Project, key: str, text: str) -> None:
    try:
        study = api.load_study("smoke", parse_set([f"{key}={text}"]), project.root, complete=False)
        assert parse_set(set_items(study.overrides)).keys() == study.overrides.keys()
    except UserError as error:
        assert "command line" in str(error) or "smoke" in str(error), error
