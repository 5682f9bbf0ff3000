"""A figure with its words: what question it answers, under which protocol, from how many seeds."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fne.report.figures import style
from fne.report.figures.style import WIDTH, look
from fne.utils.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PNG_DPI = 160
_SAVED: dict[str, dict[str, Any]] = {
    "svg": {"metadata": {"Date": None, "Creator": None}},
    "png": {"metadata": {"Software": None}, "dpi": PNG_DPI},
    "pdf": {"metadata": {"CreationDate": None, "Creator": None, "Producer": None}},
}
"""Neither times nor versions, so that equal numbers give equal files."""


@dataclass(frozen=True)
class Picture:
    """A drawn figure.

    Args:
        id: File stem.
        title: Short heading.
        question: The question that the figure answers.
        caption: How to read it: protocol, number of seeds, interval method; generated from the data.
        alt: What it shows, for somebody who cannot see it.
        drawing: The matplotlib figure.
        empty: Whether there was nothing to draw; the page then gives the reason in a line instead.
    """

    id: str
    title: str
    question: str
    caption: str
    alt: str
    drawing: Figure
    empty: bool = False

    def words(self) -> dict[str, str | bool]:
        """Everything but the drawing."""
        return {key: getattr(self, key) for key in ("id", "title", "question", "caption", "alt", "empty")}

    def save(self, folder: Path, kinds: Sequence[str] = ("svg", "png")) -> list[Path]:
        """Write the figure, the same bytes for the same numbers, and return the paths.

        Args:
            folder: Where to.
            kinds: Of ``svg``, ``png`` and ``pdf`` (fonts embedded).
        """
        paths = [folder / f"{self.id}.{kind}" for kind in kinds]
        with look():
            for path, kind in zip(paths, kinds, strict=True):
                with atomic_path(path) as temporary:
                    self.drawing.savefig(temporary, format=kind, **_SAVED[kind])
                self.drawing.set_layout_engine("none")  # laid out once, for the first
        return paths

    def _repr_html_(self) -> str:
        """Let a notebook show the figure with its words, or the reason why it is empty."""
        caption = html.escape(self.caption)
        if self.empty:
            return f"<p>{html.escape(self.title)}. {caption}</p>"
        buffer = io.BytesIO()
        with look():
            self.drawing.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
        address = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
        return (
            f'<figure style="margin:0;max-width:60rem"><img src="{address}" alt="{html.escape(self.alt)}">'
            f'<figcaption style="font-size:.85em;opacity:.8;line-height:1.4">{caption}</figcaption></figure>'
        )


def canvas(width: float, height: float) -> Figure:
    """An empty figure that belongs to no global state; inches, for a paper narrower or wider (see ``style.look``)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / WIDTH * style.width(), height * style.scale()))
    FigureCanvasAgg(figure)
    return figure


def notice(identity: str, title: str, question: str, reason: str) -> Picture:
    """A figure that says why there is nothing to draw, so that nobody is left guessing."""
    figure = canvas(WIDTH, 1.4)
    figure.text(0.5, 0.5, f"Nothing to draw: {reason}", ha="center", va="center", wrap=True)
    return Picture(identity, title, question, f"Nothing to draw: {reason}.", f"Empty: {reason}.", figure, empty=True)
