"""Tables of results that a test changes, with their digests, so that the change is read."""

from __future__ import annotations

import csv
import hashlib
import json
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


def sign(*files: Path) -> None:
    """Let tables count as written by the harness as they stand."""
    for file in files:
        place, content = signed_in(file), file.read_bytes()
        known = json.loads(place.read_text()) if place.exists() else {"schema": 1, "files": {}}
        entry = {"rows": content.count(b"\n") - 1, "sha256": hashlib.sha256(content).hexdigest()}
        place.write_text(json.dumps(known | {"files": known["files"] | {file.name: entry}}))
