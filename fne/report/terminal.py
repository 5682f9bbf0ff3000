"""A running study in a terminal: one line a variant, made of text."""

from __future__ import annotations

from collections.abc import Sequence

from fne.results.progress_files import DONE, RUNNING, STALE, STOPPED, WAITING, Run, seconds_left
from fne.study.api import Study
from fne.utils.progress import clock

MARKS = {DONE: "■", RUNNING: "▶", WAITING: "·", STOPPED: "×", STALE: "~"}
BARS = "▁▂▃▄▅▆▇█"
LEGEND = (
    "■ done  ▶ running  · waiting  × silent for three minutes  ~ done under another config; "
    "curve: mean validation rsum by epoch, low to high over all variants"
)
CURVE = 24
"""Greatest width of a sparkline."""


def draw(study: Study, runs: Sequence[Run], height: int | None = None) -> list[str]:
    """Lines of text.

    Args:
        study: The study.
        runs: As :func:`fne.results.progress_files.look` found them.
        height: Lines of the terminal: what does not fit is counted, variants that run or ring an alarm first; None: no
            limit.
    """
    by_variant = {variant: [run for run in runs if run.variant == variant] for variant in study.variants}
    scores = [score for run in runs for score in run.scores]
    limits = (min(scores), max(scores)) if scores else (0.0, 1.0)
    lines = {variant: _line(variant, result, limits) for variant, result in by_variant.items()}
    chosen = list(lines)
    room = None if height is None else max(1, height - 5)
    if room is not None and len(chosen) > room:
        urgent = sorted(chosen, key=lambda variant: not _urgent(by_variant[variant]))  # stable: the study's order
        kept = set(urgent[:room])
        chosen = [variant for variant in chosen if variant in kept]
    head = f"{'variant':<{NAME}} {'seeds':<12} {'validation rsum':<{CURVE + 14}} {'loss':>7}  {'now'}"
    result = [_summary(study, runs), "", head, *(lines[variant] for variant in chosen)]
    if len(chosen) < len(lines):
        result.append(f"and {len(lines) - len(chosen)} more variants")
    return [line.rstrip() for line in [*result, LEGEND]]


NAME = 30


def _summary(study: Study, runs: Sequence[Run]) -> str:
    count = {state: sum(run.state == state for run in runs) for state in MARKS}
    parts = [f"{count[DONE]} of {len(runs)} runs done", f"{count[RUNNING]} running"]
    parts += [f"{count[state]} {state}" for state in (STOPPED, STALE) if count[state]]
    alarms = sum(run.collapsed or run.diverged for run in runs)
    parts += [f"{alarms} alarm{'s' if alarms > 1 else ''}"] if alarms else []
    left = seconds_left(list(runs))
    if count[DONE] < len(runs):
        parts.append("time left not known yet" if left is None else f"about {clock(left)} left")
    return f"{study.name}: {', '.join(parts)}"


def _line(variant: str, runs: Sequence[Run], limits: tuple[float, float]) -> str:
    marks = "".join(MARKS[run.state] for run in runs)
    marks = marks if len(marks) <= 12 else marks[:11] + "…"
    curve = _mean_curve(runs)
    best = f"{100 * max(curve):6.1f}" if curve else ""
    loss = [run.curve[-1]["loss"] for run in runs if run.curve and run.curve[-1].get("loss") is not None]
    shown = f"{sum(loss) / len(loss):7.4f}" if loss else " " * 7
    name = variant if len(variant) <= NAME else variant[: NAME - 1] + "…"
    return f"{name:<{NAME}} {marks:<12} {sparkline(curve, *limits):<{CURVE}} {best:<13} {shown}  {_now(runs)}"


def _mean_curve(runs: Sequence[Run]) -> list[float]:
    """Mean over the seeds that have reached an epoch."""
    curves = [run.scores for run in runs if run.scores]
    longest = max(map(len, curves), default=0)
    reached = [[curve[at] for curve in curves if at < len(curve)] for at in range(longest)]
    return [sum(values) / len(values) for values in reached]


def sparkline(values: Sequence[float], low: float, high: float) -> str:
    """One character a value, a higher block for a higher value; of a long curve evenly spaced ones and the last."""
    if len(values) > CURVE:
        values = [values[round(at * (len(values) - 1) / (CURVE - 1))] for at in range(CURVE)]
    span = high - low
    return "".join(BARS[min(7, int(8 * (value - low) / span)) if span > 0 else 3] for value in values)


def _now(runs: Sequence[Run]) -> str:
    words = [
        f"seed {run.seed}: {100 * run.step // max(1, run.total)} %" for run in runs if run.state in (RUNNING, STOPPED)
    ]
    for name, rings in (("collapsed", [r for r in runs if r.collapsed]), ("diverged", [r for r in runs if r.diverged])):
        if rings:
            words.append(f"ALARM: {name}, seed {', '.join(str(run.seed) for run in rings)}")
    return "; ".join(words)


def _urgent(runs: Sequence[Run]) -> bool:
    return any(run.state in (RUNNING, STOPPED) or run.collapsed or run.diverged for run in runs)
