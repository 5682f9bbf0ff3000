"""A bundle: tidy tables and ``bundle.json`` in a folder or a zip file; the same results give the same bytes."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fne.results.schema import TABLES, Column, parse_table
from fne.utils.errors import bad_input
from fne.utils.files import (
    MOST_RECORD,
    atomic_folder,
    atomic_path,
    check_record,
    parse_json,
    read_bytes,
    reading,
    sha256_bytes,
)
from fne.utils.shape import ANY

if TYPE_CHECKING:
    import pandas as pd

FACTS, README = "bundle.json", "README.md"
AGAIN = "export the study again"
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
    "tables": {ANY: {"files": {ANY: str}}},
}
"""What is read of ``bundle.json``, which may hold more."""
MOST_BYTES = 1 << 27
"""Of all files of a bundle together, unpacked."""
MOST_ROWS = {"audit": 500_000, "images": 1_000_000, "ranks": 500_000}
"""Rows beyond which a table of single bins, images or queries is left out of a bundle, and said to be."""


@dataclass(frozen=True)
class Bundle:
    """A study's results, ready to be written or as they were read.

    Args:
        facts: The content of ``bundle.json``, but for its ``tables``.
        tables: Name -> content of the CSV file.
        source: What to call it in a message.
    """

    facts: Mapping[str, Any]
    tables: Mapping[str, bytes]
    source: str

    def table(self, name: str) -> pd.DataFrame:
        """A table.

        Raises:
            UserError: It or a column is missing, or a value is of another kind.
        """
        if name not in self.tables:
            raise bad_input("table is missing", file=self.source, key=name, hint=AGAIN)
        return parse_table(self.tables[name], TABLES[name][1], f"{self.source}: {name}.csv", AGAIN)


def columns_of(name: str, content: bytes) -> dict[str, Column]:
    """The columns that a table has, and what each is."""
    header = next(csv.reader([content.partition(b"\n")[0].decode()]))
    return {key: TABLES[name][1].get(key, Column("text", "Not described by this version.")) for key in header}


def rows_of(content: bytes) -> int:
    """How many rows a table has."""
    return content.count(b"\n") - 1


def write(bundle: Bundle, out: Path, readme: str) -> None:
    """Write a bundle as a folder, or as a zip file where ``out`` ends in ``.zip``.

    Raises:
        UserError: Something else than a bundle stands in the place.
    """
    _require_ours(out)
    files = {f"{name}.csv": content for name, content in bundle.tables.items()}
    entries = {
        name: {
            "row": TABLES[name][0],
            "rows": rows_of(content),
            "files": {f"{name}.csv": sha256_bytes(content)},
            "columns": {
                key: {"type": item.kind, "unit": item.unit, "meaning": item.meaning}
                for key, item in columns_of(name, content).items()
            },
        }
        for name, content in bundle.tables.items()
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
    """Read a bundle, each table compared with its SHA-256.

    Args:
        place: A folder or a zip file.

    Raises:
        UserError: It is no bundle, of another schema or too large, or a file is missing, cut short or damaged.
    """
    files = _contents(place)
    if FACTS not in files:
        raise bad_input("is no bundle: it holds no bundle.json", file=place, hint="`fne export STUDY` writes one")
    _require_small(place, len(files[FACTS]), MOST_RECORD)
    facts = check_record(parse_json(files[FACTS], place, FACTS, AGAIN), "bundle", SHAPE, place, AGAIN)
    tables = {}
    for name, entry in facts.pop("tables").items():
        file = f"{name}.csv"
        if file not in files or name not in TABLES:
            raise bad_input(f"{file} is missing, or no table of a bundle", file=place, hint=AGAIN)
        if sha256_bytes(files[file]) != entry["files"].get(file):
            problem = f"{file} is not what bundle.json says: cut short or edited"
            raise bad_input(problem, file=place, hint=AGAIN)
        tables[name] = files[file]
    return Bundle(facts, tables, str(place))


def _contents(place: Path) -> dict[str, bytes]:
    """The tables and ``bundle.json`` of a folder or zip file.

    Raises:
        UserError: It cannot be read, or is too large.
    """
    with reading(place, "is it a bundle? `fne export STUDY` writes one"):
        if place.is_dir():
            sizes = {file: file.stat().st_size for file in place.iterdir() if _is_read(file.name)}
            _require_small(place, sum(sizes.values()), MOST_BYTES)
            return {file.name: read_bytes(file, AGAIN, size) for file, size in sizes.items()}
        with zipfile.ZipFile(place) as archive:
            members = [item for item in archive.infolist() if _is_read(item.filename)]
            _require_small(place, sum(item.file_size for item in members), MOST_BYTES)
            if any(item.flag_bits & 1 for item in members):
                raise zipfile.BadZipFile("encrypted")
            return {Path(item.filename).name: _unpacked(archive, item) for item in members}


def _unpacked(archive: zipfile.ZipFile, item: zipfile.ZipInfo) -> bytes:
    """As many bytes of a member as it claims to have; reading it whole would unpack all, whatever it claims."""
    with archive.open(item) as handle:
        return handle.read(item.file_size)


def _is_read(name: str) -> bool:
    return name.endswith(".csv") or Path(name).name == FACTS


def _require_small(place: Path, size: int, most: int) -> None:
    if size > most:
        raise bad_input("larger than any bundle", file=place, value=size, allowed=f"at most {most:,} bytes")


def _require_ours(out: Path) -> None:
    """Refuse a place that holds anything but a bundle: nothing else may be lost."""
    if not out.exists():
        return
    names = {FACTS}
    if out.is_dir() and out.suffix != ".zip":
        names = {file.name for file in out.iterdir()}
    elif zipfile.is_zipfile(out) and out.suffix == ".zip":
        with reading(out), zipfile.ZipFile(out) as archive:
            names = {name.removeprefix(f"{out.stem}/") for name in archive.namelist()}
    else:
        names = {out.name}
    ours = {FACTS, README, *(f"{name}.{suffix}" for name in TABLES for suffix in ("csv", "parquet"))}
    if FACTS not in names or names - ours:
        problem = f"is there already and is no bundle: it holds {min(names - ours, default='no bundle.json')}"
        raise bad_input(problem, file=out, hint="name another place, or remove it")
