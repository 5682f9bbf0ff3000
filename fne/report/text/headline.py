"""The report's first sentences, made from the numbers: does the method beat the baseline, and who is best."""

from __future__ import annotations

import math

from fne.report.figures.picks import percent_of
from fne.report.text.contrast_text import answer, attainable
from fne.report.text.summary import paired_elsewhere, paired_interval, pick_share, ranked, shared_phrase, truth_kind
from fne.report.text.wording import for_which, metric_name, number, p_equals, percent, signed, span, tested
from fne.results.configs import diff
from fne.results.study import Contrast, StudyResults
from fne.study.api import resolve
from fne.utils.min_seeds import ALPHA
from fne.utils.text import clean


def headline(study: StudyResults) -> tuple[str, ...]:
    """Plain sentences; the first answers the study's question as far as its numbers can."""
    order = ranked(study)
    if not order:
        return ("No run of this study has a result yet.",)
    sentences = answer(study)
    sentences += _method(study, dict(order)) + ([] if sentences else [_best(study, attainable(study) or order)])
    sentences += _elimination(study, dict(order)) + _picks(study)
    missing = sum(1 for variant in study.variants for seed in study.seeds if seed not in study.values(variant.id))
    if missing:
        requested = len(study.variants) * len(study.seeds)
        sentences.append(
            f"{missing} of {requested} runs {'has' if missing == 1 else 'have'} no result; the main table says why."
        )
    return tuple(sentences)


def _best(study: StudyResults, order: list[tuple[str, float]]) -> str:
    what = metric_name(study)
    (best, mean), rest = order[0], order[1:]
    first = f"Best mean {what}: {_name(study, best)} with {percent(mean)}"
    if not rest:
        return first + ", the only variant with a result."
    second = f"{_name(study, rest[0][0])} ({percent(rest[0][1])})"
    low, high = paired_interval(study, best, rest[0][0])
    if low > 0:
        which = for_which(study, low, high, paired_elsewhere(study, best, rest[0][0]))
        return f"{first}; it is ahead of the runner-up, {second}, beyond what seeds and images explain{which}."
    lead = f"its lead over the runner-up, {second}"
    if math.isnan(low):
        return f"{first}; {_seeds(len(study.values(best)))} cannot show whether {lead}, is chance."
    return f"{first}; {lead}, is not supported by the interval of their difference."


def _method(study: StudyResults, means: dict[str, float]) -> list[str]:
    base = _name(study, study.baseline)
    if study.method not in study.definition.variants or study.baseline == study.method:
        return []
    if study.method not in means or study.baseline not in means:
        without = _name(study, study.method if study.method not in means else study.baseline)
        return [f"Whether FNE beats the baseline cannot be said: {without} has no result."]
    contrast = study.contrast(study.method)
    what, fne = metric_name(study), _name(study, study.method)
    if contrast is None:
        return [f"Whether {fne} beats the baseline, {base}, cannot be said: they share no finished seed."]
    if not math.isfinite(contrast.low):
        direction = "higher" if contrast.difference > 0 else "lower" if contrast.difference < 0 else "different"
        return [
            f"{fne} is {number(abs(100 * contrast.difference))} {what} points {direction} than the baseline, "
            f"{base}, but {_seeds(contrast.n_seeds)} cannot show whether that is chance."
        ]
    interval = span(contrast.low, contrast.high, sign=True)
    summary = f"{signed(contrast.difference)} {what} {interval}, {_seeds(contrast.n_seeds)}{_p(study, contrast)}"
    narrow = contrast.p_holm >= ALPHA  # NaN: no test is available
    how = for_which(study, contrast.low, contrast.high, (contrast.low_elsewhere, contrast.high_elsewhere))
    how += ", by this interval alone and not after Holm's correction" if narrow else ""
    if contrast.low > 0:
        return [f"{fne} {'is ahead of' if narrow else 'beats'} the baseline, {base}{how}: {summary}."]
    if contrast.high < 0:
        return [
            f"{fne} does not win: it is {'behind' if narrow else 'worse than'} the baseline, {base}{how}: {summary}."
        ]
    return [f"{fne} does not win: no difference to the baseline, {base}, is shown: {summary}."]


def _elimination(study: StudyResults, means: dict[str, float]) -> list[str]:
    """What the elimination itself adds: the method against the method without it."""
    if study.method not in means or study.control not in means:
        return []
    shared = sorted(set(study.values(study.method)) & set(study.values(study.control)))
    low, high = paired_interval(study, study.method, study.control)
    if not shared or not math.isfinite(low):
        return []
    mine, its = study.values(study.method), study.values(study.control)
    difference = sum(mine[seed] - its[seed] for seed in shared) / len(shared)
    summary = f"{signed(difference)} {metric_name(study)} {span(low, high, sign=True)}"
    verdict = "it helps" if low > 0 else "it hurts" if high < 0 else "no difference is shown"
    verdict += for_which(study, low, high, paired_elsewhere(study, study.method, study.control))
    configs = (resolve(study.definition, name) for name in (study.method, study.control))
    which = f"{_name(study, study.method)} minus {_name(study, study.control)}"
    if any(not key.startswith("negatives.") for key in diff(*configs)):  # tuned one by one
        return [f"{which}: {summary}; not the effect of the elimination alone, since the two were tuned separately."]
    return [f"What the elimination itself adds, {which}: {summary}; {verdict}."]


def _picks(study: StudyResults) -> list[str]:
    if study.method not in study.definition.variants or study.method == study.baseline:
        return []
    mine, its = (pick_share(study, name) for name in (study.method, study.baseline))
    if mine is None or its is None:
        return []
    known = "are in truth matches"
    if truth_kind(study, "train") != "exact":
        known = "are known to be matches, as few of those that are can be,"
    return [
        f"Of the negatives picked in {shared_phrase(study)}, {percent_of(mine.value)} {known} under "
        f"{_name(study, study.method)}, against {percent_of(its.value)} under {_name(study, study.baseline)}."
    ]


def _name(study: StudyResults, variant: str) -> str:
    return clean(study.definition.library[variant].title)


def _p(study: StudyResults, contrast: Contrast) -> str:
    shown = p_equals(contrast.p_holm, contrast.p_holm_floor)
    return f"; {shown} {tested(study)}, after Holm" if shown else ""


def _seeds(count: int) -> str:
    return f"{count} seed{'s' if count != 1 else ''}"
