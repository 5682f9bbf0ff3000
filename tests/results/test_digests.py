"""A table that is not what was written is refused wherever tables are read, with how to make it again."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fne.results.schema import TABLES, verb_of, write_table
from fne.results.study import load
from fne.steps import aggregate, compare_series, export
from fne.study.api import Study
from fne.utils.errors import UserError
from fne.utils.files import DIGESTS
from tests.analysis import stats_study
from tests.report.synthetic import write_study
from tests.results.made import SMALL


def lines(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], object]:
    """A fault in a table itself."""
    return lambda file: file.write_bytes(b"".join(change(file.read_bytes().splitlines(keepends=True))))


def entries(change: Callable[[dict[str, Any], str], object]) -> Callable[[Path], object]:
    """A fault in the folder's digests."""

    def damage(file: Path) -> None:
        place = file.with_name(DIGESTS)
        content = json.loads(place.read_text())
        change(content, file.name)
        place.write_text(json.dumps(content))

    return damage


CUT = "cut short or edited"
KIND = f"{DIGESTS}: files"
FAULTS = {
    "cut at a line end": (lines(lambda rows: rows[:-3]), CUT),
    "a value edited": (lines(lambda rows: [*rows[:1], rows[1].replace(b"fne", b"fnf"), *rows[2:]]), CUT),
    "digests of another version": (entries(lambda all, name: all.update(schema=2)), "another schema; got 2"),
    "digests cut": (lambda file: file.with_name(DIGESTS).write_text('{"schema": 1, "fi'), "not valid JSON"),
    "an entry without rows": (entries(lambda all, name: all["files"][name].pop("rows")), KIND),
    "no entry": (entries(lambda all, name: all["files"].pop(name)), f"has no entry in {DIGESTS}"),
    "no digests": (lambda file: file.with_name(DIGESTS).unlink(), f"has no entry in {DIGESTS}"),
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Path]:
    root = tmp_path_factory.mktemp("whole")
    return write_study(root, fakes=SMALL, seeds=(0, 1, 2), resources=False), root


@pytest.fixture
def study(whole: tuple[Study, Path], tmp_path: Path) -> tuple[Study, Path]:
    """A copy that may be damaged."""
    shutil.copytree(whole[1] / "results", tmp_path / "results")
    return whole[0], tmp_path


@pytest.mark.parametrize("fault", FAULTS)
def test_a_table_that_is_not_what_was_written_is_refused(study: tuple[Study, Path], fault: str) -> None:
    made, root = study
    assert len(load(made, root).audit) > 10
    damage, words = FAULTS[fault]
    damage(root / "results/paper/audit.csv")
    with pytest.raises(UserError, match=f"{re.escape(words)}.*run `fne aggregate --study paper` again") as caught:
        load(made, root).audit  # noqa: B018 - reading it checks it
    assert "results/paper/" in str(caught.value)


@pytest.mark.parametrize("name", ["runs", "intervals", "contrasts", "curves", "audit", "missing"])
def test_every_table_of_a_study_is_compared_where_it_is_read(study: tuple[Study, Path], name: str) -> None:
    made, root = study
    file = root / f"results/paper/{name}.csv"
    file.write_bytes(file.read_bytes()[:-1])
    for read in (lambda: getattr(load(made, root), name), lambda: export.build(load(made, root))):
        with pytest.raises(UserError, match=f"{name}.csv: {CUT}.*fne {verb_of(name)} --study paper"):
            read()


@pytest.mark.parametrize("name", ["curves.parquet", "audit.parquet"])
@pytest.mark.parametrize("fault", ["cut", "a bit of a page"])
def test_a_runs_tables_are_checked_before_they_are_gathered(tmp_path: Path, name: str, fault: str) -> None:
    made = stats_study.study()
    stats_study.write(tmp_path, made)
    aggregate.run(made, tmp_path)
    folder = tmp_path / "results" / made.name / "fne"
    block = next(folder.iterdir()).name
    content = bytearray((folder / block / name).read_bytes())
    if fault == "cut":
        del content[-1]
    else:  # the last before the footer, whose length stands before the last four bytes
        content[-9 - int.from_bytes(content[-8:-4], "little")] ^= 1
    (folder / block / name).write_bytes(content)
    hint = f"fne train --study {made.name} --variant fne --block {block}"
    with pytest.raises(UserError, match=f"{name}.*{hint}"):
        aggregate.run(made, tmp_path)


def test_a_table_made_again_is_read_again(study: tuple[Study, Path]) -> None:
    made, root = study
    results = load(made, root)
    rows = results.missing.to_dict("records")
    FAULTS["digests cut"][0](results.folder / "missing.csv")
    write_table(results.folder, "missing", rows)
    assert load(made, root).missing.to_dict("records") == rows
    with pytest.raises(UserError, match="runs.csv: has no entry"):
        load(made, root).test  # noqa: B018 - reading it checks it


def test_every_table_names_the_verb_that_writes_it() -> None:
    verbs = {name: verb_of(name) for name in TABLES if name not in ("images", "ranks")}
    assert set(verbs.values()) == {"aggregate", "compare", "audit", "verify"}
    source = {verb: Path(aggregate.__file__).with_name(f"{verb}.py").read_text() for verb in set(verbs.values())}
    source["compare"] += Path(compare_series.__file__).read_text()
    for name, verb in verbs.items():
        assert f'"{name}' in source[verb] or verb == "audit", f"{verb} writes no {name}"
