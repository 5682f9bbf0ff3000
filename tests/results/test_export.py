"""A bundle holds a study's results, documented, in the same bytes each time; damage is seen."""

from __future__ import annotations

import json
import struct
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from fne.results import bundle, made_from, schema
from fne.results.study import load
from fne.steps import export
from fne.steps.export import run
from fne.study.api import Study, resolve
from fne.utils.errors import UserError
from fne.utils.files import read_json, write_json
from tests.report.synthetic import HOSTILE, SOURCES, write_study
from tests.results.made import SMALL, make


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("export")


NO_AUDIT = [f"{name}: `fne audit` was not run" for name in ("calibration", "calibration_bins")]


@pytest.fixture(scope="module")
def study(place: Path) -> Study:
    return make(place)


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_bundle_holds_all_tables_and_documents_each_column(place: Path, study: Study, tmp_path: Path) -> None:
    made = content(run(study, place, tmp_path / "out"))
    facts = json.loads(made["bundle.json"])
    assert set(facts["tables"]) == {"runs", "intervals", "contrasts", "curves", "audit", "missing", "images", "ranks"}
    assert facts["left_out"] == NO_AUDIT
    text = made["README.md"].decode()
    for name, entry in facts["tables"].items():
        written = pd.read_csv(tmp_path / "out" / f"{name}.csv", keep_default_na=False, na_values=[""])
        assert list(written.columns) == list(entry["columns"]) and len(written) == entry["rows"]
        for key, column in entry["columns"].items():
            assert f"| `{key}` | {column['type']} | {column['unit']} |" in text
    original = pd.read_csv(place / "results" / "four" / "runs.csv")
    assert pd.read_csv(tmp_path / "out" / "runs.csv")["value"].tolist() == original["value"].tolist()
    assert facts["question"] == study.question and facts["regime"] == "head" and facts["schema"] == 1
    assert facts["protocols"]["own"]["id"] and facts["fingerprints"]["data.image"] and facts["packages"]["torch"]
    assert facts["variants"]["fne"]["config"]["negatives"]["strategy"] == "fne" and facts["test_accesses"]


@pytest.mark.parametrize("name", ["audit", "ranks"])
def test_a_table_of_too_many_rows_is_left_out_and_said_to_be(
    place: Path, study: Study, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    rows = bundle.rows_of(export.build(load(study, place)).tables[name])
    monkeypatch.setitem(export.MOST_ROWS, name, rows - 1)
    result = export.build(load(study, place))
    assert name not in result.tables and "images" in result.tables
    assert {*result.facts["left_out"]} == {*NO_AUDIT, f"{name}: {rows:,} rows, more than {rows - 1:,}"}


def test_the_same_results_give_the_same_bytes(place: Path, study: Study, tmp_path: Path) -> None:
    first, second = (run(study, place, tmp_path / name / "b.zip") for name in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()
    assert content(run(study, place, tmp_path / "a")) == content(run(study, place, tmp_path / "b"))
    with zipfile.ZipFile(first) as archive:
        assert archive.namelist() == sorted(archive.namelist()) and archive.namelist()[0].startswith("b/")


@pytest.mark.parametrize("name", ["b.zip", "folder"])
def test_what_was_written_is_read_again(place: Path, study: Study, tmp_path: Path, name: str) -> None:
    result, built = bundle.read(run(study, place, tmp_path / name)), export.build(load(study, place))
    assert result.facts == json.loads(json.dumps(built.facts)) and result.tables == built.tables


def test_no_captions_and_no_places_of_this_machine(tmp_path: Path, study: Study) -> None:
    write_study(tmp_path, fakes=SMALL, study=study, caption=HOSTILE)
    made = content(run(study, tmp_path, tmp_path / "out"))
    assert not [name for name, text in made.items() if HOSTILE.encode() in text]
    config = {"encoders": {"image": {"checkpoint": "/home/me/vit"}}, "data": {"images": "/home/me/pictures"}}
    assert export._without_places(config) == {"encoders": {"image": {"checkpoint": "vit"}}}


@pytest.mark.parametrize("stranger", ["thesis.csv", "notes/bundle.json"])
@pytest.mark.parametrize("form", ["folder", "b.zip"])
def test_no_file_of_the_user_is_lost_to_a_bundle(
    place: Path, study: Study, tmp_path: Path, stranger: str, form: str
) -> None:
    out = run(study, place, tmp_path / form)
    if form == "folder":
        (out / stranger).parent.mkdir(exist_ok=True)
        (out / stranger).write_bytes(b"all of it")
    else:
        with zipfile.ZipFile(out, "a") as archive:
            archive.writestr(f"b/{stranger}", b"all of it")
    with pytest.raises(UserError, match=f"is there already and is no bundle: it holds {Path(stranger).parts[0]}"):
        run(study, place, out)
    kept = zipfile.ZipFile(out).read(f"b/{stranger}") if form == "b.zip" else (out / stranger).read_bytes()
    assert kept == b"all of it"


def damage(folder: Path, how: str) -> str:
    """Damage a bundle; what the message must say."""
    file = folder / "runs.csv"
    if how == "cut":
        file.write_bytes(file.read_bytes()[:-30])
        return "runs.csv is not what bundle.json says"
    if how == "gone":
        file.unlink()
        return "runs.csv is missing"
    if how == "empty":
        (folder / "bundle.json").unlink()
        return "no bundle"
    if how == "text":
        (folder / "bundle.json").write_text("{")
        return "not valid JSON"
    facts = read_json(folder / "bundle.json")
    write_json(folder / "bundle.json", facts | {"schema": 99} if how == "schema" else {"schema": 1, "tables": {"a": 3}})
    return "another schema" if how == "schema" else "entry is missing"


@pytest.mark.parametrize("how", ["cut", "gone", "empty", "text", "schema", "entries"])
def test_a_damaged_bundle_is_one_clear_error(place: Path, study: Study, tmp_path: Path, how: str) -> None:
    folder = run(study, place, tmp_path / "out")
    words = damage(folder, how)
    with pytest.raises(UserError, match=words):
        bundle.read(folder)


def test_a_small_file_that_unpacks_to_more_than_any_bundle_is_refused(
    place: Path, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = sum(len(text) for name, text in content(run(study, place, tmp_path / "out")).items() if name != "README.md")
    for at in (tmp_path / "out", run(study, place, tmp_path / "b.zip")):
        monkeypatch.setattr(bundle, "MOST_BYTES", size)
        assert bundle.read(at).tables
        monkeypatch.setattr(bundle, "MOST_BYTES", size - 1)
        with pytest.raises(UserError, match=f"larger than any bundle; got {size}"):
            bundle.read(at)


def test_a_zip_that_lies_about_a_size_is_read_no_further(place: Path, study: Study, tmp_path: Path) -> None:
    made, file = content(run(study, place, tmp_path / "out")), tmp_path / "b.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in (made | {"images.csv": b"0" * (64 << 20)}).items():
            archive.writestr(name, text)
    raw = file.read_bytes()
    file.write_bytes(raw.replace(struct.pack("<I", 64 << 20), struct.pack("<I", 1000)))
    tracemalloc.start()
    with pytest.raises(UserError, match="damaged or cut short|images.csv is not what bundle.json says"):
        bundle.read(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("fingerprints", {"data.image": 3}, "fingerprints.data.image: wrong kind; got 3; allowed: a text"),
        ("variants", {"fne": {"title": "x"}}, "variants.fne.config: entry is missing"),
        ("primary", {"metric": "rsum"}, "primary.protocol: entry is missing"),
        ("tables", {"../runs": {"files": {}}}, "../runs.csv is missing, or no table of a bundle"),
    ],
)
def test_facts_of_another_kind_are_named(
    place: Path, study: Study, tmp_path: Path, key: str, value: object, words: str
) -> None:
    folder = run(study, place, tmp_path / "out")
    write_json(folder / "bundle.json", read_json(folder / "bundle.json") | {key: value})
    with pytest.raises(UserError, match=words):
        bundle.read(folder)


def test_the_code_of_each_variant_is_that_of_all_its_runs(place: Path, study: Study) -> None:
    result = export.build(load(study, place)).facts["variants"]
    assert all(entry["code"] == SOURCES.training(resolve(study, name)) for name, entry in result.items())
    assert made_from.code([{"code": "b"}, {"code": "a"}, {"code": "b"}]) == "a, b"
    assert made_from.code([{"code": "b"}, {}]) is None and made_from.code([]) is None


def test_results_of_another_config_are_refused(place: Path, study: Study, tmp_path: Path) -> None:
    configs = {name: {**flat, "train.epochs": 3} for name, flat in study.configs.items()}
    with pytest.raises(UserError, match="another config"):
        run(replace(study, configs=configs), place, tmp_path / "out")


def test_every_column_is_described() -> None:
    for _, described in schema.TABLES.values():
        assert all(column.kind in schema.KINDS and column.meaning.endswith(".") for column in described.values())
