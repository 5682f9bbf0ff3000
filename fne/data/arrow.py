"""Reading a Hugging Face ``datasets`` folder: saved with ``save_to_disk``, or parquet files as on the hub.

Pictures inside the files are written out, byte for byte, when the data set is prepared. Needs ``pyarrow``.

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
from fne.data.tabular import CAPTION, IMAGE, IMAGE_ID, check_names, pick, several_in, to_record
from fne.data.text_files import read_json
from fne.utils.errors import bad_input
from fne.utils.progress import Progress

if TYPE_CHECKING:
    import pyarrow

SUFFIXES = (".parquet", ".arrow")
ROWS = 256
"""Rows read at once: with their pictures some tens of megabytes."""


def read(folder: Path) -> tuple[list[Record], bool]:
    """Read the rows of all files below a folder, without the pictures.

    Returns:
        The rows, and whether the pictures are inside the files.

    Raises:
        UserError: ``pyarrow`` is missing, there is no such file, or a row cannot be used.
    """
    records, embedded = [], set()
    for path, split in data_files(folder):
        schema = _schema(path)
        fields = schema.names
        picture = _picture(schema)
        embedded.add(picture is not None)
        named = [name for name in IMAGE[1:] if name in fields]
        several = several_in(fields)
        if not several:
            pick(fields, CAPTION, path, "columns", "the caption")
        if picture is None or not named:
            pick(fields, IMAGE, path, "columns", "the image")
        wanted = (*CAPTION, *several, *IMAGE, *IMAGE_ID, "split", "sentids", "filepath")
        shown = [name for name in wanted if name in fields]
        if "split" in fields:
            # Some sets on the hub lie in files named `test` as a whole; what the rows say counts.
            split = None
        for number, row in enumerate(_rows(path, shown, with_bytes=False)):
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
        elif isinstance(row.get(key), list) and row[key] and all(isinstance(one, dict) for one in row[key]):
            row = {**row, "sentids": [one.get("sentid") for one in row[key]], key: [one.get("raw") for one in row[key]]}
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
    wanted = {item.file for item in items}
    progress = Progress("write pictures", len(wanted), "images")
    written: dict[str, tuple[bytes, Path, str]] = {}
    for path, _ in data_files(folder):
        schema = _schema(path)
        picture = _picture(schema) or ""
        named = [name for name in IMAGE[1:] if name in schema.names]
        for number, row in enumerate(_rows(path, [picture, *named[:1]], with_bytes=True)):
            where = f"row {number}"
            file = _name(path, where, row, picture, named)
            file = file if file in wanted else posixpath.basename(file)
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
    progress.close()


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
    found: list[tuple[Path, str | None]] = []
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
            found.append((path, _named_split(place) or _named_split(str(stored.get("_split")))))
    if not states:
        # Files `cache-*.arrow` are intermediate results of earlier programs.
        files = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES]
        found = [
            (path, _named_split(path.relative_to(folder).as_posix()))
            for path in sorted(files)
            if not path.name.startswith("cache-")
        ]
    if not found:
        raise bad_input("not a folder of a data set", file=folder, key="data.annotations",
                        allowed="state.json and *.arrow as of save_to_disk, or *.parquet")  # fmt: skip
    return found


def _named_split(text: str) -> str | None:
    """The one split that a file's name or place speaks of."""
    found = {SPLIT_OF[word] for word in re.findall(r"[^\W\d_]+", text.casefold()) if word in SPLIT_OF}
    return found.pop() if len(found) == 1 else None


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise bad_input(
            "reading a Hugging Face data set needs pyarrow, which is not installed",
            key="data.annotations",
            hint="install it: pip install -e '.[arrow]' -c constraints.txt",
        ) from None
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
    inside = {kind.field(at).name for at in range(kind.num_fields)} if str(kind).startswith("struct<") else set()
    return "image" if {"bytes", "path"} <= inside else None


def _rows(path: Path, columns: Sequence[str], with_bytes: bool) -> Iterator[dict[str, Any]]:
    """The rows of a file; of a struct of a picture only the path, unless ``with_bytes``."""
    pa = _pyarrow()
    picture = _picture(_schema(path))
    try:
        if path.suffix.lower() == ".parquet":
            leaves = [f"{name}.path" if name == picture and not with_bytes else name for name in columns]
            with pa.parquet.ParquetFile(path) as file:
                for batch in file.iter_batches(batch_size=ROWS, columns=leaves):
                    batch.validate(full=True)
                    yield from batch.to_pylist()
            return
        with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as stream:
            for whole in stream:
                whole.validate(full=True)  # offsets of a damaged file lead outside of it
                for start in range(0, whole.num_rows, ROWS):
                    batch = whole.slice(start, ROWS).select(list(columns))
                    if picture in columns and not with_bytes:
                        at = batch.schema.get_field_index(picture)
                        paths = batch.column(at).field("path")
                        batch = batch.set_column(at, picture, pa.StructArray.from_arrays([paths], ["path"]))
                    yield from batch.to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> Exception:
    return bad_input(f"not a readable data file ({' '.join(str(error).split())[:200]})", file=path,
                     hint="is it complete?")  # fmt: skip
