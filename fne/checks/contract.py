"""What every rule promises, whoever wrote it: run on small tensors; a breach names the promise and how it is broken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from fne.negatives.registry import Entry
from fne.utils.errors import bad_input

LEADS = ((), (2,), (2, 3))
"""Leading axes of the inputs."""
Promise = tuple[str, Callable[..., None], Iterable[tuple[Any, ...]]]
"""What a rule promises, in words; the check that raises :class:`Breach` where it does not hold; what it is run on."""
ONCE: Iterable[tuple[Any, ...]] = [()]
"""Run on nothing."""


class Breach(Exception):
    """A promise does not hold; the text says how."""


@contextmanager
def calling(what: str, label: str) -> Iterator[None]:
    """Turn whatever a rule's method raises into a breach that says on which input.

    Args:
        what: The call, such as ``select``.
        label: The input.

    >>> with calling("select", "two anchors"):
    ...     [][0]
    Traceback (most recent call last):
        ...
    fne.checks.contract.Breach: select raised IndexError: list index out of range (two anchors)
    """
    try:
        yield
    except Breach:
        raise
    except Exception as error:
        raise Breach(f"{what} raised {type(error).__name__}: {error} ({label})") from error


def demand(holds: torch.Tensor | bool, how: str, label: str) -> None:
    """Raise a breach unless everything holds; of a tensor per anchor it says for how many it does not.

    Args:
        holds: A truth value, or (...) bool.
        how: What is wrong where it does not hold.
        label: The input.

    >>> demand(torch.tensor([True, False]), "the weight is negative", "two anchors")
    Traceback (most recent call last):
        ...
    fne.checks.contract.Breach: the weight is negative for 1 of 2 (two anchors)
    """
    if isinstance(holds, torch.Tensor):
        if not bool(holds.all()):
            raise Breach(f"{how} for {int((~holds).sum())} of {holds.numel()} ({label})")
    elif not holds:
        raise Breach(f"{how} ({label})")


def same(left: torch.Tensor | None, right: torch.Tensor | None) -> bool:
    """Do two tensors agree to rounding, NaN with NaN? None agrees with None.

    >>> same(torch.tensor([0.1 + 0.2, torch.nan]), torch.tensor([0.3, torch.nan])), same(None, torch.ones(1))
    (True, False)
    """
    if left is None or right is None:
        return left is right
    try:
        torch.testing.assert_close(left, right, equal_nan=True)
    except AssertionError:
        return False
    return True


@contextmanager
def unchanged(values: Mapping[str, Any], label: str) -> Iterator[None]:
    """Raise a breach where one of these tensors is changed in place; values that are no tensors are passed over."""
    before = {name: value.clone() for name, value in values.items() if isinstance(value, torch.Tensor)}
    yield
    for name, value in before.items():
        demand(torch.equal(values[name], value), f"{name} is changed in place", label)


def replicate(values: Mapping[str, Any], place: tuple[int, ...]) -> dict[str, Any]:
    """One replicate of these tensors; values that are no tensors are every replicate's."""
    return {name: value[place] if isinstance(value, torch.Tensor) else value for name, value in values.items()}


def check(entry: Entry, section: str, keywords: Mapping[str, Any], name: str, *, quick: bool = False) -> list[str]:
    """Run the contract on a rule; draws from no global random stream.

    Args:
        entry: The rule.
        section: ``negatives`` for a strategy, ``loss`` for a loss.
        keywords: What it is built with.
        name: What an error calls it.
        quick: A few inputs only, as at the start of training.

    Returns:
        What holds, in words.

    Raises:
        UserError: A broken promise, and how it is broken.

    >>> from fne.negatives.registry import registered
    >>> check(registered("negatives")["hardest"], "negatives", {}, "hardest", quick=True)[0]
    'answers every input with a Selection'
    """
    from fne.checks.loss import promises as of_loss
    from fne.checks.strategy import promises as of_strategy

    loaded = entry.load()
    promises: Callable[..., Iterator[Promise]] = of_strategy if section == "negatives" else of_loss
    held = []
    with torch.random.fork_rng(devices=[]):
        try:
            for promise, holds, over in promises(lambda: loaded(**keywords), entry.negatives, quick):
                held.append(promise)
                for inputs in over:
                    holds(*inputs)
        except Breach as breach:
            problem = f"breaks the contract '{held[-1]}': {breach}"
            raise bad_input(problem, file=entry.file, key=name) from breach
    return held
