"""A finished study with one file changed is read, or refused with one error that names the file."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fne.report.figures.populations import populations
from fne.report.tables.record import record_table as record
from fne.results import made_from, reference
from fne.results.progress_files import look
from fne.results.study import StudyResults, load
from fne.steps import aggregate, compare, export
from fne.study.api import Study
from fne.utils.errors import UserError
from fne.utils.files import DIGESTS, SCHEMAS, write_json
from tests.analysis import stats_study
from tests.property.damage import change
from tests.report.synthetic import write_study
from tests.results.made import SMALL

Whole = tuple[Study, Path]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """What a report is made from: tables, records, picks."""
    root = tmp_path_factory.mktemp("told")
    return write_study(root, fakes=SMALL[:2], seeds=(0, 1, 2), resources=False), root


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """What tables are made from: metrics and values by image of each job."""
    root = tmp_path_factory.mktemp("ranked")
    made = stats_study.study(seeds=(0, 1), variants=("hardest_in_batch", "fne"))
    stats_study.write(root, made)
    return made, root


def sign(folder: Path) -> None:
    """Let the folder's digests say what its tables are, as whoever made them on purpose would."""
    if (folder / DIGESTS).is_file():
        content = {file.name: file.read_bytes() for file in folder.glob("*.csv") if file.is_file()}
        entries = {name: {"rows": max(0, text.count(b"\n") - 1), "sha256": hashlib.sha256(text).hexdigest()}
                   for name, text in content.items()}  # fmt: skip
        write_json(folder / DIGESTS, {"schema": SCHEMAS["digests"], "files": entries})


def damaged(whole: Whole, into: Path, draw: random.Random) -> tuple[Path, str]:
    """A copy with one file changed; a table's digest is made to fit half the time."""
    shutil.rmtree(into / "results", ignore_errors=True)
    shutil.copytree(whole[1] / "results", into / "results")
    file = draw.choice(sorted(file for file in (into / "results").rglob("*.*") if file.is_file()))
    how = change(file, draw)
    if file.suffix == ".csv" and draw.random() < 0.5:
        sign(file.parent)
    return file, how


def outcome(read: Callable[[], object], file: Path) -> str:
    """What reading ends in: a result, or one error that names the file or its folder's digests."""
    try:
        read()
    except UserError as error:
        text = str(error)
        assert file.name in text or file.parent.name in text, text
        assert len(text) < 3000 and "\x1b" not in text
        return text
    return "read"


def everything(study: Study, root: Path) -> list[Callable[[], object]]:
    """What is read of a finished study."""
    names = ("runs", "test", "intervals", "contrasts", "missing", "curves", "audit", "protocols", "test_readings",
             "measured", "variants")  # fmt: skip

    def open_() -> StudyResults:
        return load(study, root)

    return [
        *(lambda name=name: getattr(open_(), name) for name in names),
        *(lambda variant=variant: open_().picks(variant) for variant in study.variants),
        *(lambda variant=variant: populations(open_(), variant) for variant in study.variants),
        *(lambda variant=variant: open_().layout(variant) for variant in study.variants),
        *(lambda variant=variant: (open_().estimate(variant), open_().contrast(variant)) for variant in study.variants),
        lambda: (made_from.versions(open_()), made_from.fingerprints(open_()), reference.made_by(open_())),
        lambda: record(open_()),
        lambda: export.build(open_()),
        lambda: look(study, root),
    ]


@given(seed=st.integers(0, 2**32 - 1))
def test_one_change_to_what_a_report_is_made_from(told: Whole, tmp_path: Path, seed: int) -> None:
    file, _ = damaged(told, tmp_path, random.Random(seed))
    for read in everything(told[0], tmp_path):
        outcome(read, file)


def tables(study: Study, root: Path) -> list[Callable[[], object]]:
    """What makes the tables of a study from its jobs."""
    return [lambda: aggregate.run(study, root), lambda: compare.run(study, root, resamples=20, flips=20)]


@given(seed=st.integers(0, 2**32 - 1))
def test_one_change_to_what_tables_are_made_from(ranked: Whole, tmp_path: Path, seed: int) -> None:
    file, _ = damaged(ranked, tmp_path, random.Random(seed))
    for make in tables(ranked[0], tmp_path):
        outcome(make, file)
