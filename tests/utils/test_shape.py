"""A shape names what a JSON file holds; what does not fit is named by its place."""

from __future__ import annotations

from typing import Any

import pytest

from fne.utils.errors import UserError
from fne.utils.shape import ANY, check

SHAPE = {"a": int, "b?": [{"c": float}], "d": {ANY: {str, None}}, "e": ({"f": bool},), "g": object}
FITS: dict[str, Any] = {"a": 1, "b": [{"c": 2}, {"c": 2.5}], "d": {"x": None, "y": "z"}, "e": None, "g": [{}]}


@pytest.mark.parametrize("change", [{}, {"e": {"f": True}}, {"d": {}}, {"more": 1}, {"g": None}])
def test_what_fits(change: dict[str, Any]) -> None:
    check({**FITS, **change}, SHAPE, "a.json", more=True)
    check({key: value for key, value in FITS.items() if key != "b"}, SHAPE, "a.json", more=True)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"a": True}, "a: wrong kind; got True; allowed: an integer"),
        ({"a": 1.0}, "a: wrong kind; got 1.0"),
        ({"a": 2**63}, "a: wrong kind"),
        ({"a": None}, "a: wrong kind; got 'null'"),
        ({"b": {}}, "b: wrong kind; got 'dict of 0'; allowed: a list"),
        ({"b": [{"c": float("nan")}]}, r"b\[0\].c: wrong kind; got nan; allowed: a finite number"),
        ({"b": [{"c": 1}, {}]}, r"b\[1\].c: entry is missing"),
        ({"b": [3]}, r"b\[0\]: wrong kind; got 3; allowed: a mapping"),
        ({"d": {"x": 3}}, "d.x: wrong kind; got 3; allowed: a text or null"),
        ({"e": {}}, "e.f: entry is missing"),
        ({"e": {"f": 1}}, "e.f: wrong kind; got 1; allowed: true or false"),
    ],
)
def test_what_does_not_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=f"a.json: {words}.*again"):
        check({**FITS, **change}, SHAPE, "a.json", more=True, hint="again")


def test_a_strict_shape_allows_no_more() -> None:
    with pytest.raises(UserError, match="more: unknown key"):
        check({"a": 1, "more": 2}, {"a": int, "b?": int}, "a.json")
    with pytest.raises(UserError, match="not empty"):
        check({}, {ANY: int}, "a.json")
