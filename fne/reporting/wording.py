"""Numbers as words: percent, differences, p values, seeds, protocols, and how an interval was made."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fne.study_results import StudyResults, Variant

METRICS = {
    "r1": "R@1",
    "r5": "R@5",
    "r10": "R@10",
    "rsum": "rsum",
    "median_rank": "median rank",
    "map_at_r": "mAP@R",
    "r_precision": "R-Precision",
    "p1": "P@1",
}
DIRECTION_NAMES = {"i2t": "image → text", "t2i": "text → image", "both": "both directions"}
RIGHT = {
    "own": "only the image's own captions are right",
    "coco_1k_5fold": "only the image's own captions are right, mean of five blocks of 1 000 images",
    "eccv": "every pair that ECCV Caption lists is right",
    "cxc": "every pair that Crisscrossed Captions lists is right",
}
"""What counts as right, by protocol; where relevance is otherwise known, every known pair."""
UNITS = "Recalls, mAP@R, R-Precision and P@1 are in percent; rsum, the sum of six recalls, runs from 0 to 600."


def clean(text: str) -> str:
    """The user's own words on one line, without control characters (they are not allowed in XML)."""
    return " ".join("".join(letter if unicodedata.category(letter) != "Cc" else " " for letter in text).split())


def harmless(text: str) -> str:
    """Lines of text for a terminal, without control characters: those could move its cursor or clear it."""
    return "".join(letter if letter == "\n" or unicodedata.category(letter) != "Cc" else " " for letter in text)


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
    return number(value if metric == "median_rank" else 100 * value, digits)


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


def span(low: float, high: float, *, sign: bool = False) -> str:
    """An interval in percent: ``[low, high]``."""
    show = signed if sign else percent
    return f"[{show(low)}, {show(high)}]" if math.isfinite(low) and math.isfinite(high) else ""


def p_value(value: float) -> str:
    """A p value to three places; never 0."""
    if not math.isfinite(value):
        return "—"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


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


def seed_list(seeds: Sequence[int]) -> str:
    """``0 to 4``, or each one where they do not follow each other."""
    seeds = sorted(seeds)
    if len(seeds) > 2 and seeds == list(range(seeds[0], seeds[-1] + 1)):
        return f"{seeds[0]} to {seeds[-1]}"
    return ", ".join(map(str, seeds)) or "none"


def name(variant: Variant, limit: int = 34) -> str:
    """What a variant is called in a figure."""
    return short(variant.title, limit)


def seeds_phrase(study: StudyResults) -> str:
    """How many seeds stand behind the numbers, naming the variants that have fewer."""
    wanted = len(study.seeds)
    words = f"{wanted} seed{'s' if wanted != 1 else ''} per variant"
    fewer = [f"{variant.id}: {done}" for variant in study.variants if (done := len(study.values(variant.id))) < wanted]
    return words + (f" ({', '.join(fewer)})" if fewer else "")


def protocol_phrase(study: StudyResults) -> str:
    """The primary metric, its split and its protocol: what is searched for in what."""
    return f"{metric_name(study)} on {protocol_words(study, study.protocol)}"


def metric_name(study: StudyResults) -> str:
    """The primary metric, with its direction where it has one."""
    what = METRICS.get(study.metric, study.metric)
    return what if study.direction == "both" else f"{what} ({study.direction})"


def protocol_words(study: StudyResults, protocol: str) -> str:
    """A protocol in words, as its fingerprint says."""
    found = study.protocols.get(protocol)
    if found is None:
        return f"the test split of {study.dataset}, protocol “{protocol}”"
    low, high = found["captions_per_image"]
    captions = str(low) if low == high else f"{low} to {high}"
    right = RIGHT.get(protocol, "every known relevant pair is right")
    return (
        f"the {found['split']} split of {found['dataset']} ({found['name']}: "
        f"{count(found['queries']['i2t'])} image and {count(found['queries']['t2i'])} caption queries, "
        f"{captions} captions an image, {right}, ties at their {found['tie_rule']} rank)"
    )


def interval_phrase(study: StudyResults) -> str:
    """How the intervals of the primary metric were made, as ``intervals.csv`` says."""
    told = set()
    for variant in study.variants:
        estimate = study.estimate(variant.id)
        if estimate is not None and math.isfinite(estimate.low):
            told.add(f"{100 * estimate.level:g} % interval by {estimate.method}")
        elif estimate is not None:
            told.add(estimate.method.replace("none:", "no interval:"))
    return "; ".join(sorted(told)) or "no interval"
