"""A foreign bundle with one change is read, or refused with one error that names it."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
import re
import shutil
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fne.results import bundle
from fne.steps.export import run as export
from fne.steps.side_by_side import run as compare
from fne.utils.errors import UserError
from fne.utils.files import as_csv
from tests.property.damage import change
from tests.results.made import SMALL, make


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One bundle as a folder and as a zip file."""
    root = tmp_path_factory.mktemp("whole")
    study = make(root, fakes=SMALL[:2])
    return {"csv": export(study, root, root / "csv"), "zip": export(study, root, root / "b.zip")}


def copied(whole: Path, into: Path) -> Path:
    place = into / whole.name
    if place.is_dir():
        shutil.rmtree(place)
    (shutil.copytree if whole.is_dir() else shutil.copy)(whole, place)
    return place


def signed(folder: Path) -> None:
    """Let ``bundle.json`` say what the files are, as whoever made them on purpose would."""
    try:
        facts = json.loads((folder / "bundle.json").read_bytes())
        for table in facts["tables"].values():
            for name in table["files"]:
                table["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
        (folder / "bundle.json").write_text(json.dumps(facts))
    except (ValueError, OSError, TypeError, KeyError, AttributeError, RecursionError):
        pass


def outcome(place: Path, read: Callable[[Path], object] = bundle.read) -> str:
    """What reading a bundle ends in."""
    try:
        read(place)
    except UserError as error:
        assert place.name in str(error) and len(str(error)) < 3000 and "\x1b" not in str(error)
        return str(error)
    return "read"


@given(seed=st.integers(0, 2**32 - 1), form=st.sampled_from(["csv", "csv", "zip"]), sign=st.booleans())
def test_one_change_ends_in_a_result_or_one_error(
    whole: dict[str, Path], tmp_path: Path, seed: int, form: str, sign: bool
) -> None:
    draw, place = random.Random(seed), copied(whole[form], tmp_path)
    files = [place] if place.is_file() else sorted(place.iterdir())
    change(draw.choice([*files, *[file for file in files if file.name == "bundle.json"] * len(files)]), draw)
    if sign and place.is_dir():
        signed(place)
    outcome(place)
    outcome(place, lambda place: compare(str(whole["csv"]), str(place), tmp_path / "nowhere"))


HOSTILE = "=cmd|x\x1b[2J<script>alert(1)</script>\u202e[a](javascript:x)\r\n# head | `c`"


def hostile(facts: dict[str, Any]) -> dict[str, Any]:
    """Words that nobody checks, wherever a bundle has words of its own."""
    variants = {
        name: {**entry, "title": HOSTILE, "code": HOSTILE, "config": {**entry["config"], "loss": {"kind": HOSTILE}}}
        for name, entry in facts["variants"].items()
    }
    words = dict.fromkeys(("study", "title", "question", "dataset", "baseline"), HOSTILE)
    fingerprints, packages = (dict.fromkeys([*facts[key], HOSTILE], HOSTILE) for key in ("fingerprints", "packages"))
    return {**facts, **words, "variants": {**variants, HOSTILE: variants["fne"]}, "fingerprints": fingerprints,
            "packages": packages, "left_out": [f"images: {HOSTILE}"]}  # fmt: skip


@pytest.mark.parametrize("first", [True, False])
def test_foreign_words_reach_no_output_as_they_are(whole: dict[str, Path], tmp_path: Path, first: bool) -> None:
    place = copied(whole["csv"], tmp_path)
    (place / "bundle.json").write_text(json.dumps(hostile(json.loads((place / "bundle.json").read_text()))))
    sides = [str(place), str(whole["csv"])][:: 1 if first else -1]
    shown = compare(*sides, tmp_path)
    for name in ("x.md", "x.csv"):
        compare(*sides, tmp_path, tmp_path / name)
    written, table = (tmp_path / "x.md").read_text(), (tmp_path / "x.csv").read_text()
    for text in (shown, written, table):
        assert "script" in text or not first
        assert not {letter for letter in text if unicodedata.category(letter) == "Cc"} - {"\n"} and "\u202e" not in text
    assert not re.search(r"(?<!\\)[<`\[]", written)
    assert not [cell for row in csv.reader(io.StringIO(table)) for cell in row if re.match(r"[=+@\t]|-(?!\d)", cell)]


def test_text_that_looks_like_a_formula_comes_back_from_a_bundle(whole: dict[str, Path], tmp_path: Path) -> None:
    made = bundle.read(whole["csv"])
    runs, words = made.table("runs"), ["=1+1", "-x", "'=1", "@a", "+1", "x"]
    titles = [words[place % len(words)] for place in range(len(runs))]
    content = as_csv(runs.assign(title=titles).to_dict("records"), [*runs]).encode()
    bundle.write(replace(made, tables={"runs": content}), tmp_path / "csv", "")
    assert bundle.read(tmp_path / "csv").table("runs")["title"].tolist() == titles
    assert ",'=1+1," in (tmp_path / "csv/runs.csv").read_text()
