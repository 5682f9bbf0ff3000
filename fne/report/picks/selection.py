"""The same anchor under several strategies, as pictures for a notebook: static HTML, widgets where there are some."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fne.report.figures.style import FALSE, MUTED, POSITIVE
from fne.report.figures.variant_styles import Look, looks_of
from fne.report.picks.items import TRUTH, Item, paired, thumbnail, truth_of
from fne.report.picks.viewer import KEY, KINDS, choose, shared_picks
from fne.results.study import StudyResults
from fne.utils.errors import bad_input
from fne.utils.text import clean

if TYPE_CHECKING:
    import pandas as pd

INKS = {1: FALSE, 0: POSITIVE, -1: MUTED}
SEPARATE = "border:1px solid #8888;border-radius:.4rem;padding:.7rem;margin:0 0 .8rem"


@dataclass(frozen=True)
class Choice:
    """A candidate, and every strategy that picked it for the anchor.

    Args:
        item: The candidate with its own partner.
        truth: 1 a false negative, 0 a true negative, -1 not known.
        by: Per strategy its title, its look, the similarity to the anchor and the posterior (NaN: none).
    """

    item: Item
    truth: int
    by: tuple[tuple[str, Look, float, float], ...]


@dataclass(frozen=True)
class Anchor:
    """An anchor at one seed and step, and what each strategy picked for it."""

    seed: int
    epoch: int
    item: Item
    choices: tuple[Choice, ...]

    def _repr_html_(self) -> str:
        tiles = "".join(_tile(choice) for choice in self.choices)
        grid = "flex:1;display:grid;grid-template-columns:repeat(auto-fill,minmax(13rem,1fr));gap:.7rem"
        return (
            f'<div style="{SEPARATE};display:flex;flex-wrap:wrap;gap:1rem;line-height:1.35">'
            f'<div style="flex:0 0 10rem"><b>Anchor: {self.item.asked}</b><br>'
            f"<small>seed {self.seed}, epoch {self.epoch}</small>{_pair(self.item)}</div>"
            f'<div style="{grid}">{tiles}</div></div>'
        )


@dataclass(frozen=True)
class Anchors:
    """Several anchors, one below the other."""

    told: str
    anchors: tuple[Anchor, ...]

    def _repr_html_(self) -> str:
        shown = "".join(anchor._repr_html_() for anchor in self.anchors)
        return f"<p>{html.escape(self.told)}</p>{shown or '<p>No picks to show.</p>'}"


class Comparison:
    """Anchors that the strategies of a study, or some of them, picked for at the same seed and step.

    Always the same draw: see :func:`fne.report.picks.viewer.choose`.

    Args:
        study: A finished study; without its prepared data, or without picks, there are no anchors.
        variants: Ids; the study's unless given.

    Raises:
        UserError: No such variant, or a damaged file of picks.
    """

    def __init__(self, study: StudyResults, variants: Sequence[str] | None = None) -> None:
        self.study = study
        every = [variant.id for variant in study.variants]
        wanted = [study[name].id for name in variants or every]
        self._titles = [clean(one.title) for one in study.variants]
        self._names = every
        picks = shared_picks(study) if study.manifest is not None else None
        self._groups: dict[tuple[int, ...], pd.DataFrame] = {}
        self._keys: dict[str, list[tuple[int, ...]]] = {kind: [] for kind in KINDS}
        if picks is None or picks.empty:
            return
        picks = picks[picks["variant"].isin([every.index(name) for name in wanted])]
        for kind, key in choose(picks):
            self._keys[kind].append(key)
        chosen = {key for keys in self._keys.values() for key in keys}
        self._groups = {key: rows for key, rows in picks.groupby(KEY, sort=False) if key in chosen}

    def count(self, kind: str) -> int:
        """Anchors of a kind: ``false``, ``disagree`` or ``random``."""
        return len(self._of(kind))

    def anchor(self, kind: str, place: int) -> Anchor:
        """One of them."""
        rows = self._groups[self._of(kind)[place]]
        first = rows.iloc[0]
        direction = int(first["direction"])
        view = self.study.manifest.split("train")
        choices = []
        for candidate, some in rows.groupby("candidate", sort=False):
            by = tuple(
                (self._titles[number], looks_of(self.study)[self._names[number]], float(similarity), float(posterior))
                for number, similarity, posterior in zip(
                    some["variant"], some["similarity"], some["posterior"], strict=True
                )
            )
            item = paired(self.study.manifest, view, 1 - direction, int(candidate))
            choices.append(Choice(item, truth_of(some["false_negative"].max()), by))
        own = paired(self.study.manifest, view, direction, int(first["anchor"]))
        return Anchor(int(first["seed"]), int(first["epoch"]) + 1, own, tuple(choices))

    def some(self, kind: str, size: int) -> Anchors:
        """The first anchors of a kind."""
        found = tuple(self.anchor(kind, place) for place in range(min(size, self.count(kind))))
        drawn = f"{len(found)} drawn {KINDS[kind]}; one box is one anchor at one step of one seed."
        return Anchors(drawn[:1].upper() + drawn[1:], found)

    def _of(self, kind: str) -> list[tuple[int, ...]]:
        if kind not in KINDS:
            raise bad_input("no such kind of anchor", key="kind", value=kind, allowed=KINDS)
        return self._keys[kind]


def browse(comparison: Comparison, kind: str = "disagree", size: int = 3) -> Any:
    """A menu and a slider to leaf through the anchors; without ipywidgets the first few of them, as static HTML.

    Args:
        comparison: The anchors.
        kind: What is shown first.
        size: Anchors of the static page.
    """
    try:
        import ipywidgets
    except ImportError:
        return comparison.some(kind, size)
    kinds = [(words, name) for name, words in KINDS.items() if comparison.count(name)]
    if not comparison.count(kind):
        return comparison.some(kind, size)
    menu = ipywidgets.Dropdown(options=kinds, value=kind, description="drawn", layout={"width": "36rem"})
    slider = ipywidgets.IntSlider(value=1, min=1, max=comparison.count(kind), description="anchor")
    shown = ipywidgets.HTML(comparison.anchor(kind, 0)._repr_html_())

    def show(change: Any) -> None:
        if change["owner"] is menu:
            slider.max, slider.value = comparison.count(menu.value), 1
        shown.value = comparison.anchor(menu.value, slider.value - 1)._repr_html_()

    for control in (menu, slider):
        control.observe(show, names="value")
    return ipywidgets.VBox([menu, slider, shown])


def _tile(choice: Choice) -> str:
    ink = INKS[choice.truth]
    lines = "".join(_line(*one) for one in choice.by)
    return (
        f'<div style="border-left:.25rem solid {ink};padding-left:.6rem"><b>{TRUTH[choice.truth]}</b>'
        f'<div style="margin:.2rem 0 .4rem">{lines}</div>{_pair(choice.item)}</div>'
    )


def _line(title: str, look: Look, similarity: float, posterior: float) -> str:
    shape = f"clip-path:{look.clip}" if look.clip else "border-radius:50%"
    dot = f'<span style="display:inline-block;width:.65rem;height:.65rem;{shape};background:{look.colour}"></span>'
    told = f"similarity {similarity:.2f}" + ("" if math.isnan(posterior) else f", posterior {posterior:.2g}")
    return f"<div>{dot} {html.escape(title)}<br><small>{told}</small></div>"


def _pair(item: Item) -> str:
    """Picture and caption; the one that took no part is pale."""
    address, faint = thumbnail(item.image), "opacity:.5;"
    style = "display:block;width:100%;max-width:8rem;" + (faint if item.asked == "caption" else "")
    picture = f'<img src="{address}" alt="" style="{style}">' if address else ""
    return f'{picture}<div style="{faint if item.asked == "image" else ""}">{html.escape(item.caption)}</div>'
