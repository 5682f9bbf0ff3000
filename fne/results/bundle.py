"""A bundle: tidy tables and ``bundle.json`` in a folder or a zip file; the same results give the same bytes."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import re
import zipfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from fne.results.schema import KINDS, TABLES, Column
from fne.utils.errors import UserError, bad_input
from fne.utils.fields import flatten
from fne.utils.files import MOST_RECORD, atomic_folder, atomic_path, check_record, parse_json, reading, sha256_bytes
from fne.utils.shape import ANY, LARGEST
from fne.utils.text import guarded, unguarded

FACTS, README = "bundle.json", "README.md"
AGAIN = "export the study again"
FORMATS = ("csv", "parquet")
SHAPE = {
    "study": str,
    "title": str,
    "regime": str,
    "baseline": str,
    "primary": {"metric": str, "protocol": str, "direction": str},
    "seeds": [int],
    "left_out": [str],
    "protocols": {ANY: {"id": str, "name": str, "dataset": str}},
    "fingerprints": {ANY: str},
    "packages": {ANY: str},
    "variants": {ANY: {"title": str, "code?": {str, None}, "config": {}}},
    "tables": {ANY: {"rows": int, "files": {ANY: str}, "columns": {ANY: {"type": str, "unit": str, "meaning": str}}}},
}
"""What is read of ``bundle.json``, which may hold more."""
MOST_BYTES, MOST_FILE, MOST_CELLS = 1 << 28, 1 << 27, 10_000_000
"""Bytes of all files and of one, cells of all tables: a small file from elsewhere may unpack to far more."""
MOST_ROWS = {"images": 1_000_000, "ranks": 500_000}
"""Rows beyond which a table of single images or queries is left out of a bundle, and said to be."""
MOST_MEMBERS, MOST_ENTRIES = 1000, 100_000
"""Files in the place of a bundle; names and items under each key that is read of ``bundle.json``."""
MOST_SHARED = 100_000
"""Different cells of a table that are kept once."""
TYPES: dict[str, set[type]] = {"text": {str}, "int": {int}, "float": {int, float}, "bool": {bool}}
"""What the values of a column may be, by its kind."""
NUMBER = re.compile(r"-?(\d+(\.\d+)?(e[+-]?\d+)?|inf|nan)", re.ASCII)
"""As it is written; Python would read far more."""


@dataclass(frozen=True)
class Table:
    """A table by columns.

    Args:
        columns: Name -> what it is, in order.
        data: Name -> values, ``None`` where a cell is empty.
    """

    columns: Mapping[str, Column]
    data: Mapping[str, Sequence[Any]]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(next(iter(self.data.values()))) if self.data else 0


@dataclass(frozen=True)
class Bundle:
    """A study's results, ready to be written or as they were read.

    Args:
        facts: The content of ``bundle.json``, but for its ``tables``.
        tables: By name.
        source: What to call it in a message.
    """

    facts: Mapping[str, Any]
    tables: Mapping[str, Table]
    source: str

    def columns(self, table: str, *names: str) -> list[Sequence[Any]]:
        """Columns of a table that this package writes; a value that is not ``None`` is of the column's kind.

        Raises:
            UserError: The table or a column is missing, or a value is of another kind.
        """
        result = []
        for name in names:
            if table not in self.tables or name not in self.tables[table].data:
                raise bad_input("table or column is missing", file=self.source, key=f"{table}.{name}")
            kind, values = TABLES[table][1][name].kind, self.tables[table].data[name]
            if {*map(type, values)} - TYPES[kind] - {type(None)}:
                raise bad_input("has values of another kind", file=self.source, key=f"{table}.{name}", allowed=kind)
            result.append(values)
        return result


def write(bundle: Bundle, out: Path, formats: Sequence[str], readme: str) -> None:
    """Write a bundle as a folder, or as a zip file where ``out`` ends in ``.zip``.

    Raises:
        UserError: Parquet is asked for and pyarrow is not installed; or a file that no bundle has stands in the place.
    """
    if "parquet" in formats and not has_parquet():
        raise bad_input("needs pyarrow", key="--format", value="parquet", hint='pip install "fne[arrow]", or csv')
    _require_ours(out)
    files: dict[str, bytes] = {}
    entries = {}
    for name, table in bundle.tables.items():
        made = {kind: _content(table, kind) for kind in formats}
        files |= {f"{name}.{kind}": content for kind, content in made.items()}
        entries[name] = {
            "row": TABLES[name][0],
            "rows": table.rows,
            "files": {f"{name}.{kind}": sha256_bytes(content) for kind, content in made.items()},
            "columns": {
                key: {"type": item.kind, "unit": item.unit, "meaning": item.meaning}
                for key, item in table.columns.items()
            },
        }
    facts = {**bundle.facts, "tables": entries}
    files[FACTS] = (json.dumps(facts, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    files[README] = readme.encode()
    if out.suffix == ".zip":
        with atomic_path(out) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted(files):
                # a fixed time and fixed rights, so that the bytes depend on the content alone
                member = zipfile.ZipInfo(f"{out.stem}/{name}", (1980, 1, 1, 0, 0, 0))
                member.compress_type, member.external_attr, member.create_system = zipfile.ZIP_DEFLATED, 0o644 << 16, 3
                archive.writestr(member, files[name])
    else:
        with atomic_folder(out) as temporary:
            for name, content in files.items():
                (temporary / name).write_bytes(content)


def read(place: Path, requested: Collection[str] = tuple(TABLES)) -> Bundle:
    """Read a bundle, each file compared with its SHA-256.

    Args:
        place: A folder or a zip file.
        requested: The tables to be read.

    Raises:
        UserError: It is no bundle, of another schema or larger than any, or a file is missing, cut short or damaged.
    """
    files = _Files(place)
    facts, tables, cells = _facts(files), {}, 0
    for name, entry in facts.pop("tables").items():
        columns = {key: Column(c["type"], c["meaning"], c["unit"]) for key, c in entry["columns"].items()}
        file = _file_of(entry["files"], place)
        for each, digest in entry["files"].items():
            if each not in files.sizes or sha256_bytes(content := files.read(each, MOST_FILE)) != digest:
                problem = "is not what bundle.json says: cut short or edited" if each in files.sizes else "is missing"
                raise bad_input(f"{each} {problem}", file=place, hint=AGAIN)
            if each == file and name in requested:
                _check_columns(name, columns, place)
                cells += entry["rows"] * len(columns)
                if not 0 <= cells <= MOST_CELLS:
                    problem = f"{file} is not a readable table ({cells:,} cells, more than {MOST_CELLS:,})"
                    raise bad_input(problem, file=place, hint=AGAIN)
                if entry["rows"] > (most := MOST_ROWS.get(name, entry["rows"])):
                    problem = f"{file} holds more rows than any"
                    raise bad_input(problem, file=place, value=entry["rows"], allowed=f"at most {most:,}")
                tables[name] = _read_table(place, file, content, columns, entry["rows"])
    return Bundle(facts, tables, str(place))


def _facts(files: _Files) -> dict[str, Any]:
    """What ``bundle.json`` says, all that is used of it checked.

    Raises:
        UserError: There is none, or it is damaged, of another schema or longer than any.
    """
    place = files.place
    if FACTS not in files.sizes:
        raise bad_input("is no bundle: it holds no bundle.json", file=place, hint="`fne export STUDY` writes one")
    facts = parse_json(files.read(FACTS, MOST_RECORD), place, FACTS, AGAIN)
    for key in SHAPE:
        if (count := _count(facts.get(key) if isinstance(facts, dict) else None)) > MOST_ENTRIES:
            raise bad_input("more entries than any", file=place, key=f"{FACTS}: {key}", value=count,
                            allowed=f"at most {MOST_ENTRIES:,}")  # fmt: skip
    check_record(facts, "bundle", SHAPE, place, AGAIN)
    for name, entry in facts["variants"].items():
        flatten(entry["config"], place, f"{FACTS}: variants.{name}.config.")
    return facts


def _count(value: Any) -> int:
    """How many names and items JSON holds."""
    count, left = 0, [value]
    while left:  # however deep it is
        item = left.pop()
        inside = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        count += len(inside)
        left += inside
    return count


def _file_of(files: Collection[str], place: Path) -> str:
    """The one that is read of the files of a table: CSV where there is a choice."""
    for form in FORMATS:
        for name in files:
            if name.endswith(f".{form}"):
                return name
    raise bad_input("a table has no file", file=place, key=FACTS, hint=AGAIN)


def _check_columns(table: str, columns: Mapping[str, Column], place: Path) -> None:
    """Refuse columns of kinds that are none, or other than those that this version writes."""
    known = TABLES[table][1]
    for name, column in columns.items():
        kinds = (known[name].kind,) if name in known else KINDS
        if column.kind not in kinds:
            key = f"{FACTS}: tables.{table}.columns.{name}.type"
            raise bad_input("another kind of column", file=place, key=key, value=column.kind, allowed=kinds, hint=AGAIN)


def has_parquet() -> bool:
    """Is pyarrow installed?"""
    return importlib.util.find_spec("pyarrow") is not None


def _parse(text: str, kind: str) -> Any:
    """A cell of a CSV file as its column's type; an empty one is ``None``."""
    if text == "" or kind == "text":
        return unguarded(text) or None
    if kind == "bool":
        return {"True": True, "False": False}[text] if text in ("True", "False") else _no(text, kind)
    if not NUMBER.fullmatch(text):
        _no(text, kind)
    number = int(text) if kind == "int" and text.lstrip("-").isdigit() else float(text)
    return number if abs(number) < LARGEST or not isinstance(number, int) else _no(text, kind)


def _no(text: str, kind: str) -> Any:
    raise ValueError(f"{text[:40]!r} is no {kind}")


def read_csv(content: bytes, known: Mapping[str, Column]) -> Table:
    """A CSV file with its columns' types; a column that is not described keeps its text.

    Raises:
        ValueError: It is not UTF-8, a row has other cells than the header names, or a cell is of another type.
        csv.Error: It is no CSV.
    """
    text = io.TextIOWrapper(io.BytesIO(content), encoding="utf-8", newline="")
    reader = csv.reader(text, strict=True)
    names = next(reader, [])
    columns = {key: known.get(key, Column("text", "Not described by this version.")) for key in names}
    if len(columns) < len(names) or not names:
        raise ValueError("no header, or a column twice")
    kinds = [column.kind for column in columns.values()]
    data: list[list[Any]] = [[] for _ in kinds]
    once: dict[tuple[str, str], Any] = {}  # equal words and numbers share their memory, however many they are
    for row in reader:
        if len(row) != len(kinds):
            raise ValueError(f"line {reader.line_num}: {len(row)} cells under {len(kinds)} columns")
        for kept, cell, kind in zip(data, row, kinds, strict=True):
            key = (cell, kind)
            if key not in once:
                value = _parse(cell, kind)
                if len(once) < MOST_SHARED:
                    once[key] = value
            else:
                value = once[key]
            kept.append(value)
    return Table(columns, dict(zip(columns, data, strict=True)))


def _content(table: Table, kind: str) -> bytes:
    if kind == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(table.columns)
        cells = [[_cell(value) for value in table.data[name]] for name in table.columns]
        writer.writerows(zip(*cells, strict=True))
        return text.getvalue().encode()
    import pyarrow
    import pyarrow.parquet

    schema, buffer = _arrow_schema(table.columns), io.BytesIO()
    arrays = [pyarrow.array(table.data[field.name], field.type) for field in schema]
    pyarrow.parquet.write_table(pyarrow.table(arrays, schema), buffer)
    return buffer.getvalue()


def _cell(value: Any) -> Any:
    return guarded(value) if isinstance(value, str) else "" if value is None else value


def _arrow_schema(columns: Mapping[str, Column]) -> Any:
    import pyarrow

    types = {"text": pyarrow.string(), "int": pyarrow.int64(), "float": pyarrow.float64(), "bool": pyarrow.bool_()}
    return pyarrow.schema([(name, types[column.kind]) for name, column in columns.items()])


class _Files:
    """The tables and ``bundle.json`` of a folder or zip file, those of a folder inside it included.

    Args:
        place: The folder or zip file.

    Raises:
        UserError: It is not readable, holds two files of one name, more than :data:`MOST_BYTES` or more than
            :data:`MOST_MEMBERS`.
    """

    def __init__(self, place: Path) -> None:
        self.place = place
        self.sizes: dict[str, int] = {}
        with self._reading():
            if place.is_dir():
                inside = islice(place.iterdir(), MOST_MEMBERS + 1)
                result = [(Path(file.name), file.stat().st_size if file.is_file() else None) for file in inside]
            else:
                with zipfile.ZipFile(place) as archive:
                    result = [
                        (Path(item.filename), None if item.is_dir() else item.file_size) for item in archive.infolist()
                    ]
        self.members: list[tuple[Path, int | None]] = result  # a folder has no size
        if len(result) > MOST_MEMBERS:
            raise bad_input("more files than any bundle has", file=place, allowed=f"at most {MOST_MEMBERS:,}")
        for file, size in result:
            if size is not None and (file.name == FACTS or file.suffix.removeprefix(".") in FORMATS):
                if file.name in self.sizes:
                    raise bad_input("holds two files of one name", file=place, key=file.name)
                self.sizes[file.name] = size
        if (size := sum(self.sizes.values())) > MOST_BYTES:
            raise bad_input("larger than any bundle", file=place, value=size, allowed=f"at most {MOST_BYTES:,} bytes")

    def read(self, name: str, most: int) -> bytes:
        """The content of a file, no longer than was said before, whatever an archive unpacks to.

        Raises:
            UserError: It is longer than ``most``, damaged, encrypted or packed in another way.
        """
        size = self.sizes[name]
        if size > most:
            raise bad_input(
                f"{name} is larger than any", file=self.place, value=size, allowed=f"at most {most:,} bytes"
            )
        with self._reading():
            if self.place.is_dir():
                with open(self.place / name, "rb") as handle:
                    return handle.read(size)
            with zipfile.ZipFile(self.place) as archive:
                info = next(item for item in archive.infolist() if Path(item.filename).name == name)
                if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise zipfile.BadZipFile(f"{name}: encrypted, or compressed as no bundle is")
                with archive.open(info) as handle:
                    return handle.read(size)

    def _reading(self) -> AbstractContextManager[None]:
        return reading(self.place, "is it a bundle? `fne export STUDY` writes one")


def _read_table(place: Path, name: str, content: bytes, columns: Mapping[str, Column], rows: int) -> Table:
    """One table of a bundle.

    Raises:
        UserError: It is damaged, or not what ``bundle.json`` says; or it needs pyarrow.
    """
    if not name.endswith(".csv") and not has_parquet():
        raise bad_input("holds Parquet only, which needs pyarrow", file=place, hint='pip install "fne[arrow]"')
    with reading(place, AGAIN, name):
        table = read_csv(content, columns) if name.endswith(".csv") else _read_parquet(content, columns, rows)
        if [*table.columns] != [*columns] or table.rows != rows:
            raise ValueError("other columns or rows than bundle.json says")
    return table


def _read_parquet(content: bytes, columns: Mapping[str, Column], rows: int) -> Table:
    import pyarrow
    import pyarrow.parquet

    source, schema = pyarrow.BufferReader(content), _arrow_schema(columns)
    try:
        if pyarrow.parquet.read_schema(source) != schema:
            raise ValueError("other columns than bundle.json says")
        file = pyarrow.parquet.ParquetFile(source, read_dictionary=schema.names)
        parts = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
        if file.metadata.num_rows != rows or sum(part.total_byte_size for part in parts) > MOST_FILE:
            raise ValueError("other rows than bundle.json says, or more bytes than any")
        result = file.read()
        return Table(columns, {key: _values(result.column(key)) for key in columns})
    except pyarrow.ArrowException as error:
        raise ValueError(str(error)) from None


def _values(column: Any) -> list[Any]:
    """Values of a column of Parquet; equal words share their memory, however many and long they are."""
    values: list[Any] = []
    for part in column.chunks:
        if hasattr(part, "dictionary"):
            known = [*part.dictionary.to_pylist(), None]
            values += [known[-1 if place is None else place] for place in part.indices.to_pylist()]
        else:
            values += part.to_pylist()
    return values


def _require_ours(out: Path) -> None:
    """Refuse a place that holds anything but a bundle: nothing else may be lost."""
    if not out.exists():
        return
    problem, hint = "is there already and is no bundle", "name another place, or remove it"
    if out.is_dir() == (out.suffix == ".zip") or not (out.is_dir() or zipfile.is_zipfile(out)):
        raise bad_input(problem, file=out, hint=hint)
    files = _Files(out)
    try:
        ours = {FACTS, README, *(name for table in _facts(files)["tables"].values() for name in table["files"])}
    except UserError:
        ours = set()
    home = next((file.parent for file, _ in files.members if file.name == FACTS), None)
    for file, size in sorted(files.members, key=lambda item: (item[0].name != FACTS, str(item[0]))):
        if size is None or file.parent != home or file.name not in ours:
            raise bad_input(f"{problem}: {str(file)!r} is no file of one", file=out, hint=hint)
