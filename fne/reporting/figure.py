"""A figure with its words: what question it answers, under which protocol, from how many seeds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fne.files import atomic_path
from fne.reporting.style import WIDTH, look

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PNG_DPI = 160


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
        empty: Whether there was nothing to draw; the page then tells the reason in a line instead.
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

    def save(self, folder: Path) -> list[Path]:
        """Write SVG and PNG, the same bytes for the same numbers, and return the paths."""
        paths = [folder / f"{self.id}.svg", folder / f"{self.id}.png"]
        options: dict[str, dict[str, Any]] = {
            "svg": {"metadata": {"Date": None, "Creator": None}},
            "png": {"metadata": {"Software": None}, "dpi": PNG_DPI},
        }
        with look():
            for path in paths:
                kind = path.suffix[1:]
                with atomic_path(path) as temporary:
                    self.drawing.savefig(temporary, format=kind, **options[kind])
        return paths

    def _repr_png_(self) -> bytes:
        """Let a notebook show the figure."""
        import io

        buffer = io.BytesIO()
        with look():
            self.drawing.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
        return buffer.getvalue()


def canvas(width: float, height: float) -> Figure:
    """An empty figure that belongs to no global state; inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def notice(identity: str, title: str, question: str, reason: str) -> Picture:
    """A figure that says why there is nothing to draw, so that nobody is left guessing."""
    figure = canvas(WIDTH, 1.4)
    figure.text(0.5, 0.5, f"Nothing to draw: {reason}", ha="center", va="center", wrap=True)
    return Picture(identity, title, question, f"Nothing to draw: {reason}.", f"Empty: {reason}.", figure, empty=True)
