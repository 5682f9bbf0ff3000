"""A bundle: tidy tables and ``bundle.json`` in a folder or a zip file; the same results give the same bytes."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import math
import zipfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fne.results.schema import TABLES, Column
from fne.results.shape import ANY, check
from fne.utils.errors import bad_input
from fne.utils.files import DAMAGED, atomic_folder, atomic_path, require_schema, sha256_bytes

FACTS, README = "bundle.json", "README.md"
FORMATS = ("csv", "parquet")
SHAPE = {
    "study": str,
    "title": str,
    "regime": str,
    "baseline": str,
    "primary": {"metric": str, "protocol": str, "direction": str},
    "seeds": [int],
    "left_out": [str],
    "protocols": {ANY: {"name": str, "dataset": str}},
    "fingerprints": {ANY: str},
    "packages": {ANY: str},
    "variants": {ANY: {"title": str, "config": {}}},
    "tables": {ANY: {"files": {ANY: str}, "columns": {ANY: {"type": str, "unit": str, "meaning": str}}}},
}
"""What is read of ``bundle.json``, which may hold more."""
MOST_BYTES, MOST_CELLS, MOST_LEVELS = 1 << 28, 1 << 24, 32
"""Of all files, of a table, of ``bundle.json``: a small file from elsewhere may unpack to far more."""
TYPES = {"text": {str}, "int": {int}, "float": {int, float}, "bool": {bool}}
"""What the values of a column may be, by its kind."""


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
        found = []
        for name in names:
            if table not in self.tables or name not in self.tables[table].data:
                raise bad_input("table or column is missing", file=self.source, key=f"{table}.{name}")
            kind, values = TABLES[table][1][name].kind, self.tables[table].data[name]
            if {*map(type, values)} - TYPES[kind] - {type(None)}:
                raise bad_input("has values of another kind", file=self.source, key=f"{table}.{name}", allowed=kind)
            found.append(values)
        return found


def write(bundle: Bundle, out: Path, formats: Sequence[str], readme: str) -> None:
    """Write a bundle as a folder, or as a zip file where ``out`` ends in ``.zip``.

    Raises:
        UserError: Parquet is asked for and pyarrow is not installed; or something else stands in the place.
    """
    if "parquet" in formats and not has_parquet():
        raise bad_input("needs pyarrow", key="--format", value="parquet", hint='pip install "fne[arrow]", or csv')
    if out.exists() and not _is_ours(out):
        raise bad_input("is there already and is no bundle", file=out, hint="name another place, or remove it")
    files, entries = {}, {}
    for name, table in bundle.tables.items():
        made = {kind: _content(table, kind) for kind in formats}
        files |= {f"{name}.{kind}": content for kind, content in made.items()}
        entries[name] = {
            "row": TABLES[name][0],
            "rows": table.rows,
            "files": {f"{name}.{kind}": sha256_bytes(content) for kind, content in made.items()},
            "columns": {
                key: {"type": one.kind, "unit": one.unit, "meaning": one.meaning} for key, one in table.columns.items()
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


def read(place: Path, wanted: Collection[str] = tuple(TABLES)) -> Bundle:
    """Read a bundle, each file compared with its SHA-256.

    Args:
        place: A folder or a zip file.
        wanted: The tables to be read.

    Raises:
        UserError: It is no bundle, of another schema or larger than any, or a file is missing, cut short or damaged.
    """
    members = _members(place)
    if FACTS not in members:
        raise bad_input("is no bundle: it holds no bundle.json", file=place, hint="`fne export STUDY` writes one")
    try:
        facts = json.loads(members[FACTS], parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        raise bad_input(f"not valid JSON: {error}", file=place, key=FACTS) from None
    require_schema(facts, "bundle", place, "export the study again")
    if not _shallow(facts, MOST_LEVELS):
        raise bad_input(f"holds more than {MOST_LEVELS} levels", file=place, key=FACTS)
    check(facts, SHAPE, place, more=True)
    tables = {}
    for name, entry in facts.pop("tables").items():
        columns = {key: Column(c["type"], c["meaning"], c["unit"]) for key, c in entry["columns"].items()}
        content = _of_digest(place, members, entry["files"])
        if name in wanted:
            tables[name] = _read_table(place, *content, columns)
    return Bundle(facts, tables, str(place))


def _finite(text: str) -> float:
    """A number of ``bundle.json``."""
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text} is no finite number")
    return value


def _shallow(value: Any, levels: int) -> bool:
    """Does JSON hold no more levels than so many?"""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_shallow(one, levels - 1) for one in inside)


def has_parquet() -> bool:
    """Is pyarrow installed?"""
    return importlib.util.find_spec("pyarrow") is not None


def _parse(text: str, kind: str) -> Any:
    """A cell of a CSV file as its column's type; an empty one is ``None``."""
    if text == "" or kind == "text":
        return text or None
    if kind == "bool":
        return text == "True"
    return int(text) if kind == "int" and text.lstrip("-").isdigit() else float(text)


def read_csv(content: bytes, known: Mapping[str, Column]) -> Table:
    """A CSV file with its columns' types; a column that is not described keeps its text."""
    reader = csv.reader(io.StringIO(content.decode("utf-8"), newline=""))
    columns = {key: known.get(key, Column("text", "Not described by this version.")) for key in next(reader, [])}
    cells = list(zip(*reader, strict=True)) or [()] * len(columns)
    pairs = zip(columns.items(), cells, strict=True)
    return Table(columns, {key: [_parse(cell, c.kind) for cell in found] for (key, c), found in pairs})


def _content(table: Table, kind: str) -> bytes:
    if kind == "csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(table.columns)
        cells = [["" if value is None else value for value in table.data[name]] for name in table.columns]
        writer.writerows(zip(*cells, strict=True))
        return text.getvalue().encode()
    import pyarrow
    import pyarrow.parquet

    schema, buffer = _arrow_schema(table.columns), io.BytesIO()
    arrays = [pyarrow.array(table.data[field.name], field.type) for field in schema]
    pyarrow.parquet.write_table(pyarrow.table(arrays, schema), buffer)
    return buffer.getvalue()


def _arrow_schema(columns: Mapping[str, Column]) -> Any:
    import pyarrow

    types = {"text": pyarrow.string(), "int": pyarrow.int64(), "float": pyarrow.float64(), "bool": pyarrow.bool_()}
    return pyarrow.schema([(name, types[column.kind]) for name, column in columns.items()])


def _members(place: Path) -> dict[str, bytes]:
    """Name -> content of the tables and ``bundle.json`` of a folder or zip file, those of a folder inside it included.

    Raises:
        UserError: It is not readable, or holds more than :data:`MOST_BYTES`.
    """
    try:
        if place.is_dir():
            kept = [file for file in place.iterdir() if _is_part(file) and file.is_file()]
            _require_size(place, sum(file.stat().st_size for file in kept))
            return {file.name: file.read_bytes() for file in kept}
        with zipfile.ZipFile(place) as archive:
            parts = {Path(info.filename): info for info in archive.infolist() if _is_part(Path(info.filename))}
            _require_size(place, sum(info.file_size for info in parts.values()))
            return {path.name: _member(archive, info) for path, info in parts.items()}
    except FileNotFoundError:
        raise bad_input("no such file", file=place) from None
    except DAMAGED as error:
        raise bad_input(f"not a readable bundle ({error})", file=place) from None


def _is_part(file: Path) -> bool:
    return file.name == FACTS or file.suffix.removeprefix(".") in FORMATS


def _require_size(place: Path, size: int) -> None:
    if size > MOST_BYTES:
        raise bad_input("larger than any bundle", file=place, value=size, allowed=f"at most {MOST_BYTES:,} bytes")


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    """A file of an archive, no longer than the archive says, whatever it unpacks to."""
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise zipfile.BadZipFile("compressed as no bundle is")
    with archive.open(info) as handle:
        return handle.read(info.file_size)


def _of_digest(place: Path, members: Mapping[str, bytes], files: Mapping[str, str]) -> tuple[str, bytes]:
    """Name and content of the file to read of a table, all of whose files are compared with their SHA-256."""
    for name, digest in files.items():
        if name not in members or sha256_bytes(members[name]) != digest:
            problem = "is missing" if name not in members else "is not what bundle.json says: cut short or edited"
            raise bad_input(f"{name} {problem}", file=place, hint="export the study again")
    for form in FORMATS:
        for name in files:
            if name.endswith(f".{form}"):
                return name, members[name]
    raise bad_input("a table has no file", file=place, key=FACTS)


def _read_table(place: Path, name: str, content: bytes, columns: Mapping[str, Column]) -> Table:
    """One table of a bundle.

    Raises:
        UserError: It is damaged or larger than any, or needs pyarrow.
    """
    try:
        if name.endswith(".csv"):
            _require_cells(content.count(b",") + content.count(b"\n"))
            return read_csv(content, columns)
        if has_parquet():
            return _read_parquet(content, columns)
    except (*DAMAGED, csv.Error) as error:
        raise bad_input(f"{name} is not a readable table ({error})", file=place) from None
    raise bad_input("holds Parquet only, which needs pyarrow", file=place, hint='pip install "fne[arrow]"')


def _read_parquet(content: bytes, columns: Mapping[str, Column]) -> Table:
    import pyarrow
    import pyarrow.parquet

    source, schema = pyarrow.BufferReader(content), _arrow_schema(columns)
    if pyarrow.parquet.read_schema(source) != schema:
        raise ValueError("other columns than bundle.json says")
    file = pyarrow.parquet.ParquetFile(source, read_dictionary=schema.names)
    _require_cells(file.metadata.num_rows * len(columns))
    found = file.read()
    return Table(columns, {key: _values(found.column(key)) for key in columns})


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


def _require_cells(cells: int) -> None:
    if cells > MOST_CELLS:
        raise ValueError(f"{cells:,} cells, more than {MOST_CELLS:,}")


def _is_ours(out: Path) -> bool:
    """May a bundle take this place: an empty folder, an older bundle, or a zip file of one?"""
    if out.suffix == ".zip":
        return out.is_file() and zipfile.is_zipfile(out) and FACTS in _members(out)
    return out.is_dir() and (not any(out.iterdir()) or (out / FACTS).is_file())
