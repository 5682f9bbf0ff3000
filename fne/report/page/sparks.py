"""Small line charts of one variant's training, drawn for the page alone (inks are the page's variables)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fne.report.text.wording import number

if TYPE_CHECKING:
    import pandas as pd

WIDTH, HEIGHT, PAD = 240, 72, 3
POINTS = 60
"""Most points of a line; of longer trainings every n-th epoch and the last are drawn."""


@dataclass(frozen=True)
class Measure:
    """What a chart shows.

    Args:
        columns: Columns of ``curves.csv``; several are averaged (the two directions).
        title: Its name.
        scale: Factor to the unit that is shown.
        unit: Written behind numbers.
        digits: Digits after the point.
    """

    columns: tuple[str, ...]
    title: str
    scale: float = 1.0
    unit: str = ""
    digits: int = 2


def _ways(name: str) -> tuple[str, str]:
    return f"{name}_i2t", f"{name}_t2i"


MEASURES = (
    Measure(("val_rsum",), "validation rsum", 100.0, "", 1),
    Measure(("loss",), "loss", 1.0, "", 3),
    Measure(_ways("fn_share"), "false negatives among picks", 100.0, " %", 2),
    Measure(_ways("hardness"), "hardness: similarity of the picks"),
    Measure(_ways("ess"), "effective sample size of the weights", 1.0, "", 1),
    Measure(_ways("override_share"), "weights set by the posterior", 100.0, " %", 2),
    Measure(_ways("fallback_share"), "anchors without an eligible candidate", 100.0, " %", 2),
    Measure(_ways("contributing"), "anchors with a loss above zero", 100.0, " %", 1),
    Measure(("queue_age",), "age of picks out of the memory", 1.0, " steps", 1),
)


def chart(rows: pd.DataFrame, measure: Measure) -> dict[str, Any] | None:
    """One measure of one variant: the mean over seeds as a line, lowest to highest seed as a band.

    Args:
        rows: The variant's rows of ``curves.csv``, one per seed and epoch.
        measure: What to show.

    Returns:
        Title, drawing and the last epoch's numbers in words; ``None`` where the variant has no such numbers.
    """
    from markupsafe import Markup

    columns = [name for name in measure.columns if name in rows.columns]
    if not columns:
        return None
    values = measure.scale * rows[columns].astype(float).mean(axis=1)
    grouped = values[np.isfinite(values)].groupby(rows["epoch"], sort=True)
    table = grouped.agg(["mean", "min", "max"])
    if table.empty:
        return None
    epochs, (mean, low, high) = table.index.to_numpy() + 1, table.to_numpy().T
    last = f"{number(mean[-1], measure.digits)}{measure.unit}"
    spread = f"seeds {number(low[-1], measure.digits)} to {number(high[-1], measure.digits)}"
    several = len(rows["seed"].unique()) > 1
    bottom, top = float(low.min()), float(high.max())
    kept = _thinned(len(epochs))
    x = _across(epochs[kept], int(rows["epoch"].max()) + 1)
    line, under, over = (_down(part[kept], bottom, top) for part in (mean, low, high))
    band = [*zip(x, over, strict=True), *reversed(list(zip(x, under, strict=True)))]
    shapes = _warm(rows)
    shapes += f'<path class="band" d="{_path(band)}Z"/>' if several else ""
    shapes += f'<path class="line" d="{_path(list(zip(x, line, strict=True)))}"/>'
    shapes += f'<circle class="end" cx="{_short(x[-1])}" cy="{_short(line[-1])}" r="2.6"/>'
    words = f"{measure.title}: {number(mean[0], measure.digits)} in epoch {epochs[0]}, {last} in epoch {epochs[-1]}"
    drawing = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{words}">{shapes}</svg>'
    return {
        "title": measure.title,
        "drawing": Markup(drawing),
        "last": last + (f" ({spread})" if several else ""),
        "range": f"{number(bottom, measure.digits)} to {number(top, measure.digits)}{measure.unit}",
    }


def _thinned(size: int) -> np.ndarray:
    stride = max(math.ceil(size / POINTS), 1)
    return np.unique(np.append(np.arange(0, size, stride), size - 1))


def _across(epochs: np.ndarray, last: int) -> np.ndarray:
    return PAD + (WIDTH - 2 * PAD) * (epochs - 1) / max(last - 1, 1)


def _down(values: np.ndarray, bottom: float, top: float) -> np.ndarray:
    share = (values - bottom) / (top - bottom) if top > bottom else np.full(len(values), 0.5)
    return HEIGHT - PAD - (HEIGHT - 2 * PAD) * share


def _warm(rows: pd.DataFrame) -> str:
    """The warm-up as a shaded area."""
    warm = rows.loc[rows["phase"] == "warmup", "epoch"]
    last = int(rows["epoch"].max()) + 1
    if warm.empty:
        return ""
    end = _across(np.array([warm.max() + 1.5]), last)[0]
    return f'<rect class="warm" x="0" y="0" width="{_short(min(end, WIDTH))}" height="{HEIGHT}"/>'


def _path(points: list[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{_short(x)} {_short(y)}" for x, y in points)


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
