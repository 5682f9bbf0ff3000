"""The answer of a series in sentences made from its numbers: who loses first, or where variance comes from."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fne.report.figures.picks import percent_of
from fne.report.series.components import sentences
from fne.report.series.results import Effect, SeriesResults
from fne.report.text.wording import listing, percent, signed, span


@dataclass(frozen=True)
class Loss:
    """The first value at which a strategy is shown to have fallen behind the reference since the first world."""

    variant: str
    member: str
    effect: Effect


def losses(series: SeriesResults) -> list[Loss]:
    """Strategies that are shown to lose, in the order in which they do; of several at one value the largest loss first.

    A strategy loses where its paired difference to the reference has fallen since the first world and the whole
    interval of that change lies below zero.
    """
    result = []
    for variant in series.strategies:
        for member in series.members[1:]:
            effect = series.effect(member, variant, series.primary, series.reference, grown=True)
            if effect is not None and effect.high < 0:
                result.append(Loss(variant, member, effect))
                break
    return sorted(result, key=lambda loss: (series.members.index(loss.member), loss.effect.estimate))


def answer(series: SeriesResults) -> tuple[str, ...]:
    """The first sentence answers the question; the others say who follows, who holds, and what was picked.

    Where more varies than one chosen value: where the variance comes from, and in how many cells variants differ.
    """
    if not series.definition.grows:
        return (*(sentences(series) if series.definition.random else ()), _cells(series))
    return (_first(series), *_rest(series), *_chance(series), *_picks(series), *_control(series))


def _first(series: SeriesResults) -> str:
    against = f"the {'oracle' if series.ceiling else 'baseline'}, {series.title_of(series.reference)}"
    start, end = series.at(series.members[0]), series.at(series.members[-1])
    grown = _grown(series)
    if not grown:
        return f"Which strategy loses against {against}, cannot be said: no two worlds have results of both."
    if not any(math.isfinite(effect.high) for effect in grown):
        seeds = max(effect.n_seeds for effect in grown)
        why = f"{seeds} seed{'s' if seeds != 1 else ''} cannot show whether a change is chance"
        return f"Which strategy loses against {against}, cannot be said: {why}."
    result = losses(series)
    if not result:
        return f"No strategy is shown to lose against {against}, between {series.leaf} {start} and {end}."
    first = result[0]
    return (
        f"{series.title_of(first.variant)} is the first to lose against {against}: at {series.leaf} "
        f"{series.at(first.member)} its difference to it has fallen by {_fall(series, first.effect)} since "
        f"{series.leaf} {start}."
    )


def _cells(series: SeriesResults) -> str:
    """In how many cells each variant is behind the baseline, or ahead of it, by the interval of the cell."""
    summary, levels = [], set()
    for variant in (name for name in series.variants if name != series.baseline):
        every = (series.effect(member, variant, series.primary, series.baseline) for member in series.members)
        result = [effect for effect in every if effect is not None and math.isfinite(effect.high)]
        counts = {
            "behind": sum(effect.high < 0 for effect in result), "ahead": sum(effect.low > 0 for effect in result)
        }  # fmt: skip
        levels |= {effect.level for effect in result}
        words = [f"{side} in {times} of {len(result)}" for side, times in counts.items() if times]
        if result:
            neither = f"neither behind nor ahead in any of {len(result)}"
            summary.append(f"{series.title_of(variant)} {' and '.join(words) or neither}")
    base = f"the baseline, {series.title_of(series.baseline)}"
    if not summary:
        return f"In which cells a variant differs from {base}, cannot be said: too few seeds have a result."
    level = "/".join(f"{100 * level:g}" for level in sorted(levels))
    return f"Against {base}, by the {level} % interval of each cell: {listing(summary)}."


def _rest(series: SeriesResults) -> list[str]:
    result = losses(series)
    lost = {loss.variant for loss in result}
    sentences = []
    if result[1:]:
        summary = [
            f"{series.title_of(loss.variant)} at {series.at(loss.member)} (by {_fall(series, loss.effect)})"
            for loss in result[1:]
        ]
        sentences.append(f"The next: {listing(summary)}.")
    last = series.members[-1]
    held = [
        f"{series.title_of(variant)} ({_in_words(series, effect)})"
        for variant in series.strategies
        if variant not in {*lost, series.reference}
        and (effect := series.effect(last, variant, series.primary, series.reference, grown=True)) is not None
    ]
    if result and held:
        sentences.append(f"Not shown to lose, with the change at {series.at(last)}: {listing(held)}.")
    return sentences


def _chance(series: SeriesResults) -> list[str]:
    """Many intervals were looked at, each with its own chance of excluding zero."""
    looked = [effect for effect in _grown(series) if math.isfinite(effect.high)]
    if not losses(series):
        return []
    by_chance = sum((1 - effect.level) / 2 for effect in looked)
    return [
        f"These are {len(looked)} changes, each judged by its own {100 * looked[0].level:g} % interval: if no strategy "
        f"lost, about {by_chance:.1f} would look like a loss."
    ]


def _picks(series: SeriesResults) -> list[str]:
    last = series.members[-1]
    shares = {
        variant: picked.value for variant in series.strategies if (picked := series.picked(last, variant)) is not None
    }
    if len(shares) < 2:
        return []
    most, least = max(shares, key=shares.__getitem__), min(shares, key=shares.__getitem__)
    return [
        f"At {series.leaf} {series.at(last)}, {percent_of(shares[most])} of what {series.title_of(most)} picks are "
        f"false negatives, the most of all; the fewest has {series.title_of(least)} with {percent_of(shares[least])}."
    ]


def _control(series: SeriesResults) -> list[str]:
    """Where nothing is false, the oracle has nothing to remove."""
    member = series.members[0]
    effect = series.effect(member, series.baseline, series.primary, series.ceiling or "") if series.ceiling else None
    if effect is None or any(series.measured(member, split) != 0 for split in ("train", "test")):
        return []
    base = f"the baseline, {series.title_of(series.baseline)}"
    if effect.estimate == 0 and effect.low == 0 and effect.high == 0:
        return [f"Control: without a false negative, the oracle and {base}, have equal scores, as they must."]
    return [
        f"Control: without a false negative, {base}, differs from the oracle by {_in_words(series, effect)}; where "
        "both are trained with equal values this is exactly nothing."
    ]


def _grown(series: SeriesResults) -> list[Effect]:
    result = (
        series.effect(member, variant, series.primary, series.reference, grown=True)
        for variant in series.strategies
        for member in series.members[1:]
    )
    return [effect for effect in result if effect is not None]


def _fall(series: SeriesResults, effect: Effect) -> str:
    """A loss as a positive number."""
    turned = span(-effect.high, -effect.low)
    return f"{percent(-effect.estimate)} {series.metric(series.primary)} {turned}"


def _in_words(series: SeriesResults, effect: Effect) -> str:
    interval = span(effect.low, effect.high, sign=True)
    return f"{signed(effect.estimate)} {series.metric(series.primary)}" + (f" {interval}" if interval else "")
