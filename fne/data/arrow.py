"""Reading a Hugging Face ``datasets`` folder: saved with ``save_to_disk``, or parquet files as on the hub.

Pictures inside the files are written out, byte for byte, when the data set is prepared. Needs ``pyarrow``.

Source: the layouts that https://huggingface.co/docs/datasets describes: ``state.json`` beside Arrow streams, or
``<split>-00000-of-00001.parquet``.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fne.data.items import SPLIT_OF, Item, Record, image_file
from fne.data.tabular import CAPTION, IMAGE, IMAGE_ID, check_names, pick, several_in, to_record
from fne.data.text_files import read_json
from fne.utils.errors import bad_input
from fne.utils.progress import Progress

if TYPE_CHECKING:
    import pyarrow

SUFFIXES = (".parquet", ".arrow")
ROWS, BATCH = 256, 1 << 26
"""Rows read at once, fewer where they hold more bytes than that."""
MOST, FOLD = 1 << 26, 100
"""A data set may unpack to so many bytes, or to so many times the size of its files where that is more."""
MOST_CELL = 1 << 18
"""Bytes of the largest cell that is no picture."""
PER_VALUE, PER_ROW = 16, 256
"""Bytes that a value and a row take at least, however little they take in the file."""


class _Budget:
    """How many bytes the rows of a data set may still unpack to."""

    def __init__(self, files: Sequence[tuple[Path, str | None]]) -> None:
        self.size = sum(path.stat().st_size for path, _ in files if path.is_file())
        self.left = max(MOST, FOLD * self.size)

    def require(self, amount: int, path: Path, where: str) -> None:
        """Refuse what holds more than is left."""
        if amount > self.left:
            problem = "unpacks to far more than the size of the files: a few values, repeated very often"
            allowed = f"{max(MOST, FOLD * self.size)} bytes in all, for files of {self.size} bytes"
            raise bad_input(problem, file=path, key=where, allowed=allowed)

    def take(self, batch: pyarrow.RecordBatch, path: Path, first: int, picture: str | None) -> None:
        """Count a batch of rows, of which ``first`` is the number of the first, and refuse a cell that is too large."""
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            sizes = _sizes(column)
            if name != picture and sizes.max(initial=0) > MOST_CELL:
                raise bad_input("a cell that is too large", file=path, key=f"row {first + sizes.argmax()}.{name}",
                                value=int(sizes.max()), allowed=f"at most {MOST_CELL} bytes")  # fmt: skip
            over = int(np.searchsorted(np.cumsum(sizes), self.left, "right"))
            self.require(int(sizes.sum()), path, f"row {first + over}.{name}")
            self.left -= int(sizes.sum())
        self.require(PER_ROW * batch.num_rows, path, f"row {first}")
        self.left -= PER_ROW * batch.num_rows


def read(folder: Path) -> tuple[list[Record], bool]:
    """Read the rows of all files below a folder, without the pictures.

    Returns:
        The rows, and whether the pictures are inside the files.

    Raises:
        UserError: ``pyarrow`` is missing, there is no such file, or a row cannot be used.
    """
    records, embedded = [], set()
    files = data_files(folder)
    budget = _Budget(files)
    for path, split in files:
        schema = _schema(path)
        fields = schema.names
        picture = _picture(schema)
        embedded.add(picture is not None)
        named = [name for name in IMAGE[1:] if name in fields]
        caption = [name for name in CAPTION if name in fields][:1] or several_in(fields)
        caption = caption or [pick(fields, CAPTION, path, "columns", "the caption")]
        image = named[0] if picture and named else pick(fields, IMAGE, path, "columns", "the image")
        identity = [name for name in IMAGE_ID if name in fields][:1]
        rest = [name for name in ("split", "sentids", *(() if picture else ("filepath",))) if name in fields]
        shown = [image, *caption, *identity, *rest]
        _check_types(path, schema, {*shown, picture or image})
        if "split" in fields:
            # Some sets on the hub lie in files named `test` as a whole; what the rows say counts.
            split = None
        for number, row in enumerate(_rows(path, shown, budget, with_bytes=False)):
            records.append(_record(path, f"row {number}", row, picture, named, split))
    if len(embedded) > 1:
        raise bad_input("some of its files hold pictures and some do not", file=folder, key="data.annotations")
    if not records:
        raise bad_input("holds no row", file=folder, key="data.annotations")
    if embedded == {True}:
        records = _without_folders(records)
    return records, embedded == {True}


def _without_folders(records: list[Record]) -> list[Record]:
    """Pictures inside are written out by their names alone, unless two folders hold the same name."""
    names = {record.file: posixpath.basename(record.file) for record in records}
    if len(set(names.values())) < len(names):
        return records
    return [replace(record, file=names[record.file]) for record in records]


def _record(
    path: Path, where: str, row: dict[str, Any], picture: str | None, named: Sequence[str], split: str | None
) -> Record:
    if picture is not None:
        row = {**row, "image": _name(path, where, row, picture, named), "filepath": None}
    for key in CAPTION:
        if isinstance(row.get(key), dict):
            row = {**row, key: row[key].get("raw"), "sentids": [row[key].get("sentid")]}
        elif isinstance(row.get(key), list) and row[key] and all(isinstance(item, dict) for item in row[key]):
            row = {
                **row,
                "sentids": [item.get("sentid") for item in row[key]],
                key: [item.get("raw") for item in row[key]],
            }
    if isinstance(row.get("sentids"), list) and None in row["sentids"]:
        row = {**row, "sentids": None}
    return to_record(path, where, row, split)


def _name(path: Path, where: str, row: dict[str, Any], picture: str, named: Sequence[str]) -> str:
    """The path of a picture that is inside, below the folder it is written into."""
    name = row[named[0]] if named else (row[picture] or {}).get("path")
    if not name or not isinstance(name, str):
        hint = "give the pictures names in a column `filename`"
        raise bad_input("a picture without a file name", file=path, key=f"{where}.{picture}", hint=hint)
    if re.match(r"[A-Za-z]:[\\/]", name):
        name = name[2:].replace("\\", "/")
    return image_file(name.lstrip("/") or name, path, f"{where}.image")


def write_pictures(folder: Path, items: Sequence[Item], target: Path) -> None:
    """Write the pictures of ``items`` into ``target``, byte for byte.

    Raises:
        UserError: A row has no picture, or two rows have different ones of one name.
    """
    requested = {item.file for item in items}
    with Progress("write pictures", len(requested), "images") as progress:
        written: dict[str, tuple[bytes, Path, str]] = {}
        files = data_files(folder)
        budget = _Budget(files)
        for path, _ in files:
            schema = _schema(path)
            picture = _picture(schema) or ""
            named = [name for name in IMAGE[1:] if name in schema.names]
            for number, row in enumerate(_rows(path, [picture, *named[:1]], budget, with_bytes=True)):
                where = f"row {number}"
                file = _name(path, where, row, picture, named)
                file = file if file in requested else posixpath.basename(file)
                content = (row[picture] or {}).get("bytes")
                if not content and file in written:
                    continue
                if not content:
                    hint = "write the data set with save_to_disk or push_to_hub, which put the pictures in; or remove "
                    hint += f"the column {picture!r}, keep the names in `filename` and give data.images"
                    raise bad_input("a row has no picture", file=path, key=f"{where}.{picture}", value=file, hint=hint)
                digest = hashlib.sha256(content).digest()
                first, *place = written.setdefault(file, (digest, path, where))
                if first != digest:
                    problem = f"another picture than that of {place[0]}: {place[1]} under the same name"
                    hint = "give the pictures names of their own in a column `filename`"
                    raise bad_input(problem, file=path, key=where, value=file, hint=hint)
                if place == [path, where]:
                    _write(target / file, content, path, where)
                    progress.add()


def _write(file: Path, content: bytes, path: Path, where: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    except (FileExistsError, NotADirectoryError, IsADirectoryError):
        problem = "a picture has the name of another one's folder"
        raise bad_input(problem, file=path, key=where, value=file.name) from None


def data_files(folder: Path) -> list[tuple[Path, str | None]]:
    """The data files of a saved data set and the split each belongs to by its place or name (None: unsaid).

    Raises:
        UserError: There is none, one is missing, or the data set was saved with indices.
    """
    if folder.is_file():
        return [(folder, _named_split(folder.name))]
    result: list[tuple[Path, str | None]] = []
    states = sorted(folder.rglob("state.json"))
    for state in states:
        stored = read_json(state)
        entries = stored.get("_data_files") if isinstance(stored, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise bad_input("not as save_to_disk writes it", file=state, key="_data_files", allowed="[{filename: ...}]")
        names = [entry.get("filename") for entry in entries]
        if stored.get("_indices_data_files") or stored.get("_indices_files"):
            hint = "save it again: dataset.flatten_indices().save_to_disk(...)"
            raise bad_input("saved with indices, which are not read", file=state, hint=hint)
        for name in names:
            path = state.parent / Path(str(name)).name
            if not path.is_file():
                raise bad_input("no such file", file=path, hint=f"{state} names it")
            place = state.parent.relative_to(folder).as_posix()
            result.append((path, _named_split(place) or _named_split(str(stored.get("_split")))))
    if not states:
        # Files `cache-*.arrow` are intermediate results of earlier programs.
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        files = [path for path in files if not path.name.startswith("cache-")]
        result = [(path, _named_split(path.relative_to(folder).as_posix())) for path in files]
    if not result:
        raise bad_input("not a folder of a data set", file=folder, key="data.annotations",
                        allowed="state.json and *.arrow as of save_to_disk, or *.parquet")  # fmt: skip
    return result


def _named_split(text: str) -> str | None:
    """The one split that a file's name or place speaks of."""
    result = {SPLIT_OF[word] for word in re.findall(r"[^\W\d_]+", text.casefold()) if word in SPLIT_OF}
    return result.pop() if len(result) == 1 else None


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.parquet
    except ImportError:
        problem = "reading a Hugging Face data set needs pyarrow, which is not installed"
        hint = "install it: pip install -e '.[arrow]' -c constraints.txt"
        raise bad_input(problem, key="data.annotations", hint=hint) from None
    return pyarrow


def _schema(path: Path) -> pyarrow.Schema:
    pa = _pyarrow()
    try:
        if path.suffix.lower() == ".parquet":
            schema = pa.parquet.read_schema(path)
        else:
            with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
                schema = stream.schema
        check_names(schema.names, path, "columns")
        _picture(schema)  # names of a damaged file are no text
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from None
    return schema


def _picture(schema: pyarrow.Schema) -> str | None:
    """The column of pictures inside the file: a struct of bytes and path."""
    kind = schema.field("image").type if "image" in schema.names else None
    inside = {field.name for field in kind} if kind is not None and _pyarrow().types.is_struct(kind) else set()
    return "image" if {"bytes", "path"} <= inside else None


def _check_types(path: Path, schema: pyarrow.Schema, columns: set[str]) -> None:
    """Refuse columns whose values could not be what the column stands for, before any value is read."""
    for name in sorted(columns):
        kind, allowed = schema.field(name).type, "text"
        item = _item(kind)
        if name in CAPTION or name in several_in([name]):
            fits = _is_text(item) or _is_struct(item, raw=_is_text, sentid=_is_word)
            allowed = "text, struct{raw: text, sentid: integer}, or lists of them"
        elif name == "sentids":
            fits, allowed = _is_word(item), "lists of integers or of text"
        elif name in IMAGE_ID:
            fits, allowed = _is_word(kind), "integers or text"
        elif name == "image":
            fits = _is_text(kind) or _is_struct(kind, bytes=_is_binary, path=_is_text)
            allowed = "text (the name of a file), or struct{bytes: binary, path: text}"
        else:
            fits = _is_text(kind)
        if not fits:
            raise bad_input("a column of another type", file=path, key=f"columns: {name}", value=str(kind),
                            allowed=allowed)  # fmt: skip


def _item(kind: pyarrow.DataType) -> pyarrow.DataType:
    """The type of the items of lists; other types as they are."""
    types = _pyarrow().types
    lists = types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)
    return kind.value_type if lists else kind


def _is_text(kind: pyarrow.DataType) -> bool:
    types = _pyarrow().types
    kind = kind.value_type if types.is_dictionary(kind) else kind
    return types.is_string(kind) or types.is_large_string(kind) or types.is_null(kind)


def _is_word(kind: pyarrow.DataType) -> bool:
    types = _pyarrow().types
    return _is_text(kind) or types.is_integer(kind) or types.is_floating(kind)


def _is_binary(kind: pyarrow.DataType) -> bool:
    types = _pyarrow().types
    return types.is_binary(kind) or types.is_large_binary(kind) or types.is_null(kind)


def _is_struct(kind: pyarrow.DataType, **fields: Any) -> bool:
    """A struct whose first field of ``fields`` is there, all of them of their types, and others plain."""
    types = _pyarrow().types
    if not types.is_struct(kind):
        return False
    names = [field.name for field in kind]
    plain = [fields.get(field.name, lambda item: types.is_boolean(item) or _is_word(_item(item)))(field.type)
             for field in kind]  # fmt: skip
    return all(plain) and len(set(names)) == len(names) and next(iter(fields)) in names


def _rows(path: Path, columns: Sequence[str], budget: _Budget, with_bytes: bool) -> Iterator[dict[str, Any]]:
    """The rows of a file; of a struct of a picture only the path, unless ``with_bytes``."""
    pa = _pyarrow()
    picture, first = _picture(_schema(path)), 0
    unpack = _parquet if path.suffix.lower() == ".parquet" else _stream
    try:
        for batch in unpack(path, columns, None if with_bytes else picture, budget):
            budget.take(batch, path, first, picture if with_bytes else None)
            first += batch.num_rows
            for start in range(0, batch.num_rows, 1 if with_bytes else ROWS):
                yield from batch.slice(start, 1 if with_bytes else ROWS).to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from None


def _parquet(path: Path, columns: Sequence[str], pruned: str | None, budget: _Budget) -> Iterator[pyarrow.RecordBatch]:
    """Batches of rows; texts and pictures stay dictionaries, which take no more memory than they do in the file."""
    parquet = _pyarrow().parquet
    columns = [f"{name}.path" if name == pruned else name for name in columns]
    about = parquet.read_metadata(path)
    leaves = [about.schema.column(number) for number in range(about.num_columns)]
    chosen = [number for number, leaf in enumerate(leaves)
              if any(f"{leaf.path}.".startswith(f"{name}.") for name in columns)]  # fmt: skip
    held = [0] * about.num_row_groups
    for group in range(about.num_row_groups):
        budget.require(about.row_group(group).total_byte_size, path, f"row group {group}")
        # What Arrow says of a damaged column ends the process, unless reading a row of it has failed before.
        with parquet.ParquetFile(path) as file:
            next(file.iter_batches(batch_size=1, row_groups=[group], columns=columns), None)
        for number in chosen:
            chunk = about.row_group(group).column(number)
            held[group] += max(0, chunk.total_uncompressed_size) + PER_VALUE * max(0, chunk.num_values)
            budget.require(sum(held), path, f"row group {group}.{leaves[number].path}")
    texts = [leaves[number].path for number in chosen if leaves[number].physical_type == "BYTE_ARRAY"]
    with parquet.ParquetFile(path, read_dictionary=texts) as file:
        # One row group at a time: Arrow cannot join the dictionaries of lists and structs.
        for group, size in enumerate(held):
            rows = min(ROWS, max(1, BATCH * about.row_group(group).num_rows // max(1, size)))
            for batch in file.iter_batches(batch_size=rows, row_groups=[group], columns=columns):
                batch.validate(full=True)
                yield batch


def _stream(path: Path, columns: Sequence[str], pruned: str | None, _: _Budget) -> Iterator[pyarrow.RecordBatch]:
    """Batches of rows that lie in the file as they are in memory."""
    pa = _pyarrow()
    with pa.memory_map(str(path)) as source:
        for message in pa.ipc.MessageReader.open_stream(source):
            if _is_compressed(message.metadata.to_pybytes(), path):
                raise bad_input("a compressed stream of Arrow, which is not read", file=path,
                                hint="write the data set with save_to_disk, or as parquet")  # fmt: skip
    with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
        for whole in stream:
            whole.validate(full=True)  # offsets of a damaged file lead outside of it
            for start in range(0, whole.num_rows, ROWS):
                batch = whole.slice(start, ROWS).select(list(columns))
                if pruned in columns:
                    at = batch.schema.get_field_index(pruned)
                    paths = batch.column(at).field("path")
                    batch = batch.set_column(at, pruned, pa.StructArray.from_arrays([paths], ["path"]))
                yield batch


def _is_compressed(message: bytes, path: Path) -> bool:
    """Whether the buffers of a message are compressed: its header is a batch with the field ``compression``."""

    def field(table: int, slot: int) -> int:
        names = table - struct.unpack_from("<i", message, table)[0]
        there = 4 + 2 * slot < struct.unpack_from("<H", message, names)[0]
        offset = struct.unpack_from("<H", message, names + 4 + 2 * slot)[0] if there else 0
        return table + offset if offset else 0

    def target(place: int) -> int:
        return place + int(struct.unpack_from("<I", message, place)[0])

    try:
        root = target(0)
        batch, kind = target(field(root, 2)), struct.unpack_from("<B", message, field(root, 1))[0]
        if kind == 2:  # the batch of a dictionary is inside of its header
            batch = target(field(batch, 1))
        return kind in (2, 3) and field(batch, 3) != 0
    except struct.error as error:
        raise _unreadable(path, error) from None


def _sizes(values: pyarrow.Array) -> np.ndarray:
    """About how many bytes each value takes once it is unpacked."""
    pa = _pyarrow()
    types, kind = pa.types, values.type
    if types.is_dictionary(kind):
        held = np.append(_sizes(values.dictionary), PER_VALUE)
        sizes: np.ndarray = held[values.indices.fill_null(len(held) - 1).to_numpy()]
    elif types.is_struct(kind):
        sizes = sum((_sizes(values.field(at)) for at in range(kind.num_fields)), np.full(len(values), PER_VALUE))
    elif _item(kind) is not kind:
        counts = pa.compute.list_value_length(values).fill_null(0).to_numpy().astype(np.int64)
        sizes = PER_VALUE * (counts + 1)
        if not types.is_null(kind.value_type):  # any number of nulls takes no space in the file
            ends = np.cumsum(counts)
            held = np.concatenate([[0], np.cumsum(_sizes(values.flatten()))])
            sizes = PER_VALUE + held[ends] - held[ends - counts]
    elif _is_text(kind) and not types.is_null(kind) or types.is_binary(kind) or types.is_large_binary(kind):
        sizes = PER_VALUE + pa.compute.binary_length(values).fill_null(0).to_numpy().astype(np.int64)
    else:
        sizes = np.full(len(values), PER_VALUE)
    return sizes


def _unreadable(path: Path, error: Exception) -> Exception:
    return bad_input(f"not a readable data file ({' '.join(str(error).split())[:200]})", file=path,
                     hint="is it complete?")  # fmt: skip
