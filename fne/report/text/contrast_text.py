"""One sentence that answers a study's question, by what kind of study it is: rivals, oracles or sweeps."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fne.analysis.layout import Key
from fne.protocols import DIRECTIONS, OWN, TRUTH
from fne.report.text.summary import paired_elsewhere, paired_interval, ranked, truth_kind
from fne.report.text.wording import for_which, listing, metric_name, percent, signed, span
from fne.results.configs import oracle_bases
from fne.results.study import StudyResults
from fne.utils.min_seeds import ALPHA
from fne.utils.text import clean

ORACLE = "negatives.oracle"
ORACLES = {
    "remove": "the ceiling, never picking a false negative,",
    "only": "the floor, always picking one where there is one,",
    "relabel": "relabelling, counting true matches as positives,",
}
"""An oracle and what it does, in words."""
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
    if own and 2 * len(own) < len(rules) and len({*rules} - {*own}) >= MIN_RULES and attainable(study):
        return [f"Of {len(attainable(study))} rules, {best(study)}{_rank(study)}."]
    return []


def best(study: StudyResults) -> str:
    """Who is best, and by how much; oracles aside where there are others."""
    order = attainable(study) or ranked(study)
    (first, mean), rest = order[0], order[1:]
    estimate = study.estimate(first)
    interval = span(estimate.low, estimate.high) if estimate is not None else ""
    text = f"{name(study, first)} has the best mean {metric_name(study)}, {percent(mean)} {interval}".rstrip()
    if not rest:
        return f"{text}: the only variant with a result"
    return f"{text}; against the runner-up, {name(study, rest[0][0])}: {change(study, first, rest[0][0])}"


def _rank(study: StudyResults) -> str:
    """Where the method ranks, and how far it is from the best."""
    names = [name for name, _ in attainable(study)]
    if study.method not in names[1:]:
        return ""
    ranks = f"{name(study, study.method)} ranks {names.index(study.method) + 1} of {len(names)}"
    return f"; {ranks}, against the best: {change(study, study.method, names[0])}"


def oracles(study: StudyResults, pairs: Sequence[tuple[str, str, str]], *, brief: bool = False) -> list[str]:
    """How much each oracle changes its base, the ceiling first; then the same against all true matches.

    Args:
        study: Whose oracles they are.
        pairs: As of :func:`oracle_pairs`.
        brief: Without saying for whom, and against all true matches of the ceiling alone.
    """
    text = _changes(study, pairs, [None], brief=brief)
    if not text:
        return []
    sentences = [f"{text[0].upper()}{text[1:]}."]
    if study.key()[0] == OWN and truth_kind(study, "test") == "exact":
        keys = [(TRUTH, direction, "map_at_r") for direction in DIRECTIONS]
        shown = [pair for pair in pairs if pair[2] == "remove"] if brief else pairs
        if summary := _changes(study, shown, keys, brief=True):
            sentences.append(
                "Recalls on own captions count another image's true match as an error. Against all true matches, in "
                f"points of mAP@R (image to text / text to image), {summary}."
            )
    return sentences


def _changes(
    study: StudyResults, pairs: Sequence[tuple[str, str, str]], keys: Sequence[Key | None], *, brief: bool
) -> str:
    """What each oracle changes in each of its bases."""
    parts = []
    for oracle in [*ORACLES, *dict.fromkeys(oracle for *_, oracle in pairs if oracle not in ORACLES)]:
        summary = []
        for variant, base, which in pairs:
            each = [change(study, variant, base, key, brief=brief) for key in keys]
            if which == oracle and any(each):
                summary.append(f"{name(study, base)} by {' / '.join(filter(None, each))}")
        if summary:
            parts.append(f"{ORACLES.get(oracle, f'the oracle {oracle}')} changes {listing(summary)}")
    return "; ".join(parts)


def truth_sentences(study: StudyResults) -> list[str]:
    """What each oracle of the study changes; none in a study without one."""
    return oracles(study, oracle_pairs(study))


def change(study: StudyResults, variant: str, base: str, key: Key | None = None, *, brief: bool = False) -> str:
    """A difference with its interval and what it shows, ``+8.1 rsum [+3.7, +12.5] (a gain)``.

    Args:
        study: The study.
        variant, base: Ids.
        key: Another metric than the primary one, whose name is left out then; so is what the interval shows.
        brief: Without saying for which encoders and worlds that is shown.

    Returns:
        Empty where the two share no seed with this metric.
    """
    protocol, direction, metric = key or study.key()
    mine, its = (study.values(item, metric, direction, protocol) for item in (variant, base))
    shared = sorted({*mine} & {*its})
    if not shared:
        return ""
    gap = sum(mine[seed] - its[seed] for seed in shared) / len(shared)
    low, high = paired_interval(study, variant, base, metric, direction, protocol)
    text = f"{signed(gap)}{'' if key else f' {metric_name(study)}'} {span(low, high, sign=True)}".rstrip()
    if key:
        return text
    if math.isnan(low):
        seeds = f"{len(shared)} seed{'s' if len(shared) != 1 else ''}"
        return f"{text} ({seeds} in common cannot show whether that is chance)"
    which = "" if brief else for_which(study, low, high, paired_elsewhere(study, variant, base))
    return f"{text} ({'a gain' if low > 0 else 'a loss' if high < 0 else 'no difference is shown'}{which})"


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
    (_, keys), points = max(wide.items(), key=lambda item: done[item[1][-1]] - done[item[1][0]])
    lead = f"Of {len(wide)} axes, {' x '.join(keys)} spreads the score most" if len(wide) > 1 else (
        f"{' x '.join(keys)} spreads the score")  # fmt: skip
    ends = f"from {name(study, points[0])} to {name(study, points[-1])}, the ends of {len(points)} points"
    spread = f"{lead}: {change(study, points[-1], points[0])} {ends}, picked by these scores"
    return [f"{spread}; {_beats(study, [variant for variant in swept if variant in done])}."]


def _beats(study: StudyResults, points: Sequence[str]) -> str:
    base, total = name(study, study.baseline), len(points)
    contrasts = [contrast for variant in points if (contrast := study.contrast(variant)) is not None]
    shown = [contrast for contrast in contrasts if contrast.p_holm < ALPHA]
    ahead = [contrast for contrast in shown if contrast.low > 0]
    if ahead:
        most = max(ahead, key=lambda contrast: contrast.difference).variant
        return (f"after Holm, {len(ahead)} of {total} points beat {base}, most {name(study, most)}: "
                f"{change(study, most, study.baseline)}")  # fmt: skip
    behind = sum(contrast.high < 0 for contrast in shown)
    top = next(variant for variant, _ in ranked(study) if variant in points)
    return (f"after Holm, no point is shown to beat {base}, and {behind} of {total} are shown to be worse; "
            f"the best point, {name(study, top)}: {change(study, top, study.baseline)}")  # fmt: skip


def name(study: StudyResults, variant: str) -> str:
    """What a variant is called."""
    return clean(study.definition.library[variant].title)
