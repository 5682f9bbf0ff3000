"""Trials of a search, ``ablations/tuned/<study>.csv``: what each training scored on validation, and what it was."""

from __future__ import annotations

import contextlib
import csv
import io
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fne.results.made_from import CODE, DATA, FEATURES, group_of
from fne.study.tuning import ROUNDS
from fne.utils.errors import bad_input
from fne.utils.files import as_csv, read_bytes, reading, sha256_text, write_text
from fne.utils.seeds import GREATEST
from fne.utils.text import unguarded

MADE_FROM = (DATA, FEATURES, CODE)
"""What a trial is known by, beside its config and its seed."""
COLUMNS = ("variant", "round", "seed", "val_rsum", "seconds", "digest", *MADE_FROM)
FINAL = "final"
"""In place of a round's number: a finalist, trained from a further seed."""
OTHER = "other"
"""In place of a round's number: of no round of the search as it is declared now; kept, so that it is not run again."""
ROUND_NAMES = (*(str(number) for number in range(1, 2 + ROUNDS)), FINAL, OTHER)
MOST_BYTES = 1 << 26


@dataclass(frozen=True)
class Trial:
    """One training of a search.

    Args:
        variant: Whose trial it is; a variant whose config is the same takes it over.
        round: 1, 2, 3, :data:`FINAL` or :data:`OTHER`.
        seed: Tuning seed.
        val_rsum: Selected validation rsum, 0 to 600; 0 of one that diverged.
        seconds: CPU time; on a GPU, time.
        digest: Of its config.
        made_from: Digests of data, features and code.
        values: What was tried, by key.
    """

    variant: str
    round: str
    seed: int
    val_rsum: float
    seconds: float
    digest: str
    made_from: Mapping[str, str]
    values: Mapping[str, Any]

    @property
    def key(self) -> tuple[str, int, str]:
        """What it is known by: config, seed, and what it was made from."""
        return self.digest, self.seed, "/".join(self.made_from[name] for name in MADE_FROM)


def inputs_of(fingerprints: Mapping[str, str]) -> dict[str, str]:
    """Digests of the data, and of the features (or encoders), that trainings are made from."""
    sides: dict[str, list[tuple[str, str]]] = {DATA: [], FEATURES: []}
    for name, value in sorted(fingerprints.items()):
        sides[DATA if group_of(name) == DATA else FEATURES].append((name, value))
    return {side: sha256_text(str(result))[:12] for side, result in sides.items()}


def write_trials(file: Path, trials: Iterable[Trial]) -> None:
    """Write trials, in their order; one column for each key that any of them tries."""
    trials = list(trials)
    keys = dict.fromkeys(key for trial in trials for key in trial.values)
    rows = [
        {**{name: getattr(item, name) for name in COLUMNS[:6]}, **item.made_from, **item.values}
        | {"val_rsum": f"{item.val_rsum:.2f}", "seconds": f"{item.seconds:.1f}"}
        for item in trials
    ]
    write_text(file, as_csv(rows, [*COLUMNS, *keys]))


def read_trials(file: Path) -> list[Trial]:
    """The trials of a file; none where there is no such file.

    Raises:
        UserError: It is no such table, or holds a trial twice: names the line and the column.
    """
    if not file.is_file():
        return []
    hint = "`fne tune` wrote it: take it from version control, or remove it and its trials are run again"
    content = read_bytes(file, hint, MOST_BYTES)
    with reading(file, hint):
        rows = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        header, listed = rows.fieldnames or [], [(rows.line_num, row) for row in rows]
    if missing := [name for name in COLUMNS if name not in header]:
        raise bad_input("has no such column", file=file, key=missing[0], allowed=COLUMNS, hint=hint)
    trials: dict[tuple[str, int, str], Trial] = {}
    for line, row in listed:
        at = f"line {line}"
        if None in row or None in row.values():
            raise bad_input("has more or fewer cells than the header", file=file, key=at, hint=hint)
        if row["round"] not in ROUND_NAMES:
            raise bad_input("is no round", file=file, key=f"{at}, round", value=row["round"], allowed=ROUND_NAMES,
                            hint=hint)  # fmt: skip
        numbers = {}
        for name, most in (("seed", GREATEST), ("val_rsum", 600), ("seconds", sys.float_info.max)):
            with contextlib.suppress(ValueError):
                numbers[name] = float(row[name])
            if not 0 <= numbers.get(name, -1) <= most:
                problem = f"must be a number, 0 to {most:g}"
                raise bad_input(problem, file=file, key=f"{at}, {name}", value=row[name], hint=hint)
        item = Trial(
            variant=row["variant"],
            round=row["round"],
            seed=int(numbers["seed"]),
            val_rsum=numbers["val_rsum"],
            seconds=numbers["seconds"],
            digest=row["digest"],
            made_from={name: row[name] for name in MADE_FROM},
            values={key: _value(row[key]) for key in header if key not in COLUMNS and row[key] != ""},
        )
        if trials.setdefault(item.key, item) is not item:
            raise bad_input("is a trial that stands above already", file=file, key=at, value=item.digest, hint=hint)
    return [*trials.values()]


def _value(cell: str) -> Any:
    """A value that was tried: a number where it was written as one."""
    for kind in (int, float):
        try:
            if str(value := kind(cell)) == cell:
                return value
        except ValueError:
            continue
    return unguarded(cell)
