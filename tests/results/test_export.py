"""A bundle holds a study's results, documented, in the same bytes each time; damage is seen."""

from __future__ import annotations

import json
import shutil
import struct
import tracemalloc
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest

from fne.results import bundle, made_from, schema
from fne.results.study import load
from fne.steps import export
from fne.steps.export import run
from fne.study.api import Study, resolve
from fne.utils.errors import UserError
from fne.utils.files import read_json, sha256_file, write_json
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
        stored = pd.read_parquet(tmp_path / "out" / f"{name}.parquet")
        for frame in (written, stored):
            assert list(frame.columns) == list(entry["columns"]) and len(frame) == entry["rows"]
        for key, column in entry["columns"].items():
            assert f"| `{key}` | {column['type']} | {column['unit']} |" in text
            if column["type"] in ("int", "float"):
                both = (pd.to_numeric(frame[key]).astype(float) for frame in (written, stored))
                pd.testing.assert_series_equal(*both)
    original = pd.read_csv(place / "results" / "four" / "runs.csv")
    assert pd.read_csv(tmp_path / "out" / "runs.csv")["value"].tolist() == original["value"].tolist()
    assert facts["question"] == study.question and facts["regime"] == "head" and facts["schema"] == 1
    assert facts["protocols"]["own"]["id"] and facts["fingerprints"]["data.image"] and facts["packages"]["torch"]
    assert facts["variants"]["fne"]["config"]["negatives"]["strategy"] == "fne" and facts["test_accesses"]


def test_a_table_of_too_many_rows_is_left_out_and_said_to_be(
    place: Path, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = export.build(load(study, place)).tables["ranks"].rows
    monkeypatch.setitem(export.MOST_ROWS, "ranks", rows - 1)
    result = export.build(load(study, place))
    assert "ranks" not in result.tables and "images" in result.tables
    assert result.facts["left_out"] == [*NO_AUDIT, f"ranks: {rows:,} rows, more than {rows - 1:,}"]


def test_single_images_average_to_the_scores(place: Path, study: Study) -> None:
    results = load(study, place)
    frame = pd.DataFrame(export.build(results).tables["images"].data)
    for (variant, seed), part in frame.groupby(["variant", "seed"]):
        assert part["influence"].mean() == pytest.approx(results.values(variant)[seed])


def test_the_same_results_give_the_same_bytes(place: Path, study: Study, tmp_path: Path) -> None:
    first, second = (run(study, place, tmp_path / name / "b.zip") for name in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()
    assert content(run(study, place, tmp_path / "a")) == content(run(study, place, tmp_path / "b"))
    with zipfile.ZipFile(first) as archive:
        assert archive.namelist() == sorted(archive.namelist()) and archive.namelist()[0].startswith("b/")


@pytest.mark.parametrize("form", ["csv", "parquet", None])
@pytest.mark.parametrize("name", ["b.zip", "folder"])
def test_what_was_written_is_read_again(place: Path, study: Study, tmp_path: Path, form: str | None, name: str) -> None:
    result, built = bundle.read(run(study, place, tmp_path / name, form)), export.build(load(study, place))
    assert result.facts == json.loads(json.dumps(built.facts))
    for key, table in built.tables.items():
        assert result.tables[key].columns == table.columns
        assert {c: list(v) for c, v in result.tables[key].data.items()} == {c: list(v) for c, v in table.data.items()}


def test_no_captions_and_no_places_of_this_machine(tmp_path: Path, study: Study) -> None:
    write_study(tmp_path, fakes=SMALL, study=study, caption=HOSTILE)
    made = content(run(study, tmp_path, tmp_path / "out", "csv"))
    assert not [name for name, text in made.items() if HOSTILE.encode() in text]
    config = {"encoders": {"image": {"checkpoint": "/home/me/vit"}}, "data": {"images": "/home/me/pictures"}}
    assert export._without_places(config) == {"encoders": {"image": {"checkpoint": "vit"}}}


def test_a_place_that_holds_something_else_is_left_alone(place: Path, study: Study, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    (tmp_path / "mine.zip").write_text("no zip")
    for name in ("mine", "mine.zip"):
        with pytest.raises(UserError, match="no bundle"):
            run(study, place, tmp_path / name)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "all of it"
    for _ in range(2):
        run(study, place, tmp_path / "again", "csv")


@pytest.mark.parametrize("stranger", ["thesis.txt", "thesis.csv", "notes/x.csv", "notes/bundle.json"])
@pytest.mark.parametrize("form", ["folder", "b.zip"])
def test_no_file_of_the_user_is_lost_to_a_bundle(
    place: Path, study: Study, tmp_path: Path, stranger: str, form: str
) -> None:
    made = content(run(study, place, tmp_path / "whole", "csv"))
    for facts in (made["bundle.json"], b"junk"):
        mine = {**made, "bundle.json": facts, stranger: b"all of it"}
        out = tmp_path / form
        if form == "folder":
            shutil.rmtree(out, ignore_errors=True)
            (out / stranger).parent.mkdir(parents=True)
            for name, text in mine.items():
                (out / name).write_bytes(text)
        else:
            write_zip(out, mine)
        named = "bundle.json" if facts == b"junk" else Path(stranger).parts[0]
        words = f"is there already and is no bundle: '(b/)?{named}.*' is no file of one|holds two files of one name"
        with pytest.raises(UserError, match=words):
            run(study, place, out, "csv")
        kept = zipfile.ZipFile(out).read(f"b/{stranger}") if form == "b.zip" else (out / stranger).read_bytes()
        assert kept == b"all of it"


def test_an_export_to_a_link_goes_where_it_leads(place: Path, study: Study, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "link").symlink_to("store")
    for _ in range(2):
        run(study, place, tmp_path / "link", "csv")
        assert bundle.read(tmp_path / "store").tables and (tmp_path / "link").is_symlink()
    (tmp_path / "lost").symlink_to("nothing")
    with pytest.raises(UserError, match="lost: is a link to nothing"):
        run(study, place, tmp_path / "lost", "csv")


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
    folder = run(study, place, tmp_path / "out", "csv")
    words = damage(folder, how)
    with pytest.raises(UserError, match=words):
        bundle.read(folder)


def write_zip(file: Path, members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, text in members.items():
            archive.writestr(f"b/{name}", text)
    return file


def test_more_files_entries_or_rows_than_any_bundle_has_are_refused(
    place: Path, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = content(run(study, place, tmp_path / "out", "csv"))
    at = [tmp_path / "out", write_zip(tmp_path / "b.zip", made)]
    for name, most, words in (
        ("MOST_MEMBERS", len(made) - 1, "more files than any bundle has; allowed: at most"),
        ("MOST_ENTRIES", 20, "bundle.json: .*: more entries than any; got .*; allowed: at most 20"),
        ("MOST_ROWS", {"images": 3}, "images.csv holds more rows than any; got .*; allowed: at most 3"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(bundle, name, most)
            for item in at:
                with pytest.raises(UserError, match=words):
                    bundle.read(item)
    assert all(bundle.read(item).tables for item in at)


def test_a_small_file_that_unpacks_to_more_than_any_bundle_is_refused(
    place: Path, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = content(run(study, place, tmp_path / "out", "csv"))
    size = sum(len(text) for name, text in made.items() if name != "README.md")
    monkeypatch.setattr(bundle, "MOST_BYTES", size)
    for at in (tmp_path / "out", write_zip(tmp_path / "b.zip", made)):
        assert bundle.read(at).tables
        monkeypatch.setattr(bundle, "MOST_BYTES", size - 1)
        with pytest.raises(UserError, match=f"larger than any bundle; got {size}"):
            bundle.read(at)
        monkeypatch.setattr(bundle, "MOST_BYTES", size)


def test_a_zip_that_lies_about_a_size_is_read_no_further(place: Path, study: Study, tmp_path: Path) -> None:
    made = content(run(study, place, tmp_path / "out", "csv"))
    file = write_zip(tmp_path / "b.zip", made | {"images.csv": b"0" * (64 << 20)})
    raw, small = file.read_bytes(), struct.pack("<I", 1000)
    file.write_bytes(raw.replace(struct.pack("<I", 64 << 20), small))
    tracemalloc.start()
    with pytest.raises(UserError, match="damaged or cut short|images.csv is not what bundle.json says"):
        bundle.read(file)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_table_of_more_cells_than_any_is_refused(
    place: Path, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    folder = run(study, place, tmp_path / "out", form)
    monkeypatch.setattr(bundle, "MOST_CELLS", 100)
    with pytest.raises(UserError, match=rf"runs.{form} is not a readable table \([\d,]+ cells, more than 100\)"):
        bundle.read(folder)
    assert set(bundle.read(folder, ["missing"]).tables) == {"missing"}, "only what is read is parsed"


def test_one_long_word_of_a_parquet_file_is_kept_once(tmp_path: Path) -> None:
    column = {"variant": schema.TABLES["images"][1]["variant"]}
    words = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 100_000), pyarrow.array(["x" * 100_000]))
    file = tmp_path / "x.parquet"
    pyarrow.parquet.write_table(pyarrow.table({"variant": words}), file, store_schema=False)
    result = bundle._read_parquet(file.read_bytes(), column, 100_000).data["variant"]
    assert len(result) == 100_000 and len({*map(id, result)}) == 1


def test_a_parquet_file_of_other_columns_than_declared_is_refused(place: Path, study: Study, tmp_path: Path) -> None:
    folder = run(study, place, tmp_path / "out", "parquet")
    file, facts = folder / "images.parquet", read_json(folder / "bundle.json")
    pyarrow.parquet.write_table(pyarrow.table({"variant": [["fne"]], "seed": [0.5]}), file)
    facts["tables"]["images"]["files"]["images.parquet"] = sha256_file(file)
    write_json(folder / "bundle.json", facts)
    with pytest.raises(UserError, match="images.parquet: damaged or cut short \\(other columns"):
        bundle.read(folder)


FORGED = {
    "nan": ("NaN", "NaN is no finite number"),
    "infinite": ("1e999", "1e999 is no finite number"),
    "deeper": ("[" * 100_000 + "]" * 100_000, "not valid JSON"),
    "endless": ("9" * 5000, "not valid JSON"),
}


@pytest.mark.parametrize("how", FORGED)
def test_forged_facts_are_one_clear_error(place: Path, study: Study, tmp_path: Path, how: str) -> None:
    forged, words = FORGED[how]
    folder = run(study, place, tmp_path / "out", "csv")
    text = (folder / "bundle.json").read_text()
    (folder / "bundle.json").write_text(text.replace('"notes": []', f'"notes": {forged}'))
    assert (folder / "bundle.json").read_text() != text
    with pytest.raises(UserError, match=words):
        bundle.read(folder)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("fingerprints", {"data.image": 3}, "fingerprints.data.image: wrong kind; got 3; allowed: a text"),
        ("packages", ["torch"], "packages: wrong kind"),
        ("seeds", ["0"], "seeds\\[0\\]: wrong kind"),
        ("variants", {"fne": {"title": "x"}}, "variants.fne.config: entry is missing"),
        ("primary", {"metric": "rsum"}, "primary.protocol: entry is missing"),
        ("tables", {"runs": {"rows": 1, "files": {}, "columns": {}}}, "a table has no file"),
    ],
)
def test_facts_of_another_kind_are_named(
    place: Path, study: Study, tmp_path: Path, key: str, value: object, words: str
) -> None:
    folder = run(study, place, tmp_path / "out", "csv")
    write_json(folder / "bundle.json", read_json(folder / "bundle.json") | {key: value})
    with pytest.raises(UserError, match=words):
        bundle.read(folder)


@pytest.mark.parametrize(
    "config",
    [{"a.b": 1, "a": {"b": 2}}, {"a": {"b.c": 1, "b": {"c": 2}}}, {f"a.{'b' * 5000}": 1, "a": {"b" * 5000: 2}}],
)
def test_a_config_that_gives_a_key_twice_is_named(place: Path, study: Study, tmp_path: Path, config: dict) -> None:
    folder = run(study, place, tmp_path / "out", "csv")
    facts = read_json(folder / "bundle.json")
    facts["variants"]["fne"]["config"] = config
    write_json(folder / "bundle.json", facts)
    words = r"out: bundle.json: variants.fne.config.a.b.*: is given twice, nested and dotted$"
    with pytest.raises(UserError, match=words) as caught:
        bundle.read(folder)
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("kind", ["int", "float"])
def test_numbers_are_read_as_they_are_written_alone(kind: str) -> None:
    known = {"a": schema.Column(kind, "")}
    read = lambda cell: bundle.read_csv(f"a\n{cell}\n".encode(), known).data["a"][0]  # noqa: E731
    for value in (0, -3, 2**62, 1.5, -0.25, 1e-300, 1e22, 123456789.125):
        assert read(repr(value)) == value
    for cell in ("٠", "１", "²", "1_0", "+1", " 1", "1 ", "1.", ".5", "0x1", "--1", "-", "1e", "1E5", "Infinity"):  # noqa: RUF001
        with pytest.raises(ValueError, match=f"is no {kind}"):
            read(cell)


def test_a_zip_packed_in_another_way_is_refused(place: Path, study: Study, tmp_path: Path) -> None:
    file = write_zip(tmp_path / "b.zip", content(run(study, place, tmp_path / "out", "csv")), zipfile.ZIP_LZMA)
    with pytest.raises(UserError, match="compressed as no bundle is"):
        bundle.read(file)


def test_the_code_of_each_variant_is_that_of_all_its_runs(place: Path, study: Study) -> None:
    result = export.build(load(study, place)).facts["variants"]
    assert {name: entry["code"] for name, entry in result.items()} == {
        name: SOURCES.training(resolve(study, name)) for name in result
    }
    assert made_from.code([{"code": "b"}, {"code": "a"}, {"code": "b"}]) == "a, b"
    assert made_from.code([{"code": "b"}, {}]) is None and made_from.code([]) is None


def test_results_of_another_config_are_refused(place: Path, study: Study, tmp_path: Path) -> None:
    configs = {name: {**flat, "train.epochs": 3} for name, flat in study.configs.items()}
    with pytest.raises(UserError, match="another config"):
        run(replace(study, configs=configs), place, tmp_path / "out")


def test_results_of_a_variant_that_the_study_has_no_more_are_refused(place: Path, study: Study, tmp_path: Path) -> None:
    fewer = tuple(name for name in study.variants if name != "random")
    with pytest.raises(UserError, match="that the study no longer has; got 'random'"):
        run(replace(study, variants=fewer), place, tmp_path / "out")


def test_parquet_needs_pyarrow(place: Path, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (bundle, export):
        monkeypatch.setattr(module, "has_parquet", lambda: False)
    with pytest.raises(UserError, match="pyarrow"):
        run(study, place, tmp_path / "out", "parquet")
    assert not [name for name in content(run(study, place, tmp_path / "out")) if name.endswith(".parquet")]


def test_every_column_is_described() -> None:
    for _, described in schema.TABLES.values():
        assert all(column.kind in schema.KINDS and column.meaning.endswith(".") for column in described.values())
