"""The file of a search's trials: read as it was written, and every damage is one clear error."""

from __future__ import annotations

from pathlib import Path

import pytest

from fne.results.trials import COLUMNS, FINAL, Trial, read_trials, write_trials
from fne.utils.errors import UserError

MADE_FROM = {"data": "d1", "features": "f1", "code": "c1"}
TRIALS = [
    Trial("fne", "1", 1000, 461.25, 12.5, "ab", MADE_FROM, {"loss.margin": 0.1, "memory.size": 256}),
    Trial("infonce", "2", 1000, 0.0, 0.0, "cd", MADE_FROM, {"train.learning_rate": 1e-05}),
    Trial("fne", FINAL, 4294967295, 455.1, 99999.9, "ab", MADE_FROM, {"loss.margin": 0.1, "memory.size": 256}),
    Trial("random", "1", 0, 1.0, 1.0, "ef", {**MADE_FROM, "code": "c2"}, {}),
    Trial("hcl", "1", 0, 1.0, 1.0, "01", MADE_FROM,
          {"negatives.options.rule": "=a, \"b\"\nc", "negatives.guide_margin": -0.25}),
]  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_trials(tmp_path / "t.csv", TRIALS)
    return tmp_path / "t.csv"


def test_trials_are_read_as_they_were_written(file: Path) -> None:
    read = read_trials(file)
    assert read == TRIALS
    types = [[type(value) for value in item.values.values()] for item in TRIALS]
    assert [[type(value) for value in item.values.values()] for item in read] == types
    before = file.read_bytes()
    write_trials(file, read)
    assert file.read_bytes() == before, "what was read is written alike"
    assert before.decode().partition("\n")[0].split(",")[: len(COLUMNS)] == [*COLUMNS]


def test_no_file_has_no_trials_and_an_empty_search_reads_as_none(tmp_path: Path) -> None:
    assert read_trials(tmp_path / "t.csv") == []
    write_trials(tmp_path / "t.csv", [])
    assert read_trials(tmp_path / "t.csv") == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("variant,", "variants,", "variant: has no such column; allowed: variant, round"),
        ("461.25", "nan", "line 2, val_rsum: must be a number, 0 to 600; got 'nan'"),
        ("fne,1,1000", "fne,banana,1000", "line 2, round: is no round; got 'banana'; allowed: 1, 2, 3, final, other"),
        ("infonce,2,1000,0.00,0.0,cd", "random,2,1000,0.00,0.0,ab", "line 3: is a trial that stands above already"),
        (",1000,0.00", ",1000,0.00,7,7,7,7,7,7,7,7,7,7", "line 3: has more or fewer cells than the header"),
        ("461.25", '"461.25', ""),
    ],
)
def test_a_damaged_file_is_one_clear_error(file: Path, old: str, new: str, words: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(UserError) as caught:
        read_trials(file)
    message = str(caught.value)
    assert message.startswith(f"{file}: {words}") and "take it from version control, or remove it" in message
