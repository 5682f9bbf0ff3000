"""Nothing that was computed before the house was moved has changed, but for what ``intended.yaml`` lists."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from typing import Any

import pytest
import yaml

from tests.net.snapshot import HERE, SNAPSHOTS, fixture

INTENDED = yaml.safe_load((HERE / "intended.yaml").read_text())
"""Snapshot -> pattern of what differs, a path of keys joined by `` > `` -> why."""


CONTENT = re.compile(r"\b(flickr8k-|image-[\w.]+-|text-[\w.]+-)[0-9a-f]{8}\b")
"""Names that hold a digest of files that a user gives; in the fixtures it is one of their paths and settings alone."""


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Path -> value of everything in a snapshot; a list is one value."""
    if not isinstance(value, dict):
        names = [CONTENT.sub(r"\1content", item) for item in value] if isinstance(value, list) else value
        return {CONTENT.sub(r"\1content", path): names}
    result: dict[str, Any] = {}
    for key, inner in value.items():
        result |= leaves(inner, f"{path} > {key}" if path else str(key))
    return result


@pytest.mark.parametrize("name", [name for name in SNAPSHOTS if name != "sources"])
def test_nothing_differs_but_what_is_listed(name: str) -> None:
    before, now = leaves(json.loads(fixture(name).read_text())), leaves(SNAPSHOTS[name]())
    differs = {path for path in before.keys() | now.keys() if before.get(path) != now.get(path)}
    patterns = INTENDED.get(name, {})
    unlisted = sorted(path for path in differs if not any(fnmatchcase(path, pattern) for pattern in patterns))
    assert not unlisted, f"{len(unlisted)} differ: " + "; ".join(
        f"{path}: {before.get(path)} -> {now.get(path)}" for path in unlisted[:20]
    )
    idle = [pattern for pattern in patterns if not any(fnmatchcase(path, pattern) for path in differs)]
    assert not idle, "listed, and does not differ"


def test_no_rule_lost_a_file_whose_edit_runs_it_again() -> None:
    """Each source file that was an input of a rule is one still, under the name that it has now (``moved.json``)."""
    before, now = json.loads(fixture("sources").read_text()), SNAPSHOTS["sources"]()
    moved = json.loads((HERE / "moved.json").read_text())
    for rule, files in before.items():
        lost = {moved.get(file, file) for file in files} - set(now.get(rule, ()))
        listed = {file for file in lost if any(fnmatchcase(f"{rule} > {file}", p) for p in INTENDED.get("sources", {}))}
        assert lost == listed, f"{rule} no longer runs again after an edit of {sorted(lost - listed)}"
