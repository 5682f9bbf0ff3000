"""Every CSV file, column by column: the one place from which writers, readers, bundle and documentation take it."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fne.protocols import METRICS
from fne.utils.errors import bad_input
from fne.utils.files import atomic_path, read_bytes, read_csv, reading, write_csv
from fne.utils.text import unguarded
from fne.utils.yaml_file import read_mapping

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_OTHER = (
    f"{name} 0 to {item.top}" if item.top else f"{name}: a rank" for name, item in METRICS.items() if item.top != 1
)
SHARE = f"fraction ({'; '.join(['0 to 1', *_OTHER])})"
_MEANT = ((meaning, list(names)) for meaning, names in groupby(METRICS, key=lambda name: METRICS[name].meaning))
_NAMED = "; ".join(f"{', '.join(names)}: {meaning}" if meaning else "; ".join(names) for meaning, names in _MEANT)
KINDS = ("text", "int", "float", "bool")


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
        kind: One of :data:`KINDS`.
        meaning: One sentence.
        unit: What a number counts; empty for text.
    """

    kind: str
    meaning: str
    unit: str = ""


def _read() -> dict[str, tuple[str, dict[str, Column]]]:
    """``columns.yaml``, beside this file."""
    words = {"{share}": SHARE, "{metrics}": f"{_NAMED}."}
    result = {}
    for name, table in read_mapping(Path(__file__).with_name("columns.yaml"))["tables"].items():
        columns = {key: item for part in table["columns"] for key, item in part.items()}
        result[name] = table["row"], {key: Column(*(words.get(each, each) for each in item))
                                      for key, item in columns.items()}  # fmt: skip
    return result


TABLES = _read()
"""Name, that of the CSV file or of a bundle's table -> what a row is, and its columns in the order of the file. Columns
that a study's tables have beyond these are exported as text, and said to be of a newer version."""
ELSEWHERE = ("low_elsewhere", "high_elsewhere", "method_elsewhere")


def header(name: str, *factors: str) -> list[str]:
    """Columns of a table, in order; of a series', those of the factors after the first."""
    first, *rest = TABLES[name][1]
    return [first, *factors, *rest]


def write_table(folder: Path, name: str, rows: Iterable[Mapping[str, Any]], *factors: str) -> None:
    """Write ``<name>.csv`` into a folder."""
    write_csv(folder / f"{name}.csv", rows, header(name, *factors), digests=digests_file(verb_of(name)))


MOST_ROWS = 1 << 24
"""Rows of a run's part of a table."""


def arrow_schema(name: str) -> pa.Schema:
    """Columns of a run's part of a table in Parquet: all but the variant, the name of its folder."""
    import pyarrow as pa

    types = {"text": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
    _, *columns = TABLES[name][1].items()
    return pa.schema([(column, types[item.kind]) for column, item in columns])


def write_part(file: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a run's part of a table, ``<name>.parquet``, with a checksum in every page; NaN and None are null.

    Raises:
        ValueError: A row has another column than the table, or a value of another kind.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema, rows = arrow_schema(file.stem), list(rows)
    if other := {*chain.from_iterable(rows)} - {*schema.names}:
        raise ValueError(f"{file.name}: no column of {file.stem}: {', '.join(sorted(other))}")
    columns = []
    for item in schema:
        cells = [row.get(item.name) for row in rows]
        halves = item.type == pa.int64() and any(isinstance(cell, float) for cell in cells)  # cut off, but by a cast
        columns.append(pa.array(cells, pa.float64() if halves else item.type, from_pandas=True).cast(item.type))
    with atomic_path(file) as temporary:
        pq.write_table(pa.table(columns, schema=schema), temporary, compression="zstd", write_page_checksum=True)


def read_part(file: Path, hint: str) -> pa.Table:
    """Read what :func:`write_part` wrote.

    Args:
        file: The file.
        hint: How to make it again.

    Raises:
        UserError: It is missing, damaged, larger than any such file, or has other columns than this version writes.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    content, schema = read_bytes(file, hint), arrow_schema(file.stem)
    with reading(file, hint):
        part = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        names, rows = part.schema_arrow, part.metadata.num_rows
        table = part.read() if names.equals(schema) and rows <= MOST_ROWS else None
    if table is None:
        raise bad_input("other columns than this version's, or too many rows", file=file, value=f"{rows} rows of "
                        f"{', '.join(names.names)}"[:300], allowed=", ".join(schema.names), hint=hint)  # fmt: skip
    return table


def verb_of(name: str) -> str:
    """The verb that writes a table into the folder of a study or series."""
    if name.startswith(("audit_", "calibration")):
        return "audit"
    named = {**dict.fromkeys(("runs", "missing", "curves", "audit", "cost"), "aggregate"), "verify": "verify"}
    return named.get(name, "compare")


def written_by(verb: str) -> tuple[str, ...]:
    """The files of the tables that a verb writes."""
    return tuple(f"{name}.csv" for name in TABLES if verb_of(name) == verb)


def digests_file(verb: str) -> str:
    """The file of their digests beside them."""
    return f"digests.{verb}.json"


def table_bytes(path: Path) -> bytes:
    """Content of a CSV file in the folder of a study or series, compared with its digest.

    Raises:
        UserError: As :func:`fne.utils.files.read_csv`.
    """
    return read_csv(path, _again(path), digests_file(verb_of(path.stem)))


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV file of a study or series.

    Raises:
        UserError: As :func:`fne.utils.files.read_csv` and :func:`parse_table`.
    """
    return parse_table(table_bytes(path), TABLES[path.stem][1], path, _again(path))


def parse_table(content: bytes, known: Mapping[str, Column], file: str | Path, hint: str) -> pd.DataFrame:
    """The content of a CSV file: words stay words (also ``none``), empty cells are NaN.

    Args:
        content: Of the file.
        known: The columns that it must have; it may have more.
        file: What to call it in a message.
        hint: How to make it again.

    Raises:
        UserError: It is no CSV file, a column is missing, or one of numbers holds something else.
    """
    import pandas as pd

    with reading(file, hint):
        columns = pd.read_csv(io.BytesIO(content), nrows=0).columns
        types = {name: "string" for name in columns if name in known and known[name].kind == "text"}
        empty = {name: [""] for name in columns}
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # cells beyond the columns are not dropped
            try:
                frame = pd.read_csv(io.BytesIO(content), dtype=types, keep_default_na=False, na_values=empty,
                                    index_col=False)  # fmt: skip
            except pd.errors.ParserWarning as error:
                raise ValueError(str(error)) from None
    for name, column in known.items():
        if name not in frame:
            raise bad_input("column is missing", file=file, key=name, hint=hint)
        kinds = {"int": "iuf", "float": "iuf", "bool": "b"}.get(column.kind, "OTU")
        halves = column.kind == "int" and frame[name].dtype.kind == "f" and (frame[name].dropna() % 1 != 0).any()
        if halves or (frame[name].dtype.kind not in kinds and frame[name].notna().any()):
            raise bad_input("holds something else", file=file, key=name, allowed=column.kind, hint=hint)
    frame = frame.astype(dict.fromkeys(types, object))
    if b"'" in content:
        for name in types:
            frame[name] = frame[name].map(unguarded, na_action="ignore")
    return frame


def _again(path: Path) -> str:
    return f"run `fne {verb_of(path.stem)} --study {path.parent.name}` again"
