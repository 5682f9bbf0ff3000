"""Reading a Hugging Face ``datasets`` folder: saved with ``save_to_disk``, or parquet files as on the hub.

Pictures inside the files are written out, byte for byte, when the data set is prepared.

Source: the layouts that https://huggingface.co/docs/datasets describes: ``state.json`` beside Arrow streams, or
``<split>-00000-of-00001.parquet``.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fne.data.items import SPLIT_OF, Item, Record, image_file
from fne.data.tabular import CAPTION, IMAGE, IMAGE_ID, check_columns, several_in, to_record
from fne.data.text_files import read_json
from fne.utils.errors import bad_input
from fne.utils.progress import Progress

if TYPE_CHECKING:
    import pyarrow

SUFFIXES = (".parquet", ".arrow")
ROWS = 256
"""Rows that are Python objects at once."""
MOST = 1 << 32
"""Bytes to which one group of rows may unpack."""


def read(folder: Path) -> tuple[list[Record], bool]:
    """Read the rows of all files below a folder, without the pictures.

    Returns:
        The rows, and whether the pictures are inside the files.

    Raises:
        UserError: There is no such file, or a row cannot be used.
    """
    records: list[Record] = []
    embedded = set()
    for path, split in data_files(folder):
        schema = _schema(path)
        inside = _holds_pictures(schema)
        embedded.add(inside)
        known = {*IMAGE, *CAPTION, *IMAGE_ID, *several_in(schema.names), "split", "sentids", "filepath"}
        if "split" in schema.names:
            # Some sets on the hub lie in files named `test` as a whole; what the rows say counts.
            split = None
        for number, row in enumerate(_rows(path, [name for name in schema.names if name in known], False)):
            where = f"row {number}"
            if inside:
                row |= {"image": _name(row, path, where), "filepath": None}
            records.append(to_record(path, where, row, split))
    if len(embedded) > 1:
        raise bad_input("some of its files hold pictures and some do not", file=folder, key="data.annotations")
    if not records:
        raise bad_input("holds no row", file=folder, key="data.annotations")
    names = {record.file: posixpath.basename(record.file) for record in records}
    if embedded == {True} and len(set(names.values())) == len(names):
        # Pictures inside are written out by their names alone, unless two folders hold the same name.
        records = [replace(record, file=names[record.file]) for record in records]
    return records, embedded == {True}


def _name(row: dict[str, Any], path: Path, where: str) -> str:
    """The path of a picture that is inside, below the folder it is written into."""
    name = next((row[column] for column in IMAGE[1:] if column in row), row["image"])
    return image_file(name.lstrip("/") if isinstance(name, str) else name, path, f"{where}.image")


def write_pictures(folder: Path, items: Sequence[Item], target: Path) -> None:
    """Write the pictures of ``items`` into ``target``, byte for byte.

    Raises:
        UserError: A row has no picture, or two rows have different ones of one name.
    """
    requested = {item.file for item in items}
    written: dict[str, bytes] = {}
    with Progress("write pictures", len(requested), "images") as progress:
        for path, _ in data_files(folder):
            named = [name for name in IMAGE[1:] if name in _schema(path).names]
            for number, row in enumerate(_rows(path, ["image", *named[:1]], True)):
                where, picture = f"row {number}", row["image"] or {}
                file = _name(row | {"image": picture.get("path")}, path, where)
                file = file if file in requested else posixpath.basename(file)
                content = picture.get("bytes")
                if not content and file in written:
                    continue
                if not content:
                    hint = "write the data set with save_to_disk or push_to_hub, which put the pictures in; or remove "
                    hint += "the column 'image', keep the names in `filename` and give data.images"
                    raise bad_input("a row has no picture", file=path, key=f"{where}.image", value=file, hint=hint)
                digest = hashlib.sha256(content).digest()
                if written.get(file) == digest:  # a row for each caption of one picture
                    continue
                if written.setdefault(file, digest) != digest:
                    hint = "give the pictures names of their own in a column `filename`"
                    problem = "two pictures have one name"
                    raise bad_input(problem, file=path, key=f"{where}.image", value=file, hint=hint)
                (target / file).parent.mkdir(parents=True, exist_ok=True)
                (target / file).write_bytes(content)
                progress.add()


def data_files(folder: Path) -> list[tuple[Path, str | None]]:
    """The data files of a saved data set and the split each belongs to by its place or name (None: unsaid).

    Raises:
        UserError: There is none, one is missing, or the data set was saved with indices.
    """
    if folder.is_file():
        return [(folder, _named_split(folder.name))]
    result: list[tuple[Path, str | None]] = []
    for state in sorted(folder.rglob("state.json")):
        stored = read_json(state)
        try:
            names = [Path(str(entry["filename"])).name for entry in stored["_data_files"]]
            indices, split = stored.get("_indices_data_files"), str(stored.get("_split"))
        except (KeyError, TypeError, AttributeError):
            problem = "not as save_to_disk writes it"
            raise bad_input(problem, file=state, key="_data_files", allowed="[{filename: ...}]") from None
        if indices:
            hint = "save it again: dataset.flatten_indices().save_to_disk(...)"
            raise bad_input("saved with indices, which are not read", file=state, hint=hint)
        place = state.parent.relative_to(folder).as_posix()
        result += [(state.parent / name, _named_split(place) or _named_split(split)) for name in names]
    if not result:
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
    import pyarrow
    import pyarrow.compute
    import pyarrow.parquet

    return pyarrow


def _schema(path: Path) -> pyarrow.Schema:
    pa = _pyarrow()
    try:
        if path.suffix.lower() == ".parquet":
            schema = pa.parquet.read_schema(path)
        else:
            with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
                schema = stream.schema
        _holds_pictures(schema)  # names of a damaged file are no text
        check_columns(schema.names, path, "columns")
        return schema
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from None


def _holds_pictures(schema: pyarrow.Schema) -> bool:
    """Is the column ``image`` a struct of bytes and path?"""
    kind = schema.field("image").type if "image" in schema.names else None
    return kind is not None and {"bytes", "path"} <= {kind.field(at).name for at in range(kind.num_fields)}


def _rows(path: Path, columns: list[str], with_bytes: bool) -> Iterator[dict[str, Any]]:
    """The rows of a file; of a picture inside only its path, unless ``with_bytes``."""
    pa = _pyarrow()
    pruned = not with_bytes and _holds_pictures(_schema(path))
    try:
        for batch in (_parquet if path.suffix.lower() == ".parquet" else _stream)(path, columns, pruned):
            batch.validate(full=True)  # offsets of a damaged file lead outside of it
            step = 1 if with_bytes else ROWS  # one picture at a time
            for start in range(0, batch.num_rows, step):
                part = batch.slice(start, step).select(columns)
                if pruned:
                    paths = pa.compute.struct_field(part.column("image"), "path")
                    part = part.set_column(columns.index("image"), "image", paths)
                yield from part.to_pylist()
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        raise _unreadable(path, error) from None


def _parquet(path: Path, columns: list[str], pruned: bool) -> Iterator[pyarrow.Table]:
    leaves = ["image.path" if pruned and name == "image" else name for name in columns]
    with _pyarrow().parquet.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            if file.metadata.row_group(group).total_byte_size > MOST:
                raise ValueError(f"a group of rows of more than {MOST} bytes")
            yield file.read_row_group(group, columns=leaves, use_threads=False)


def _stream(path: Path, columns: list[str], pruned: bool) -> Iterator[pyarrow.RecordBatch]:
    pa = _pyarrow()
    with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
        yield from stream


def _unreadable(path: Path, error: Exception) -> Exception:
    return bad_input(f"not a readable data file ({' '.join(str(error).split())[:200]})", file=path,
                     hint="is it complete?")  # fmt: skip
