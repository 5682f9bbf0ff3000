"""Picks as a table that shows their pictures in a notebook, and stays one when rows are selected."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fne.report.picks.thumbnails import Pictures
from fne.report.picks.viewer import NOTEBOOK_BUDGET
from fne.results.runs import ANCHOR
from fne.utils.errors import bad_input
from fne.utils.text import clean

if TYPE_CHECKING:
    from fne.data.manifest import SplitView
    from fne.results.study import StudyResults

SHOWN, MOST = 12, 200
"""Anchors that are shown, and at most."""
BESIDE = 6
"""Picks that are shown beside an anchor."""
COLUMNS = {
    *ANCHOR,
    "variant",
    "epoch",
    "candidate",
    "similarity",
    "positive_similarity",
    "from_queue",
    "false_negative",
}
TRUTH = {-1: "truth not known", 0: "true negative", 1: "false negative"}
TEMPLATE = """\
<div class="fne-picks">
<style>
.fne-picks section { display: flex; flex-wrap: wrap; gap: 10px; padding: 10px 0; border-top: 1px solid #8886; }
.fne-picks article { width: 150px; font-size: 12px; line-height: 1.35; overflow-wrap: anywhere; }
.fne-picks .anchor { border-right: 1px solid #8886; padding-right: 10px; }
.fne-picks img, .fne-picks .none { display: block; width: 112px; height: 112px; object-fit: contain; margin: 4px 0;
{%- if pixelated %} image-rendering: pixelated;{% endif %} }
.fne-picks .none { border: 1px dashed #888; }
.fne-picks b { display: block; min-height: 2.7em; }
.fne-picks .partner { opacity: 0.6; }
.fne-picks .of-1 { color: #c2410c; font-weight: bold; }
</style>
<p>{{ note }}</p>
{% macro card(item) %}
{% if item.picture %}
<img class="{{ item.image }}" src="{{ item.picture }}" alt="">
{% else %}
<span class="none {{ item.image }}">no picture</span>
{% endif %}
<span class="{{ item.text }}">{{ item.caption }}</span><br>
{% endmacro %}
{% for anchor in anchors %}
<section>
<article class="anchor"><b>Anchor: {{ anchor.kind }}</b>{{ card(anchor) }}{{ anchor.when }}<br>own pair {{ anchor.own }}
</article>
{% for pick in anchor.picks %}
<article><b>{{ pick.title }}</b>{{ card(pick) }}similarity {{ pick.similarity }}{{ pick.memory }}<br>
<span class="of-{{ pick.truth }}">{{ pick.words }}</span></article>
{% endfor %}
{% if anchor.more %}
<article>and {{ anchor.more }} more</article>
{% endif %}
</section>
{% endfor %}
</div>"""


@dataclass(frozen=True)
class Gallery:
    """Pictures of picks, for a cell of a notebook.

    Args:
        html: Escaped; it needs nothing else.
    """

    html: str

    def _repr_html_(self) -> str:
        return self.html


class Picks(pd.DataFrame):
    """Picks of a study: a frame like any other, which a notebook shows as pictures.

    What is selected of it (``query``, ``sample``, ``head``, a mask) is shown in the same way; what has not the columns
    of picks any more (``groupby``, ``describe``) as the table that it is.
    """

    _metadata = ["study"]
    study: StudyResults | None = None

    @property
    def _constructor(self) -> type[Picks]:
        return Picks

    def show(self, anchors: int = SHOWN) -> Gallery:
        """The pictures of some anchors and of their negatives, with captions and similarities.

        Args:
            anchors: How many; of more they are spread evenly over the rows, always the same.

        Raises:
            UserError: The number is not from 1 to 200.
        """
        if not 1 <= anchors <= MOST:
            raise bad_input("wrong number of anchors", key="anchors", value=anchors, allowed=f"1 to {MOST}")
        return Gallery(self._gallery(anchors))

    def _repr_html_(self) -> str:
        return self._gallery(SHOWN)

    def _gallery(self, most: int) -> str:
        """The pictures; the table where there are none, and why."""
        table = str(super()._repr_html_())
        if self.study is None or not len(self) or not set(self.columns) >= COLUMNS:
            return table
        if self.study.manifest is None:
            why = "the prepared data (images and captions) are not on this machine"
        elif html := _html(self, self.study, most):
            return html
        else:
            why = "no image file of these picks can be read"
        return f"<p>No pictures: {why}. The picks as a table:</p>{table}"


def _html(picks: Picks, study: StudyResults, most: int) -> str:
    """The pictures of evenly spread anchors; nothing where not one can be read."""
    from jinja2 import Environment

    number = picks.groupby(list(ANCHOR), sort=False).ngroup().to_numpy()
    count = int(number.max()) + 1
    pictures, anchors = Pictures(NOTEBOOK_BUDGET), []
    for place in np.linspace(0, count - 1, min(count, most)).round().astype(int):
        rows = pd.DataFrame(picks[number == place]).to_dict("records")
        made = _anchor(rows, study, pictures)
        if made is None:
            break
        anchors.append(made)
    if not pictures.embedded:
        return ""
    spread = ", spread evenly over the rows" if len(anchors) < count else ""
    note = f"{len(anchors):,} of {count:,} anchor{'s' if count > 1 else ''}{spread}. Pale: the partner of the item."
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    content = {"note": note, "anchors": anchors, "pixelated": study.dataset == "scenes"}
    return environment.from_string(TEMPLATE).render(content)


def _anchor(rows: list[dict[Any, Any]], study: StudyResults, pictures: Pictures) -> dict[str, Any] | None:
    """An anchor and its picks; None where their pictures are beyond the budget."""
    manifest, first = study.manifest, rows[0]
    assert manifest is not None
    view, is_image = manifest.split("train"), first["direction"] == 0
    sides = [(int(first["anchor"]), is_image)] + [(int(row["candidate"]), not is_image) for row in rows[:BESIDE]]
    pairs = [_pair(view, *side) for side in sides]
    files = [manifest.root / manifest.image_files[view.image_rows[image]] for image, _ in pairs]
    if not pictures.admit(files):
        return None
    items: list[dict[str, Any]] = []
    for (_, of_image), (_, caption), file in zip(sides, pairs, files, strict=True):
        at = pictures.number(file)
        items.append({
            "picture": None if at is None else pictures.embedded[at],
            "caption": clean(view.texts[caption]),
            "image": "" if of_image else "partner",
            "text": "partner" if of_image else "",
        })  # fmt: skip
    picks = []
    for row, item in zip(rows, items[1:], strict=False):
        truth = -1 if pd.isna(row["false_negative"]) else int(row["false_negative"])
        picks.append(item | {
            "title": clean(study[row["variant"]].title),
            "similarity": f"{row['similarity']:.3f}",
            "memory": ", from the memory" if row["from_queue"] else "",
            "truth": truth,
            "words": TRUTH[truth],
        })  # fmt: skip
    return items[0] | {
        "kind": "image" if is_image else "caption",
        "when": f"seed {first['seed']}, epoch {first['epoch'] + 1}, step {first['step']}",
        "own": f"{first['positive_similarity']:.3f}",
        "picks": picks,
        "more": len(rows) - len(picks),
    }


def _pair(view: SplitView, place: int, is_image: bool) -> tuple[int, int]:
    """An image with its first caption, or a caption with its image, by position in the split."""
    return (
        (place, int(np.searchsorted(view.caption_image, place)))
        if is_image
        else (int(view.caption_image[place]), place)
    )
