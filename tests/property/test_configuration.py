"""A file of configuration with one change, or garbage: the study loads, or one error names that file or its key."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fne.study import api
from fne.utils.errors import UserError
from fne.utils.fields import canonical
from fne.utils.yaml_file import parse_set, set_items
from tests.plugin_files import clean_path
from tests.projects import Project
from tests.property.damage import VALUES, changed

__all__ = ["clean_path"]

FILES = ("base", "variants/fne", "variants/hardest_in_batch", "studies/smoke", "studies/prevalence")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("configuration") / "project")


@given(seed=st.integers(0, 2**32 - 1), name=st.sampled_from(FILES))
def test_a_changed_file_loads_or_is_named(project: Project, seed: int, name: str) -> None:
    whole = project.path(name).read_bytes()
    project.path(name).write_bytes(changed(whole, ".yaml", random.Random(seed)))
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
        project.path(name).write_bytes(whole)


KEYS = (
    "seeds", "variants", "block", "baseline", "train.epochs", "loss.margin", "data.train", "data.image_size", "",
    "negatives", "negatives.strategy", "train.epoch", "a.b", "encoders.image.checkpoint", "evaluation.ks",
)  # fmt: skip


@given(key=st.sampled_from(KEYS), text=st.one_of(st.text(max_size=30), st.sampled_from(VALUES).map(str)))
def test_a_value_of_the_command_line_is_taken_or_named(project: Project, key: str, text: str) -> None:
    try:
        study = api.load_study("smoke", parse_set([f"{key}={text}"]), project.root, complete=False)
        assert parse_set(set_items(study.overrides)).keys() == study.overrides.keys()
    except UserError as error:
        assert "command line" in str(error) or "smoke" in str(error), error
