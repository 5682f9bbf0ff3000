"""Rules that declare themselves: what a class must say, and what is refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fne.negatives import registry
from fne.negatives.registry import installed, registered
from fne.utils.errors import UserError

RULE = '''"""A rule."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fne.negatives.strategy import Selection, Strategy


class Tried(Strategy):
    """Takes the first candidate.

    *Source*: none.
    """

    name = "tried"

    def __init__(self, *, width: Annotated[float, Field(ge=0), "how wide"] = 0.5) -> None:
        self.width = width
'''
WIDTH = 'width: Annotated[float, Field(ge=0), "how wide"] = 0.5'


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of its own, in which rules are looked for."""
    for room in ("negatives", "losses"):
        (tmp_path / room).mkdir()
    monkeypatch.setattr(registry, "PACKAGE", tmp_path)
    registered.cache_clear()
    registry._installed.cache_clear()
    yield tmp_path / "negatives"
    registered.cache_clear()
    registry._installed.cache_clear()


def refused(folder: Path, text: str) -> str:
    (folder / "tried.py").write_text(text)
    with pytest.raises(UserError) as caught:
        registered("negatives")
    assert "tried.py" in str(caught.value)
    return str(caught.value)


def test_one_file_is_a_rule(folder: Path) -> None:
    (folder / "tried.py").write_text(RULE)
    (entry,) = registered("negatives").values()
    assert (entry.name, entry.target) == ("tried", "fne.negatives.tried:Tried")
    assert entry.summary == "Takes the first candidate"
    (key,) = entry.keys.items()
    assert key[0] == "negatives.width" and (key[1].default, key[1].meaning) == (0.5, "how wide")
    assert key[1].allowed() == "a number >= 0"


@pytest.mark.parametrize(
    ("signature", "saying"),
    [
        ('width: Annotated[float, Field(ge=0), "how wide"]', "the option has no default"),
        ('width: Annotated[float, "how wide"] = 0.5', "the option has no range"),
        ('width: Annotated[int, "how wide"] = 1', "the option has no range"),
        ("width: float = 0.5", "the option has no range"),
        ("width: Annotated[float, Field(ge=0)] = 0.5", "the option has no reason"),
        ('width: Annotated[float, Field(ge=), "how wide"] = 0.5', "cannot be imported: SyntaxError"),
        ('width: Annotated[float, Field(gee=0), "how wide"] = 0.5', "has no range"),
        ('width: Annotated[float, Feld(ge=0), "how wide"] = 0.5', "must be told by its source alone"),
        ("width=0.5", "the option has no range"),
    ],
)
def test_an_option_needs_a_default_a_range_and_a_reason(folder: Path, signature: str, saying: str) -> None:
    message = refused(folder, RULE.replace(WIDTH, signature))
    assert saying in message, message


def test_two_rules_of_one_name_are_refused(folder: Path) -> None:
    (folder / "another.py").write_text(RULE.replace("class Tried", "class Another"))
    message = refused(folder, RULE)
    assert "two rules of one name" in message and "fne.negatives.another:Another" in message and "'tried'" in message


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("(Strategy)", "(Strategy, object)"),
        ("= 0.5", "= float(1)"),
        ('    name = "tried"', '    name = "tried"\n    if True:\n        needs = ()'),
    ],
)
def test_a_rule_is_told_by_its_source_alone(folder: Path, old: str, new: str) -> None:
    assert "must be told by its source alone" in refused(folder, RULE.replace(old, new))


@pytest.mark.parametrize(("name", "also"), [("hardest", "fne.negatives.hardest:HardestNegative"), ("mine", "")])
def test_a_plugin_that_shadows_another_rule_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, also: str
) -> None:
    for place in ("one", "two"):
        info = tmp_path / f"{place}_rules-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {place}-rules\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[fne.strategies]\n{name} = {place}_rules:Rule\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError) as caught:
        installed("fne.strategies")
    told = str(caught.value)
    assert f"{name}: " in told and (also or "_rules:Rule") in told and "uninstall one of them" in told


@pytest.mark.parametrize(
    ("annotation", "saying"),
    [
        ('Annotated[float, Field(ge=1), "why"] = 0.5', "out of range"),
        ('Annotated[Literal["a"], "why"] = "b"', "not one of the choices"),
        ('Annotated[int, Field(ge=0), "why"] = 0.5', "must be an integer"),
        ('Annotated[float, Field(ge="a"), "why"] = 0.5', "no type of an option"),
        ('Annotated[float, Field(ge=0), When({"width": (1.0,)}), "why"] = 0.5', "a condition on itself"),
        ('Annotated[float, Field(ge=0), When({"depth": (1.0,)}), "why"] = 0.5', "a condition on an unknown key"),
        ('Annotated[float, Field(ge=0), When({"depth": "abc"}), "why"] = 0.5', "When takes a mapping"),
        ('Annotated[float, Field(ge=0), When, "why"] = 0.5', "When takes arguments"),
    ],
)
def test_an_option_that_contradicts_itself_is_refused(folder: Path, annotation: str, saying: str) -> None:
    text = RULE.replace(WIDTH, f"width: {annotation}").replace("Annotated\n", "Annotated, Literal\n")
    text = text.replace("Strategy\n\n\n", "Strategy\nfrom fne.utils.fields import When\n\n\n", 1)
    (folder / "tried.py").write_text(text)
    with pytest.raises(UserError) as caught:
        keys = dict(registered("negatives")["tried"].keys)
        registry.check_conditions(keys, ["train.epochs"], folder / "tried.py")
    assert "tried.py" in str(caught.value) and saying in str(caught.value), caught.value
