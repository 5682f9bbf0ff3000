"""Tables of results that a test changes, with their digests, so that the change is read."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

from fne.results.schema import digests_file, verb_of
from fne.utils.files import write_csv


def edit(file: Path, change: Callable[[dict[str, str]], bool | None]) -> None:
    """Change the rows of a table; a row for which False is returned goes."""
    with open(file, encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    kept = [row for row in rows if change(row) is not False]
    write_csv(file, kept, list(rows[0]), raw=True, digests=signed_in(file).name)


def signed_in(file: Path) -> Path:
    """Where the digest of a table is noted: of a study by the verb that writes it, of a run in one file."""
    of_study = file.parent.parent.name == "results"
    return file.with_name(digests_file(verb_of(file.stem)) if of_study else "digests.json")
