"""A bundle: tidy tables and ``bundle.json`` in a folder or a zip file; the same results give the same bytes."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from fne.results.schema import TABLES, Column
from fne.utils.errors import bad_input
from fne.utils.files import atomic_folder, atomic_path, require_schema, sha256_bytes

FACTS, README = "bundle.json", "README.md"
FORMATS = ("csv", "parquet")


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


def read(place: Path) -> Bundle:
    """Read a bundle, each file compared with its SHA-256.

    Raises:
        UserError: It is no bundle, of another schema, or a file is missing, cut short or damaged.
    """
    members = _members(place)
    if FACTS not in members:
        raise bad_input("is no bundle: it holds no bundle.json", file=place, hint="`fne export STUDY` writes one")
    try:
        facts = json.loads(members[FACTS])
    except ValueError as error:
        raise bad_input(f"not valid JSON: {error}", file=place, key=FACTS) from None
    require_schema(facts, "bundle", place, "export the study again")
    tables = {}
    try:
        for name, entry in facts.pop("tables").items():
            columns = {key: Column(c["type"], c["meaning"], c["unit"]) for key, c in entry["columns"].items()}
            tables[name] = _read_table(place, members, entry["files"], columns)
        for key in ("study", "dataset", "regime", "primary", "variants", "seeds", "baseline", "protocols"):
            facts[key]  # noqa: B018 - reading it checks it
    except (KeyError, TypeError, AttributeError) as error:
        raise bad_input(f"entry is missing or of another kind ({error})", file=place, key=FACTS) from None
    return Bundle(facts, tables, str(place))


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

    types = {"text": pyarrow.string(), "int": pyarrow.int64(), "float": pyarrow.float64(), "bool": pyarrow.bool_()}
    arrays = {name: pyarrow.array(table.data[name], types[c.kind]) for name, c in table.columns.items()}
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(arrays), buffer)
    return buffer.getvalue()


def _members(place: Path) -> dict[str, bytes]:
    """Name -> content of the files of a folder or zip file, those of one folder inside it included."""
    try:
        if place.is_dir():
            names = [*place.glob("*.csv"), *place.glob("*.parquet"), *place.glob(FACTS)]
            return {file.name: file.read_bytes() for file in names}
        with zipfile.ZipFile(place) as archive:
            wanted = [info for info in archive.infolist() if PurePosixPath(info.filename).suffix and not info.is_dir()]
            return {PurePosixPath(info.filename).name: archive.read(info) for info in wanted}
    except FileNotFoundError:
        raise bad_input("no such file", file=place) from None
    except (OSError, zipfile.BadZipFile, EOFError, zipfile.zlib.error) as error:
        raise bad_input(f"not a readable bundle ({error})", file=place) from None


def _read_table(
    place: Path, members: Mapping[str, bytes], files: Mapping[str, str], columns: Mapping[str, Column]
) -> Table:
    for name, digest in files.items():
        if name not in members or sha256_bytes(members[name]) != digest:
            problem = "is missing" if name not in members else "is not what bundle.json says: cut short or edited"
            raise bad_input(f"{name} {problem}", file=place, hint="export the study again")
    name = next((name for name in files if name.endswith(".csv")), next(iter(files)))
    if name.endswith(".parquet"):
        if not has_parquet():
            raise bad_input("holds Parquet only, which needs pyarrow", file=place, hint='pip install "fne[arrow]"')
        import pyarrow
        import pyarrow.parquet

        found = pyarrow.parquet.read_table(pyarrow.BufferReader(members[name]))
        return Table(columns, {key: found.column(key).to_pylist() for key in columns})
    return read_csv(members[name], columns)


def _is_ours(out: Path) -> bool:
    """May a bundle take this place: an empty folder, an older bundle, or a zip file of one?"""
    if out.suffix == ".zip":
        return out.is_file() and zipfile.is_zipfile(out) and FACTS in _members(out)
    return out.is_dir() and (not any(out.iterdir()) or (out / FACTS).is_file())
