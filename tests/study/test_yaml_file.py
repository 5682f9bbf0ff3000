"""YAML that a person and YAML 1.1 read differently, and YAML that grows when it is read."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from fne.utils.errors import UserError
from fne.utils.yaml_file import LARGEST, parse, read_mapping


@pytest.mark.parametrize("text", ["010", "+07", "0x40", "0b11", "1:30", "1:30.5", "1_000", "007.5", "2026-01-02"])
def test_what_yaml_1_1_alone_reads_as_a_number_or_date_is_refused(text: str) -> None:
    for content in (f"a: {text}", f"a: [1, {text}]", f"a: {{deep: {text}}}", f"{text}: 1"):
        with pytest.raises(UserError, match=r"f.yaml: line 1, column .*or '.*' for text") as caught:
            parse(content, "f.yaml")
        assert text in str(caught.value)


@pytest.mark.parametrize(
    "text", ["0", "-0", "+5", "10", "1.5", ".5", "5.", "1.0e3", "1.5e-05", "-.inf", ".NaN", "0.10", "1e3", "0o17"]
)
def test_other_scalars_are_what_pyyaml_reads(text: str) -> None:
    assert repr(parse(text, "f.yaml")) == repr(yaml.safe_load(text))


@pytest.mark.parametrize("text", ['!!int ""', "!!bool maybe", "! x", "!!set {a}", "!x 1"])
def test_a_tag_is_refused_whatever_it_is_on(text: str) -> None:
    with pytest.raises(UserError, match=r"f.yaml: line 1, column 4: not valid YAML: a tag"):
        parse(f"a: {text}", "f.yaml")


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 12)
)


def test_more_than_any_configuration_has_is_not_read(tmp_path: Path) -> None:
    assert parse("a: &x [1, 2]\nb: *x\nc: *x\n", "f.yaml") == {"a": [1, 2], "b": [1, 2], "c": [1, 2]}
    for text in ("a: [" + "1," * 200_000 + "1]", BOMB, "&a [*a]", "a: &a {b: [1, {c: *a}]}"):
        with pytest.raises(UserError, match=r"holds more than 100000 values"):
            parse(text, "f.yaml")
    file = tmp_path / "a.yaml"
    file.write_bytes(b"a: 1\n#" + b" " * LARGEST)
    with pytest.raises(UserError, match=r"a.yaml: larger than any such file; allowed: at most 4,194,304 bytes"):
        read_mapping(file)


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_mapping(tmp_path / "a.yaml") == {"a": 1}
