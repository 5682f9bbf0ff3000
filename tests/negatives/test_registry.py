"""Rules that declare themselves: what a class must say, and what is refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fne.negatives import registry
from fne.negatives.registry import installed, registered
from fne.utils.errors import UserError

RULE = '''
from typing import Annotated, Literal
from pydantic import Field
from fne.negatives.strategy import Strategy
from fne.utils.fields import When

class Tried(Strategy):
    """Takes the first candidate."""
    name = "tried"
    def __init__(self, *, width: Annotated[float, Field(ge=0), "how wide"] = 0.5) -> None:
        self.width = width
'''
WIDTH = 'width: Annotated[float, Field(ge=0), "how wide"] = 0.5'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of its own, in which rules are searched for."""
    for package in ("negatives", "losses"):
        (tmp_path / package).mkdir()
    monkeypatch.setattr(registry, "PACKAGE", tmp_path)
    for cached in (registered, registry._installed):
        cached.cache_clear()
    yield tmp_path / "negatives"
    for cached in (registered, registry._installed):
        cached.cache_clear()


def refused(folder: Path, text: str) -> str:
    (folder / "tried.py").write_text(text)
    with pytest.raises(UserError) as caught:
        registry.check_conditions(dict(registered("negatives")["tried"].keys), ["train.epochs"], folder / "tried.py")
    assert "tried.py" in str(caught.value)
    return str(caught.value)


def test_one_file_is_a_rule(folder: Path) -> None:
    (folder / "tried.py").write_text(RULE)
    (entry,) = registered("negatives").values()
    assert (entry.name, entry.target) == ("tried", "fne.negatives.tried:Tried")
    assert entry.summary == "Takes the first candidate"
    (key,) = entry.keys.values()
    assert (key.default, key.meaning, key.allowed()) == (0.5, "how wide", "a number >= 0")


@pytest.mark.parametrize(
    ("old", "new", "saying"),
    [
        (WIDTH, 'width: Annotated[float, Field(ge=0), "how wide"]', "no default"),
        (WIDTH, 'width: Annotated[float, "how wide"] = 0.5', "no range"),
        (WIDTH, "width: Annotated[float, Field(ge=0)] = 0.5", "no reason"),
        (WIDTH, 'width: Annotated[Literal["a"], "how wide"] = "b"', "choices"),
        ("Field(ge=0)", "Field(ge=)", "SyntaxError"),
        ("Field(ge=0)", "Field(ge=1)", "out of range"),
        ("(Strategy)", "(Strategy, object)", "source alone"),
        ("= 0.5", "= float(1)", "source alone"),
        ("Field(ge=0)", 'Field(ge=0), When({"width": (1.0,)})', "itself"),
        ("Field(ge=0)", 'Field(ge=0), When({"depth": (1.0,)})', "unknown key"),
    ],
)
def test_an_option_is_complete_and_does_not_contradict_itself(folder: Path, old: str, new: str, saying: str) -> None:
    assert RULE.count(old) == 1
    assert saying in refused(folder, RULE.replace(old, new))


def test_two_rules_of_one_name_are_refused(folder: Path) -> None:
    (folder / "another.py").write_text(RULE.replace("class Tried", "class Another"))
    message = refused(folder, RULE)
    assert "fne.negatives.another:Another" in message and "'tried'" in message


@pytest.mark.parametrize(("name", "also"), [("hardest", "fne.negatives.hardest:HardestNegative"), ("mine", "_rules:")])
def test_a_plugin_that_shadows_another_rule_is_refused(tmp_path: Path, monkeypatch, name: str, also: str) -> None:
    for place in ("one", "two"):
        info = tmp_path / f"{place}_rules-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {place}-rules\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[fne.strategies]\n{name} = {place}_rules:Rule\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError) as caught:
        installed("fne.strategies")
    assert f"{name}: " in str(caught.value) and also in str(caught.value)
