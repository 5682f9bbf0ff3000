"""Where the variance of scores and of differences comes from: in sentences, as a table and as a figure."""

from __future__ import annotations

import math
from typing import Any

from fne.analysis.components import IMAGES, INTERACTION, SEED
from fne.report.figures.figure import Picture, canvas
from fne.report.figures.style import INK, MUTED, WIDTH
from fne.report.series.results import SeriesResults, Value, name_of, numbers, value_of
from fne.report.tables.cells import ABSENT, Cell, Column, Table
from fne.report.text.wording import listing, percent, span
from fne.results.series import ANOTHER, DIFFERENCE, LEVEL

NAMES = {SEED: "training seed", IMAGES: "test images", INTERACTION: "interaction"}
MOST = 3
"""An interval is drawn as far as so many times the largest standard deviation: few draws have very long ones."""
WHAT = {LEVEL: "score", DIFFERENCE: "difference to the baseline"}


def sources(series: SeriesResults) -> dict[str, str]:
    """What adds up to the variance of one run, and what each source is called."""
    result = series.parts.get((LEVEL, ""), {})
    return {source: NAMES.get(source) or name_of(source) for source in result if source != ANOTHER}


def another(series: SeriesResults) -> str:
    """What the sum of factors and their interaction is called."""
    return f"another {listing(map(name_of, series.definition.random))}"


def shares(parts: dict[str, Value]) -> dict[str, float]:
    """Each source's share of the variance of one run, ``sd^2 / sum of all sd^2``; NaN where nothing varies."""
    squares = {source: part.estimate**2 for source, part in parts.items() if source != ANOTHER}
    total = math.fsum(squares.values())
    return {source: square / total if total > 0 else math.nan for source, square in squares.items()}


def sentences(series: SeriesResults) -> list[str]:
    """How much of the variance of a score and of a difference comes from which source, over all variants."""
    summary, named = [], sources(series)
    for of in (LEVEL, DIFFERENCE):
        parts = series.parts.get((of, ""), {})
        result = {source: share for source, share in shares(parts).items() if math.isfinite(share)}
        if not result:
            summary.append(f"Where the variance of a {WHAT[of]} comes from cannot be said: too few results.")
            continue
        sd = math.sqrt(math.fsum(parts[source].estimate ** 2 for source in result))
        order = sorted(result, key=result.__getitem__, reverse=True)
        listed = listing(f"{_whole(result[source])} {named[source]}" for source in order)
        what = f"a variant's {series.metric(series.primary)}" if of == LEVEL else f"its {WHAT[of]}"
        summary.append(f"With everything drawn anew, {what} has a standard deviation of {percent(sd)} points, of its "
                       f"variance {listed}.")  # fmt: skip
    score, gap = (series.parts.get((of, ""), {}).get(ANOTHER) for of in (LEVEL, DIFFERENCE))
    if score is not None and gap is not None:
        fewest = min(len(series.definition.factors[key]) for key in series.definition.random)
        summary.append(
            f"With {another(series)}, all seeds and images alike, a score moves by {percent(score.estimate)} points "
            f"(standard deviation, known from {fewest} values of a factor) and a difference by {percent(gap.estimate)}."
        )
    return summary


def table(series: SeriesResults) -> Table:
    """A row per variant and one for all of them, first of scores, then of differences; two columns per source."""
    fixed, named = series.definition.fixed, sources(series) | {ANOTHER: another(series)}
    columns = [*(Column(name_of(key).capitalize()) for key in fixed), Column("Variant", numeric=False)]
    for source, name in named.items():
        group = name[0].upper() + name[1:]
        columns += [Column("sd", group), *([Column("Share", group)] if source != ANOTHER else [])]
    rows: list[tuple[Cell, ...]] = []
    records, sections = [], []
    for of in (LEVEL, DIFFERENCE):
        for place, ((_, variant, *at), parts) in enumerate(_of(series, of)):
            if not place:
                sections.append((len(rows), f"Of the {WHAT[of]}"))
            title = Cell(series.title_of(variant), note=variant, code=True) if variant else Cell("all variants")
            here = [Cell(value_of(key, value), value) for key, value in zip(fixed, at, strict=False)]
            cells = [*(here or [Cell("all")] * len(fixed)), title]
            for source in named:
                part, share = parts.get(source), shares(parts).get(source)
                cells.append(_sd(part))
                if source != ANOTHER:
                    cells.append(ABSENT if share is None or math.isnan(share) else Cell(_whole(share), share))
                records.append({**dict(zip(fixed, at, strict=False)), "of": of, "variant": variant, "source": source,
                                **numbers(sd=part), "share": share})  # fmt: skip
            rows.append(tuple(cells))
    caption = (
        f"Standard deviation of {series.metric(series.primary)} that each source adds to one run, in points, with a "
        f"95 % interval, and its share of the variance of one run; from {len(series.members)} cells with "
        f"{len(series.shared.seeds)} seeds each. Differences are paired by seed and image."
    )
    both = " and their interaction" if INTERACTION in named else ""
    notes = [
        "One run: one training seed, one set of test images, one value of each factor.",
        f"{named[ANOTHER][0].upper()}{named[ANOTHER][1:]}: {listing(map(name_of, series.definition.random))}{both} "
        "together, with seeds and images alike.",
        "All variants: one variance for all of them, which are correlated.",
        *series.undecomposed,
    ]
    return Table("components", "Where the variance comes from", caption, tuple(columns), tuple(rows), tuple(notes),
                 tuple(records), sections=tuple(sections))  # fmt: skip


def draw(series: SeriesResults) -> Picture:
    """Draw two panels, of scores and of differences, a line per source: sd of all variants, and of each as a dot."""
    named, pooled = sources(series), [parts for key, parts in series.parts.items() if key[1] == ""]
    ends = [100 * part.high for parts in pooled for source, part in parts.items() if source in named]
    sds = [100 * part.estimate for parts in series.parts.values() for source, part in parts.items() if source in named]
    most = max(min(max(ends), MOST * max(sds)), max(sds)) or 1.0
    height = 1.1 + 0.42 * len(named)
    figure = canvas(WIDTH, height)
    axes = figure.subplots(1, 2, sharex=True, sharey=True, squeeze=False)[0]
    figure.subplots_adjust(left=0.19, right=0.97, top=1 - 0.4 / height, bottom=0.55 / height, wspace=0.12)
    for panel, of in zip(axes, (LEVEL, DIFFERENCE), strict=True):
        panel.set_title(WHAT[of])
        panel.grid(axis="x")
        for (_, variant, *_), parts in _of(series, of):
            for place, source in enumerate(named):
                if source not in parts:
                    continue
                part, share = parts[source], shares(parts)[source]
                if variant:
                    panel.plot(100 * part.estimate, place + 0.2, "o", color=MUTED, ms=4, alpha=0.55, mew=0, zorder=2)
                    continue
                end = min(100 * part.high, most)
                panel.plot([100 * part.low, end], [place] * 2, color=INK, lw=1.6, zorder=3)
                if end == most < 100 * part.high:
                    panel.plot(end, place, ">", color=INK, ms=5, zorder=3)
                panel.plot(100 * part.estimate, place, "D", color=INK, ms=5.5, zorder=4)
                if math.isfinite(share):
                    panel.annotate(_whole(share), (end, place), (7, 0), textcoords="offset points", va="center",
                                   fontsize=8, color=INK)  # fmt: skip
        panel.set_xlabel(f"{series.metric(series.primary)} points")
    axes[0].set_yticks(range(len(named)), list(named.values()))
    axes[0].set_ylim(len(named) - 0.5, -0.7)
    axes[0].set_xlim(-0.05 * most, 1.25 * most)
    caption = (
        "Diamonds: standard deviation that each source adds to one run, of all variants together, with its 95 % "
        "interval (an arrow: it goes on) and its share of the variance of one run. Grey dots: of each variant alone. "
        "Both panels have one scale."
    )
    question = "What does a run's score depend on, and what its difference to the baseline?"
    return Picture("components", "Sources of variance", question, caption, " ".join(sentences(series)), figure)


def _of(series: SeriesResults, of: str) -> list[tuple[tuple[Any, ...], dict[str, Value]]]:
    """Components of each variant, in order, then of all variants."""
    result = [(key, parts) for key, parts in series.parts.items() if key[0] == of]
    return sorted(result, key=lambda item: not item[0][1])


def _sd(part: Value | None) -> Cell:
    return ABSENT if part is None else Cell(percent(part.estimate), part.estimate, note=span(part.low, part.high))


def _whole(share: float) -> str:
    """A share in whole percent."""
    return "< 1 %" if 0 < share < 0.005 else f"{100 * share:.0f} %"
