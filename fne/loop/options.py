"""Options of strategies and losses that a training loop gives itself: checked as those of a config are."""

from __future__ import annotations

import functools
from typing import Any

from fne.negatives.registry import Entry
from fne.study.model import SHARED
from fne.utils.errors import UserError


def checking(kind: type, entry: Entry) -> type:
    """Let a rule's class check the options that it is called with, and return it.

    A number, choice or range that a study refuses is a ``ValueError`` here: else a name that is not spelled right
    would be another rule, in silence.

    Args:
        kind: The class.
        entry: Its options.
    """
    if kind in _CHECKING:
        return kind
    plain: Any = vars(kind).get("__init__")
    if plain is None:  # it has no options
        return kind
    keys = {key.rpartition(".")[2]: SHARED[key] for key in entry.shares if key in SHARED} | dict(entry.options)

    @functools.wraps(plain)
    def init(self: Any, *others: Any, **options: Any) -> None:
        if type(self) is kind:
            for name, value in options.items():
                if name in keys and isinstance(value, bool | int | float | str | None):
                    try:
                        keys[name].check(value, None, f"{kind.__name__}: {name}")
                    except UserError as error:
                        raise ValueError(str(error)) from None
        plain(self, *others, **options)

    setattr(kind, "__init__", init)  # noqa: B010 - of a class in general, mypy allows no assignment
    _CHECKING.add(kind)
    return kind


_CHECKING: set[type] = set()
