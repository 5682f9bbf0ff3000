"""Files are whole or not there at all; errors name the file."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fne.data import text_files
from fne.utils import files, text
from fne.utils.arrays import check_npz
from fne.utils.errors import UserError, bad_input


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "a.txt"
    with files.atomic_path(target) as temporary:
        assert temporary.parent == target.parent and temporary.suffix == ".txt" and temporary != target
        temporary.write_text("new")
        assert not target.exists()
    assert target.read_text() == "new" and left_in(target.parent) == ["a.txt"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    for error in (RuntimeError("x"), KeyboardInterrupt(), SystemExit(143)):
        with pytest.raises(type(error)), files.atomic_path(target) as temporary:
            temporary.write_text("half")
            raise error
        assert target.read_text() == "old" and left_in(tmp_path) == ["a.txt"]


def test_a_folder_appears_whole_and_takes_the_old_ones_place(tmp_path: Path) -> None:
    target = tmp_path / "store"
    for round_ in ("one", "two"):
        with files.atomic_folder(target) as temporary:
            (temporary / round_).write_text(round_)
            assert not (target / round_).exists()
        assert left_in(target) == [round_] and left_in(tmp_path) == ["store"]
    with pytest.raises(RuntimeError), files.atomic_folder(target) as temporary:
        (temporary / "three").write_text("3")
        raise RuntimeError
    assert left_in(target) == ["two"] and left_in(tmp_path) == ["store"]


def test_json_goes_round(tmp_path: Path) -> None:
    value = {"a": [1, 2.5, None, True, "ä ☃"], "b": {"c": 1e-300}}
    files.write_json(tmp_path / "a.json", value)
    assert files.read_json(tmp_path / "a.json") == value
    assert "☃" in (tmp_path / "a.json").read_text(encoding="utf-8")
    for bad in (float("nan"), float("inf")):
        with pytest.raises(ValueError):
            files.write_json(tmp_path / "b.json", {"a": bad})
    assert left_in(tmp_path) == ["a.json"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"a": 1,\n "b" 2}', "line 2"),
        (b"\xff\xfe", "not UTF-8"),
        (b"[" * 100_000 + b"]" * 100_000, "not valid JSON: nested too deeply"),
        (b"[NaN]", "NaN is no finite number"),
        (b"[1e999]", "1e999 is no finite number"),
        (b'["\\ud800"]', "surrogates not allowed"),
        (b'[{"a": 1, "b": 2, "a": 3}]', "the key 'a' occurs twice"),
        (b"{} {}", "not valid JSON: Extra data"),
    ],
)
def test_bad_json(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        files.read_json(tmp_path / "a.json")
    assert str(tmp_path / "a.json") in str(caught.value)


def test_text_of_a_table_is_no_formula_and_comes_back(tmp_path: Path) -> None:
    words = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "a\n=1", "'=1", "''-x", "'x", "a=b", " =1", "", "-", "'"]
    written = files.as_csv([{"a": item, "b": -1.5} for item in words], ["a", "b"])
    rows = list(csv.reader(io.StringIO(written, newline="")))[1:]
    assert [text.unguarded(row[0]) for row in rows] == words and {row[1] for row in rows} == {"-1.5"}
    assert not [row[0] for row in rows if row[0].startswith(("=", "+", "-", "@", "\t"))]
    assert files.as_csv([{"a": "x\r\ny\r=1"}], ["a"]) == 'a\n"x\ny\n=1"\n', "a carriage return would be a row's end"
    assert files.as_csv([{"a": "-0.5"}], ["a"], raw=True) == "a\n-0.5\n"


def test_csv_keeps_every_digit_and_quotes(tmp_path: Path) -> None:
    import csv

    rows = [{"a": 0.1 + 0.2, "b": 'x,"y"\nz'}, {"a": None, "b": float("nan")}, {"a": 0, "b": ""}]
    files.write_csv(tmp_path / "a.csv", rows, ["a", "b"])
    with open(tmp_path / "a.csv", encoding="utf-8", newline="") as handle:
        result = list(csv.DictReader(handle))
    assert float(result[0]["a"]) == 0.1 + 0.2 and result[0]["b"] == 'x,"y"\nz'
    assert result[1] == {"a": "", "b": ""} and result[2]["a"] == "0"
    assert b"\r" not in (tmp_path / "a.csv").read_bytes()
    files.write_csv(tmp_path / "empty.csv", [], ["a", "b"])
    assert (tmp_path / "empty.csv").read_text() == "a,b\n"


def test_a_folders_tables_have_their_rows_and_hashes_beside_them_in_any_order(tmp_path: Path) -> None:
    for folder, names in (("a", ("y", "x", "x")), ("b", ("x", "y"))):
        for name in names:
            files.write_csv(tmp_path / folder / f"{name}.csv", [{"a": name}, {"a": 2}], ["a"])
        assert left_in(tmp_path / folder) == ["digests.json", "x.csv", "y.csv"]
    assert (tmp_path / "a/digests.json").read_bytes() == (tmp_path / "b/digests.json").read_bytes()
    content = files.read_csv(tmp_path / "a/x.csv", "")
    assert content == (tmp_path / "a/x.csv").read_bytes() == b"a\nx\n2\n"
    known = files.read_json(tmp_path / "a/digests.json")
    assert list(known["files"]) == ["x.csv", "y.csv"]
    assert known["files"]["x.csv"] == {"rows": 2, "sha256": hashlib.sha256(content).hexdigest()}


WRITER = (
    "import sys\nfrom fne.utils.files import write_csv\n"
    "for number in range(40):\n    write_csv(f'{sys.argv[1]}/{sys.argv[2]}-{number}.csv', [{'a': number}], ['a'])\n"
)


def test_writers_side_by_side_lose_no_entry(tmp_path: Path) -> None:
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), name]) for name in "abc"]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    names = [f"{name}-{number}.csv" for name in "abc" for number in range(40)]
    assert left_in(tmp_path) == sorted([*names, "digests.json"])
    for name in names:
        files.read_csv(tmp_path / name, "")


def test_an_error_names_file_key_value_allowed_and_the_nearest() -> None:
    error = bad_input(
        "unknown", file="a.yaml", key="b.c", value="hardst", allowed=["hardest", "random"], hint="mend it"
    )
    assert str(error) == (
        "a.yaml: b.c: unknown; got 'hardst'; did you mean 'hardest'?; allowed: hardest, random; mend it"
    )
    assert str(bad_input("empty")) == "empty"
    assert "did you mean" not in str(bad_input("x", value="zzz", allowed=["hardest"]))
    assert str(bad_input("x", value=0, allowed=">= 1")) == "x; got 0; allowed: >= 1"
    assert json.dumps(str(bad_input("x", allowed=[]))) == '"x; allowed: nothing"'


@pytest.mark.parametrize(
    "read", [files.read_bytes, files.read_json, text_files.read_text, lambda file: check_npz(file, "")]
)
def test_a_pipe_or_a_device_is_no_file(tmp_path: Path, read: Callable[[Path], object]) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    for name in ("pipe", "zeros"):
        with pytest.raises(UserError, match=rf"{name}: .*is a pipe or a device, not a file"):
            read(tmp_path / name)
