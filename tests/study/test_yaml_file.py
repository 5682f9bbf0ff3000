"""YAML that a person and YAML 1.1 read differently, and YAML that grows when it is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from fne.utils.errors import UserError
from fne.utils.yaml_file import LARGEST, parse, read_mapping

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("010", "write 8, or 10 without the 0, or '010' for text"),
        ("0x40", "write 64, or '0x40'"),
        ("1:30", "write 90, or '1:30' for text"),
        ("1_000", "write 1000, or '1_000'"),
        ("2026-01-02", "a date to YAML 1.1: write '2026-01-02' for text"),
    ],
)
def test_what_yaml_1_1_alone_reads_as_a_number_is_refused_with_what_was_meant(text: str, meant: str) -> None:
    for place in (text, f"[1, {text}]", f"{{deep: {text}}}", f"{text}: 1"):
        with pytest.raises(UserError, match="f.yaml: line 1, column") as caught:
            parse(f"a: {place}" if place != f"{text}: 1" else place, "f.yaml")
        assert meant in str(caught.value)


@pytest.mark.parametrize("text", ["&a [*a]", "&a {b: *a}"])
def test_what_contains_itself_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="contains itself"):
        parse(text, "f.yaml")


def test_an_alias_may_be_used_but_not_multiply_without_end() -> None:
    assert parse("a: &x [1, 2]\nb: *x\nc: *x\n", "f.yaml") == {"a": [1, 2], "b": [1, 2], "c": [1, 2]}
    with pytest.raises(UserError, match=r"f.yaml: line \d+, column \d+: .*stands for more than 100000 values"):
        parse(BOMB, "f.yaml")


def test_a_file_too_large_for_configuration_is_not_read(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(b"a: 1\n#" + b" " * LARGEST)
    with pytest.raises(UserError, match=r"a.yaml: larger than any such file; allowed: at most 4,194,304 bytes"):
        read_mapping(file)


@pytest.mark.parametrize("text", ['!!int ""', "!!bool maybe", "!x 1"])
def test_a_tag_is_refused_whatever_it_is_on(text: str) -> None:
    with pytest.raises(UserError, match=r"f.yaml: line 1, column 4: not valid YAML: a tag"):
        parse(f"a: {text}", "f.yaml")
