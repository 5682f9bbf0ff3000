"""The report's first sentences, made from the numbers: does the method beat the baseline, and who is best."""

from __future__ import annotations

import math

import numpy as np

from fne.report.figures.picks import percent_of
from fne.report.text.contrast_text import answer, best, change, name
from fne.report.text.summary import pick_share, ranked, shared_phrase, truth_kind
from fne.report.text.wording import for_which, metric_name, p_equals, signed, span, tested
from fne.results.configs import diff
from fne.results.study import StudyResults
from fne.study.api import resolve
from fne.utils.min_seeds import ALPHA


def headline(study: StudyResults) -> tuple[str, ...]:
    """Plain sentences; the first answers the study's question as far as its numbers can."""
    if not ranked(study):
        return ("No run of this study has a result yet.",)
    sentences = answer(study)
    sentences += _method(study) + ([] if sentences else [f"{best(study)}."])
    sentences += _elimination(study) + _picks(study)
    requested = len(study.variants) * len(study.seeds)
    done = sum(seed in study.values(variant.id) for variant in study.variants for seed in study.seeds)
    if done < requested:
        verb = "has" if requested - done == 1 else "have"
        sentences.append(f"{requested - done} of {requested} runs {verb} no result; the main table says why.")
    return tuple(sentences)


def _method(study: StudyResults) -> list[str]:
    """The method against the baseline: the interval, and the test after Holm's correction."""
    if study.method not in study.definition.variants or study.baseline == study.method:
        return []
    fne, base, contrast = name(study, study.method), name(study, study.baseline), study.contrast(study.method)
    if contrast is None:
        return [f"Whether {fne} beats the baseline, {base}, cannot be said: no seed has a result of both."]
    seeds = f"{contrast.n_seeds} seed{'s' if contrast.n_seeds != 1 else ''}"
    summary = f"{signed(contrast.difference)} {metric_name(study)}"
    if not math.isfinite(contrast.low):
        return [f"{fne} against the baseline, {base}: {summary}, but {seeds} cannot show whether that is chance."]
    narrow = not contrast.p_holm < ALPHA  # also where no test is available
    how = for_which(study, contrast.low, contrast.high, (contrast.low_elsewhere, contrast.high_elsewhere))
    how += ", by this interval alone and not after Holm's correction" if narrow else ""
    verdict = f"{fne} does not win: no difference to the baseline, {base}, is shown"
    if contrast.low > 0:
        verdict = f"{fne} {'is ahead of' if narrow else 'beats'} the baseline, {base}{how}"
    elif contrast.high < 0:
        verdict = f"{fne} does not win: it is {'behind' if narrow else 'worse than'} the baseline, {base}{how}"
    p = p_equals(contrast.p_holm, contrast.p_holm_floor)
    test = f"; {p} {tested(study)}, after Holm" if p else ""
    return [f"{verdict}: {summary} {span(contrast.low, contrast.high, sign=True)}, {seeds}{test}."]


def _elimination(study: StudyResults) -> list[str]:
    """What the elimination itself adds: the method against the method without it."""
    if study.method is None or study.control not in study.definition.variants:
        return []
    difference = change(study, study.method, study.control)
    if not difference:
        return []
    if _posterior_unused(study):
        return [
            f"The posterior of {name(study, study.method)} decided about no candidate in any epoch, so nothing here is "
            "about the elimination: it is not used before more reliable positives than negatives.min_positives, and "
            "changes no weight where it stays below its threshold."
        ]
    which = f"{name(study, study.method)} minus {name(study, study.control)}: {difference}"
    configs = (resolve(study.definition, item) for item in (study.method, study.control))
    if any(not key.startswith("negatives.") for key in diff(*configs)):  # tuned one by one
        return [f"{which}; not the effect of the elimination alone, since the two were tuned separately."]
    return [f"What the elimination itself adds, {which}."]


def _posterior_unused(study: StudyResults) -> bool:
    """Has the method a posterior that never set a weight?"""
    curves = study.curves
    shares = curves.loc[curves["variant"] == study.method, ["override_share_i2t", "override_share_t2i"]].to_numpy(float)
    return bool(np.isfinite(shares).any() and not np.nansum(shares))


def _picks(study: StudyResults) -> list[str]:
    if study.method not in study.definition.variants or study.method == study.baseline:
        return []
    mine, its = (pick_share(study, item) for item in (study.method, study.baseline))
    if mine is None or its is None:
        return []
    known = "are in truth matches"
    if truth_kind(study, "train") != "exact":
        known = "are known to match (few matches are known here)"
    return [
        f"Of the negatives picked in {shared_phrase(study)}, {percent_of(mine.value)} {known} under "
        f"{name(study, study.method)}, against {percent_of(its.value)} under {name(study, study.baseline)}."
    ]
