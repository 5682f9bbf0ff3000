"""Numbers as words: percent, differences, p values, seeds, protocols, and how an interval was made."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING

from fne.protocols import METRICS, PROTOCOLS, metric_of
from fne.utils.names import RANDOM_FACTORS
from fne.utils.text import clean

if TYPE_CHECKING:
    from fne.results.study import Contrast, Estimate, StudyResults, Variant

NO_POSITIVE = "no false negative is known among the scored pairs, so no probability can be held against them"
"""Why there are no scores of an estimate."""


def short(text: str, limit: int) -> str:
    """At most ``limit`` characters, cut at a word where possible."""
    text = clean(text)
    if len(text) <= limit:
        return text
    head = text[: limit - 1]
    cut = head.rfind(" ")
    return (head[:cut] if cut > limit // 2 else head).rstrip() + "…"


def percent(value: float, metric: str = "", digits: int = 1) -> str:
    """A fraction as percent without the sign; a rank stays a rank; NaN is a dash."""
    if not math.isfinite(value):
        return "—"
    return number(metric_of(metric).scale * value, digits)


def number(value: float, digits: int = 1) -> str:
    """A number with a real minus sign; NaN is a dash, and nothing is ever ``-0.0``."""
    if not math.isfinite(value):
        return "—"
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−")


def signed(value: float, digits: int = 1) -> str:
    """A difference in percent with its sign, also where it rounds to zero; exactly nothing has none."""
    if not math.isfinite(value):
        return "—"
    sign = "+" if value > 0 else "−" if value < 0 else ""
    return f"{sign}{abs(100 * value):.{digits}f}"


def span(low: float, high: float, *, sign: bool = False, metric: str = "") -> str:
    """An interval in percent, of a rank in ranks: ``[low, high]``."""
    ends = [signed(end) if sign else percent(end, metric) for end in (low, high)]
    return f"[{', '.join(ends)}]" if math.isfinite(low) and math.isfinite(high) else ""


AT_FLOOR = "≤: no random pattern of signs reached the difference, and drawing can show no smaller p."
"""What a p at its floor says."""


def p_value(value: float, floor: float = 0.0) -> str:
    """A p value to three places, smaller ones to one digit that counts; ``≤`` where resampling can show no smaller one.

    Args:
        value: In (0, 1]; NaN is a dash.
        floor: The least value that the procedure can give because it draws at random, correction included; 0: it
            counts every pattern. It is rounded upwards, so that what stands behind ``≤`` is true.
    """
    if not math.isfinite(value):
        return "—"
    if value <= floor * (1 + 1e-9) < 1:
        step = Decimal(1).scaleb(Decimal(floor).adjusted() - 2)
        return f"≤ {Decimal(floor * (1 - 1e-9)).quantize(step, ROUND_CEILING).normalize():f}"
    return f"{value:.3f}" if value >= 0.001 else f"{Decimal(f'{value:.0e}'):f}"


def p_equals(value: float, floor: float = 0.0) -> str:
    """``p = 0.020`` or ``p ≤ 0.0009``, as :func:`p_value`; empty without a p value."""
    shown = p_value(value, floor)
    return "" if shown == "—" else f"p {shown}" if shown[0] == "≤" else f"p = {shown}"


def tested(study: StudyResults) -> str:
    """What the p values of a study's family speak about."""
    if study.definition.test == "seeds":
        return "over seeds, given these test images"
    return "over test images, given these seeds"


def count(value: float) -> str:
    """A whole number with thin spaces between thousands."""
    return f"{int(value):,}".replace(",", "\u202f")


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    if not math.isfinite(seconds):
        return "—"
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def listing(words: Iterable[str]) -> str:
    """``a, b and c``."""
    items = list(words)
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}" if items else ""


_PERCENT = ("Recalls" if item.meaning == "recall" else item.label for item in METRICS.values() if item.top == 1)
UNITS = f"{listing(dict.fromkeys(_PERCENT))} are in percent; rsum, the sum of six recalls, runs from 0 to 600."


def seed_list(seeds: Sequence[int]) -> str:
    """``0 to 4``, or each one where they do not follow each other."""
    seeds = sorted(seeds)
    if len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds)) or "none"


def runs_of(numbers: Sequence[int]) -> str:
    """Ascending numbers as ranges: ``3 to 5 and 9``."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return listing(str(low) if low == high else f"{low} to {high}" for low, high in ranges)


def name(variant: Variant, limit: int = 34) -> str:
    """What a variant is called in a figure."""
    return short(variant.title, limit)


def titles(study: StudyResults, variants: Iterable[str]) -> str:
    """Variants by their titles, ``A, B and C``."""
    return listing(clean(study[variant].title) for variant in variants)


def seeds_phrase(study: StudyResults) -> str:
    """How many seeds stand behind the numbers, naming the variants that have fewer."""
    requested = len(study.seeds)
    words = f"{requested} seed{'s' if requested != 1 else ''} per variant"
    fewer = [f"{name(variant)}: {done}" for variant in study.variants
             if (done := len(study.values(variant.id))) < requested]  # fmt: skip
    return words + (f" ({', '.join(fewer)})" if fewer else "")


def protocol_phrase(study: StudyResults) -> str:
    """The primary metric, its split and its protocol: what is searched for in what."""
    return f"{metric_name(study)} on {protocol_words(study, study.protocol)}"


def metric_name(study: StudyResults) -> str:
    """The primary metric, with its direction where it has one."""
    what = metric_of(study.metric).label
    return what if study.direction == "both" else f"{what} ({study.direction})"


def protocol_words(study: StudyResults, protocol: str) -> str:
    """A protocol in words, as its fingerprint says."""
    result = study.protocols.get(protocol)
    if result is None:
        return f"the test split of {study.dataset}, protocol “{protocol}”"
    low, high = result["captions_per_image"]
    captions = str(low) if low == high else f"{low} to {high}"
    return (
        f"the {result['split']} split of {result['dataset']} ({result['name']}: "
        f"{count(result['queries']['i2t'])} image and {count(result['queries']['t2i'])} caption queries, "
        f"{captions} captions an image, {PROTOCOLS[protocol].right}, ties at their {result['tie_rule']} rank)"
    )


def given(study: StudyResults) -> str:
    """What intervals and verdicts over seeds and test images are conditional on."""
    what = ["encoder", "world"] if study.dataset == "scenes" else ["encoders", "data"]
    tuning = ["tuning"] if study.definition.tuned else []
    return f"given {'this' if study.dataset == 'scenes' else 'these'} {listing([*what, *tuning])}"


def varied(study: StudyResults) -> str:
    """What the second interval lets vary: ``encoder, world and tuning``, as far as it was measured."""
    record, _ = study.known
    names = [RANDOM_FACTORS[factor] for factor in record.factors] if record else ["encoder", "world"]
    return listing(name.removesuffix(" draw") for name in names)


def ends(result: Estimate | Contrast | None, *, sign: bool = False) -> str:
    """The interval of a score or difference and, after a slash, the second, for others, where known."""
    if result is None:
        return ""
    both = ((result.low, result.high), (result.low_elsewhere, result.high_elsewhere))
    return " / ".join(filter(None, (span(*item, sign=sign) for item in both)))


def elsewhere_phrase(study: StudyResults, where: str = "After the slash") -> str:
    """What the second interval is, in a sentence, or why it is not known; empty where there is no interval at all.

    Args:
        where: Where it stands.
    """
    if not interval_phrase(study):
        return ""
    record, why = study.known
    if record is None:
        return (
            f"Intervals are {given(study)}; how far scores would move with another {varied(study)} is not known: {why}."
        )
    own = [name for name in study.definition.variants if name in record.differences]
    whose = (
        f"its own for {titles(study, own)}; else those of all variants together" if own else "of all variants together"
    )
    levels = listing(f"{len(values)} {RANDOM_FACTORS[factor]}s" for factor, values in record.factors.items())
    return (
        f"{where}: 95 % interval for another {varied(study)}, from components of variance of study {record.study} "
        f"({levels}; {record.date}): {whose}."
    )


def for_which(study: StudyResults, low: float, high: float, elsewhere: tuple[float, float]) -> str:
    """For which encoders and worlds a difference is shown, after a comma; empty where none is, or others are not known.

    Args:
        study: Whose difference it is.
        low, high: The interval over seeds and images.
        elsewhere: The second interval; NaN where not known.
    """
    if not (low > 0 or high < 0) or math.isnan(elsewhere[0]):
        return ""
    if elsewhere[0] > 0 or elsewhere[1] < 0:
        return f", also with another {varied(study)}"
    return f", with this {varied(study)} alone"


def interval_phrase(study: StudyResults) -> str:
    """How the intervals of the primary metric were made, as ``intervals.csv`` says; empty where no variant has one."""
    made: set[str] = set()
    without: dict[str, list[str]] = {}
    for variant in study.variants:
        estimate = study.estimate(variant.id)
        if estimate is not None and math.isfinite(estimate.low):
            made.add(f"{100 * estimate.level:g} % interval {given(study)}, by {estimate.method}")
        elif estimate is not None:
            without.setdefault(estimate.method.removeprefix("none: "), []).append(name(variant))
    if not made:
        return ""
    missing = "; ".join(f"none of {listing(names)}: {why}" for why, names in without.items())
    return " or ".join(sorted(made)) + (f" ({missing})" if missing else "")
