"""One sentence that answers a study's question, by what kind of study it is: rivals, oracles or sweeps."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fne.analysis.layout import Key
from fne.protocols import DIRECTIONS, OWN, TRUTH
from fne.report.text.summary import paired_elsewhere, paired_interval, ranked, truth_kind
from fne.report.text.wording import for_which, listing, metric_name, p_equals, percent, signed, span, spans, tested
from fne.results.configs import oracle_bases
from fne.results.study import StudyResults
from fne.utils.min_seeds import ALPHA
from fne.utils.text import clean

ORACLE = "negatives.oracle"
ORACLES = {
    "remove": ("the ceiling", "never picking a false negative"),
    "only": ("the floor", "always picking one where there is one"),
    "relabel": ("relabelling", "counting true matches as positives"),
}
"""An oracle's name and what it does, in words; others are named as the config names them."""
MIN_RULES = 3
"""Other rules beside FNE's that make a comparison of rivals."""


def oracle_pairs(study: StudyResults) -> list[tuple[str, str, str]]:
    """(variant, base, oracle): the base is the variant whose config, tuned values too, is the same without it."""
    bases, configs = oracle_bases(study.definition), study.definition.configs
    return [(variant, base, str(configs[variant][ORACLE])) for variant, base in bases.items()]


def attainable(study: StudyResults) -> list[tuple[str, float]]:
    """Variants with their means, best first, without those that know the truth."""
    configs = study.definition.configs
    return [(name, mean) for name, mean in ranked(study) if configs[name].get(ORACLE, "none") == "none"]


def answer(study: StudyResults) -> list[str]:
    """The sentence that answers the question of a study of rivals, oracles or sweeps; none for any other study."""
    configs, variants = study.definition.configs, study.definition.variants
    pairs = oracle_pairs(study)
    swept = [variant for variant in variants if study.definition.library[variant].swept]
    if pairs and {*variants} == {name for variant, base, _ in pairs for name in (variant, base)}:
        return oracles(study, pairs, brief=True)
    if 2 * len(swept) >= len(variants):
        return sweeps(study, swept)
    plain = [variant for variant in variants if configs[variant].get(ORACLE, "none") == "none"]
    rules = [(configs[v].get("negatives.strategy"), configs[v].get("loss.kind")) for v in plain]
    method = configs[study.method].get("negatives.strategy") if study.method else None
    own = [rule for rule in rules if method is not None and rule[0] == method]
    if own and 2 * len(own) < len(rules) and len({*rules} - {*own}) >= MIN_RULES:
        return [rivals(study)] if attainable(study) else []
    return []


def truth_sentences(study: StudyResults) -> list[str]:
    """What each oracle of the study changes, with both intervals; none in a study without one."""
    return oracles(study, oracle_pairs(study))


def rivals(study: StudyResults) -> str:
    """Who is best, and where the method ranks."""
    method, order, what = study.method, attainable(study), metric_name(study)
    names = [name for name, _ in order]
    best = names[0]
    text = f"Of {len(order)} rules, {_name(study, best)} retrieves best: {_mean(study, best)} {what}"
    if len(names) > 1 and (lead := paired_interval(study, best, names[1]))[0] > 0:
        which = for_which(study, *lead, paired_elsewhere(study, best, names[1]))
        text += f", ahead of the runner-up, {_name(study, names[1])}, beyond what seeds and images explain{which}"
    if best == method or method not in names:
        return f"{text}."
    low, high = paired_interval(study, method, best)
    gap = _gap(study, method, best)
    summary = f" {span(low, high, sign=True)}".rstrip()
    behind = f"{signed(gap)}{summary} from the best{for_which(study, low, high, paired_elsewhere(study, method, best))}"
    verdict = (
        "" if high < 0 else "; no difference to the best is shown" if summary else f", {_few(study, method, best)}"
    )
    rank = names.index(method) + 1
    return f"{text}; {_name(study, method)} ranks {rank} of {len(order)}: {_mean(study, method)}, {behind}{verdict}."


def oracles(study: StudyResults, pairs: Sequence[tuple[str, str, str]], *, brief: bool = False) -> list[str]:
    """How much each oracle changes its base, the ceiling first; then the same against all true matches.

    Args:
        study: Whose oracles they are.
        pairs: As of :func:`oracle_pairs`.
        brief: Without second intervals, and against all true matches of the ceiling alone.
    """
    text = _changes(study, pairs, [(study.key(), f" {metric_name(study)}")], verdicts=True, brief=brief)
    if not text:
        return []
    sentences = [f"{text[0].upper()}{text[1:]}."]
    if study.key()[0] == OWN and truth_kind(study, "test") == "exact":
        keys = [((TRUTH, direction, "map_at_r"), "") for direction in DIRECTIONS]
        shown = [pair for pair in pairs if pair[2] == "remove"] if brief else pairs
        if summary := _changes(study, shown, keys, verdicts=False, brief=brief):
            sentences.append(
                "Recalls on own captions count another image's true match as an error. Against all true matches, in "
                f"points of mAP@R (image to text / text to image), {summary}."
            )
    return sentences


def _changes(
    study: StudyResults,
    pairs: Sequence[tuple[str, str, str]],
    keys: Sequence[tuple[Key, str]],
    *,
    verdicts: bool,
    brief: bool,
) -> str:
    """What each oracle changes in each of its bases; ``keys`` with the unit that is written behind a difference."""
    parts = []
    for oracle in [*ORACLES, *dict.fromkeys(oracle for *_, oracle in pairs if oracle not in ORACLES)]:
        summary = []
        for variant, base, which in pairs:
            if which == oracle:
                changes = (_change(study, variant, base, *key, verdict=verdicts, brief=brief) for key in keys)
                each = [result for result in changes if result]
                if each:
                    summary.append(f"{_name(study, base)} by {' / '.join(each)}")
        if summary:
            name, does = ORACLES.get(oracle, (f"the oracle {oracle}", ""))
            parts.append(f"{name}{f', {does},' if does and verdicts else ''} changes {listing(summary)}")
    return "; ".join(parts)


def _change(study: StudyResults, variant: str, base: str, key: Key, unit: str, *, verdict: bool, brief: bool) -> str:
    """The difference with its interval; empty where the two share no seed with this metric."""
    protocol, direction, metric = key
    gap = _gap(study, variant, base, key)
    if not math.isfinite(gap):
        return ""
    low, high = paired_interval(study, variant, base, metric, direction, protocol)
    wider = key == study.key() and not brief
    others = paired_elsewhere(study, variant, base) if wider else (math.nan, math.nan)
    summary = f" {spans((low, high), others)}".rstrip()
    if not verdict:
        return f"{signed(gap)}{unit}{summary}"
    shown = "a gain" if low > 0 else "a loss" if high < 0 else "no difference is shown"
    how = shown + for_which(study, low, high, others) if summary else _few(study, variant, base)
    return f"{signed(gap)}{unit}{summary} ({how})"


def sweeps(study: StudyResults, swept: Sequence[str]) -> list[str]:
    """Which axis moves the score most, the best point, and whether any point beats the baseline after Holm."""
    library, done = study.definition.library, dict(ranked(study))
    axes: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for variant in swept:
        if variant in done:
            declared = library[variant]
            points = axes.setdefault((variant.partition("--")[0], tuple(declared.swept)), [])
            if not points and declared.parent == study.baseline and study.baseline in done:
                points.append(study.baseline)
            points.append(variant)
    wide = {axis: sorted(points, key=done.__getitem__) for axis, points in axes.items() if len(points) > 1}
    if not wide:
        return []
    axis, points = max(wide.items(), key=lambda item: done[item[1][-1]] - done[item[1][0]])
    keys, worst, best = " x ".join(axis[1]), points[0], points[-1]
    low, high = paired_interval(study, best, worst)
    others = paired_elsewhere(study, best, worst)
    apart = f"{signed(_gap(study, best, worst))} {metric_name(study)} {span(low, high, sign=True)}".rstrip()
    sure, doubt = low > 0 or high < 0, "not beyond what seeds and images explain"
    if math.isnan(low):
        doubt = _few(study, best, worst)
    if len(wide) > 1:
        lead = f"Of {len(wide)} axes, {keys} {'moves' if sure else 'spreads'} the score most"
        lead += "" if sure else f", but {doubt}"
    else:
        lead = f"{keys} {'moves' if sure else 'is not shown to move'} the score"
        lead += f" ({doubt})" if math.isnan(low) else ""
    between = f"from {_name(study, worst)} to {_name(study, best)}, the ends of {len(points)} points"
    text = f"{lead}{for_which(study, low, high, others)}: {apart} {between}, picked by these scores"
    return [f"{text}; {_beats(study, [variant for variant in swept if variant in done], done)}."]


def _beats(study: StudyResults, points: Sequence[str], done: dict[str, float]) -> str:
    base, total = _name(study, study.baseline), len(points)
    result = {variant: contrast for variant in points if (contrast := study.contrast(variant)) is not None}
    shown = {variant: contrast for variant, contrast in result.items() if contrast.p_holm < ALPHA}
    ahead = [variant for variant, contrast in shown.items() if contrast.low > 0]
    behind = sum(contrast.high < 0 for contrast in shown.values())
    if ahead:
        best = max(ahead, key=lambda variant: shown[variant].difference)
        most = shown[best]
        which = for_which(study, most.low, most.high, (most.low_elsewhere, most.high_elsewhere))
        summary = f"{signed(most.difference)} {span(most.low, most.high, sign=True)}{which}, "
        summary += f"{p_equals(most.p_holm, most.p_holm_floor)} {tested(study)}, after Holm"
        return f"{len(ahead)} of {total} points beat {base}, most {_name(study, best)}: {summary}"
    best = max(points, key=done.__getitem__)
    worse = f", and {behind} of {total} are shown to be worse" if behind else ""
    summary = f"the best point, {_name(study, best)}, has {_mean(study, best)}"
    return f"no point is shown to beat {base} after Holm{worse}; {summary}"


def _few(study: StudyResults, variant: str, base: str) -> str:
    """Why there is no verdict on a difference."""
    seeds = len({*study.values(variant)} & {*study.values(base)})
    return f"{seeds} seed{'s' if seeds != 1 else ''} in common cannot show whether that is chance"


def _gap(study: StudyResults, variant: str, base: str, key: Key | None = None) -> float:
    """Mean difference of a metric, the primary one if not named, over the seeds that both have."""
    protocol, direction, metric = key or study.key()
    mine, its = (study.values(item, metric, direction, protocol) for item in (variant, base))
    shared = sorted({*mine} & {*its})
    return sum(mine[seed] - its[seed] for seed in shared) / len(shared) if shared else math.nan


def _mean(study: StudyResults, variant: str) -> str:
    estimate = study.estimate(variant)
    mean = dict(ranked(study))[variant]
    interval = span(estimate.low, estimate.high) if estimate is not None else ""
    return f"{percent(mean)} {interval}".rstrip()


def _name(study: StudyResults, variant: str) -> str:
    return clean(study.definition.library[variant].title)
