"""The answer of a series in sentences made from its numbers: who loses first, or where variance comes from."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fne.protocols import OWN
from fne.report.figures.picks import percent_of
from fne.report.series.components import sentences
from fne.report.series.results import SeriesResults, Value
from fne.report.text.wording import listing, percent, span


@dataclass(frozen=True)
class Loss:
    """The first value at which a strategy is shown to have fallen behind the reference since the first world."""

    variant: str
    member: str
    effect: Value


def losses(series: SeriesResults) -> list[Loss]:
    """Strategies that are shown to lose, in the order in which they do; of several at one value the largest loss first.

    A strategy loses where its paired difference to the reference has fallen since the first world and the whole
    interval of that change lies below zero.
    """
    result: dict[str, Loss] = {}
    for loss in _changes(series):
        if loss.effect.high < 0:
            result.setdefault(loss.variant, loss)
    return sorted(result.values(), key=lambda loss: (series.members.index(loss.member), loss.effect.estimate))


def _changes(series: SeriesResults) -> list[Loss]:
    """Every change since the first world that has an interval."""
    return [
        Loss(variant, member, effect)
        for variant in series.strategies
        for member in series.members[1:]
        if (effect := series.effect(member, variant, series.primary, series.reference, grown=True)) is not None
        and math.isfinite(effect.high)
    ]


def answer(series: SeriesResults) -> tuple[str, ...]:
    """The first sentence answers the question; the others say who follows and what was picked.

    Where more varies than one chosen value: where the variance comes from, and in how many cells variants differ.
    """
    if not series.definition.grows:
        return (*(sentences(series) if series.definition.random else ()), _cells(series))
    against = f"the {'oracle' if series.ceiling else 'baseline'}, {series.title_of(series.reference)}"
    changes, result = _changes(series), losses(series)
    if not changes:
        return (f"Which strategy loses against {against}, cannot be said: no two worlds have results of enough seeds.",)
    if not result:
        ends = f"between {series.leaf} {series.at(series.members[0])} and {series.at(series.members[-1])}"
        return (f"No strategy is shown to lose against {against}, {ends}.", *_ceiling(series), *_picks(series))
    lost = [
        f"{series.title_of(loss.variant)} at {series.at(loss.member)} (by {percent(-loss.effect.estimate)} "
        f"{series.metric(series.primary)} {span(-loss.effect.high, -loss.effect.low)})"
        for loss in result
    ]
    level = changes[0].effect.level
    return (
        f"The first to lose against {against}, since {series.leaf} {series.at(series.members[0])}: {lost[0]}.",
        *([f"The next: {listing(lost[1:])}."] if lost[1:] else []),
        f"These are {len(changes)} changes, each by its own {100 * level:g} % interval: if no strategy lost, about "
        f"{len(changes) * (1 - level) / 2:.1f} would look like a loss.",
        *_ceiling(series),
        *_picks(series),
    )


def _ceiling(series: SeriesResults) -> list[str]:
    """Where the oracle that losses are measured against is itself behind the baseline in the last world."""
    last = series.members[-1]
    item = series.ceiling and series.effect(last, series.ceiling, series.primary, series.baseline)
    if not item or not item.high < 0:
        return []
    why = "; own captions alone are right there, so a true match ranked above them is an error"
    return [
        f"The oracle itself is behind the baseline at {series.leaf} {series.at(last)}, by {percent(-item.estimate)} "
        f"{series.metric(series.primary)} {span(-item.high, -item.low)}{why if series.primary[0] == OWN else ''}."
    ]


def _cells(series: SeriesResults) -> str:
    """In how many cells each variant is behind the baseline, or ahead of it, by the interval of the cell."""
    summary, level = [], 0.95
    for variant in (name for name in series.variants if name != series.baseline):
        every = (series.effect(member, variant, series.primary, series.baseline) for member in series.members)
        result = [effect for effect in every if effect is not None and math.isfinite(effect.high)]
        if result:
            behind, ahead = sum(effect.high < 0 for effect in result), sum(effect.low > 0 for effect in result)
            summary.append(f"{series.title_of(variant)} behind in {behind} and ahead in {ahead} of {len(result)}")
            level = result[0].level
    base = f"the baseline, {series.title_of(series.baseline)}"
    if not summary:
        return f"In which cells a variant differs from {base}, cannot be said: too few seeds have a result."
    return f"Against {base}, by the {100 * level:g} % interval of each cell: {listing(summary)}."


def _picks(series: SeriesResults) -> list[str]:
    last = series.members[-1]
    picked = {variant: series.picked(last, variant) for variant in series.strategies}
    shares = {variant: item.estimate for variant, item in picked.items() if item is not None}
    if len(shares) < 2:
        return []
    most, least = max(shares, key=shares.__getitem__), min(shares, key=shares.__getitem__)
    return [
        f"At {series.leaf} {series.at(last)}, {percent_of(shares[most])} of what {series.title_of(most)} picks are "
        f"false negatives, the most of all; the fewest has {series.title_of(least)} with {percent_of(shares[least])}."
    ]
